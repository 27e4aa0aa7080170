"""Historical bars from Alpaca: requests, retries, and the cache that makes the second call free.

What arrives is the table of :func:`torghut_runtime.market.bars.read_bars` and must pass its checks. Live bars, and
what is done with the bars, belong elsewhere. Keys are sent as headers and appear in no file, message or ``repr``.
"""

import io
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, cast
from zoneinfo import ZoneInfo

import polars as pl
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from torghut_runtime.canonical import digest
from torghut_runtime.durable_file import write_atomically
from torghut_runtime.errors import InputError, UpstreamError
from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.calendar import NEW_YORK, TIME
from torghut_runtime.market.row_checks import SYMBOL_PATTERN
from torghut_runtime.market.timeframe import DAILY, timeframe_seconds
from torghut_runtime.market.times import parse_times

KEY_ID_VARIABLE: Final = "APCA_API_KEY_ID"
SECRET_KEY_VARIABLE: Final = "APCA_API_SECRET_KEY"  # noqa: S105 - the name of a variable
URL_VARIABLE: Final = "APCA_DATA_API_BASE_URL"
DEFAULT_URL: Final = "https://data.alpaca.markets"

Feed = Literal["iex", "sip"]
PriceAdjustment = Literal["raw", "split", "dividend", "all"]

BARS_SCHEMA: Final[dict[str, pl.DataType]] = {
    "symbol": pl.String(),
    "ts": TIME,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "trade_count": pl.Float64(),
    "vwap": pl.Float64(),
}
"""Columns of fetched bars; ``ts`` is the bar's start (UTC), ``vwap`` and ``trade_count`` are null where unknown."""

_TIMEFRAMES: Final[dict[str, tuple[int, Any]]] = {
    "1Min": (1, TimeFrameUnit.Minute),
    "5Min": (5, TimeFrameUnit.Minute),
    "15Min": (15, TimeFrameUnit.Minute),
    "1Hour": (1, TimeFrameUnit.Hour),
    "1Day": (1, TimeFrameUnit.Day),
}
_WIRE: Final = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "n": "trade_count", "vw": "vwap"}
_OPTIONAL: Final = frozenset(("trade_count", "vwap"))
_SYMBOLS_PER_REQUEST: Final = 100
_TRY_AGAIN: Final = frozenset((408, 429, 500, 502, 503, 504))
_MOST_OF_A_MESSAGE: Final = 300


@dataclass(frozen=True)
class AlpacaAccess:
    """Where Alpaca's market data is, and the keys for it."""

    key_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    url: str = DEFAULT_URL


def access_from_environment(environ: Mapping[str, str]) -> AlpacaAccess:
    """Keys and address from :data:`KEY_ID_VARIABLE`, :data:`SECRET_KEY_VARIABLE` and :data:`URL_VARIABLE`.

    Raises:
        InputError: a key that is not set, or an address that is no URL; names the variable.
    """
    keys: list[str] = []
    for name in (KEY_ID_VARIABLE, SECRET_KEY_VARIABLE):
        value = environ.get(name, "").strip()
        if not value:
            raise InputError("is not set; Alpaca's market data needs a key", field=name)
        if not value.isascii() or not value.isprintable():
            raise InputError("holds characters that no key has", field=name)
        keys.append(value)
    url = environ.get(URL_VARIABLE, "").strip().rstrip("/") or DEFAULT_URL
    if not re.fullmatch(r"https?://[^\s/@]+(/[^\s@]*)?", url):
        raise InputError("must be a URL that begins with http:// or https://", field=URL_VARIABLE)
    return AlpacaAccess(*keys, url=url)


@dataclass(frozen=True)
class BarsRequest:
    """Which bars: both dates are included; they are UTC dates for daily bars, else dates in New York.

    ``adjustment`` is Alpaca's: of splits, dividends, both or neither, seen from the day of the request.

    Raises:
        InputError: no or malformed symbols, a timeframe that Alpaca does not have, or a span that ends before it
            begins.
    """

    symbols: tuple[str, ...]
    timeframe: str
    start: date
    end: date
    feed: Feed = "iex"
    adjustment: PriceAdjustment = "all"

    def __post_init__(self) -> None:
        if not self.symbols:
            raise InputError("names no symbol", field="symbols")
        for symbol in self.symbols:
            if not re.match(SYMBOL_PATTERN, symbol) or "/" in symbol:
                raise InputError(f"not a symbol of a stock, was {symbol!r}", field="symbols")
        timeframe_seconds(self.timeframe)
        if self.timeframe not in _TIMEFRAMES:
            raise InputError(
                f"Alpaca has no bars of {self.timeframe}, it has {', '.join(_TIMEFRAMES)}", field="timeframe"
            )
        if self.end < self.start:
            raise InputError(f"lies before the start, {self.start}", field="end")

    def span(self) -> tuple[datetime, datetime]:
        """First and last moment (UTC)."""
        zone = UTC if self.timeframe == DAILY else ZoneInfo(NEW_YORK)
        begin = datetime(self.start.year, self.start.month, self.start.day, tzinfo=zone)
        day_after = self.end + timedelta(days=1)
        finish = datetime(day_after.year, day_after.month, day_after.day, tzinfo=zone)
        return begin.astimezone(UTC), finish.astimezone(UTC) - timedelta(microseconds=1)


