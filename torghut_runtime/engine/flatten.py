"""Closes positions at an operator's word: cancels, waits for the ends, then trades away what the broker holds.

The broker's position is what is closed, so that it reaches zero and never crosses it, whatever we believe; the orders
are booked to the strategies that hold in the same direction, the rest to ``unattributed``. A second call ends the
orders of the first and closes what is left. When that may be done is the desk's business.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.broker.protocol import BrokerError, BrokerReader, Document
from torghut_runtime.clock import Clock
from torghut_runtime.engine.cancel_all import CancelAll
from torghut_runtime.engine.entry_draft import time_in_force
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.model import Decision, Intent, OrderTerms, client_order_id, plain
from torghut_runtime.orders.positions import UNATTRIBUTED
from torghut_runtime.risk.limits import Flatten

RATIONALE: Final = "operator_flatten"
ENDS_SECONDS: Final = 10.0
"""How long the ends of cancelled orders are waited for; a symbol whose orders are still open is left and told."""
_AGAIN_SECONDS: Final = 0.1
_ZERO: Final = Decimal(0)


class Flattener:
    """Flattens one account; one call at a time."""

    def __init__(
        self,
        *,
        account_label: str,
        manager: OrderManager,
        firewall: Firewall,
        reader: BrokerReader,
        cancel_all: CancelAll,
        clock: Clock,
    ) -> None:
        self._label = account_label
        self._manager = manager
        self._firewall = firewall
        self._reader = reader
        self._cancel_all = cancel_all
        self._clock = clock
        self._one_at_a_time = threading.Lock()

    def flatten(
        self,
        actor: str,
        reason: str,
        symbols: Sequence[str] | None,
        permit: Flatten,
        in_trading_thread: Callable[[Callable[[], Any]], Any],
    ) -> dict[str, Any]:
        """Flatten all symbols, or some; what was cancelled, ordered and left.

        Raises:
            StoreUnavailableError: orders could not be written down; those before it are out.
            BrokerError: the broker does not answer; nothing was ordered.
        """
        with self._one_at_a_time:
            cancelled = self._end_orders(symbols)
            closing: dict[str, Any] = in_trading_thread(lambda: self.close(actor, reason, symbols, permit))
        return {**cancelled, **closing}

    def close(self, actor: str, reason: str, symbols: Collection[str] | None, permit: Flatten) -> dict[str, Any]:
        """Close what the broker holds, in the trading thread; a symbol with an open or unknown order is left."""
        self._catch_up(symbols)
        busy = {order["symbol"]: "orders_open" for order in self._reader.open_orders()}
        busy.update({intent.terms.symbol: "order_unknown" for intent in self._manager.unknown})
        orders: list[dict[str, Any]] = []
        left: dict[str, str] = {}
        for document in self._reader.positions():
            symbol = str(document["symbol"])
            if symbols is not None and symbol not in symbols:
                continue
            if symbol in busy:
                left[symbol] = busy[symbol]
                continue
            orders += self._close(document, actor, reason, permit)
        return {"orders": orders, "left": left}

    # Within -----------------------------------------------------------------------------------------------------------

    def _end_orders(self, symbols: Collection[str] | None) -> dict[str, Any]:
        if symbols is None:
            cancelling: Future[Any] = self._cancel_all.demand()
            try:
                report = cancelling.result(ENDS_SECONDS)
            except TimeoutError:
                return {"cancelling": True}
            return {"orders_cancelled": report.cancelled, "cancels_failed": report.failed}
        asked: set[str] = set()
        failed = 0
        deadline = time.monotonic() + ENDS_SECONDS
        while True:
            waiting = [order for order in self._reader.open_orders() if order["symbol"] in symbols]
            for order in waiting:
                if order["id"] in asked:
                    continue
                try:
                    self._firewall.cancel(order["id"])
                    asked.add(order["id"])
                except BrokerError:
                    failed += 1
            if not waiting or time.monotonic() >= deadline:
                return {"orders_cancelled": len(asked), "cancels_failed": failed}
            time.sleep(_AGAIN_SECONDS)

    def _catch_up(self, symbols: Collection[str] | None) -> None:
        """Have the fold know the ends of the orders, whether or not their events have come."""
        self._manager.resolve()
        for order in self._manager.tracker.open_orders():
            if order.intent is None or (symbols is not None and order.state.symbol not in symbols):
                continue
            document = self._reader.order_by_client_id(order.intent.client_order_id)
            if document is not None:
                self._manager.take(document)

    def _close(self, position: Document, actor: str, reason: str, permit: Flatten) -> list[dict[str, Any]]:
        symbol, held = str(position["symbol"]), Decimal(str(position["qty"]))
        price = abs(Decimal(str(position.get("current_price") or position.get("avg_entry_price") or 0)))
        told: list[dict[str, Any]] = []
        for strategy_id, qty in self._shares(symbol, held):
            now = self._clock.now()
            tif = time_in_force(symbol, qty, is_open=True)
            terms = OrderTerms(symbol, "sell" if held > 0 else "buy", qty, "market", tif)
            key = client_order_id(self._label, strategy_id, symbol, now, 0)
            intent = Intent(key, 0, strategy_id, terms, True, price, price or None)
            detail: dict[str, Any] = {"reasons": [], "operator": {"actor": actor, "reason": reason}}
            decision = Decision(key, strategy_id, symbol, "operator", now, now, RATIONALE, detail)
            outcome = self._manager.place(decision, intent, flatten=permit)
            told.append(
                {
                    "symbol": symbol,
                    "strategy_id": strategy_id,
                    "side": terms.side,
                    "qty": plain(qty),
                    "client_order_id": key,
                    "outcome": outcome.kind,
                    "reason": outcome.reason,
                }
            )
        return told

    def _shares(self, symbol: str, held: Decimal) -> list[tuple[str, Decimal]]:
        """The broker's quantity, shared out among the strategies that hold in its direction."""
        left = abs(held)
        shares: list[tuple[str, Decimal]] = []
        for slot, position in self._manager.tracker.portfolio.positions():
            taken = min(abs(position.qty), left) if slot[1] == symbol and position.qty * held > 0 else _ZERO
            if taken and slot[0] != UNATTRIBUTED:
                shares.append((slot[0], taken))
                left -= taken
        return [*shares, (UNATTRIBUTED, left)] if left else shares
