"""Fills that the broker remembers and nobody has heard here: the process was killed, or the stream was away.

An order's own word says how much of it is filled and at what average; which fills that were is told by the account's
activities alone. An order that says more than its known fills come to lacks some. When to ask is the caller's business.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final

from torghut_runtime.broker.protocol import Document
from torghut_runtime.clock import moment_of
from torghut_runtime.order_feed.broker_answers import OVERLAP, WITHOUT_WATERMARK, activity_update, asked_since, value_of
from torghut_runtime.orders.journal import EventSink
from torghut_runtime.orders.tracker import OrderTracker, TrackedOrder

Fills = Callable[[datetime, datetime], Iterable[Document]]
"""The account's fill activities of a span of time; raises ``UpstreamError``."""
AHEAD: Final = OVERLAP
"""So far beyond our time fills are asked for: the broker's may be ahead."""
TRIES: Final = 10
"""After so many answers that do not bring them, fills of an order are not asked for again."""


def take_fills(
    tracker: OrderTracker, events: EventSink, fills: Fills, newest_event_at: datetime | None, now: datetime
) -> int:
    """Fold the fills of known orders since the newest stored event, and all that are missing; how many were new.

    Raises:
        UpstreamError: the broker does not answer; nothing was taken.
        StoreUnavailableError: too much waits to be stored.
    """
    since = asked_since(newest_event_at, now)
    missing = missing_since(tracker.lacking(), None, now)
    told = list(fills(since if missing is None else min(since, missing), now + AHEAD))
    return fold_fills(tracker, events, (each for each in told if tracker.order(str(each.get("order_id"))) is not None))


def fold_fills(tracker: OrderTracker, events: EventSink, activities: Iterable[Document]) -> int:
    """Fold fills and hand them on; how many were new.

    A fill that the stream has told before is the same one and counts once.

    Raises:
        StoreUnavailableError: too much waits to be stored.
    """
    fresh: list[bytes] = []
    for activity in activities:
        value = value_of(activity_update(activity))
        event = tracker.read(value)
        if event is not None and not tracker.knows(event):
            fresh.append(value)
            tracker.take(event)
    if fresh:
        events.take(fresh, "backfill")
    return len(fresh)


def missing_since(lacking: Iterable[TrackedOrder], whole_at: datetime | None, now: datetime) -> datetime | None:
    """From when on fills are missing, a day back at most; None where no order lacks any.

    ``whole_at``: until then none was missing.
    """
    submitted = [order.state.submitted_ns or 0 for order in lacking]
    if not submitted:
        return None
    since = max(moment_of(min(submitted)) - OVERLAP, now - WITHOUT_WATERMARK)
    return since if whole_at is None else max(since, whole_at - OVERLAP)


class MissedFills:
    """Keeps, while it trades, since when fills may be missing, and which the broker does not tell. Trading thread."""

    def __init__(self, tracker: OrderTracker, events: EventSink) -> None:
        self._tracker = tracker
        self._events = events
        self._whole_at: datetime | None = None
        self._untold: dict[tuple[str, Decimal], int] = {}

    def since(self, now: datetime) -> datetime | None:
        """From when on to ask for fills; None where no order lacks any."""
        return missing_since(self._lacking(), self._whole_at, now)

    def take(self, activities: Iterable[Document]) -> int:
        """Take the answer; how many fills were new.

        Raises:
            StoreUnavailableError: too much waits to be stored.
        """
        lacking = {order.order_id for order in self._lacking()}
        count = fold_fills(
            self._tracker, self._events, (each for each in activities if str(each.get("order_id")) in lacking)
        )
        left = {_key(order) for order in self._tracker.lacking()}
        self._untold = {key: self._untold.get(key, 0) + (key[0] in lacking) for key in left}
        return count

    def compared(self, at: datetime) -> bool:
        """Orders were compared with what the broker said at a time or later; whether one lacks fills."""
        if self._lacking():
            return True
        self._whole_at = at
        return False

    def _lacking(self) -> list[TrackedOrder]:
        return [order for order in self._tracker.lacking() if self._untold.get(_key(order), 0) < TRIES]


def _key(order: TrackedOrder) -> tuple[str, Decimal]:
    return order.order_id, order.state.filled_qty
