"""What the stops do beside every evaluation of the emergency stop: baselines, live gate, control records, their status.

The trading thread calls :meth:`StopDuties.evaluated`; what it measured is shown and recorded from a copy. Each
duty in itself is its own module's business.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torghut_runtime.clock import Clock
from torghut_runtime.engine.control_records import ControlInputs, ControlRecorder, ReconcileOutcome
from torghut_runtime.engine.loss_baselines import LossBaselines
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.engine.trader import Trader
from torghut_runtime.engine.trading_loop import Progress
from torghut_runtime.risk.live_gate import LiveApproval, LivePolicy
from torghut_runtime.risk.trading_state import POSITION_MISMATCH
from torghut_runtime.trading_settings import TradingSettings

FRESH_SECONDS: Final = 60.0
"""Older measures are not recorded: a trading thread that hangs must not go on passing."""
_RECONCILES: Final = 3
"""So many periods without a reconciliation are a failure."""
_SECOND_MS: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class LiveEvidence:
    """What the live gate wants to see beside the settings; None: nobody has shown it."""

    policy: LivePolicy | None = None
    approval: LiveApproval | None = None
    provenance: Mapping[str, bool] | None = None


class StopDuties:
    """The regular duties for one account.

    Args:
        stops: the stops.
        losses: the baselines.
        settings: of the environment.
        reconciled: seconds since the last reconciliation (None without one), and its open discrepancies by kind.
        feed: why the order feed is not well; empty when it is.
        evidence: for the live gate.
    """

    def __init__(
        self,
        stops: StopSystem,
        losses: LossBaselines,
        settings: TradingSettings,
        *,
        reconciled: Callable[[], tuple[float | None, Mapping[str, int]]],
        feed: Callable[[], tuple[str, ...]],
        evidence: Callable[[], LiveEvidence] = LiveEvidence,
    ) -> None:
        self.missing: tuple[str, ...] = ()
        """What was missing for live trading the last time."""
        self._stops = stops
        self._losses = losses
        self._settings = settings
        self._reconciled = reconciled
        self._feed = feed
        self._evidence = evidence
        self._measured: tuple[float, ControlInputs] | None = None
        self._recorder = ControlRecorder(stops.keeper, self.measured, stops.clock)

    def start(self) -> None:
        """Begin to record."""
        self._recorder.start()

    def stop(self) -> None:
        """End."""
        self._recorder.stop()

    def evaluated(self, trader: Trader) -> None:
        """Do what is due beside an evaluation; in the trading thread."""
        self._losses.keep(trader.account)
        evidence = self._evidence()
        self.missing = tuple(self._stops.check_live_gate(evidence.policy, evidence.approval, evidence.provenance))
        self._measured = (time.monotonic(), self._inputs(trader))

    def measured(self) -> ControlInputs | None:
        """What was measured last, None where that is too long ago; from any thread."""
        measured = self._measured
        return None if measured is None or time.monotonic() - measured[0] > FRESH_SECONDS else measured[1]

    @property
    def standing_against_live(self) -> tuple[str, ...]:
        """What a resume must not pass over: nothing in paper mode."""
        return self.missing if self._settings.mode.mode == "live" else ()

    def live_gate_section(self) -> dict[str, Any]:
        """``live_gate`` of the status."""
        return {"allowed": not self.missing and self._measured is not None, "missing": list(self.missing)}

    def kill_switch_section(self) -> dict[str, Any]:
        """``kill_switch`` of the status."""
        sources = self._stops.kill_switch.sources
        return {"env": sources.environment, "flag": sources.flag, "operator": sources.operator}

    def rollback_section(self) -> dict[str, Any]:
        """``rollback`` of the status."""
        latches = self._stops.stance.trading_state.latches
        return {
            "emergency_stop_active": bool(latches),
            "emergency_stop_reason": ", ".join(latch.code for latch in latches) or None,
            "emergency_stop_triggered_at": min((latch.at for latch in latches), default=None),
            "emergency_stop_resolved_at": self._stops.resolved_at,
            "emergency_stop_recovery_streak": self._stops.stance.trading_state.healthy,
            "incidents_total": self._stops.incidents_total,
        }

    def _inputs(self, trader: Trader) -> ControlInputs:
        state, faults = self._stops.stance.trading_state, self._feed()
        age, discrepancies = self._reconciled()
        frozen = tuple(latch.code.partition(":")[2] for latch in state.latches if latch.name == POSITION_MISMATCH)
        longest = _RECONCILES * self._settings.mode.reconcile_ms / _SECOND_MS
        return ControlInputs(
            state=state,
            vitals=trader.vitals(),
            limits=trader.limits,
            unknown_orders=len(trader.manager.unknown),
            broker_failure_streak=self._settings.stops.broker_failure_streak,
            order_feed_ok=not faults,
            order_feed_detail=", ".join(faults),
            reconcile=ReconcileOutcome(age, discrepancies, frozen, longest),
        )


def reconciled_of(progress: Progress, clock: Clock) -> tuple[float | None, Mapping[str, int]]:
    """Age of the last reconciliation in seconds, and what it left open by kind."""
    at = progress.last_reconcile_at
    age = None if at is None else max((clock.now() - at).total_seconds(), 0.0)
    return age, Counter(each.kind for each in progress.discrepancies)
