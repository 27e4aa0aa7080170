"""The signal set: a data set with features, as research and runtime use it.

Here stands what it is and the two ways to one, from signal files and from bars. How files are decoded and what their
columns mean is told in :mod:`~torghut_runtime.market.signal_file` and :mod:`~torghut_runtime.market.signal_columns`.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import polars as pl

from torghut_runtime.canonical import digest
from torghut_runtime.errors import InputError
from torghut_runtime.market.bars import BarSet
from torghut_runtime.market.features import (
    FEATURE_SCHEMA_VERSION,
    FEATURES,
    REGIME_LABELS,
    FeaturePipeline,
    compute_features,
)
from torghut_runtime.market.frame import BASE_SCHEMA, content_digest
from torghut_runtime.market.quality import DataQuality, measure_quality
from torghut_runtime.market.signal_columns import signal_columns
from torghut_runtime.market.signal_file import decode_signals

SIGNAL_SCHEMA: Final[dict[str, pl.DataType]] = {
    **BASE_SCHEMA,
    **dict.fromkeys(FEATURES, pl.Float64()),
    "half_spread_bps": pl.Float64(),
}
"""Columns of a signal set's frame, in order. ``half_spread_bps`` is in basis points of the mid, NaN where unknown."""


@dataclass(frozen=True)
class SignalSet:
    """Bars with features, ordered and measured.

    Attributes:
        frame: :data:`SIGNAL_SCHEMA`, ordered by (event_ts, symbol, seq); features are float64 with NaN for missing.
        quality: what was measured while reading.
        source: ``signals`` when the features came with the file, ``bars`` when they were computed.
        available_features: features that at least one row has.
        dataset_id: sha256 (hex) of the normalised content; independent of file format, row order and white space.
            Computed features do not count: they follow from the bars and the code.
    """

    frame: pl.DataFrame
    quality: DataQuality
    source: Literal["signals", "bars"]
    available_features: frozenset[str]
    dataset_id: str

    def truncated(self, at: datetime) -> "SignalSet":
        """The rows known at ``at`` (event_ts ≤ at), features as they stand; quality and id stay those of the whole."""
        return replace(self, frame=self.frame.filter(pl.col("event_ts") <= at))


def read_signals(path: Path) -> SignalSet:
    """Read one file of signals, a JSON list or NDJSON.

    A feature schema of another major version is no fault of the file: it stands in the quality, where gate 0 denies it.

    Raises:
        InputError: unreadable file or JSON, no row at all, a missing or mistyped field, a number that is not finite, a
            naive time, an unknown timeframe, a price that is missing or not above 0, a high below or a low above
            another price of the row. Names file, row (from 1) and field.
    """
    try:
        raw = decode_signals(path)
        rows_read = raw.height
        columns = signal_columns(raw)
    except InputError as error:
        raise error.located(file=path) from error
    del raw
    frame = with_half_spread(columns.frame)
    content = content_digest(frame.drop("half_spread_bps"))
    return SignalSet(
        frame=frame,
        quality=measure_quality(
            frame,
            rows_read=rows_read,
            backward_steps=columns.backward_steps,
            feature_schema_version=columns.feature_schema_version,
        ),
        source="signals",
        available_features=available_features(frame),
        dataset_id=digest({"content": content, "feature_schema_version": columns.feature_schema_version}),
    )


def signals_from_bars(bars: BarSet, pipeline: FeaturePipeline = compute_features) -> SignalSet:
    """Compute the features of bars.

    Raises:
        InputError: ``pipeline`` did not return the same rows with all feature columns.
    """
    frame = features_of_bars(bars, None, pipeline)
    return SignalSet(
        frame=frame,
        quality=measure_quality(
            frame,
            rows_read=bars.rows_read,
            feature_schema_version=FEATURE_SCHEMA_VERSION,
            adjusted=bars.adjusted,
        ),
        source="bars",
        available_features=available_features(frame),
        dataset_id=content_digest(bars.frame),
    )


def features_of_bars(
    bars: BarSet, until: datetime | None, pipeline: FeaturePipeline = compute_features
) -> pl.DataFrame:
    """Frame of :data:`SIGNAL_SCHEMA` from the bars with event_ts ≤ ``until`` (all when None) and no others.

    Raises:
        InputError: ``pipeline`` did not return the same rows with all feature columns.
    """
    known = bars.frame if until is None else bars.frame.filter(pl.col("event_ts") <= until)
    computed = pipeline(known)
    absent = [name for name in (*BASE_SCHEMA, *FEATURES) if name not in computed.columns]
    if absent or computed.height != known.height:
        raise InputError(
            f"the feature pipeline must return the {known.height} rows it was given with every feature, "
            f"returned {computed.height} rows without {', '.join(absent) or 'none'}"
        )
    return with_half_spread(computed)


def with_half_spread(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``half_spread_bps`` and bring the columns into :data:`SIGNAL_SCHEMA`.

    From bid and ask, in basis points of their mid; else from the feature ``spread``, in basis points of the price.
    A crossed or negative spread is unknown.
    """
    bid, ask, spread, price = (pl.col(name) for name in ("bid", "ask", "spread", "price"))
    quoted = (bid > 0) & (ask >= bid) & bid.is_not_nan() & ask.is_not_nan()
    half_spread = (
        pl.when(quoted)
        .then((ask - bid) / (ask + bid) * 1e4)
        .when(spread.is_not_nan() & (spread >= 0))
        .then(spread / 2 / price * 1e4)
        .otherwise(math.nan)
    )
    return frame.with_columns(half_spread_bps=half_spread).select(
        pl.col(name).cast(dtype) for name, dtype in SIGNAL_SCHEMA.items()
    )


def available_features(frame: pl.DataFrame) -> frozenset[str]:
    """Features that at least one row has; a regime label that is unknown in every row counts as missing."""
    known = {name: pl.col(name).is_not_nan() for name in FEATURES}
    known["route_regime_label"] = pl.col("route_regime_label") != REGIME_LABELS["unknown"]
    present = frame.select(known[name].any().alias(name) for name in FEATURES).row(0)
    return frozenset(name for name, there in zip(FEATURES, present, strict=True) if there)
