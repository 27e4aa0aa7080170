"""After a restart, and every few seconds: what we believe of orders and positions against what the broker says.

Nothing here sends an order. What the broker says of an order goes through the fold like everything else; what cannot be
explained that way is a discrepancy, and is told.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.broker.protocol import BrokerReader, Document
from torghut_runtime.clock import nanoseconds_of
from torghut_runtime.orders.journal import StoredIntent
from torghut_runtime.orders.manager import NOT_RECEIVED, OrderManager
from torghut_runtime.orders.model import plain
from torghut_runtime.orders.tracker import OrderTracker

MISSING: Final = "order_missing_at_broker"
POSITION: Final = "position_qty_mismatch"
KINDS: Final = (MISSING, POSITION)
"""Discrepancies that a pass opens and closes; the others are the fold's."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One thing that we and the broker see differently; quantities as text."""

    kind: str
    symbol: str | None
    order_id: str | None
    ours: dict[str, Any]
    broker: dict[str, Any]


def restore(tracker: OrderTracker, intents: Iterable[StoredIntent], events: Iterable[bytes]) -> None:
    """Make the view of a new process that of the one before: intents known, open ones held back, events folded."""
    for stored in intents:
        if stored.is_over:
            tracker.know(stored.intent)
        else:
            tracker.expect(stored.intent)
    for event in events:
        tracker.apply(event)


def resolve_left(manager: OrderManager, intents: Sequence[StoredIntent]) -> list[StoredIntent]:
    """Settle what an earlier process left half done; returns queued orders, which are still to be sent.

    An intent that was never marked as sent was not sent. One that was may have arrived: it is looked up at once.
    """
    queued: list[StoredIntent] = []
    for stored in intents:
        if stored.is_over or manager.tracker.order_of(stored.intent.client_order_id) is not None:
            continue
        if stored.state == "initialised" and stored.intent.terms.time_in_force == "opg":
            queued.append(stored)
        elif stored.state == "initialised":
            manager.refuse(stored.intent, NOT_RECEIVED)
        elif stored.sent_at is not None:
            manager.adopt_unknown(stored.intent, nanoseconds_of(stored.sent_at))
    manager.resolve()
    return queued


def reconcile(manager: OrderManager, reader: BrokerReader, *, after: str | None = None) -> list[Discrepancy]:
    """One pass: all orders open now or submitted after a time, then positions; what remains unexplained.

    Raises:
        BrokerError: the broker does not answer; nothing is concluded.
    """
    began = time.perf_counter()
    tracker = manager.tracker
    positions = reader.positions()
    seen = {document["id"]: document for document in (*reader.orders(after=after), *reader.open_orders())}
    for document in seen.values():
        manager.take(document)
    found: list[Discrepancy] = []
    for order in tracker.open_orders():
        client_id = None if order.intent is None else order.intent.client_order_id
        if order.order_id in seen or client_id is None:
            continue
        document = reader.order_by_client_id(client_id)
        if document is not None:
            manager.take(document)
        else:
            ours = {"status": order.state.status, "client_order_id": client_id}
            found.append(Discrepancy(MISSING, order.state.symbol, order.order_id, ours, {}))
    manager.metrics.reconcile_took(time.perf_counter() - began)
    return [*found, *position_differences(tracker, positions)]


def position_differences(tracker: OrderTracker, positions: Iterable[Document]) -> list[Discrepancy]:
    """Symbols in which our sum over all strategies is not what the broker holds."""
    theirs = {document["symbol"]: Decimal(document["qty"]) for document in positions}
    ours = {slot[1] for slot, _ in tracker.portfolio.positions()}
    found: list[Discrepancy] = []
    for symbol in sorted(ours | set(theirs)):
        we, they = tracker.portfolio.symbol_qty(symbol), theirs.get(symbol, Decimal(0))
        if we != they:
            found.append(Discrepancy(POSITION, symbol, None, {"qty": plain(we)}, {"qty": plain(they)}))
    return found
