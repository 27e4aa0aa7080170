"""What the runtime finds about itself every five minutes: risk, execution, reconciliation, each pass or fail.

The orchestration guard reads the newest of each kind and takes one that is older than 900 s for unknown, so a runtime
that is down says nothing good. What is measured is the engine's; here is what it means.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from torghut_runtime.clock import Clock
from torghut_runtime.engine.state_keeper import StateKeeper
from torghut_runtime.engine.stops import Vitals, losses
from torghut_runtime.orders.model import plain
from torghut_runtime.risk.limits import Limits, drawdown
from torghut_runtime.risk.trading_state import HALTED, TradingState
from torghut_runtime.storage.controls import ControlKind, ControlVerdict, record_control

EVERY_SECONDS: Final = 300.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReconcileOutcome:
    """How the last reconciliation went; ``age_seconds`` is None while there was none."""

    age_seconds: float | None
    discrepancies: Mapping[str, int]
    """Open ones by kind."""
    frozen_symbols: tuple[str, ...]
    max_age_seconds: float
    """Older than this it counts as failed."""


@dataclass(frozen=True, slots=True)
class ControlInputs:
    """Everything that the three findings need, taken at one moment."""

    state: TradingState
    vitals: Vitals
    limits: Limits
    unknown_orders: int
    broker_failure_streak: int
    """The limit."""
    order_feed_ok: bool
    order_feed_detail: str
    reconcile: ReconcileOutcome


@dataclass(frozen=True, slots=True)
class Finding:
    """One record."""

    kind: ControlKind
    verdict: ControlVerdict
    body: Mapping[str, Any]


def findings(inputs: ControlInputs) -> tuple[Finding, Finding, Finding]:
    """The three records of a moment."""
    return _risk(inputs), _execution(inputs), _reconciliation(inputs)


def _finding(kind: ControlKind, failures: list[str], body: dict[str, Any], state: TradingState) -> Finding:
    told = {**body, "failures": failures, "trading_state": state.state, "trading_reasons": list(state.codes)}
    return Finding(kind, "fail" if failures else "pass", told)


def _risk(inputs: ControlInputs) -> Finding:
    vitals, limits = inputs.vitals, inputs.limits
    failures = losses(vitals, limits)
    if inputs.state.state == HALTED:
        failures.append("state_halted")
    body = {
        "equity": plain(vitals.equity),
        "opening_equity": plain(vitals.opening_equity),
        "day_loss": plain(vitals.opening_equity - vitals.equity),
        "daily_loss_limit": plain(limits.daily_loss_cap(vitals.opening_equity)),
        "high_water_mark": plain(vitals.high_water_mark),
        "drawdown": plain(drawdown(vitals.equity, vitals.high_water_mark).quantize(Decimal("0.000001"))),
        "drawdown_limit": plain(limits.max_drawdown),
    }
    return _finding("risk", failures, body, inputs.state)


def _execution(inputs: ControlInputs) -> Finding:
    vitals = inputs.vitals
    failures = [f"order_unknown_unresolved:{key}" for key in vitals.unresolved_orders]
    if vitals.broker_failures >= inputs.broker_failure_streak:
        failures.append(f"broker_failure_streak_exceeded:{vitals.broker_failures}")
    if not inputs.order_feed_ok:
        failures.append("order_feed")
    body = {
        "unknown_orders": inputs.unknown_orders,
        "unresolved_orders": list(vitals.unresolved_orders),
        "broker_failures": vitals.broker_failures,
        "broker_failure_limit": inputs.broker_failure_streak,
        "order_feed": {"ok": inputs.order_feed_ok, "detail": inputs.order_feed_detail},
    }
    return _finding("execution", failures, body, inputs.state)


def _reconciliation(inputs: ControlInputs) -> Finding:
    last = inputs.reconcile
    failures: list[str] = []
    if last.age_seconds is None:
        failures.append("never_reconciled")
    elif last.age_seconds > last.max_age_seconds:
        failures.append("reconcile_overdue")
    failures += [kind for kind, count in sorted(last.discrepancies.items()) if count]
    failures += [f"symbol_frozen:{symbol}" for symbol in last.frozen_symbols]
    body = {
        "age_seconds": last.age_seconds,
        "max_age_seconds": last.max_age_seconds,
        "discrepancies": dict(last.discrepancies),
        "frozen_symbols": list(last.frozen_symbols),
    }
    return _finding("reconciliation", failures, body, inputs.state)


class ControlRecorder:
    """Writes the records every ``every_seconds`` of real time, through the keeper's connection.

    ``measure`` is asked in this thread and reads what the trading thread has published; None: nothing is known yet, and
    nothing is written.
    """

    def __init__(
        self,
        keeper: StateKeeper,
        measure: Callable[[], ControlInputs | None],
        clock: Clock,
        *,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._keeper = keeper
        self._measure = measure
        self._clock = clock
        self._every_seconds = every_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control-records", daemon=True)

    def start(self) -> None:
        """Write now, then again and again."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(seconds)

    def record(self) -> bool:
        """Write the records of now; False when nothing is known yet. A database that is away gets the newest later."""
        inputs = self._measure()
        if inputs is None:
            return False
        found, at = findings(inputs), self._clock.now()

        def write(connection: sa.Connection) -> None:
            for each in found:
                record_control(connection, each.kind, each.verdict, each.body, at=at)

        self._keeper.later("control_records", write)
        return True

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.wait(wait):
            try:
                wait = self._every_seconds if self.record() else min(1.0, self._every_seconds)
            except Exception:  # noqa: BLE001 - a record that could not be made is one that the guard misses
                _LOG.exception("control records could not be made")
                wait = self._every_seconds
