"""The engine's view of its orders: broker events folded in memory, and the portfolio that follows from them.

The fold is the order feed's own (:mod:`torghut_runtime.order_feed.book`); this view writes no table. Which orders there
should be is the order manager's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from torghut_runtime.broker.protocol import Document
from torghut_runtime.order_feed.book import OrderBook
from torghut_runtime.order_feed.envelope import decode
from torghut_runtime.order_feed.event import ORDER_SNAPSHOT, TERMINAL, OrderEvent
from torghut_runtime.order_feed.state import OrderState
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.portfolio import UNATTRIBUTED, Portfolio, Slot


@dataclass(frozen=True, slots=True)
class TrackedOrder:
    """An order at the broker; ``intent`` is None where it is none of ours."""

    order_id: str
    intent: Intent | None
    state: OrderState

    @property
    def is_open(self) -> bool:
        """Whether it may still trade."""
        return self.state.status not in TERMINAL


def snapshot_event(document: Document) -> bytes:
    """A broker's answer about an order as an event of the order feed."""
    return msgspec.json.encode({"event": ORDER_SNAPSHOT, "order": document})


class OrderTracker:
    """Folds events and keeps the portfolio in step."""

    def __init__(self, account_label: str, portfolio: Portfolio) -> None:
        self.portfolio = portfolio
        self._account_label = account_label
        self._book = OrderBook()
        self._intents: dict[str, Intent] = {}
        self._orders: dict[str, TrackedOrder] = {}
        self._open: dict[str, TrackedOrder] = {}
        self._by_client_id: dict[str, str] = {}

    def expect(self, intent: Intent) -> None:
        """An intent is about to become an order: what it may need is held back from now on."""
        self._intents[intent.client_order_id] = intent
        self.portfolio.reserve(intent)

    def know(self, intent: Intent) -> None:
        """An intent of an earlier process: its order is ours, and nothing is held back for it."""
        self._intents[intent.client_order_id] = intent

    def forget(self, intent: Intent) -> None:
        """An intent has become no order; should one turn up after all, it is ours."""
        self.portfolio.release(intent.client_order_id)

    def is_exit(self, client_order_id: str) -> bool | None:
        """Whether an intent of ours is an exit, None where it is none of ours; from any thread."""
        intent = self._intents.get(client_order_id)
        return None if intent is None else intent.is_exit

    def apply(self, value: bytes) -> TrackedOrder | None:
        """Take one event; the order that it changed, None where it changed none or cannot be read."""
        event = decode(value, account_label=self._account_label)
        if not isinstance(event, OrderEvent) or self._book.event(event.fingerprint) is not None:
            return None
        ref = self._book.add(event).ref
        if ref[1] is None:
            return None
        order = self._book.order(ref)
        client_id = order.client_order_id
        intent = None if client_id is None else self._intents.get(client_id)
        tracked = TrackedOrder(ref[1], intent, order.state)
        self._orders[ref[1]] = tracked
        if tracked.is_open:
            self._open[ref[1]] = tracked
        else:
            self._open.pop(ref[1], None)
        if client_id is not None:
            self._by_client_id[client_id] = ref[1]
        owner = UNATTRIBUTED if intent is None else intent.strategy_id
        self.portfolio.update(ref[1], client_id, owner, order.state)
        return tracked

    def drop(self, order: TrackedOrder) -> None:
        """Keep nothing of an order that has ended and of which no event comes any more; what it traded stays booked."""
        self._book.forget((self._account_label, order.order_id, None))
        self._orders.pop(order.order_id, None)
        self.portfolio.settle(order.order_id)
        if order.intent is not None:
            self._intents.pop(order.intent.client_order_id, None)
            self._by_client_id.pop(order.intent.client_order_id, None)

    def order_of(self, client_order_id: str) -> TrackedOrder | None:
        """The broker's order of an intent, None while none is known."""
        order_id = self._by_client_id.get(client_order_id)
        return None if order_id is None else self._orders[order_id]

    def orders(self) -> Iterator[TrackedOrder]:
        """Every order that was ever seen, in the order in which they turned up."""
        return iter(self._orders.values())

    def open_orders(self) -> list[TrackedOrder]:
        """Orders that may still trade, foreign ones included."""
        return list(self._open.values())

    def open_entries(self, slot: Slot | None = None) -> list[TrackedOrder]:
        """Open entries of ours, of one strategy and symbol where a slot is given."""
        return [
            order
            for order in self.open_orders()
            if order.intent is not None
            and not order.intent.is_exit
            and (slot is None or (order.intent.strategy_id, order.intent.terms.symbol) == slot)
        ]
