"""``torghut bars``: market data from outside, as files that every other command reads."""

import os
from datetime import datetime
from pathlib import Path
from typing import cast

import click

from torghut_runtime.command_line import examples, json_option, path_option, print_json
from torghut_runtime.errors import InputError

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def bars() -> None:
    """Fetch market data."""


@bars.command(
    epilog=examples(
        "torghut bars fetch --symbols AAPL,MSFT --timeframe 1Day --start 2024-01-02 --end 2024-06-28"
        " --output bars.parquet",
    )
)
@click.option("--symbols", required=True, metavar="A,B,…", help="Symbols, with commas between them.")
@click.option("--timeframe", default="1Day", show_default=True, help="1Min, 5Min, 15Min, 1Hour or 1Day.")
@click.option("--start", required=True, type=_DAY, help="First day.")
@click.option("--end", required=True, type=_DAY, help="Last day, included.")
@path_option("--output", required=True, help="Parquet file that is written.")
@click.option(
    "--feed",
    type=click.Choice(("iex", "sip")),
    default="iex",
    show_default=True,
    envvar="TRADING_DATA_FEED",
    help="Where prices come from; sip needs a subscription.",
)
@click.option(
    "--adjustment",
    type=click.Choice(("raw", "split", "dividend", "all")),
    default="all",
    show_default=True,
    help="What prices and volumes are adjusted for.",
)
@path_option(
    "--cache-dir", default=Path(".torghut/bars"), show_default=True, help="What was fetched before is taken from there."
)
@json_option
def fetch(
    *,
    symbols: str,
    timeframe: str,
    start: datetime,
    end: datetime,
    output: Path,
    feed: str,
    adjustment: str,
    cache_dir: Path,
    as_json: bool,
) -> None:
    """Fetch historical bars of stocks from Alpaca.

    The keys are read from APCA_API_KEY_ID and APCA_API_SECRET_KEY, another address than Alpaca's from
    APCA_DATA_API_BASE_URL. Ends with 2 when keys are missing and with 1 when Alpaca refuses or does not answer; the
    output file is then what it was before.
    """
    from torghut_runtime.market.alpaca_bars import (
        BarsRequest,
        Feed,
        PriceAdjustment,
        access_from_environment,
        fetch_bars,
        parse_symbols,
        write_table,
    )

    if output.suffix.lower() != ".parquet":
        raise InputError(f"must end with .parquet, was {output.name}", field="--output")
    request = BarsRequest(
        symbols=parse_symbols(symbols),
        timeframe=timeframe,
        start=start.date(),
        end=end.date(),
        feed=cast("Feed", feed),
        adjustment=cast("PriceAdjustment", adjustment),
    )
    fetched = fetch_bars(access_from_environment(os.environ), request, cache_dir)
    if fetched.table.height == 0:
        raise InputError(f"there are no bars of {symbols} from {request.start} to {request.end}", field="--symbols")
    write_table(fetched.table, output)
    if as_json:
        print_json(
            {
                "output": output,
                "rows": fetched.table.height,
                "from_cache": fetched.from_cache,
                "without_bars": fetched.without_bars,
            }
        )
        return
    click.echo(f"{output}: {fetched.table.height:,} bars of {fetched.table['symbol'].n_unique()} symbols")
    if fetched.without_bars:
        click.echo(f"without a bar: {', '.join(fetched.without_bars)}", err=True)
