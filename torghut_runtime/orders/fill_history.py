"""Fills that the broker remembers and nobody has heard here: after a process died with events that were not stored.

An order's own word says how much of it is filled and at what average; which fills that were is told by the account's
activities alone. Asking for them is the caller's business.
"""

from collections.abc import Iterable

from torghut_runtime.broker.protocol import Document
from torghut_runtime.order_feed.broker_answers import activity_update, value_of
from torghut_runtime.orders.journal import EventSink
from torghut_runtime.orders.tracker import OrderTracker


def take_fills(tracker: OrderTracker, events: EventSink, activities: Iterable[Document]) -> int:
    """Fold the fills of orders that are known and hand them on; how many were new.

    A fill that the stream has told before is the same one and counts once.

    Raises:
        StoreUnavailableError: too much waits to be stored.
    """
    fresh: list[bytes] = []
    for activity in activities:
        value = value_of(activity_update(activity))
        event = tracker.read(value)
        if event is not None and tracker.order(str(event.order_id)) is not None and not tracker.knows(event):
            fresh.append(value)
            tracker.apply(value)
    if fresh:
        events.take(fresh, "backfill")
    return len(fresh)
