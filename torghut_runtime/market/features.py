"""Feature contract v3: one compiled step per bar, and its two drivers.

:func:`compute_features` drives :func:`feature_step` over history, :class:`FeatureStream` bar by bar; both give
bitwise equal features. Indicators run across sessions, volume-weighted prices restart with each session, and a bar
outside the exchange's sessions neither gets nor changes a feature. Reading bars and carrying given features of signal
files are not this module's business.

Sources: exponential averages with α = 2/(n+1), seeded with the simple mean of the first n values; relative strength
and its smoothing by Wilder (1978), seeded with the mean of the first 14 changes; Bollinger bands with the population
standard deviation of 20 closes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import numpy as np
import polars as pl

from torghut_runtime.compiled import (
    Integers,
    Matrix,
    Vector,
    float64,
    int64,
    integers,
    kernel,
    matrix,
    vector,
    void,
)
from torghut_runtime.market.timeframe import DAILY

FEATURE_SCHEMA_VERSION: Final = "3.0.0"

FEATURES: Final[tuple[str, ...]] = (
    "price",
    "ema12",
    "ema26",
    "macd",
    "macd_signal",
    "macd_hist",
    "rsi14",
    "boll_mid",
    "boll_upper",
    "boll_lower",
    "vwap_session",
    "vwap_w5m",
    "vol_realized_w60s",
    "spread",
    "imbalance_spread",
    "imbalance_bid_px",
    "imbalance_ask_px",
    "route_regime_label",
    "staleness_ms",
    "signal_quality_flag",
)
"""Names in the order of every feature row; all are float64, NaN means missing."""

FEATURE_WARMUP_BARS: Final[dict[str, int]] = {
    "ema12": 11,
    "ema26": 25,
    "macd": 25,
    "macd_signal": 33,
    "macd_hist": 33,
    "rsi14": 14,
    "boll_mid": 19,
    "boll_upper": 19,
    "boll_lower": 19,
}
"""Bars of a symbol before a computed feature exists; features that are not listed exist from the first bar on."""

REGIME_LABELS: Final[dict[str, float]] = {"unknown": 0.0, "trend": 1.0, "mean_revert": 2.0, "range": 3.0}
QUALITY_FLAGS: Final[dict[str, float]] = {"ok": 0.0, "backfill": 1.0, "late": 2.0}
"""Ordinals of the two labels among the features."""

REGIME_MARGIN: Final = 0.02
"""Distance of macd from its signal line, in price units, from which a bar counts as trend or mean reversion."""

FeaturePipeline = Callable[[pl.DataFrame], pl.DataFrame]
"""From a frame of bars (:data:`torghut_runtime.market.frame.BASE_SCHEMA`) to the same rows with feature columns."""

BAR_FIELDS: Final[tuple[str, ...]] = (
    "open_at",
    "close_at",
    "session",
    "intraday",
    "high",
    "low",
    "close",
    "volume",
    "bid",
    "ask",
    "vol_realized_w60s",
    "staleness_ms",
    "signal_quality_flag",
)
"""Layout of the step's ``bar``: times in seconds since 1970, session as days since 1970 (NaN outside)."""

_OPEN_AT, _CLOSE_AT, _SESSION, _INTRADAY, _HIGH, _LOW, _CLOSE, _VOLUME, _BID, _ASK, _VOL60, _STALENESS, _FLAG = range(
    len(BAR_FIELDS)
)
(
    _F_PRICE,
    _F_EMA12,
    _F_EMA26,
    _F_MACD,
    _F_SIGNAL,
    _F_HIST,
    _F_RSI,
    _F_MID,
    _F_UPPER,
    _F_LOWER,
    _F_VWAP,
    _F_VWAP5,
    _F_VOL60,
    _F_SPREAD,
    _F_QUOTE_SPREAD,
    _F_BID,
    _F_ASK,
    _F_REGIME,
    _F_STALENESS,
    _F_FLAG,
) = range(len(FEATURES))