@dataclass(frozen=True)
class Transport:
    """How long and how often a request is tried.

    ``connect_timeout`` and ``read_timeout``: seconds to a connection, and of silence within an answer; ``attempts``: at
    most so many requests for one page; ``backoff``: seconds before the second one, doubled each time up to
    ``longest_wait``, which also bounds what a Retry-After may ask for.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    attempts: int = 5
    backoff: float = 0.5
    longest_wait: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


@dataclass(frozen=True)
class FetchedBars:
    """What came of a request.

    Attributes:
        table: :data:`BARS_SCHEMA`, ordered by (symbol, ts).
        from_cache: symbols that needed no request.
        without_bars: symbols of which there is no bar in the span.
    """

    table: pl.DataFrame
    from_cache: tuple[str, ...]
    without_bars: tuple[str, ...]


def fetch_bars(
    access: AlpacaAccess,
    request: BarsRequest,
    cache: Path,
    *,
    today: date | None = None,
    transport: Transport | None = None,
) -> FetchedBars:
    """Bars from the cache where they are there, the others from Alpaca.

    A symbol's bars go into the cache when all pages have arrived and passed the checks, and only when the span lies
    before ``today`` (in New York, by default the real one): what may still grow is asked for anew each time.

    Raises:
        UpstreamError: Alpaca refuses, does not answer within the attempts allowed, or sends what cannot be bars.
        InputError: the cache cannot be written.
    """
    today = today or datetime.now(ZoneInfo(NEW_YORK)).date()
    wanted = tuple(dict.fromkeys(request.symbols))
    places = {symbol: cache / _file_name(access, request, symbol) for symbol in wanted}
    found = {symbol: table for symbol, path in places.items() if (table := _cached(path)) is not None}
    missing = [symbol for symbol in wanted if symbol not in found]
    client = _Client(access, transport or Transport())
    for begin in range(0, len(missing), _SYMBOLS_PER_REQUEST):
        part = missing[begin : begin + _SYMBOLS_PER_REQUEST]
        for symbol, table in _fetch(client, request, part).items():
            found[symbol] = table
            if request.end < today:
                write_table(table, places[symbol])
    return FetchedBars(
        table=pl.concat([found[symbol] for symbol in sorted(wanted)]),
        from_cache=tuple(symbol for symbol in wanted if symbol not in missing),
        without_bars=tuple(symbol for symbol in wanted if found[symbol].height == 0),
    )


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write Parquet so that a reader sees the old file or the whole new one.

    Raises:
        InputError: the file cannot be written.
    """
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=path) from error


def _file_name(access: AlpacaAccess, request: BarsRequest, symbol: str) -> str:
    """A name for the bars of one symbol that depends on everything they depend on but the keys."""
    key = digest(
        {
            "url": access.url,
            "symbol": symbol,
            "timeframe": request.timeframe,
            "feed": request.feed,
            "adjustment": request.adjustment,
            "start": request.start,
            "end": request.end,
        }
    )
    return f"{symbol}-{request.timeframe}-{request.start}-{request.end}-{key[:16]}.parquet"


def _cached(path: Path) -> pl.DataFrame | None:
    """The table in the cache; None when there is none, or something else is in its place."""
    try:
        table = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError):
        return None
    return table if dict(table.schema) == BARS_SCHEMA else None


