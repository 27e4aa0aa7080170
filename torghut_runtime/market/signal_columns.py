"""What the columns of a signal file mean: checks, order and derived features (contract ``lane.md`` 2.1).

Features are taken as the file gives them; only what follows from them by definition is filled in (the histogram as the
difference of its two lines, the regime label, the spread of a quote).
"""

import math
from dataclasses import dataclass
from typing import Final

import polars as pl

from torghut_runtime.market.features import FEATURE_SCHEMA_VERSION, QUALITY_FLAGS, REGIME_LABELS, REGIME_MARGIN
from torghut_runtime.market.frame import in_order, place_signals
from torghut_runtime.market.row_checks import check_prices, checked_symbols, refuse_where
from torghut_runtime.market.timeframe import TIMEFRAMES
from torghut_runtime.market.times import parse_times, time_fault

_SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "price": ("price", "close", "c", "last"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "volume": ("volume",),
    "bid": ("imbalance.bid_px",),
    "ask": ("imbalance.ask_px",),
    "ema12": ("ema12",),
    "ema26": ("ema26",),
    "macd": ("macd.macd", "macd"),
    "macd_signal": ("macd.signal", "macd_signal"),
    "macd_hist": ("macd.hist", "macd_hist"),
    "rsi14": ("rsi14", "rsi"),
    "boll_mid": ("boll.mid",),
    "boll_upper": ("boll.upper",),
    "boll_lower": ("boll.lower",),
    "vwap_session": ("vwap.session",),
    "vwap_w5m": ("vwap.w5m",),
    "vol_realized_w60s": ("vol_realized.w60s",),
    "spread": ("spread", "imbalance.spread"),
    "imbalance_spread": ("imbalance.spread", "spread"),
    "imbalance_bid_px": ("imbalance.bid_px",),
    "imbalance_ask_px": ("imbalance.ask_px",),
}
"""Per column the places of the payload it is taken from; the first that has a value counts."""

_VERSION: Final = r"^\d{1,9}(\.\d{1,9}){0,2}$"
_MAJOR: Final = FEATURE_SCHEMA_VERSION.split(".", maxsplit=1)[0]


@dataclass(frozen=True)
class SignalColumns:
    """Checked signals in order, with what the order no longer shows.

    Attributes:
        frame: the base columns and all features, by (event_ts, symbol, seq), each (event_ts, symbol, timeframe, seq)
            once.
        backward_steps: rows of the file whose event_ts lies before that of the symbol's row before.
        feature_schema_version: as the file states it; of several one of another major, else the lowest.
    """

    frame: pl.DataFrame
    backward_steps: int
    feature_schema_version: str


def signal_columns(raw: pl.DataFrame) -> SignalColumns:
    """Check and order what :func:`~torghut_runtime.market.signal_file.decode_signals` returned.

    Raises:
        InputError: a naive time, an unknown timeframe, a symbol, price or volume that cannot be. Names row and field.
    """
    frame = raw.select(
        _event_times(raw["event_ts"]),
        _ingest_times(raw["ingest_ts"]),
        checked_symbols(raw["symbol"]),
        _timeframes(raw["timeframe"]),
        pl.col("seq").fill_null(0),
        *(pl.coalesce(places).alias(name) for name, places in _SOURCES.items()),
        route_regime_label=pl.col("regime_label").replace_strict(REGIME_LABELS, default=None, return_dtype=pl.Float64),
        signal_quality_flag=pl.col("signal_quality_flag").replace_strict(
            QUALITY_FLAGS, default=None, return_dtype=pl.Float64
        ),
    )
    version = _schema_version(raw["feature_schema_version"])
    frame = _bars(frame)
    steps = pl.col("event_ts").diff().over("symbol").dt.total_microseconds()
    backward_steps = int(frame.select((steps < 0).sum()).item())
    return SignalColumns(_derive(place_signals(in_order(frame))), backward_steps, version)


def _event_times(series: pl.Series) -> pl.Series:
    times = parse_times(series)
    refuse_where(times.is_null(), series, "event_ts", lambda value: time_fault(str(value)))
    return times.alias("event_ts")


def _ingest_times(series: pl.Series) -> pl.Series:
    times = parse_times(series)
    refuse_where(times.is_null() & series.is_not_null(), series, "ingest_ts", lambda value: time_fault(str(value)))
    return times.alias("ingest_ts")


def _timeframes(series: pl.Series) -> pl.Series:
    refuse_where(
        ~series.is_in(list(TIMEFRAMES)),
        series,
        "timeframe",
        lambda value: f"unknown timeframe {value!r}, known are {', '.join(TIMEFRAMES)}",
    )
    return series


def _schema_version(stated: pl.Series) -> str:
    """The version that counts for the file: one of another major before all others, else the lowest."""
    refuse_where(
        ~stated.str.contains(_VERSION),
        stated,
        "payload.feature_schema_version",
        lambda value: f"no version, was {value!r}",
    )
    versions = stated.drop_nulls().unique().to_list() or [FEATURE_SCHEMA_VERSION]
    return min(versions, key=lambda text: (text.split(".")[0] == _MAJOR, [int(part) for part in text.split(".")]))


def _bars(frame: pl.DataFrame) -> pl.DataFrame:
    """Checked bars around the traded price, in file order; without open, high and low a bar is flat."""
    price = frame["price"]
    refuse_where(price.is_null(), price, "payload.price", lambda _: "is missing, and so are close, c and last")
    frame = frame.with_columns(
        pl.col("open", "high", "low").fill_null(pl.col("price")),
        *(pl.col(name).fill_null(math.nan) for name in _SOURCES if name not in {"open", "high", "low"}),
        pl.col("route_regime_label", "signal_quality_flag").fill_null(math.nan),
        close=pl.col("price"),
        adjustment_factor=pl.lit(1.0),
    )
    check_prices(frame, ("price", "open", "high", "low"), lambda name: f"payload.{name}")
    return frame


def _derive(frame: pl.DataFrame) -> pl.DataFrame:
    """Fill in the features that follow from others by definition, where the file does not give them."""
    distance = pl.col("macd") - pl.col("macd_signal")
    quoted = pl.col("ask") - pl.col("bid")
    regime = (
        pl.when(distance.is_nan())
        .then(REGIME_LABELS["unknown"])
        .when(distance >= REGIME_MARGIN)
        .then(REGIME_LABELS["trend"])
        .when(distance <= -REGIME_MARGIN)
        .then(REGIME_LABELS["mean_revert"])
        .otherwise(REGIME_LABELS["range"])
    )
    delay = (pl.col("ingest_ts") - pl.col("event_ts")).dt.total_microseconds() / 1e3
    return frame.with_columns(
        pl.col("macd_hist").fill_nan(distance),
        pl.col("spread", "imbalance_spread").fill_nan(quoted),
        pl.col("route_regime_label").fill_nan(regime),
        staleness_ms=delay.fill_null(math.nan),
    )