_FAST, _SLOW, _SIGNAL, _RSI, _BOLL = 12, 26, 9, 14, 20
_WINDOW_SECONDS = 300.0
_RING = 300
_BOLL_WIDTH = 2.0

# Memory of one (symbol, timeframe).
_COUNT, _EMA12, _EMA26, _MACD_COUNT, _MACD_SIGNAL, _LAST_CLOSE, _GAIN, _LOSS, _LAST_SESSION, _PV, _V = range(11)
_CLOSES = 11
_RING_COUNT = _CLOSES + _BOLL
_RING_AT = _RING_COUNT + 1
_RING_PV = _RING_AT + _RING
_RING_V = _RING_PV + _RING
STATE_SIZE: Final = _RING_V + _RING
"""Length of the step's ``state``; all zeros before the first bar."""


@kernel(float64(float64, float64, float64, int64))
def _seeded_average(before: float, value: float, count: float, length: int) -> float:
    """Exponential average after ``count`` values; before the seed it is the plain sum."""
    if count < length:
        return before + value
    if count == length:
        return (before + value) / length
    return before + (value - before) * (2.0 / (length + 1.0))


@kernel(void(float64, vector, vector))
def _averages(close: float, state: Vector, out: Vector) -> None:
    count = state[_COUNT]
    state[_EMA12] = _seeded_average(state[_EMA12], close, count, _FAST)
    state[_EMA26] = _seeded_average(state[_EMA26], close, count, _SLOW)
    if count >= _FAST:
        out[_F_EMA12] = state[_EMA12]
    if count < _SLOW:
        return
    macd = state[_EMA12] - state[_EMA26]
    state[_MACD_COUNT] += 1.0
    state[_MACD_SIGNAL] = _seeded_average(state[_MACD_SIGNAL], macd, state[_MACD_COUNT], _SIGNAL)
    out[_F_EMA26] = state[_EMA26]
    out[_F_MACD] = macd
    if state[_MACD_COUNT] >= _SIGNAL:
        out[_F_SIGNAL] = state[_MACD_SIGNAL]
        out[_F_HIST] = macd - state[_MACD_SIGNAL]


@kernel(void(float64, vector, vector))
def _relative_strength(close: float, state: Vector, out: Vector) -> None:
    changes = state[_COUNT] - 1.0
    change = close - state[_LAST_CLOSE]
    state[_LAST_CLOSE] = close
    if changes < 1.0:
        return
    gain = max(change, 0.0)
    loss = max(-change, 0.0)
    if changes <= _RSI:
        state[_GAIN] += gain
        state[_LOSS] += loss
        if changes < _RSI:
            return
        state[_GAIN] /= _RSI
        state[_LOSS] /= _RSI
    else:
        state[_GAIN] = (state[_GAIN] * (_RSI - 1.0) + gain) / _RSI
        state[_LOSS] = (state[_LOSS] * (_RSI - 1.0) + loss) / _RSI
    if state[_LOSS] > 0.0:
        out[_F_RSI] = 100.0 - 100.0 / (1.0 + state[_GAIN] / state[_LOSS])
    else:
        out[_F_RSI] = 100.0 if state[_GAIN] > 0.0 else 50.0


@kernel(void(float64, vector, vector))
def _bands(close: float, state: Vector, out: Vector) -> None:
    state[_CLOSES + int(state[_COUNT] - 1.0) % _BOLL] = close
    if state[_COUNT] < _BOLL:
        return
    total = 0.0
    for index in range(_CLOSES, _CLOSES + _BOLL):
        total += state[index]
    mean = total / _BOLL
    squares = 0.0
    for index in range(_CLOSES, _CLOSES + _BOLL):
        squares += (state[index] - mean) ** 2
    width = _BOLL_WIDTH * math.sqrt(squares / _BOLL)
    out[_F_MID] = mean
    out[_F_UPPER] = mean + width
    out[_F_LOWER] = mean - width


