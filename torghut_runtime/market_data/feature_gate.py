"""Are a symbol's features good enough to be traded on? Judged per symbol and timeframe over its last 120 bars. Pure.

Told every bar with its feature row, warm-up included; asked before an entry. What is measured is what gate 0 measures
of a file (:mod:`torghut_runtime.market.quality`): rows in which a required feature is missing, repeated bars, steps
back in time. Only the age is measured against the clock.
"""

import math
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np

from torghut_runtime.compiled import Vector
from torghut_runtime.market.features import FEATURE_WARMUP_BARS, FEATURES, Bar
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market.timeframe import DAILY
from torghut_runtime.market_data.lag import lag_seconds
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import FeatureQualitySettings

WINDOW: Final = 120
SCHEMA, NULLS, DUPLICATES, ORDER, STALE = (
    "schema_mismatch",
    "required_feature_null_rate_exceeds_threshold",
    "duplicate_ratio_exceeds_threshold",
    "non_monotonic_progression",
    "feature_staleness_exceeds_budget",
)
REASONS: Final = (SCHEMA, NULLS, DUPLICATES, ORDER, STALE)
_FEATURE_AT: Final = {name: index for index, name in enumerate(FEATURES)}


@dataclass(frozen=True, slots=True)
class _Row:
    missing: tuple[str, ...]
    malformed: bool
    backward: bool
    repeated: bool


@dataclass(slots=True)
class _Series:
    rows: deque[_Row] = field(default_factory=lambda: deque[_Row](maxlen=WINDOW))
    has_gap: bool = False
    seen: int = 0
    newest: datetime | None = None


@dataclass(frozen=True)
class GateCounts:
    """Counted since the start; rates are those of the windows of now."""

    rows: int
    schema_mismatches: int
    rejections: int
    null_rate: Mapping[str, float]
    staleness_ms_p95: float | None
    duplicate_ratio: float


class FeatureGate:
    """The gate of one engine; used by its trading thread."""

    def __init__(self, settings: FeatureQualitySettings, strategies: Sequence[BoundStrategy] = ()) -> None:
        self._settings = settings
        self._series: dict[tuple[str, str], _Series] = {}
        self._ages: deque[float] = deque(maxlen=10_000)
        self._hours = {True: SessionHours(exchange=True), False: SessionHours(exchange=False)}
        self._rows = self._schema_mismatches = self._rejections = 0
        self._required: dict[str, tuple[str, ...]] = {}
        self.require(strategies)

    def require(self, strategies: Sequence[BoundStrategy]) -> None:
        """Judge by the features that these strategies require, per timeframe."""
        wanted: dict[str, dict[str, None]] = {}
        for strategy in strategies:
            names = strategy.feature_columns[: strategy.required_count]
            wanted.setdefault(strategy.entry.base_timeframe, {}).update(dict.fromkeys(names))
        self._required = {timeframe: tuple(names) for timeframe, names in wanted.items()}

    def note(self, bar: Bar, row: Vector) -> None:
        """Take a bar and its features; bars outside every session, which no strategy sees, do not count."""
        if bar.session is None:
            return
        series = self._series.setdefault((bar.symbol, bar.timeframe), _Series())
        required = self._required.get(bar.timeframe, ())
        malformed = row.shape != (len(FEATURES),) or not _is_bar(bar)
        missing: tuple[str, ...] = ()
        if not malformed:
            # a NaN is the only value that differs from itself
            absent = [name for name in required if (value := row[_FEATURE_AT[name]]) != value]
            missing = tuple([name for name in absent if series.seen >= FEATURE_WARMUP_BARS.get(name, 0)])
        backward = series.newest is not None and bar.event_ts < series.newest
        repeated = bar.event_ts == series.newest
        series.rows.append(_Row(missing, malformed, backward, repeated))
        series.seen += 1
        series.newest = bar.event_ts if series.newest is None else max(series.newest, bar.event_ts)
        self._rows += 1
        self._schema_mismatches += malformed
        if not math.isnan(bar.staleness_ms):
            self._ages.append(bar.staleness_ms)

    def note_gap(self, symbol: str, timeframe: str) -> None:
        """Bars of these were never brought: until history is fed again the features are those of another past."""
        self._series.setdefault((symbol, timeframe), _Series()).has_gap = True

    def forget(self, symbol: str, timeframe: str) -> None:
        """Begin anew with a symbol and timeframe, before their history is fed again."""
        self._series.pop((symbol, timeframe), None)

    def reasons(self, symbol: str, timeframe: str, now: datetime, repeats: int = 0) -> tuple[str, ...]:
        """Why the symbol may not be entered; empty when it may. A symbol without a bar, or behind a gap, is stale.

        ``repeats``: how many of its last bars the source told twice, which the sequence does not show any more.
        """
        series = self._series.get((symbol, timeframe))
        if series is None or series.newest is None:
            self._rejections += 1
            return (STALE,)
        rows = series.rows
        null_rate = sum(bool(row.missing) for row in rows) / len(rows)
        failing = {
            SCHEMA: any(row.malformed for row in rows),
            NULLS: null_rate > self._settings.max_required_null_rate,
            DUPLICATES: _duplicate_ratio(series, repeats) > self._settings.max_duplicate_ratio,
            ORDER: any(row.backward for row in rows),
            STALE: series.has_gap
            or self._age_ms(symbol, timeframe, series.newest, now) > self._settings.max_staleness_ms,
        }
        found = tuple(reason for reason in REASONS if failing[reason])
        self._rejections += bool(found)
        return found

    def counts(self, fields: Collection[str] = FEATURES) -> GateCounts:
        """For metrics."""
        rows = [row for series in self._series.values() for row in series.rows]
        total = max(len(rows), 1)
        missing = Counter(name for row in rows for name in row.missing)
        ratios = [_duplicate_ratio(series) for series in self._series.values()]
        return GateCounts(
            self._rows,
            self._schema_mismatches,
            self._rejections,
            {name: missing[name] / total for name in fields},
            float(np.quantile(np.array(self._ages), 0.95)) if self._ages else None,
            max(ratios, default=0.0),
        )

    def _age_ms(self, symbol: str, timeframe: str, newest: datetime, now: datetime) -> float:
        """Age of the newest bar; of a daily one, which is used for a day, how long the next is overdue."""
        if timeframe == DAILY:
            return lag_seconds(newest, timeframe, now, self._hours["/" not in symbol]) * 1000.0
        return (now - newest).total_seconds() * 1000.0


def _duplicate_ratio(series: _Series, repeats: int = 0) -> float:
    return (sum(row.repeated for row in series.rows) + repeats) / WINDOW


def _is_bar(bar: Bar) -> bool:
    return bar.event_ts > bar.open_ts and 0.0 < bar.low <= bar.close <= bar.high and math.isfinite(bar.high)
