"""``torghut-runtime replay``: a session through the engine and the broker simulator, on the simulated clock."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click

from torghut_runtime.command_line import examples, json_option, path_option, print_json
from torghut_runtime.errors import InputError

FILES: Final = ("decisions.jsonl", "orders.jsonl", "fills.jsonl")


@click.command(
    epilog=examples(
        "torghut-runtime replay --bars bars.parquet --strategies strategies.yaml --seed 1 --out replay",
        "torghut-runtime replay --bars bars.csv --strategies strategies.yaml --out replay --json",
    )
)
@path_option("--bars", required=True, help="Bars: Parquet, CSV or JSONL.")
@path_option("--strategies", required=True, help="Strategy catalog: YAML, JSON or a ConfigMap manifest.")
@path_option("--out", required=True, help="Folder for decisions.jsonl, orders.jsonl and fills.jsonl.")
@click.option("--timeframe", help="Timeframe of the bars; inferred when left out.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the simulator's identifiers.")
@click.option("--cash", type=click.FloatRange(0, min_open=True), default=100_000, show_default=True, help="Dollars.")
@json_option
def replay(
    bars: Path, strategies: Path, out: Path, timeframe: str | None, seed: int, cash: float, as_json: bool
) -> None:
    """Trade a file of bars on a simulated account, as the runtime would have.

    Caps, limits and order settings are those of the environment (TRADING_*); the account is simulated whatever it says
    of mode and broker, and neither TRADING_ENABLED nor the kill switch applies to it. Equal input gives equal files,
    byte for byte.
    """
    from torghut_runtime.broker.simulator.tape import read_tape
    from torghut_runtime.engine.replay import Replay, features_of_tape
    from torghut_runtime.strategies.catalog import load_catalog
    from torghut_runtime.strategies.registry import resolve_all
    from torghut_runtime.trading_settings import load_trading_settings

    settings = load_trading_settings()
    for name in settings.unknown_names:
        click.echo(f"torghut-runtime replay: unknown setting {name}", err=True)
    tape = read_tape(bars, timeframe)
    catalog = load_catalog(strategies)
    bound = resolve_all(catalog, features_of_tape(tape), file=strategies)
    done = Replay(tape, bound, settings, seed=seed, cash=Decimal(repr(cash))).run()
    records = (done.decisions, done.orders, done.fills)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, rows in zip(FILES, records, strict=True):
            _write_lines(out / name, rows)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=out, field="--out") from None
    summary: dict[str, Any] = {
        "bars": done.bars,
        "strategies": [each.entry.strategy_id for each in bound],
        "decisions": len(done.decisions),
        "orders": len(done.orders),
        "fills": len(done.fills),
        "cash": done.cash,
        "equity": done.equity,
        "state": done.state,
        "reasons": done.reasons,
        "out": out,
    }
    if as_json:
        print_json(summary)
        return
    click.echo(f"{done.bars} bars, {len(done.decisions)} decisions, {len(done.orders)} orders, {len(done.fills)} fills")
    click.echo(f"equity {done.equity:.2f}, cash {done.cash:.2f}, {done.state} {', '.join(done.reasons)}".rstrip())
    click.echo(f"written to {out}")


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    from torghut_runtime.canonical import compact_json

    part = path.with_suffix(".part")
    part.write_bytes(b"".join(compact_json(row) + b"\n" for row in rows))
    part.replace(path)
