"""Bars from Parquet and CSV files: reading, checking, adjusting.

A file that contradicts itself is refused with row and field; what is merely incomplete (missing sessions, bars
outside sessions) is kept and measured. Features are computed elsewhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import polars as pl

from torghut_runtime.errors import InputError
from torghut_runtime.market.calendar import TIME
from torghut_runtime.market.frame import BASE_SCHEMA, in_order, place_bars
from torghut_runtime.market.row_checks import check_prices, checked_symbols, refuse_where
from torghut_runtime.market.timeframe import DAILY, TIMEFRAMES, timeframe_seconds
from torghut_runtime.market.times import parse_dates, parse_times, time_fault

_PRICES: Final = ("open", "high", "low", "close")
_OPTIONAL: Final = ("vwap", "bid", "ask", "trade_count", "adjusted_close")
_ALIASES: Final = {"date": "ts", "timestamp": "ts", "adj_close": "adjusted_close"}
"""Other names under which public data sets carry a column."""
_ROW: Final = "_row"
_MOST_OF_A_DAY: Final = 20 * 3600
_LONG_WEEKEND: Final = 5 * 86_400
"""Weekly and monthly bars are none of ours, and must not be taken for daily ones."""


@dataclass(frozen=True)
class BarSet:
    """Checked bars of one timeframe.

    Attributes:
        frame: :data:`~torghut_runtime.market.frame.BASE_SCHEMA`, ordered by (event_ts, symbol). Prices are scaled by
            ``adjustment_factor`` and volume divided by it where the file has adjusted closes; ``close / factor`` is
            the price that was traded.
        timeframe: one of :data:`~torghut_runtime.market.timeframe.TIMEFRAMES`.
        rows_read: rows in the file.
        adjusted: whether the file has adjusted closes.
    """

    frame: pl.DataFrame
    timeframe: str
    rows_read: int
    adjusted: bool


def read_bars(path: Path, timeframe: str | None = None) -> BarSet:
    """Read one file of bars (contract ``lane.md`` 2.2).

    Columns ``symbol, ts, open, high, low, close, volume`` and optionally ``vwap, bid, ask, trade_count,
    adjusted_close``, in any order; ``date`` or ``timestamp`` stand for ``ts`` and ``adj_close`` for
    ``adjusted_close``; other columns are ignored. ``ts`` is the bar's start: a time with a zone, or a plain date for
    daily bars.

    Args:
        path: ``.parquet`` or ``.csv``.
        timeframe: of the bars; inferred from the distances in time when None.

    Raises:
        InputError: unreadable file, missing column, a value that is no finite number, a price not above 0, a high
            below or a low above another price of the bar, a naive time, times of a symbol that do not increase, or a
            timeframe that is not unique. Names file, row (from 1) and field.
    """
    try:
        return bars_from_frame(_read_table(path), timeframe)
    except InputError as error:
        raise error.located(file=path) from error


def bars_from_frame(table: pl.DataFrame, timeframe: str | None = None) -> BarSet:
    """Check and normalise a table with the columns of :func:`read_bars`."""
    table = _columns(table)
    if table.height == 0:
        raise InputError("holds no bars")
    table = table.with_columns(checked_symbols(table["symbol"]), _times(table["ts"]))
    table = table.with_columns(
        _numbers(table[name], missing=name in _OPTIONAL)
        for name in (*_PRICES, "volume", *_OPTIONAL)
        if name in table.columns
    )
    _check_values(table)
    _check_order(table)
    table = table.with_row_index(_ROW).sort("symbol", "ts", maintain_order=True)
    timeframe = _checked_timeframe(table, timeframe) if timeframe else _inferred_timeframe(table)
    adjusted = "adjusted_close" in table.columns
    frame = _adjust(table) if adjusted else table.with_columns(adjustment_factor=pl.lit(1.0))
    missing: dict[str, Any] = {"seq": 0, "timeframe": timeframe, "bid": math.nan, "ask": math.nan, "ingest_ts": None}
    frame = frame.with_columns(
        pl.lit(value, dtype=BASE_SCHEMA[name]).alias(name)
        for name, value in missing.items()
        if name not in frame.columns
    )
    return BarSet(
        frame=in_order(place_bars(frame).select(*BASE_SCHEMA)),
        timeframe=timeframe,
        rows_read=table.height,
        adjusted=adjusted,
    )


def _read_table(path: Path) -> pl.DataFrame:
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".parquet": pl.read_parquet,
        ".csv": lambda file: pl.read_csv(file, infer_schema=False),
    }
    if path.suffix.lower() not in readers:
        raise InputError(f"bars are read from {' or '.join(sorted(readers))} files")
    try:
        return readers[path.suffix.lower()](path)
    except FileNotFoundError as error:
        raise InputError("does not exist") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot be read: {' '.join(str(error).split())}") from error


def _columns(table: pl.DataFrame) -> pl.DataFrame:
    for alias, name in _ALIASES.items():
        if alias in table.columns and name not in table.columns:
            table = table.rename({alias: name})
    for name in ("symbol", "ts", *_PRICES, "volume"):
        if name not in table.columns:
            raise InputError(f"column is missing, the file has {', '.join(table.columns) or 'none'}", field=name)
    return table.select("symbol", "ts", *_PRICES, "volume", *(name for name in _OPTIONAL if name in table.columns))


def _times(series: pl.Series) -> pl.Series:
    dtype = series.dtype
    if dtype == pl.String:
        times = parse_times(series)
        times = times if times.null_count() == 0 else times.fill_null(parse_dates(series))
        refuse_where(
            times.is_null(), series, "ts", lambda value: "is missing" if value is None else time_fault(str(value))
        )
        return times.alias("ts")
    if dtype == pl.Date:
        times = series.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    elif isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        times = series.dt.convert_time_zone("UTC").cast(TIME)
    elif isinstance(dtype, pl.Datetime):
        # Whole dates without a zone are session dates; an hour without a zone could be any moment.
        naive = series.cast(pl.Datetime("us"))
        refuse_where(naive.dt.truncate("1d") != naive, series, "ts", lambda value: time_fault(str(value)))
        times = naive.dt.replace_time_zone("UTC")
    else:
        raise InputError(f"must hold times or dates, holds {dtype}", field="ts")
    refuse_where(times.is_null(), series, "ts", lambda _: "is missing")
    return times.cast(TIME).alias("ts")


def _numbers(series: pl.Series, *, missing: bool) -> pl.Series:
    """Finite float64; a missing value is NaN where that is allowed."""
    name = series.name
    if series.dtype == pl.String:
        blank = series.str.strip_chars() == ""
        series = pl.select(pl.when(~pl.lit(blank)).then(pl.lit(series))).to_series().alias(name)
        numbers = series.str.strip_chars().cast(pl.Float64, strict=False)
        refuse_where(
            numbers.is_null() & series.is_not_null(), series, name, lambda value: f"must be a number, was {value!r}"
        )
    elif series.dtype.is_numeric():
        numbers = series.cast(pl.Float64)
    else:
        raise InputError(f"must hold numbers, holds {series.dtype}", field=name)
    refuse_where(
        ~numbers.is_finite().fill_null(missing),
        series,
        name,
        lambda value: "is missing" if value is None else f"must be a finite number, was {value}",
    )
    return numbers.fill_null(math.nan).alias(name)


def _check_values(table: pl.DataFrame) -> None:
    if "adjusted_close" in table.columns:
        adjusted = table["adjusted_close"]
        refuse_where(adjusted.is_nan(), adjusted, "adjusted_close", lambda _: "is missing")
    others = [name for name in ("adjusted_close", "bid", "ask", "vwap") if name in table.columns]
    check_prices(table, [*_PRICES, *others])


def _check_order(table: pl.DataFrame) -> None:
    """``table`` is in the file's order."""
    before = table.select(pl.col("ts").shift().over("symbol")).to_series()
    row = (table["ts"] <= before).fill_null(value=False).arg_max()
    if row is None or before[row] is None or table["ts"][row] > before[row]:
        return
    symbol, at = table["symbol"][row], table["ts"][row].isoformat()
    fault = f"{symbol} has {at} again" if table["ts"][row] == before[row] else f"{symbol} goes back to {at}"
    raise InputError(f"times of a symbol must increase from row to row, {fault}", row=row + 1, field="ts")


