"""``torghut backtest``: the fast loop of a researcher, with neither gates nor database."""

from pathlib import Path
from typing import Any

import click

from torghut_runtime.command_line import examples, json_option, path_option
from torghut_runtime.errors import InputError

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