def _fetch(client: "_Client", request: BarsRequest, symbols: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Checked bars of each symbol, from all pages of one request."""
    begin, finish = request.span()
    amount, unit = _TIMEFRAMES[request.timeframe]
    wire = client.bars(
        StockBarsRequest(
            symbol_or_symbols=list(symbols),
            timeframe=TimeFrame(amount, unit),
            start=begin,
            end=finish,
            feed=DataFeed(request.feed),
            adjustment=Adjustment(request.adjustment),
        )
    )
    unasked = sorted(set(wire) - set(symbols))
    if unasked:
        raise UpstreamError(f"Alpaca sent bars of {unasked[0]!r:.40}, which was not asked for")
    tables = {symbol: _table(symbol, wire.get(symbol, [])) for symbol in symbols}
    everything = pl.concat(list(tables.values()))
    if everything.height:
        try:
            bars_from_frame(everything, request.timeframe)
        except InputError as error:
            raise UpstreamError(f"Alpaca sent bars that cannot be: {error}") from error
    return tables


def _table(symbol: str, bars: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    def numbers(wire: str, name: str) -> pl.Series:
        values = [bar.get(wire) for bar in bars]
        for row, value in enumerate(values, start=1):
            known = isinstance(value, int | float) and not isinstance(value, bool)
            if not known and not (value is None and name in _OPTIONAL):
                raise UpstreamError(f"Alpaca sent a bar of {symbol} (number {row}) whose {wire} is {value!r:.40}")
        return pl.Series(name, values, dtype=pl.Float64)

    texts = [bar.get("t") for bar in bars]
    times = parse_times(pl.Series([text if isinstance(text, str) else None for text in texts], dtype=pl.String))
    if times.null_count():
        row = int(times.is_null().arg_max() or 0)
        raise UpstreamError(f"Alpaca sent a bar of {symbol} (number {row + 1}) whose t is {texts[row]!r:.40}")
    table = pl.DataFrame(
        [
            pl.Series("symbol", [symbol] * len(bars), dtype=pl.String),
            times.alias("ts"),
            *(numbers(wire, name) for wire, name in _WIRE.items()),
        ]
    )
    # A bar without a trade in it has no average price; Alpaca writes 0.
    return table.with_columns(pl.when(pl.col("vwap") > 0).then(pl.col("vwap")).alias("vwap")).sort("ts")


class _Client(StockHistoricalDataClient):
    """alpaca-py's client with time-outs, bounded retries and pages that are checked before they are added up."""

    def __init__(self, access: AlpacaAccess, transport: Transport) -> None:
        super().__init__(access.key_id, access.secret_key, raw_data=True, url_override=access.url)
        self._access = access
        self._transport = transport
        self._tokens: set[str] = set()

    def bars(self, request: StockBarsRequest) -> dict[str, list[dict[str, object]]]:
        """Bars as they are on the wire, by symbol, of all pages."""
        self._tokens.clear()
        return cast("dict[str, list[dict[str, object]]]", self.get_stock_bars(request))

    def _one_request(self, method: str, url: str, opts: dict[str, Any], retry: int) -> dict[str, Any]:
        """One page. ``retry`` is alpaca-py's own count, which waits a fixed time and knows no Retry-After."""
        del retry
        for attempt in range(1, self._transport.attempts + 1):
            asked: float | None = None
            try:
                answer = self._ask(method, url, opts)
            except APIError as failure:
                error: Any = failure
                status: int | None = error.status_code
                problem = self._problem(status, str(error))
                if status not in _TRY_AGAIN:
                    raise UpstreamError(problem) from None
                asked = _retry_after(error.response.headers.get("Retry-After"))
            except (OSError, ValueError) as error:  # requests: no connection, silence, a torn or unreadable answer
                problem = f"Alpaca does not answer as it should: {self._redacted(type(error).__name__)}"
            else:
                return self._checked(answer)
            if attempt == self._transport.attempts:
                raise UpstreamError(f"{problem} (after {attempt} attempts)")
            waiting = self._transport.backoff * 2.0 ** (attempt - 1) if asked is None else asked
            self._transport.sleep(min(waiting, self._transport.longest_wait))
        raise AssertionError("at least one attempt is made")

    def _ask(self, method: str, url: str, opts: dict[str, Any]) -> object:
        timeouts = (self._transport.connect_timeout, self._transport.read_timeout)
        client: Any = super()
        return client._one_request(method, url, {**opts, "timeout": timeouts}, 0)  # noqa: SLF001 - of our own base

    def _checked(self, page: object) -> dict[str, Any]:
        """A page whose shape is known: lists of objects by symbol, and a token that was not there before."""
        content = cast("dict[str, object]", page) if isinstance(page, dict) else {}
        bars = content.get("bars", {} if "next_page_token" in content else None)
        token = content.get("next_page_token")
        if bars is None and "bars" in content:
            bars = {}
        if not isinstance(bars, dict) or not isinstance(token, str | None):
            raise UpstreamError("Alpaca sent a page that holds no bars")
        for symbol, rows in cast("dict[str, object]", bars).items():
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in cast("list[object]", rows)):
                raise UpstreamError(f"Alpaca sent a page whose bars of {symbol!r:.40} are no list of bars")
        if token:
            if token in self._tokens:
                raise UpstreamError("Alpaca sent the same page twice, its pages have no end")
            self._tokens.add(token)
        return {"bars": bars, "next_page_token": token or None}

    def _problem(self, status: int | None, body: str) -> str:
        if status in (401, 403):
            return f"Alpaca refuses the keys or what was asked for with them (HTTP {status}): {self._redacted(body)}"
        if status == 429:
            return "Alpaca's rate limit is used up (HTTP 429)"
        return f"Alpaca answers with HTTP {status}: {self._redacted(body)}"

    def _redacted(self, text: str) -> str:
        for secret in (self._access.secret_key, self._access.key_id):
            text = text.replace(secret, "***")
        return " ".join(text.split())[:_MOST_OF_A_MESSAGE] or "no message"


def _retry_after(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for; None where it is missing or no plain number."""
    return float(header) if header is not None and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", header) else None


def parse_symbols(text: str) -> tuple[str, ...]:
    """Symbols from a list with commas, in upper case."""
    return tuple(part.strip().upper() for part in text.split(",") if part.strip())
