"""The engine's view of its orders: broker events folded in memory, and the portfolio that follows from them.

The fold is the order feed's own (:mod:`torghut_runtime.order_feed.book`); this view writes no table. Orders that ended
long ago can be forgotten, and are recalled from the store should the broker speak of them again. Which orders there
should be is the order manager's business.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from torghut_runtime.broker.protocol import Document
from torghut_runtime.order_feed.book import OrderBook, OrderRef
from torghut_runtime.order_feed.envelope import decode
from torghut_runtime.order_feed.event import ORDER_SNAPSHOT, TERMINAL, OrderEvent
from torghut_runtime.order_feed.state import OrderState
from torghut_runtime.orders.booked_fills import BookedFill
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.positions import UNATTRIBUTED, OrderTrade, Slot

Recall = Callable[[str, str | None], tuple[Intent | None, Sequence[OrderEvent]]]
"""What is stored of an order: its intent where it is ours, and its events; by the broker's id and the client's."""


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


def _owner(intent: Intent | None) -> str:
    return UNATTRIBUTED if intent is None else intent.strategy_id


def snapshot_event(document: Document) -> bytes:
    """A broker's answer about an order as an event of the order feed."""
    return msgspec.json.encode({"event": ORDER_SNAPSHOT, "order": document})


class OrderTracker:
    """Folds events and keeps the portfolio in step."""

    def __init__(self, account_label: str, portfolio: Portfolio) -> None:
        self.portfolio = portfolio
        self.recall: Recall | None = None
        """Asked about an order that is not known here; needed where orders are forgotten."""
        self._account_label = account_label
        self._book = OrderBook()
        self._intents: dict[str, Intent] = {}
        self._orders: dict[str, TrackedOrder] = {}
        self._open: dict[str, TrackedOrder] = {}
        self._by_client_id: dict[str, str] = {}
        self._over: dict[str, None] = {}
        """Client ids (ids where there is none) of what has ended since the last sweep."""
        self._leaving: deque[tuple[int, str]] = deque()
        self._left_at: dict[str, int] = {}

    def expect(self, intent: Intent) -> None:
        """An intent is about to become an order: what it may need is held back from now on."""
        self._intents[intent.client_order_id] = intent
        self.portfolio.reserve(intent)

    def know(self, intent: Intent) -> None:
        """An intent of an earlier process: its order is ours, and nothing is held back for it."""
        self._intents[intent.client_order_id] = intent
        self._over[intent.client_order_id] = None

    def forget(self, intent: Intent) -> None:
        """An intent has become no order; should one turn up after all, it is ours."""
        self.portfolio.release(intent.client_order_id)
        self._over[intent.client_order_id] = None

    def is_exit(self, client_order_id: str) -> bool | None:
        """Whether an intent of ours is an exit, None where it is none of ours; from any thread."""
        intent = self._intents.get(client_order_id)
        return None if intent is None else intent.is_exit

    def restore(self, events: Iterable[OrderEvent], entries: Iterable[tuple[Slot, BookedFill]] = ()) -> None:
        """Take all that is stored, each event once; ``entries``: what was traded or booked beside these orders."""
        self._book.load(events)
        traded: list[OrderTrade] = []
        for ref in self._book.refs():
            if ref[1] is None:
                continue
            tracked, client_id = self._seen(ref)
            intent = tracked.intent
            if intent is not None and tracked.is_open and not self.portfolio.is_reserved(intent.client_order_id):
                self.portfolio.reserve(intent)
            if not tracked.is_open:
                self._over[tracked.order_id if client_id is None else client_id] = None
            traded.append((tracked.order_id, client_id, _owner(intent), tracked.state))
        self.portfolio.restore(traded, entries)
        for each in self.open_orders():
            if each.intent is None:
                self.portfolio.hold_foreign(each.order_id, each.state)

    def apply(self, value: bytes) -> TrackedOrder | None:
        """Take one event; the order that it changed, None where it changed none or cannot be read."""
        event = self.read(value)
        return None if event is None else self.take(event)

    def take(self, event: OrderEvent) -> TrackedOrder | None:
        """Take one event that has been read; as :meth:`apply`."""
        if self.knows(event):
            return None
        if event.order_id is not None and event.order_id not in self._orders:
            self._remember(event.order_id, event.client_order_id)
            if self.knows(event):
                return None
        return self._place(event)

    def read(self, value: bytes) -> OrderEvent | None:
        """The event that a message is, None where it is none."""
        event = decode(value, account_label=self._account_label)
        return event if isinstance(event, OrderEvent) else None

    def knows(self, event: OrderEvent) -> bool:
        """Whether an event has been taken already."""
        return self._book.event(event.fingerprint) is not None

    def repeats(self, snapshot: OrderEvent) -> bool:
        """Whether an answer about an order says nothing that was not taken already, as itself or with another event."""
        return self.knows(snapshot) or self._book.repeats(snapshot)

    def _place(self, event: OrderEvent) -> TrackedOrder | None:
        ref = self._book.add(event).ref
        if ref[1] is None:
            return None
        tracked, client_id = self._seen(ref)
        intent, order_id = tracked.intent, tracked.order_id
        if intent is None and tracked.is_open:
            self.portfolio.hold_foreign(order_id, tracked.state)
        elif intent is None:
            self.portfolio.release(order_id)
        elif tracked.is_open and not self.portfolio.is_reserved(intent.client_order_id):
            # Given up, and here after all.
            self.portfolio.reserve(intent)
        self.portfolio.update(order_id, client_id, _owner(intent), tracked.state)
        if not tracked.is_open:
            self._over[order_id if client_id is None else client_id] = None
        return tracked

    def _seen(self, ref: OrderRef) -> tuple[TrackedOrder, str | None]:
        order = self._book.order(ref)
        order_id, client_id = ref[1] or "", order.client_order_id
        intent = None if client_id is None else self._intents.get(client_id)
        tracked = TrackedOrder(order_id, intent, order.state)
        self._orders[order_id] = tracked
        if tracked.is_open:
            self._open[order_id] = tracked
        else:
            self._open.pop(order_id, None)
        if client_id is not None:
            self._by_client_id[client_id] = order_id
        return tracked, client_id

    # Forgetting -------------------------------------------------------------------------------------------------------

    def forget_ended(self, now_ns: int, keep_ns: int) -> int:
        """Forget orders and intents that ended at least ``keep_ns`` before a sweep; how many it were."""
        for key in self._over:
            self._left_at[key] = now_ns
            self._leaving.append((now_ns, key))
        self._over.clear()
        forgotten = 0
        while self._leaving and self._leaving[0][0] <= now_ns - keep_ns:
            at, key = self._leaving.popleft()
            if self._left_at.get(key) == at:
                del self._left_at[key]
                forgotten += self._forget(key)
        return forgotten

    def _forget(self, key: str) -> bool:
        order_id = self._by_client_id.get(key, key)
        order = self._orders.get(order_id)
        if order is not None and order.is_open:
            return False
        self._intents.pop(key, None)
        if order is not None:
            del self._orders[order_id]
            self._book.forget((self._account_label, order_id, None))
            self.portfolio.settle(order_id)
        self._by_client_id.pop(key, None)
        return True

    def drop(self, order: TrackedOrder) -> None:
        """Keep nothing of an order that has ended and of which no event comes any more; what it traded stays booked."""
        key = order.order_id if order.intent is None else order.intent.client_order_id
        self._over.pop(key, None)
        self._forget(key)

    def _remember(self, order_id: str, client_id: str | None) -> None:
        """Take up again what is stored of an order that is not known here; nothing for one of our newest intents."""
        if self.recall is None or client_id in self._intents:
            return
        intent, stored = self.recall(order_id, client_id)
        if intent is not None:
            self._intents[intent.client_order_id] = intent
        events = [event for event in stored if not self.knows(event)]
        self._book.load(events)
        ref: OrderRef = (self._account_label, order_id, None)
        if not events or ref not in self._book:
            return
        tracked, client_id = self._seen(ref)
        self.portfolio.recall(order_id, _owner(intent), tracked.state)
        if not tracked.is_open:
            self._over[order_id if client_id is None else client_id] = None

    # What is known ----------------------------------------------------------------------------------------------------

    def order_of(self, client_order_id: str) -> TrackedOrder | None:
        """The broker's order of an intent, None while none is known."""
        order_id = self._by_client_id.get(client_order_id)
        return None if order_id is None else self._orders[order_id]

    def order(self, order_id: str) -> TrackedOrder | None:
        """An order by the broker's id."""
        return self._orders.get(order_id)

    def orders(self) -> Iterator[TrackedOrder]:
        """Every order that is known, in the order in which they turned up."""
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
