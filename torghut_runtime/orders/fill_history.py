"""Fills that the broker remembers and nobody has heard here: after a process died with events that were not stored.

An order's own word says how much of it is filled and at what average; which fills that were is told by the account's
activities alone. When to ask for them is the caller's business.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from torghut_runtime.broker.protocol import Document
from torghut_runtime.order_feed.broker_answers import OVERLAP, activity_update, asked_since, value_of
from torghut_runtime.orders.journal import EventSink
from torghut_runtime.orders.tracker import OrderTracker

Fills = Callable[[datetime, datetime], Iterable[Document]]
"""The account's fill activities of a span of time; raises ``UpstreamError``."""


def take_fills(
    tracker: OrderTracker, events: EventSink, fills: Fills, newest_event_at: datetime | None, now: datetime
) -> int:
    """Fold the fills of known orders since the newest stored event and hand them on; how many were new.

    A fill that the stream has told before is the same one and counts once.

    Raises:
        UpstreamError: the broker does not answer; nothing was taken.
        StoreUnavailableError: too much waits to be stored.
    """
    fresh: list[bytes] = []
    for activity in list(fills(asked_since(newest_event_at, now), now + OVERLAP)):
        value = value_of(activity_update(activity))
        event = tracker.read(value)
        if event is not None and tracker.order(str(event.order_id)) is not None and not tracker.knows(event):
            fresh.append(value)
            tracker.apply(value)
    if fresh:
        events.take(fresh, "backfill")
    return len(fresh)
