"""The emergency stop: what stops entries by itself, judged from what was measured (``runtime.md`` 4).

Hard limits on losses always count; the rest only while the emergency stop is switched on. What is triggered once stays
latched as :mod:`torghut_runtime.risk.trading_state` says, also after the emergency stop was switched off.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.clock import Clock
from torghut_runtime.engine.stance import Stance
from torghut_runtime.orders.model import plain
from torghut_runtime.risk.limits import Limits, daily_loss_reached, drawdown
from torghut_runtime.risk.trading_state import (
    BROKER_FAILURES,
    DAILY_LOSS,
    DATABASE_UNAVAILABLE,
    DRAWDOWN,
    FLAGS_STALE,
    ORDER_UNKNOWN,
    latch_of,
)
from torghut_runtime.trading_settings import StopSettings

_PLACES: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is measured before every evaluation; amounts in account currency.

    ``continuity``: reasons that market data gave, each with its measure (``signal_lag_exceeded:7``); whether one is a
    reason at all (session open, limit, three failures running) is known where the data are.
    """

    equity: Decimal
    opening_equity: Decimal
    high_water_mark: Decimal
    broker_failures: int = 0
    unresolved_orders: tuple[str, ...] = ()
    continuity: tuple[str, ...] = ()
    flags_stale: bool = False

    def inputs(self) -> dict[str, Any]:
        """The measures as an incident keeps them."""
        return {
            "equity": plain(self.equity),
            "opening_equity": plain(self.opening_equity),
            "day_loss": plain(self.opening_equity - self.equity),
            "high_water_mark": plain(self.high_water_mark),
            "drawdown": plain(drawdown(self.equity, self.high_water_mark).quantize(_PLACES)),
            "broker_failures": self.broker_failures,
            "unresolved_orders": list(self.unresolved_orders),
            "continuity": list(self.continuity),
            "flags_stale": self.flags_stale,
        }


def losses(vitals: Vitals, limits: Limits) -> list[str]:
    """The hard limits that are reached: loss of the day, drawdown."""
    found: list[str] = []
    if daily_loss_reached(vitals.equity, vitals.opening_equity, limits):
        found.append(DAILY_LOSS)
    fallen = drawdown(vitals.equity, vitals.high_water_mark)
    if fallen >= limits.max_drawdown:
        found.append(f"{DRAWDOWN}:{fallen:.6f}")
    return found


def triggered(vitals: Vitals, limits: Limits, stops: StopSettings, *, armed: bool) -> list[str]:
    """Every reason to stop that holds now; without ``armed`` only those that are always on."""
    found = losses(vitals, limits)
    if vitals.flags_stale:
        found.append(FLAGS_STALE)
    if not armed:
        return found
    found.extend(vitals.continuity)
    if vitals.broker_failures >= stops.broker_failure_streak:
        found.append(f"{BROKER_FAILURES}:{vitals.broker_failures}")
    found.extend(f"{ORDER_UNKNOWN}:{key}" for key in vitals.unresolved_orders)
    return found


def limits_told(limits: Limits, stops: StopSettings) -> dict[str, Any]:
    """The limits of an evaluation as an incident keeps them."""
    return {
        "max_daily_loss": None if limits.max_daily_loss is None else plain(limits.max_daily_loss),
        "max_daily_loss_pct_equity": plain(limits.max_daily_loss_pct),
        "max_drawdown": plain(limits.max_drawdown),
        "signal_lag_seconds": stops.signal_lag_seconds,
        "staleness_streak": stops.staleness_streak,
        "broker_failure_streak": stops.broker_failure_streak,
        "recovery_cycles": stops.recovery_cycles,
    }


class EmergencyStop:
    """Evaluates for one account, in the thread that trades.

    ``vitals`` measures; ``armed`` says whether the emergency stop is switched on now. Switched off it starts nothing
    and clears nothing: a reason that is latched already goes on counting for as long as it holds.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        stops: StopSettings,
        stance: Stance,
        clock: Clock,
        vitals: Callable[[], Vitals],
    ) -> None:
        self.armed: Callable[[], bool] = lambda: stops.emergency_stop
        self._limits = limits
        self._stops = stops
        self._stance = stance
        self._clock = clock
        self._vitals = vitals

    def evaluate(self) -> None:
        """One evaluation: what is due every ``TRADING_POLL_MS``."""
        vitals, now = self._vitals(), self._clock.now()
        latched = self._stance.trading_state.latches
        for latch in latched:
            if latch.name == ORDER_UNKNOWN and latch.code.partition(":")[2] not in vitals.unresolved_orders:
                self._stance.resolve(latch.code)
        found = triggered(vitals, self._limits, self._stops, armed=True)
        if not self.armed():
            new = set(triggered(vitals, self._limits, self._stops, armed=False))
            known = {latch.key for latch in latched}
            found = [code for code in found if code in new or latch_of(code, now).key in known]
        found.extend(latch.code for latch in latched if latch.name == DATABASE_UNAVAILABLE)
        self._stance.evaluate(found, now, self._stops.recovery_cycles, self._detail(vitals))

    def check_losses(self) -> None:
        """Latch a loss at once, between two evaluations; counts as none."""
        vitals = self._vitals()
        for code in losses(vitals, self._limits):
            self._stance.latch(code, self._clock.now(), detail=self._detail(vitals))

    def _detail(self, vitals: Vitals) -> dict[str, Any]:
        return {"inputs": vitals.inputs(), "limits": limits_told(self._limits, self._stops)}
