"""``torghut dev``: the whole platform on this machine, started and stopped together."""

from pathlib import Path

import click

from torghut_runtime.command_line import ExitCode, end, examples, path_option

_PORT = click.IntRange(1, 65535)


@click.command(epilog=examples("torghut dev", "torghut dev --port 3100 --speed 300", "torghut dev --no-trading"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where Dagster's UI listens.")
@click.option("--port", type=_PORT, default=3000, show_default=True, help="Its port.")
@click.option("--runtime-port", type=_PORT, default=8181, show_default=True, help="Port of the runtime on 127.0.0.1.")
@click.option("--simulator-port", type=_PORT, default=8282, show_default=True, help="Port of the broker simulator.")
@click.option("--speed", default="60", show_default=True, help="Simulated seconds per second, or max.")
@path_option("--bars", help="Bars that the simulator plays: Parquet, CSV or JSONL; made-up minutes when left out.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of made-up bars and identifiers.")
@click.option("--trading/--no-trading", default=True, show_default=True, help="Whether simulator and runtime run.")
@path_option("--project", default=Path(), show_default="the current folder", help="The folder with config/.")
def dev(
    host: str,
    port: int,
    runtime_port: int,
    simulator_port: int,
    speed: str,
    bars: Path | None,
    seed: int,
    trading: bool,
    project: Path,
) -> None:
    """Start PostgreSQL, the order feed's broker, a broker simulator, the runtime and Dagster; Ctrl-C stops all cleanly.

    The runtime trades on the simulator, whatever mode and adapter the environment names; Alpaca's keys are kept from
    it. A part that ends by itself stops the others, with 1. A database given by DB_DSN, a Kafka given by
    TRADING_ORDER_FEED_BOOTSTRAP_SERVERS and a simulator given by TRADING_SIMULATOR_URL are used, and never started or
    stopped.
    """
    from torghut_assets.dev import Where, run_dev
    from torghut_assets.dev_trading import Trading
    from torghut_runtime.settings import load_settings

    chosen = Trading(
        runtime_port=runtime_port,
        simulator_port=simulator_port,
        speed=speed,
        bars=None if bars is None else bars.resolve(),
        seed=seed,
    )
    where = Where(project.resolve(), host, port, chosen if trading else None)
    if run_dev(load_settings(), where):
        end(ExitCode.FAILURE)
