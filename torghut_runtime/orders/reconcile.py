"""After a restart: the view of the process before, and what it left half done.

What is then compared with the broker, again and again, is :mod:`torghut_runtime.orders.reconciler`. Nothing here sends
an order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.broker.protocol import Document
from torghut_runtime.clock import nanoseconds_of
from torghut_runtime.market.timeframe import DAILY
from torghut_runtime.order_feed.event import OrderEvent
from torghut_runtime.orders.booked_fills import BookedFill
from torghut_runtime.orders.journal import StoredIntent
from torghut_runtime.orders.manager import NOT_RECEIVED, OrderManager
from torghut_runtime.orders.model import plain
from torghut_runtime.orders.positions import Slot
from torghut_runtime.orders.tracker import OrderTracker

MISSING: Final = "order_missing_at_broker"
STATUS: Final = "status_mismatch"
FILLED: Final = "filled_qty_mismatch"
POSITION: Final = "position_qty_mismatch"
ACCOUNT: Final = "account_mismatch"
OF_ORDERS: Final = (MISSING, STATUS, FILLED, ACCOUNT)
"""What a pass finds without looking at positions."""
OF_POSITIONS: Final = (POSITION, "split_unreconciled")
KINDS: Final = (*OF_ORDERS, *OF_POSITIONS)
"""Discrepancies that a pass opens and closes; the others are the fold's."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One thing that we and the broker see differently; quantities as text."""

    kind: str
    symbol: str | None
    order_id: str | None
    ours: dict[str, Any]
    broker: dict[str, Any]


def restore(
    tracker: OrderTracker,
    intents: Iterable[StoredIntent],
    events: Iterable[OrderEvent],
    entries: Iterable[tuple[Slot, BookedFill]] = (),
) -> None:
    """Make the view of a new process that of the one before.

    Intents are known, what open ones may need is held back, events are folded, and what forgotten orders traded and
    reconciliations booked (``entries``) stands in its place among the fills.
    """
    for stored in intents:
        if stored.is_over:
            tracker.know(stored.intent)
        else:
            tracker.expect(stored.intent)
    tracker.restore(events, entries)
    tracker.portfolio.take_changes()


def resolve_left(manager: OrderManager, intents: Sequence[StoredIntent]) -> list[StoredIntent]:
    """Settle what an earlier process left half done; returns what is still to be sent or to be watched.

    An intent that was never marked as sent was not sent: queued orders, those of daily decisions and exits go on, other
    entries are over. One that was may have arrived: it is looked up at once, and an exit that has not goes on, too. An
    order with a limit still has a time to live. :meth:`~torghut_runtime.engine.dispatcher.Dispatcher.take_over` goes on
    with what is returned.
    """
    left: list[StoredIntent] = []
    for stored in intents:
        if stored.is_over:
            continue
        if manager.tracker.order_of(stored.intent.client_order_id) is not None:
            left.append(stored)
        elif stored.state == "initialised":
            if _waits(stored):
                left.append(stored)
            else:
                manager.refuse(stored.intent, NOT_RECEIVED)
        elif stored.sent_at is not None:
            manager.adopt_unknown(stored.intent, nanoseconds_of(stored.sent_at), goes_on=goes_on(stored))
            left.append(stored)
    manager.resolve()
    return left


def goes_on(stored: StoredIntent) -> bool:
    """Whether an intent that was marked as sent, and did not arrive, is sent all the same: an exit within a session."""
    is_opening = stored.intent.terms.time_in_force == "opg"
    return stored.intent.is_exit and not is_opening and stored.decision is not None


def _waits(stored: StoredIntent) -> bool:
    daily = stored.decision is not None and stored.decision.timeframe == DAILY
    return stored.intent.is_exit or daily or stored.intent.terms.time_in_force == "opg"


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
