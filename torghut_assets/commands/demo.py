"""``torghut demo``: two candidates on the sample bars, from data to verdict, and what was decided on the simulator.

The outcome is whatever the data say. Nothing here touches a threshold.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from torghut_runtime.command_line import examples, json_option, path_option, print_json, progress

if TYPE_CHECKING:
    from torghut_assets.demo_trading import Leg
    from torghut_assets.lane import LaneResult

CANDIDATES = {
    "macd-rsi-sample": "config/strategies/macd-rsi-daily.yaml",
    "daily-momentum": "config/strategies/daily-momentum.yaml",
}
"""Name and strategy configuration of what is judged."""


@click.command(epilog=examples("torghut demo", "torghut demo --output-dir /tmp/torghut-demo"))
@path_option(
    "--output-dir", default=Path("artifacts/demo"), show_default=True, help="Each candidate's bundle is a folder in it."
)
@click.option("--trade/--no-trade", "trades", default=True, show_default=True, help="Go on to the simulated account.")
@json_option
def demo(output_dir: Path, trades: bool, as_json: bool) -> None:
    """Judge two candidates on real daily bars of five US stocks, then trade on the simulator.

    A promoted candidate's patch is applied to a copy of the strategy ConfigMap; when all are denied, the one with the
    fewest reasons is traded, and that is said. The account trades the last month of the daily bars, and a week of
    one-minute bars that are made up.

    Needs no set-up: the databases start and stop with it. DB_DSN names another one for the verdicts; what the simulated
    account does is recorded in one that is thrown away.
    """
    from torghut_assets.commands.traded import leg_fields, print_leg
    from torghut_assets.commands.verdict import print_verdict, result_fields
    from torghut_assets.demo_trading import legs, write_catalog
    from torghut_assets.lane import LaneRequest, run_lane
    from torghut_assets.shipped_files import SAMPLE_BARS, shipped

    results: list[LaneResult] = []
    for name, strategies in CANDIDATES.items():
        request = LaneRequest(
            bars=SAMPLE_BARS,
            timeframe="1Day",
            strategy_config=shipped(strategies),
            gate_policy=shipped("config/autonomous-gate-policy.json"),
            research=shipped("config/research.yaml"),
            strategy_configmap=shipped("deploy/k8s/base/strategy-configmap.yaml"),
            output_dir=output_dir / name,
            name=name,
        )
        if not as_json:
            click.echo(f"judging {name} on {SAMPLE_BARS.name} ...", err=True)
        with progress() as listen:
            result = run_lane(request, listen)
        results.append(result)
        if not as_json:
            print_verdict(result)
            click.echo()
    traded: list[Leg] = []
    if trades:
        catalog, why = write_catalog(results, output_dir)
        if not as_json:
            click.secho("On the simulator", bold=True)
            click.echo(f"  {why}")
            click.echo()
        with progress() as listen:
            for leg in legs(catalog, listen):
                traded.append(leg)
                if not as_json:
                    print_leg(leg)
                    click.echo()
    if as_json:
        verdicts = [result_fields(result) for result in results]
        print_json({"candidates": verdicts, "trading": [leg_fields(leg) for leg in traded]})
        return
    _print_next(results)


def _print_next(results: "list[LaneResult]") -> None:
    click.secho("What to open next", bold=True)
    for result in results:
        click.echo(f"  {result.output_dir / 'backtest' / 'tearsheet.html'}")
    click.echo("  torghut gates explain RULE    what a rule means and reads, for example 1.net_pnl")
    click.echo("  make dev                      the whole platform with Dagster's UI, on http://127.0.0.1:3000")
