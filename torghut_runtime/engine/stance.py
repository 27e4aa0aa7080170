"""Whether trading may go on right now: one value that the firewall asks before every request and everybody may tighten.

Any thread may change it; the gate shows the change at once. What tightens it is told by its callers, what it means is
:mod:`torghut_runtime.risk.trading_state`, and that it outlives the process is the business of
:mod:`torghut_runtime.engine.state_keeper`.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from torghut_runtime.risk.limits import Gate
from torghut_runtime.risk.trading_state import HALTED, KILL_SWITCH, OPERATOR_HALT, State, TradingState

RUNTIME: Final = "runtime"
Changed = Callable[[State], None]


@dataclass(frozen=True, slots=True)
class Cause:
    """Who changed the state, and what was measured; ``from_store``: another process had stored it already."""

    actor: str = RUNTIME
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    from_store: bool = False


Observed = Callable[[TradingState, TradingState, Cause], None]
"""Hears the state before and after every change."""


class Stance:
    """The gate and the trading state behind it.

    ``listeners`` hear of every other state, through ``deliver``, which has them run in the thread that trades and does
    not wait for it.
    ``observers`` hear of every change of the reasons at once, in the thread that made it and under the lock: they only
    take note.
    """

    def __init__(self, gate: Gate, trading_state: TradingState | None = None) -> None:
        self.trading_state = trading_state or TradingState()
        self.lock = threading.RLock()
        self.listeners: list[Changed] = []
        self.observers: list[Observed] = []
        self.deliver: Callable[[Callable[[], None]], object] = lambda call: call()
        self.kill_switch: Callable[[], bool] = lambda: False
        """Environment or flag, read at every use."""
        self.entry_refusals: Callable[[], tuple[str, ...]] = lambda: ()
        """What else stands against entries now (flags, live gate), read at every use."""
        self.is_known: Callable[[], bool] = lambda: True
        """Whether what an earlier process had latched is known; until then nothing may be sent."""
        self.cancels_at_once = False
        """Whether somebody ends all orders in one call when trading halts, so that nobody else has to."""
        self._gate = gate

    def gate(self) -> Gate:
        """What holds at this moment; an operator's halt counts as a kill switch."""
        state, gate = self.trading_state.state if self.is_known() else HALTED, self._gate
        stopped = gate.kill_switch or self.kill_switch() or self.operator_halted
        return replace(gate, state=state, kill_switch=stopped, entry_refusals=self.entry_refusals())

    @property
    def operator_halted(self) -> bool:
        """Whether an operator's halt, or a flip of the kill switch that nobody has resumed from, is latched."""
        return any(latch.name in (OPERATOR_HALT, KILL_SWITCH) for latch in self.trading_state.latches)

    def set(self, **changes: bool) -> None:
        """Change what else the gate depends on: kill switch, lease, reconciliation, account, back-pressure."""
        with self.lock:
            self._gate = replace(self._gate, **changes)

    def latch(self, code: str, at: datetime, *, actor: str = RUNTIME, detail: Mapping[str, Any] | None = None) -> None:
        """Latch a reason now."""
        self.change(lambda state: state.latched(code, at), Cause(actor, detail or {}))

    def evaluate(
        self, triggered: Iterable[str], at: datetime, recovery_cycles: int, detail: Mapping[str, Any] | None = None
    ) -> None:
        """One evaluation of the emergency stop."""
        found = list(triggered)
        self.change(lambda state: state.evaluated(found, at, recovery_cycles), Cause(detail=detail or {}))

    def resolve(self, code: str) -> None:
        """The cause of an automatic reason is gone."""
        self.change(lambda state: state.resolved(code), Cause())

    def position_reconciled(self, symbol: str, actor: str = RUNTIME) -> None:
        """The position of a symbol has been reconciled: its mismatch is over."""
        self.change(lambda state: state.reconciled(symbol), Cause(actor))

    def change(self, how: Callable[[TradingState], TradingState], cause: Cause) -> None:
        """Replace the state by what ``how`` makes of it."""
        with self.lock:
            before, after = self.trading_state, how(self.trading_state)
            self.trading_state = after
            if after.latches != before.latches:
                for observer in self.observers:
                    observer(before, after, cause)
        if after.state != before.state and self.listeners:
            self.deliver(lambda: self._tell(after.state))

    def _tell(self, state: State) -> None:
        for listener in self.listeners:
            listener(state)
