"""Do signals still come? Streaks of reasons, alerts, and what the emergency stop is told. Pure, once per poll.

Judged only while the session is open: at night, on weekends and on holidays there is nothing to miss, and every streak
begins anew. The triggers are those of the contract: lag, streak of a critical reason, universe in error three times
running.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from torghut_runtime.trading_settings import NO_SIGNAL_REASONS, DataSettings, StopSettings

NO_SIGNALS, UNIVERSE, DISCONNECTED, CURSOR_AHEAD = NO_SIGNAL_REASONS
LAG_EXCEEDED: Final = "signal_lag_exceeded"
STREAK_EXCEEDED: Final = "signal_staleness_streak_exceeded"
UNIVERSE_UNAVAILABLE: Final = "universe_source_unavailable"
UNIVERSE_ERRORS: Final = 3
"""Evaluations in a row with a universe in error that are one too many: a single failed read is no stop."""
LAG_ALERT: Final = "signal_lag"

UniverseStatus = Literal["ok", "degraded", "error"]


@dataclass(frozen=True, slots=True)
class Observation:
    """How things stand at one poll; ``lag_seconds``: the largest of the timeframes that are traded on."""

    session_open: bool
    lag_seconds: float = 0.0
    connected: bool = True
    cursor_ahead: bool = False
    universe_status: UniverseStatus = "ok"
    universe_source: str = "static"
    universe_reason: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a poll found.

    ``triggers`` are the codes for the emergency stop as long as they hold; ``alerts`` are what became an alarm with
    this poll; ``breached`` tells that triggers hold now and did not before.
    """

    triggers: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    breached: bool = False


@dataclass(frozen=True)
class ContinuityCounts:
    """Counted since the start; the streaks are those of now."""

    no_signal_windows: int
    by_reason: Mapping[str, int]
    alerts: Mapping[str, int]
    breaches: int
    streak: int
    streaks: Mapping[str, int]


@dataclass
class SignalContinuity:
    """One engine's; evaluate it every ``TRADING_POLL_MS``."""

    data: DataSettings
    stops: StopSettings
    _streaks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NO_SIGNAL_REASONS, 0))
    _streak: int = 0
    _universe_errors: int = 0
    _lagging: bool = False
    _triggered: bool = False
    _windows: int = 0
    _breaches: int = 0
    _by_reason: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NO_SIGNAL_REASONS, 0))
    _alerts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*NO_SIGNAL_REASONS, LAG_ALERT), 0))

    def evaluate(self, seen: Observation) -> Evaluation:
        """One poll."""
        if not seen.session_open:
            self._streaks = dict.fromkeys(NO_SIGNAL_REASONS, 0)
            self._streak = self._universe_errors = 0
            self._lagging = self._triggered = False
            return Evaluation()
        reasons = tuple(self._reasons(seen))
        for reason in NO_SIGNAL_REASONS:
            self._streaks[reason] = self._streaks[reason] + 1 if reason in reasons else 0
            self._by_reason[reason] += reason in reasons
        self._streak = self._streak + 1 if reasons else 0
        self._windows += bool(reasons)
        self._universe_errors = self._universe_errors + 1 if seen.universe_status == "error" else 0
        alerts = tuple(self._alarms(seen))
        for alert in alerts:
            self._alerts[alert] += 1
        triggers = tuple(self._triggers(seen))
        breached = bool(triggers) and not self._triggered
        self._triggered = bool(triggers)
        self._breaches += breached
        return Evaluation(triggers, reasons, alerts, breached)

    @property
    def counts(self) -> ContinuityCounts:
        """For metrics and status; a copy."""
        return ContinuityCounts(
            self._windows,
            dict(self._by_reason),
            dict(self._alerts),
            self._breaches,
            self._streak,
            dict(self._streaks),
        )

    def _reasons(self, seen: Observation) -> list[str]:
        overdue = seen.lag_seconds >= self.data.lookback_minutes * 60
        holds = {
            NO_SIGNALS: overdue and seen.connected and not seen.cursor_ahead,
            UNIVERSE: seen.universe_status == "error",
            DISCONNECTED: not seen.connected,
            CURSOR_AHEAD: seen.cursor_ahead,
        }
        return [reason for reason in NO_SIGNAL_REASONS if holds[reason]]

    def _alarms(self, seen: Observation) -> list[str]:
        """Each once, when its threshold is reached."""
        threshold = self.data.no_signal_streak
        found = [reason for reason in NO_SIGNAL_REASONS if self._streaks[reason] == threshold]
        lagging = seen.lag_seconds >= self.data.stale_lag_seconds
        if lagging and not self._lagging:
            found.append(LAG_ALERT)
        self._lagging = lagging
        return found

    def _triggers(self, seen: Observation) -> list[str]:
        found: list[str] = []
        if seen.lag_seconds >= self.stops.signal_lag_seconds:
            found.append(f"{LAG_EXCEEDED}:{seen.lag_seconds:.0f}")
        critical = [reason for reason in self.data.critical_reasons.split(",") if reason]
        found += [
            f"{STREAK_EXCEEDED}:{reason}:{self._streaks[reason]}"
            for reason in critical
            if self._streaks[reason] >= self.stops.staleness_streak
        ]
        if self._universe_errors >= UNIVERSE_ERRORS:
            found.append(f"{UNIVERSE_UNAVAILABLE}:{seen.universe_source}:{seen.universe_reason}")
        return found
