"""``torghut backtest``: the fast loop of a researcher, with neither gates nor database."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from torghut_runtime.command_line import examples, json_option, path_option, print_json, print_table, progress
from torghut_runtime.errors import InputError

if TYPE_CHECKING:
    from torghut_assets.research.backtest import Backtest

_BARS = "torghut_assets/sample_data/us5_daily_raw_quandlwiki.parquet"


@click.command(
    epilog=examples(
        f"torghut backtest --bars {_BARS} --strategy daily_momentum --param lookback_bars=126",
        f"torghut backtest --bars {_BARS} --strategy legacy_macd_rsi --param entry=cross --json",
    )
)
@path_option("--bars", required=True, help="Bars, Parquet or CSV.")
@click.option("--timeframe", help="Timeframe of the bars; inferred when left out.")
@click.option("--strategy", required=True, help="Type of the strategy.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter; may be repeated.")
@path_option("--research", help="Research settings; the defaults when left out.")
@path_option(
    "--output-dir", default=Path("artifacts/backtest"), show_default=True, help="Where the tear sheet is written."
)
@click.option("--open", "open_browser", is_flag=True, help="Open the tear sheet in a browser.")
@json_option
def backtest(
    bars: Path,
    timeframe: str | None,
    strategy: str,
    params: tuple[str, ...],
    research: Path | None,
    output_dir: Path,
    open_browser: bool,
    as_json: bool,
) -> None:
    """Walk one strategy forward over bars, print its metrics and write a tear sheet."""
    from torghut_assets.research.backtest import backtest as run_backtest
    from torghut_assets.research.settings import load_settings
    from torghut_runtime.durable_file import write_atomically

    settings = load_settings(research)
    with progress() as listen:
        result = run_backtest(bars, strategy, settings, timeframe=timeframe, params=parameters(params), progress=listen)
    sheet = output_dir / "tearsheet.html"
    try:
        write_atomically(sheet, result.tearsheet())
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=sheet) from None
    if as_json:
        report = result.report
        print_json(
            {
                "candidate_id": report.candidate_id,
                "counts": report.counts,
                "performance": report.performance,
                "costs": report.costs,
                "baselines": report.baselines,
                "lookahead": report.lookahead,
                "tearsheet_path": sheet,
            }
        )
    else:
        _print_metrics(result)
        click.echo(f"tear sheet: {sheet}")
    if open_browser:
        webbrowser.open(sheet.resolve().as_uri())


def _print_metrics(result: "Backtest") -> None:
    report = result.report
    performance = report.performance.model_dump()
    counts = report.counts.model_dump()
    rows = [*counts.items(), *performance.items(), ("lookahead detected", report.lookahead.detected)]
    print_table(("metric", "out of sample, after costs"), [(name.replace("_", " "), value) for name, value in rows])
    click.echo()
    print_table(
        ("baseline", "net PnL", "at equal volatility", "Sharpe"),
        [
            (each.name, each.net_pnl, each.net_pnl_at_equal_volatility, each.sharpe_annualized)
            for each in report.baselines.results
        ],
    )
    click.echo()


def parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    """Parameters given as ``key=value``; values are read as in a strategy file, ``a.b`` reaches into a group.

    Raises:
        InputError: no equals sign, or a value that is not YAML.
    """
    import yaml

    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"must be KEY=VALUE, was {text!r}", field="--param")
        *groups, name = key.split(".")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
        try:
            place[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"{value!r} cannot be read as a value", field=f"--param {key}") from None
    return found
