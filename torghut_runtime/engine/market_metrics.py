"""Metrics of what comes from the market: signals and their absence, feature quality, universe, back-fills."""

from collections.abc import Mapping
from typing import Literal

from torghut_runtime.engine import metric_labels as labels
from torghut_runtime.engine.metric_families import Families, show_one
from torghut_runtime.engine.metric_labels import closed


class MarketMetrics:
    """Told by the market system, once per poll."""

    def __init__(self, families: Families) -> None:
        self._silent = families.counter("no_signal_windows", "Windows in which no signal came.")
        self._silences = families.counter("no_signal_reason", "The same by reason.", "reason")
        self._reason_streaks = families.gauge("no_signal_reason_streak", "Windows in a row with this reason.", "reason")
        for reason in sorted(labels.SILENCES):
            self._silences.labels(reason)
            self._reason_streaks.labels(reason)
        self._streak = families.gauge("no_signal_streak", "Windows without a signal in a row.")
        self._lag = families.gauge("signal_lag_seconds", "How long the next bar is overdue by the calendar.")
        self._stale = families.counter("signal_staleness_alert", "Alerts of stale signals.", "reason")
        self._breaches = families.counter("signal_continuity_breach", "Breaches of continuity that stopped entries.")
        self._batch_rows = families.counter("feature_batch_rows", "Rows that the feature quality check has seen.")
        self._schema = families.counter("feature_schema_mismatch", "Rows that the feature contract refuses.")
        self._quality = families.counter(
            "feature_quality_rejections", "Windows that the feature quality check refused."
        )
        self._null_rate = families.gauge("feature_null_rate", "Share of rows without the feature.", "field")
        self._staleness_p95 = families.gauge("feature_staleness_ms_p95", "Age of features, 95th percentile.")
        self._duplicates = families.gauge("feature_duplicate_ratio", "Share of rows that came twice.")
        self._universe = families.gauge("universe_status", "1 for the status that holds.", "status")
        self._universe_symbols = families.gauge("universe_symbols", "Symbols of the universe.")
        self._symbol_staleness = families.gauge("symbol_staleness_seconds", "Age of a symbol's newest bar.", "symbol")
        self._backfilled = families.counter("backfilled_bars", "Bars that a back-fill brought.")
        self.universe(None, 0)

    def no_signal(self, reason: str) -> None:
        """A window passed without a signal."""
        self._silent.inc()
        self._silences.labels(closed(reason, labels.SILENCES)).inc()

    def no_signal_streaks(self, streak: int, by_reason: Mapping[str, int]) -> None:
        """Windows without a signal in a row, and of each reason; a reason that is not named has none."""
        self._streak.set(streak)
        for reason in labels.SILENCES:
            self._reason_streaks.labels(reason).set(by_reason.get(reason, 0))

    def signal_lag(self, seconds: float) -> None:
        """How long the next expected bar is overdue now."""
        self._lag.set(seconds)

    def stale_signals(self, reason: str) -> None:
        """An alert of stale signals was raised."""
        self._stale.labels(closed(reason, labels.ALERTS)).inc()

    def continuity_breached(self) -> None:
        """Signals were missing for so long that entries stop."""
        self._breaches.inc()

    def features_checked(self, rows: int, *, mismatches: int = 0, rejections: int = 0) -> None:
        """Rows went through the quality check; so many windows were refused."""
        self._batch_rows.inc(rows)
        self._schema.inc(mismatches)
        self._quality.inc(rejections)

    def feature_quality(self, null_rates: Mapping[str, float], staleness_ms_p95: float, duplicate_ratio: float) -> None:
        """What the newest check has measured."""
        for field, rate in null_rates.items():
            self._null_rate.labels(field).set(rate)
        self._staleness_p95.set(staleness_ms_p95)
        self._duplicates.set(duplicate_ratio)

    def universe(self, status: Literal["ok", "degraded", "error"] | None, symbols: int) -> None:
        """What the universe is now; None before it was read."""
        show_one(self._universe, labels.UNIVERSE, status)
        self._universe_symbols.set(symbols)

    def symbol_staleness(self, seconds: Mapping[str, float]) -> None:
        """Age of the newest bar of every symbol; others are no longer shown."""
        self._symbol_staleness.clear()
        for symbol, age in seconds.items():
            self._symbol_staleness.labels(symbol).set(age)

    def backfilled(self, bars: int) -> None:
        """A back-fill brought bars."""
        self._backfilled.inc(bars)