@kernel(void(vector, vector, vector))
def _weighted_prices(bar: Vector, state: Vector, out: Vector) -> None:
    if bar[_SESSION] != state[_LAST_SESSION]:
        state[_LAST_SESSION] = bar[_SESSION]
        state[_PV] = 0.0
        state[_V] = 0.0
        state[_RING_COUNT] = 0.0
    volume = 0.0
    if bar[_VOLUME] > 0.0:
        volume = bar[_VOLUME]
    traded = (bar[_HIGH] + bar[_LOW] + bar[_CLOSE]) / 3.0 * volume
    state[_PV] += traded
    state[_V] += volume
    if state[_V] > 0.0:
        out[_F_VWAP] = state[_PV] / state[_V]
    if bar[_CLOSE_AT] - bar[_OPEN_AT] > _WINDOW_SECONDS:
        return
    newest = int(state[_RING_COUNT])
    state[_RING_AT + newest % _RING] = bar[_OPEN_AT]
    state[_RING_PV + newest % _RING] = traded
    state[_RING_V + newest % _RING] = volume
    state[_RING_COUNT] += 1.0
    window_traded = 0.0
    window_volume = 0.0
    for age in range(min(newest + 1, _RING)):
        index = (newest - age) % _RING
        if state[_RING_AT + index] < bar[_CLOSE_AT] - _WINDOW_SECONDS:
            break
        window_traded += state[_RING_PV + index]
        window_volume += state[_RING_V + index]
    if window_volume > 0.0:
        out[_F_VWAP5] = window_traded / window_volume


@kernel(float64(float64, float64))
def regime_label(macd: float, macd_signal: float) -> float:
    """Ordinal of :data:`REGIME_LABELS` from the distance of macd from its signal line."""
    distance = macd - macd_signal
    if math.isnan(distance):
        return 0.0
    if distance >= REGIME_MARGIN:
        return 1.0
    return 2.0 if distance <= -REGIME_MARGIN else 3.0


@kernel(void(vector, vector, vector))
def feature_step(bar: Vector, state: Vector, out: Vector) -> None:
    """Features of one bar.

    Args:
        bar: :data:`BAR_FIELDS`.
        state: memory of the bar's (symbol, timeframe), :data:`STATE_SIZE` values, updated in place.
        out: receives :data:`FEATURES`.
    """
    out[:] = np.nan
    out[_F_PRICE] = bar[_CLOSE]
    out[_F_VOL60] = bar[_VOL60]
    out[_F_SPREAD] = bar[_ASK] - bar[_BID]
    out[_F_QUOTE_SPREAD] = bar[_ASK] - bar[_BID]
    out[_F_BID] = bar[_BID]
    out[_F_ASK] = bar[_ASK]
    out[_F_STALENESS] = bar[_STALENESS]
    out[_F_FLAG] = bar[_FLAG]
    if math.isfinite(bar[_CLOSE]) and math.isfinite(bar[_SESSION]):
        state[_COUNT] += 1.0
        _averages(bar[_CLOSE], state, out)
        _relative_strength(bar[_CLOSE], state, out)
        _bands(bar[_CLOSE], state, out)
        if bar[_INTRADAY] != 0.0:
            _weighted_prices(bar, state, out)
    out[_F_REGIME] = regime_label(out[_F_MACD], out[_F_SIGNAL])


@kernel(void(matrix, integers, matrix, matrix))
def _feature_columns(bars: Matrix, series: Integers, states: Matrix, columns: Matrix) -> None:
    """Drive the step over n bars; ``bars`` is (fields, n) and ``columns`` (features, n)."""
    bar = np.empty(bars.shape[0])
    out = np.empty(columns.shape[0])
    for row in range(bars.shape[1]):
        for index in range(bars.shape[0]):
            bar[index] = bars[index, row]
        feature_step(bar, states[series[row]], out)
        for index in range(columns.shape[0]):
            columns[index, row] = out[index]


