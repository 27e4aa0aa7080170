"""The normalised market frame: one row per bar or signal, in one layout, order and identity.

Bars and signal files are turned into it elsewhere; here stand its columns, the order of its rows, the placing of bars
in sessions and the digest of its content.
"""

import hashlib
import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from torghut_runtime.market.calendar import NEW_YORK, TIME, TradingCalendar
from torghut_runtime.market.timeframe import DAILY, TIMEFRAMES

BASE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "event_ts": TIME,
    "open_ts": TIME,
    "symbol": pl.String(),
    "timeframe": pl.String(),
    "seq": pl.Int64(),
    "session": pl.Date(),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "bid": pl.Float64(),
    "ask": pl.Float64(),
    "adjustment_factor": pl.Float64(),
    "ingest_ts": TIME,
}
"""Columns before the features.

``event_ts`` is the bar's close, ``open_ts`` its start, both UTC; ``session`` the session's date, null outside. Prices
are per share in account currency, ``close`` is the traded price; volume, bid and ask are NaN where unknown. Rows are
ordered by (event_ts, symbol, seq).
"""

ROW_ORDER: Final = ("event_ts", "symbol", "seq", "timeframe")
_DAY: Final = 86_400_000_000
AROUND_THE_CLOCK: Final = pl.col("symbol").str.contains("/", literal=True)
"""Rows of symbols that keep no exchange hours."""


def place_bars(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``open_ts``, ``event_ts`` and ``session`` from ``ts`` (bar start, UTC), ``timeframe`` and ``symbol``.

    A daily bar spans its session from bell to close: its date is that of ``ts`` in UTC when that is midnight, else in
    New York. An intraday bar that begins in a session ends with it at the latest. A bar that begins outside every
    session keeps its nominal length and has no session.
    """
    length = pl.col("timeframe").replace_strict(TIMEFRAMES, return_dtype=pl.Int64)
    start = frame["ts"]
    calendar = TradingCalendar()
    inside = calendar.session_starting(start)
    at_midnight = start.dt.epoch("us") % _DAY == 0
    days = pl.select(
        pl.when(at_midnight).then(start.dt.date()).otherwise(start.dt.convert_time_zone(NEW_YORK).dt.date())
    ).to_series()
    daily = calendar.session_on(days)
    nominal_end = pl.col("ts") + pl.duration(seconds=length)
    is_daily = pl.col("timeframe") == DAILY
    exchange = ~AROUND_THE_CLOCK
    session = (
        pl.when(AROUND_THE_CLOCK)
        .then(pl.col("ts").dt.date())
        .when(is_daily)
        .then(pl.lit(daily["session"]))
        .otherwise(pl.lit(inside["session"]))
    )
    in_session = exchange & session.is_not_null()
    return frame.with_columns(
        session=session,
        open_ts=pl.when(in_session & is_daily).then(pl.lit(daily["opens_at"])).otherwise(pl.col("ts")),
        event_ts=pl.when(in_session & is_daily)
        .then(pl.lit(daily["closes_at"]))
        .when(in_session)
        .then(pl.min_horizontal(nominal_end, pl.lit(inside["closes_at"])))
        .otherwise(nominal_end),
    )


def place_signals(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``open_ts`` and ``session`` from ``event_ts`` (bar close, UTC), ``timeframe`` and ``symbol``.

    A daily signal belongs to the session in whose hours its time lies, the close included, and its bar begins with the
    opening bell. An hourly bar never begins before the one before it has ended: sessions are no whole number of hours.
    The frame must be ordered by time within each symbol.
    """
    calendar = TradingCalendar()
    length = pl.col("timeframe").replace_strict(TIMEFRAMES, return_dtype=pl.Int64)
    ending = calendar.session_ending(frame["event_ts"])
    daily_open = pl.when((pl.col("timeframe") == DAILY) & ~AROUND_THE_CLOCK).then(pl.lit(ending["opens_at"]))
    begun = pl.coalesce(daily_open, pl.col("event_ts") - pl.duration(seconds=length))
    if (frame["timeframe"] == "1Hour").any():
        before = pl.col("event_ts").shift().over("symbol", "timeframe")
        overlaps = (pl.col("timeframe") == "1Hour") & (before < pl.col("event_ts"))
        begun = pl.when(overlaps).then(pl.max_horizontal(begun, before)).otherwise(begun)
    placed = frame.with_columns(open_ts=begun)
    return placed.with_columns(session=calendar.session_of(placed["open_ts"], placed["event_ts"], placed["symbol"]))


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows by (event_ts, symbol, seq), each (event_ts, symbol, timeframe, seq) once.

    Of duplicates the one that became known first stays; where that is unknown the smaller by its values, so that the
    order of the file never decides.
    """
    frame = frame.sort(ROW_ORDER, maintain_order=True)
    repeats = frame.select(pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in ROW_ORDER)).to_series()
    repeats = repeats.fill_null(value=False)
    if not repeats.any():
        return frame
    doubled = repeats | repeats.shift(-1, fill_value=False)
    values = [name for name in frame.columns if name not in {*ROW_ORDER, "ingest_ts"}]
    kept = frame.filter(doubled).sort([*ROW_ORDER, "ingest_ts", *values], nulls_last=True)
    kept = kept.unique(ROW_ORDER, keep="first", maintain_order=True)
    return pl.concat([frame.filter(~doubled), kept]).sort(ROW_ORDER, maintain_order=True)


def content_digest(frame: pl.DataFrame) -> str:
    """sha256 over names and values of all columns, in order; NaNs are equal, and so are zeros of either sign."""
    hasher = hashlib.sha256(f"market-frame-1\0{frame.height}".encode())
    for series in frame.iter_columns():
        hasher.update(f"\0{series.name}\0".encode())
        for part in _column_parts(series):
            hasher.update(part)
    return hasher.hexdigest()


def _column_parts(series: pl.Series) -> Iterator[bytes | memoryview]:
    if series.dtype == pl.String:
        names = series.drop_nulls().unique().sort()
        yield "\0".join(names).encode() + b"\0"
        series = series.cast(pl.Enum(names)).to_physical().cast(pl.Int64)
    elif series.dtype == pl.Float64:
        values = series.fill_null(math.nan).to_numpy()
        missing = np.isnan(values)
        if missing.all():
            yield b"missing"
            return
        values = values + 0.0
        values[missing] = math.nan
        yield np.ascontiguousarray(values, dtype="<f8").data
        return
    valid = series.is_not_null()
    if not valid.all():
        yield np.packbits(valid.to_numpy()).data
    plain = series.to_physical().fill_null(0).to_numpy()
    yield np.ascontiguousarray(plain, dtype="<i8").data
