"""``torghut compare``: the engine on the simulator against the backtest of the same bars, decision by decision."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, path_option, print_json, print_table

if TYPE_CHECKING:
    from torghut_assets.research.replay_differences import Said

_SHOWN = 20


@click.command(
    epilog=examples(
        "torghut compare --bars bars.parquet --strategies config/strategies/daily-momentum.yaml",
        "torghut compare --bars bars.parquet --strategies strategies.yaml --json",
    )
)
@path_option("--bars", required=True, help="Bars, Parquet or CSV.")
@path_option("--strategies", required=True, help="Strategy catalog: YAML, JSON or a ConfigMap manifest.")
@path_option("--research", help="Research settings; the defaults when left out.")
@click.option("--timeframe", help="Timeframe of the bars; inferred when left out.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the simulator's identifiers.")
@json_option
def compare(
    bars: Path, strategies: Path, research: Path | None, timeframe: str | None, seed: int, as_json: bool
) -> None:
    """Trade bars in the engine and in the backtest, and list every decision that differs, with its explanation.

    The engine runs under the limits of the backtest, unless the environment (TRADING_*) sets other ones. Exit 3 when a
    difference has no explanation.
    """
    from torghut_assets.research.replay_comparison import compare as compare_decisions
    from torghut_assets.research.replay_comparison import equal_limits
    from torghut_assets.research.replay_differences import CLASSES
    from torghut_assets.research.settings import load_settings
    from torghut_runtime.broker.simulator.tape import read_tape
    from torghut_runtime.engine.replay import features_of_tape
    from torghut_runtime.strategies.catalog import load_catalog
    from torghut_runtime.strategies.registry import resolve_all
    from torghut_runtime.trading_settings import load_trading_settings

    rules = load_settings(research)
    tape = read_tape(bars, timeframe)
    bound = resolve_all(load_catalog(strategies), features_of_tape(tape), file=strategies)
    with equal_limits(rules):
        settings = load_trading_settings()
    found = compare_decisions(tape, bound, rules, settings, seed=seed)
    if as_json:
        print_json(
            {
                "decisions": found.decisions,
                "equal": found.equal,
                "ratio": found.ratio,
                "alike": found.alike,
                "equal_alike": found.equal_alike,
                "ratio_alike": found.ratio_alike,
                "unexplained": found.unexplained,
                "by_class": found.by_class,
                "by_first": found.by_first,
                "differences": [asdict(each) for each in found.differences],
            }
        )
    else:
        rows = [
            (each.decided_at, each.strategy_id, each.symbol, each.explanation, _told(each.engine), _told(each.backtest))
            for each in found.differences[:_SHOWN]
        ]
        if rows:
            print_table(("decided", "strategy", "symbol", "explanation", "engine", "backtest"), rows)
        for name, count in found.by_class.items():
            click.echo(f"{name}: {count} ({CLASSES[name]})")
        if "follows" in found.by_class:
            click.echo(f"with what follows from each: {', '.join(f'{n} {c}' for n, c in found.by_first.items())}")
        click.echo(f"{found.equal} of {found.decisions} decisions are equal")
        click.echo(f"{found.equal_alike} of {found.alike} that were made from the same position")
    if found.unexplained:
        end(ExitCode.DENIED)


def _told(said: "Said | None") -> str:
    return "–" if said is None else f"{said.signal} {said.target_qty:g} {said.reason}"