def compute_features(frame: pl.DataFrame) -> pl.DataFrame:
    """Add one column per feature to a frame of bars, in the frame's order of rows.

    Args:
        frame: columns of :data:`torghut_runtime.market.frame.BASE_SCHEMA`, ordered by (event_ts, symbol, seq);
            optional ``vol_realized_w60s`` and ``signal_quality_flag`` (float64) are carried over.

    Returns:
        ``frame`` with the columns :data:`FEATURES` appended (or replaced).
    """
    timeframes = sorted(frame["timeframe"].unique())
    symbols = sorted(frame["symbol"].unique())
    series = frame.select(
        pl.col("symbol").cast(pl.Enum(symbols)).to_physical().cast(pl.Int64) * len(timeframes)
        + pl.col("timeframe").cast(pl.Enum(timeframes)).to_physical().cast(pl.Int64)
    )
    fields = frame.lazy().select(**_bar_fields(frame.columns)).collect()
    bars = np.empty((len(BAR_FIELDS), frame.height))
    for index, name in enumerate(BAR_FIELDS):
        bars[index] = fields[name].to_numpy()
    columns = np.empty((len(FEATURES), frame.height))
    states = np.zeros((len(symbols) * len(timeframes), STATE_SIZE))
    _feature_columns(bars, np.array(series.to_series(), dtype=np.int64), states, columns)
    return frame.with_columns([pl.Series(name, columns[index]) for index, name in enumerate(FEATURES)])


def _bar_fields(columns: list[str]) -> dict[str, pl.Expr]:
    missing = pl.lit(math.nan)

    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Float64).fill_null(math.nan) if name in columns else missing

    return {
        "open_at": pl.col("open_ts").dt.epoch("us") / 1e6,
        "close_at": pl.col("event_ts").dt.epoch("us") / 1e6,
        "session": pl.col("session").to_physical().cast(pl.Float64).fill_null(math.nan),
        "intraday": (pl.col("timeframe") != DAILY).cast(pl.Float64),
        **{name: number(name) for name in ("high", "low", "close", "volume", "bid", "ask")},
        "vol_realized_w60s": number("vol_realized_w60s"),
        "staleness_ms": (
            ((pl.col("ingest_ts") - pl.col("event_ts")).dt.total_microseconds() / 1e3).fill_null(math.nan)
            if "ingest_ts" in columns
            else missing
        ),
        "signal_quality_flag": number("signal_quality_flag"),
    }


_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar for the streaming driver; prices in account currency, times UTC, ``session`` None outside."""

    symbol: str
    timeframe: str
    open_ts: datetime
    event_ts: datetime
    session: date | None
    high: float
    low: float
    close: float
    volume: float = math.nan
    bid: float = math.nan
    ask: float = math.nan
    vol_realized_w60s: float = math.nan
    staleness_ms: float = math.nan
    signal_quality_flag: float = math.nan


class FeatureStream:
    """The streaming driver: feed bars in order of time, get the feature row of each."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], Vector] = {}
        self._bar = np.empty(len(BAR_FIELDS))

    def forget(self, symbol: str, timeframe: str) -> None:
        """Begin anew with the next bar of a symbol and timeframe."""
        self._states.pop((symbol, timeframe), None)

    def push(self, bar: Bar) -> Vector:
        """Feature row of ``bar``, in the order of :data:`FEATURES`."""
        key = (bar.symbol, bar.timeframe)
        if key not in self._states:
            self._states[key] = np.zeros(STATE_SIZE)
        row = self._bar
        row[_OPEN_AT] = bar.open_ts.timestamp()
        row[_CLOSE_AT] = bar.event_ts.timestamp()
        row[_SESSION] = math.nan if bar.session is None else (bar.session - _EPOCH).days
        row[_INTRADAY] = bar.timeframe != DAILY
        row[_HIGH] = bar.high
        row[_LOW] = bar.low
        row[_CLOSE] = bar.close
        row[_VOLUME] = bar.volume
        row[_BID] = bar.bid
        row[_ASK] = bar.ask
        row[_VOL60] = bar.vol_realized_w60s
        row[_STALENESS] = bar.staleness_ms
        row[_FLAG] = bar.signal_quality_flag
        out = np.empty(len(FEATURES))
        feature_step(row, self._states[key], out)
        return out
