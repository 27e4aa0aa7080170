"""The operator's calls on a running engine: each goes to a desk over what trades at that moment.

Leading or standing by, the engine answers; what a call does is :mod:`torghut_runtime.engine.operator_desk`'s business.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.engine.core import TradingCore
from torghut_runtime.engine.inbox import Inbox
from torghut_runtime.engine.leadership import Leadership
from torghut_runtime.engine.operator_desk import OperatorDesk
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.engine.surface import BlockMode, Operation
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.tracker import OrderTracker

ANSWER_SECONDS: Final = 5.0
"""How long a call waits for the trading thread."""


class EngineOperations:
    """See :class:`~torghut_runtime.engine.surface.Operations`."""

    def __init__(
        self,
        *,
        stops: StopSystem,
        leadership: Leadership,
        inbox: Inbox[Any],
        core: Callable[[], TradingCore | None],
        strategies: Callable[[], Collection[str]],
        live_gate: Callable[[], Sequence[str]],
    ) -> None:
        self._stops = stops
        self._leadership = leadership
        self._inbox = inbox
        self._core = core
        self._strategies = strategies
        self._live_gate = live_gate
        self._nothing = OrderTracker(stops.account_label, Portfolio(Decimal(0)))

    def _desk(self) -> OperatorDesk:
        core = self._core()
        return OperatorDesk(
            stops=self._stops,
            is_leader=lambda: self._leadership.lease is not None and self._leadership.may_submit,
            tracker=self._nothing if core is None else core.tracker,
            flattener=None if core is None else core.flattener(self._stops.cancel_all),
            in_trading_thread=self._in_trading_thread,
            strategies=self._strategies,
            live_gate=self._live_gate,
            mismatched=tuple if core is None else core.mismatched,
        )

    def _in_trading_thread(self, call: Callable[[], Any]) -> Any:
        answer: Future[Any] = Future()

        def carried_out() -> None:
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(call())
                except BaseException as error:  # noqa: BLE001 - told to who asked
                    answer.set_exception(error)

        if not self._inbox.put("commands", carried_out):
            raise TimeoutError
        try:
            return answer.result(ANSWER_SECONDS)
        except TimeoutError:
            if answer.cancel():
                raise
            return answer.result()

    def halt(self, actor: str, reason: str) -> Operation:
        """HALTED, every open order cancelled."""
        return self._desk().halt(actor, reason)

    def reduce(self, actor: str, reason: str) -> Operation:
        """REDUCING, open entries cancelled."""
        return self._desk().reduce(actor, reason)

    def resume(self, actor: str, reason: str, ack: Sequence[str]) -> Operation:
        """ACTIVE, when every latched reason is acknowledged and nothing else stands against it."""
        return self._desk().resume(actor, reason, ack)

    def cancel_all(self, actor: str, reason: str) -> Operation:
        """Cancel every open order; the state stays."""
        return self._desk().cancel_all(actor, reason)

    def flatten(
        self, actor: str, reason: str, symbols: Sequence[str] | None, *, override_kill_switch: bool
    ) -> Operation:
        """Cancel, then close positions in any state."""
        return self._desk().flatten(actor, reason, symbols, override_kill_switch=override_kill_switch)

    def disable_strategy(self, actor: str, reason: str, strategy_id: str, mode: BlockMode) -> Operation:
        """Block a strategy."""
        return self._desk().disable_strategy(actor, reason, strategy_id, mode)

    def enable_strategy(self, actor: str, reason: str, strategy_id: str) -> Operation:
        """Lift an operator's block."""
        return self._desk().enable_strategy(actor, reason, strategy_id)
