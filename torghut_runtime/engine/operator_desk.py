"""What an operator's calls do (:class:`~torghut_runtime.engine.surface.Operations`).

Halt, reduce and cancel-all work without lease, database and trading thread. What touches positions and orders of ours
is handed to the trading thread. Who may call, and the record of the call, are the API's business; flattening in detail
is :mod:`torghut_runtime.engine.flatten`'s.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.broker.protocol import BrokerError, Document
from torghut_runtime.engine.cancel_all import CancelReport
from torghut_runtime.engine.flatten import Flattener
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.engine.surface import BlockMode, Operation, OperationRefusedError, UnknownStrategyError
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.limits import Flatten
from torghut_runtime.risk.trading_state import HALTED, OPERATOR_HALT, OPERATOR_REDUCE, POSITION_MISMATCH
from torghut_runtime.storage.lease import LeaseLostError
from torghut_runtime.storage.strategy_blocks import StrategyBlock

DURABLE_SECONDS: Final = 2.0
"""How long an answer waits for the database before it says that it is not durable yet."""
CANCEL_SECONDS: Final = 2.0
"""How long an answer waits for the ends of the orders; cancelling goes on after it."""

InTradingThread = Callable[[Callable[[], Any]], Any]
"""Runs a call in the trading thread and gives its result; raises ``TimeoutError`` when that thread does not answer."""


class OperatorDesk:
    """The operator's calls for one account, from any thread.

    Args:
        stops: what they act on.
        is_leader: whether this process holds the lease.
        tracker: our own orders, for telling entries from exits.
        flattener: closes positions; None until this process trades.
        in_trading_thread: see :data:`InTradingThread`.
        strategies: ids of the strategies of the catalog.
        live_gate: what is missing for live trading; empty in paper mode.
        mismatched: symbols that are frozen because position and broker differ.
    """

    def __init__(
        self,
        *,
        stops: StopSystem,
        is_leader: Callable[[], bool],
        tracker: OrderTracker,
        flattener: Flattener | None = None,
        in_trading_thread: InTradingThread,
        strategies: Callable[[], Collection[str]],
        live_gate: Callable[[], Sequence[str]],
        mismatched: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._stops = stops
        self._stance = stops.stance
        self._is_leader = is_leader
        self._tracker = tracker
        self.flattener = flattener
        self._in_trading_thread = in_trading_thread
        self._strategies = strategies
        self._live_gate = live_gate
        self._mismatched = mismatched

    def halt(self, actor: str, reason: str) -> Operation:
        """HALTED, every open order cancelled; after this no order request leaves."""
        before = self._state
        self._latch(OPERATOR_HALT, actor, reason)
        begun = None if before == HALTED else self._stops.halting
        cancelling = begun or self._stops.cancel_all.demand()
        settled = self._stops.firewall.settle()
        return self._told("halt", before, {**_effects(cancelling), "requests_settled": settled})

    def reduce(self, actor: str, reason: str) -> Operation:
        """REDUCING, open entries cancelled; exits stay."""
        before = self._state
        self._latch(OPERATOR_REDUCE, actor, reason)
        settled = self._stops.firewall.settle()
        # The dispatcher does the same when it hears of the state; an operator waits for no other thread.
        return self._told("reduce", before, {**self._cancel_entries(), "requests_settled": settled})

    def resume(self, actor: str, reason: str, ack: Sequence[str]) -> Operation:
        """ACTIVE, when every latched reason is acknowledged and nothing else stands against it.

        Raises:
            OperationRefusedError: ``lease_not_held, kill_switch_enabled, live_gate_closed, symbol_frozen`` or
                ``unacknowledged_reasons``.
            StoreUnavailableError: the database did not take it; nothing has changed.
        """
        del reason
        before = self._state
        if not self._is_leader():
            raise OperationRefusedError("lease_not_held")
        switch = self._stops.kill_switch.sources
        if switch.environment or switch.flag:
            raise OperationRefusedError("kill_switch_enabled", env=switch.environment, flag=switch.flag)
        missing = list(self._live_gate())
        if missing:
            raise OperationRefusedError("live_gate_closed", missing=missing)
        latches = self._stance.trading_state.latches
        named = {latch.code.partition(":")[2] for latch in latches if latch.name == POSITION_MISMATCH}
        frozen = sorted(named | set(self._mismatched()))
        if frozen:
            raise OperationRefusedError("symbol_frozen", symbols=frozen)
        codes = [latch.code for latch in latches if latch.is_durable]
        unknown = [code for code in codes if code not in ack]
        if unknown:
            raise OperationRefusedError("unacknowledged_reasons", missing=unknown)
        try:
            seq = self._stops.keeper.loosen(codes, actor)
        except LeaseLostError:
            raise OperationRefusedError("lease_not_held") from None
        if self._state != HALTED:
            self._stops.cancel_all.withdraw()
        return Operation("resume", before, self._state, {"cleared": codes}, seq, durable=True)

    def cancel_all(self, actor: str, reason: str) -> Operation:
        """Cancel every open order; the state stays."""
        del actor, reason
        before = self._state
        effects = _effects(self._stops.cancel_all.demand())
        return Operation("cancel-all", before, self._state, effects)

    def flatten(
        self, actor: str, reason: str, symbols: Sequence[str] | None, *, override_kill_switch: bool
    ) -> Operation:
        """Cancel, wait for the ends, then close positions in any state.

        Raises:
            OperationRefusedError: ``lease_not_held`` or ``kill_switch_enabled``.
            StoreUnavailableError: orders could not be written down.
        """
        before = self._state
        if not self._is_leader() or self.flattener is None:
            raise OperationRefusedError("lease_not_held")
        if self._stance.gate().kill_switch and not override_kill_switch:
            raise OperationRefusedError("kill_switch_enabled")
        permit = Flatten(override_kill_switch=override_kill_switch)
        effects = self.flattener.flatten(actor, reason, symbols, permit, self._in_trading_thread)
        return Operation("flatten", before, self._state, effects)

    def disable_strategy(self, actor: str, reason: str, strategy_id: str, mode: BlockMode) -> Operation:
        """Block a strategy: exits only, or nothing at all with its orders cancelled."""
        self._known(strategy_id)
        self._stops.blocks.block(StrategyBlock(strategy_id, mode, reason, actor))
        return self._blocked("disable", {"strategy_id": strategy_id, "mode": mode})

    def enable_strategy(self, actor: str, reason: str, strategy_id: str) -> Operation:
        """Lift an operator's block, and nothing else."""
        del actor, reason
        self._known(strategy_id)
        lifted = strategy_id in self._stops.blocks.all()
        self._stops.blocks.lift(strategy_id)
        return self._blocked("enable", {"strategy_id": strategy_id, "lifted": lifted})

    # Within -----------------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        return self._stance.trading_state.state

    def _latch(self, code: str, actor: str, reason: str) -> None:
        self._stance.latch(code, self._stops.clock.now(), actor=actor, detail={"inputs": {"reason": reason}})

    def _told(self, action: str, before: str, effects: dict[str, Any]) -> Operation:
        stored = self._stops.keeper.flush(DURABLE_SECONDS)
        return Operation(action, before, self._state, effects, stored.ledger_seq, stored.durable)

    def _blocked(self, action: str, effects: dict[str, Any]) -> Operation:
        durable = self._stops.store_blocks(DURABLE_SECONDS)
        return Operation(action, self._state, self._state, effects, durable=durable)

    def _known(self, strategy_id: str) -> None:
        if strategy_id not in self._strategies():
            raise UnknownStrategyError(strategy_id)

    def _cancel_entries(self) -> dict[str, Any]:
        """Cancel the entries that are open at the broker."""
        try:
            orders = self._stops.reader.open_orders()
            held = {each["symbol"]: Decimal(each["qty"]) for each in self._stops.reader.positions()}
        except BrokerError as error:
            return {"orders_cancelled": 0, "cancels_failed": 0, "error": str(error)}
        cancelled = failed = 0
        for order in orders:
            if order["status"] == "pending_cancel" or self._is_exit(order, held):
                continue
            try:
                self._stops.firewall.cancel(order["id"])
                cancelled += 1
            except BrokerError:
                failed += 1
        return {"orders_cancelled": cancelled, "cancels_failed": failed}

    def _is_exit(self, order: Document, held: dict[str, Decimal]) -> bool:
        """Ours know what they are; for others, one that only reduces what the broker holds is an exit."""
        ours = self._tracker.is_exit(str(order.get("client_order_id")))
        if ours is not None:
            return ours
        position = held.get(order["symbol"], Decimal(0))
        left = Decimal(order.get("qty") or 0) - Decimal(order.get("filled_qty") or 0)
        signed = left if order["side"] == "buy" else -left
        return position * signed < 0 and abs(signed) <= abs(position)


def _effects(cancelling: "Future[CancelReport]") -> dict[str, Any]:
    try:
        report = cancelling.result(CANCEL_SECONDS)
    except TimeoutError:
        return {"cancelling": True}
    return {"orders_cancelled": report.cancelled, "cancels_failed": report.failed}