def _distances(table: pl.DataFrame) -> pl.DataFrame:
    """Seconds to the bar before, per symbol; the first bar of a symbol has none."""
    return table.select(
        "symbol",
        _ROW,
        (pl.col("ts") - pl.col("ts").shift()).over("symbol").dt.total_microseconds().alias("step") / 1e6,
    ).drop_nulls()


def _checked_timeframe(table: pl.DataFrame, timeframe: str) -> str:
    seconds = timeframe_seconds(timeframe)
    shortest = _MOST_OF_A_DAY if timeframe == DAILY else seconds
    overlapping = _distances(table).filter(pl.col("step") < shortest).sort(_ROW)
    if overlapping.height:
        step, row = overlapping["step"][0], overlapping[_ROW][0]
        raise InputError(
            f"bars of {timeframe} overlap: this one begins {step:g} s after the one before it", row=row + 1, field="ts"
        )
    return timeframe


def _inferred_timeframe(table: pl.DataFrame) -> str:
    """The one timeframe whose length is the shortest distance of every symbol, or divides it."""
    steps = _distances(table)
    if steps.height == 0:
        raise InputError("the timeframe cannot be inferred from one bar per symbol, give --timeframe", field="ts")
    shortest = steps.group_by("symbol").agg(pl.col("step").min(), pl.len()).sort("step", "symbol")
    found = {symbol: _timeframe_of(step) for symbol, step, _ in shortest.iter_rows()}
    first_symbol = cast("str", shortest["symbol"][0])
    timeframe = found[first_symbol]
    if timeframe is None:
        step = shortest["step"][0]
        raise InputError(
            f"the shortest distance of two bars of {first_symbol} is {step:g} s, which is none of "
            f"{', '.join(TIMEFRAMES)}; give --timeframe",
            field="ts",
        )
    for symbol, step, count in shortest.iter_rows():
        other = found[symbol]
        if other != timeframe and other is not None and count >= 3:
            raise InputError(
                f"more than one timeframe: {first_symbol} has {timeframe}, {symbol} has {other} ({step:g} s); "
                "split the file or give --timeframe",
                field="ts",
            )
    return timeframe


def _timeframe_of(step: float) -> str | None:
    if _MOST_OF_A_DAY <= step <= _LONG_WEEKEND:
        return DAILY
    return next((name for name, seconds in TIMEFRAMES.items() if seconds == step), None)


def _adjust(table: pl.DataFrame) -> pl.DataFrame:
    quotes = [name for name in ("bid", "ask") if name in table.columns]
    factor = table["adjusted_close"] / table["close"]
    return table.with_columns(
        *(pl.col(name) * factor for name in (*_PRICES, *quotes)),
        (pl.col("volume") / factor).alias("volume"),
        factor.alias("adjustment_factor"),
    )
