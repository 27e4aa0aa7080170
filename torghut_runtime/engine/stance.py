"""Whether trading may go on right now: one value that the firewall asks before every request and everybody may tighten.

What tightens it is told by its callers; what it means is :mod:`torghut_runtime.risk.trading_state`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from torghut_runtime.risk.limits import Gate
from torghut_runtime.risk.trading_state import State, TradingState

Changed = Callable[[State], None]


class Stance:
    """The gate and the trading state behind it; listeners hear of every other state."""

    def __init__(self, gate: Gate, trading_state: TradingState | None = None) -> None:
        self.trading_state = trading_state or TradingState()
        self.listeners: list[Changed] = []
        self._gate = gate

    def gate(self) -> Gate:
        """What holds at this moment."""
        return replace(self._gate, state=self.trading_state.state)

    def set(self, **changes: bool) -> None:
        """Change what else the gate depends on: kill switch, lease, reconciliation, account, back-pressure."""
        self._gate = replace(self._gate, **changes)

    def latch(self, code: str, at: datetime) -> None:
        """Latch a reason now."""
        self._become(self.trading_state.latched(code, at))

    def evaluate(self, triggered: Iterable[str], at: datetime, recovery_cycles: int) -> None:
        """One evaluation of the emergency stop."""
        self._become(self.trading_state.evaluated(triggered, at, recovery_cycles))

    def resolve(self, code: str) -> None:
        """The cause of an automatic reason is gone."""
        self._become(self.trading_state.resolved(code))

    def _become(self, new: TradingState) -> None:
        before, self.trading_state = self.trading_state.state, new
        if new.state != before:
            for listener in self.listeners:
                listener(new.state)
