"""Fills that nobody has heard here are taken from the account's activities: all that were asked for, or none.

While it trades they are asked for as long as an order says that it is filled by more than is known of it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.event import Source
from torghut_runtime.orders.fill_history import TRIES, MissedFills, take_fills
from torghut_runtime.orders.journal import NoEvents
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.tracker import OrderTracker

NOW = datetime(2026, 1, 5, 15, tzinfo=UTC)
ORDER = {
    "id": "order-0", "client_order_id": "somebody", "symbol": "AAPL", "side": "buy", "type": "limit", "qty": "10",
    "time_in_force": "day", "limit_price": "101", "status": "new", "filled_qty": "0",
    "submitted_at": "2026-01-05T14:30:00Z", "updated_at": "2026-01-05T14:30:00Z",
}  # fmt: skip


def activity(number: int, order_id: str = "order-0") -> dict[str, Any]:
    return {
        "activity_type": "FILL", "id": f"20260105000000000::x{number}", "order_id": order_id, "symbol": "AAPL",
        "side": "buy", "type": "partial_fill", "price": "100", "qty": "2", "cum_qty": str(2 * number),
        "leaves_qty": str(10 - 2 * number), "order_status": "partially_filled",
        "transaction_time": f"2026-01-05T14:3{number}:00Z",
    }  # fmt: skip


class Kept(NoEvents):
    def __init__(self) -> None:
        self.values: list[tuple[bytes, Source]] = []

    def take(self, values: Sequence[bytes], source: Source) -> None:
        self.values.extend((value, source) for value in values)


def known() -> OrderTracker:
    tracker = OrderTracker("paper", Portfolio(Decimal(100_000)))
    tracker.apply(msgspec.json.encode({"event": "new", "timestamp": "2026-01-05T14:30:00Z", "order": ORDER}))
    return tracker


def test_a_page_that_does_not_come_leaves_all_fills_to_the_next_time() -> None:
    tracker, events = known(), Kept()

    def broken(_since: datetime, _until: datetime) -> Iterator[dict[str, Any]]:
        yield activity(1)
        raise UpstreamError("no page")

    with pytest.raises(UpstreamError):
        take_fills(tracker, events, broken, None, NOW)
    assert (events.values, tracker.portfolio.symbol_qty("AAPL")) == ([], 0)
    answers = [activity(1), activity(2), activity(1, "nobody's")]
    assert take_fills(tracker, events, lambda *_: answers, None, NOW) == 2
    assert [source for _, source in events.values] == ["backfill"] * 2
    assert tracker.portfolio.symbol_qty("AAPL") == 4
    assert take_fills(tracker, events, lambda *_: answers, None, NOW) == 0


@pytest.mark.parametrize(("newest", "since"), [(None, NOW - timedelta(hours=24)), (NOW, NOW - timedelta(minutes=5))])
def test_it_is_asked_from_shortly_before_what_is_known(newest: datetime | None, since: datetime) -> None:
    asked: list[tuple[datetime, datetime]] = []

    def fills(after: datetime, until: datetime) -> list[dict[str, Any]]:
        asked.append((after, until))
        return []

    take_fills(known(), Kept(), fills, newest, NOW)
    assert asked == [(since, NOW + timedelta(minutes=5))]


# While it trades ------------------------------------------------------------------------------------------------------


def says(
    tracker: OrderTracker, filled: int, order_id: str = "order-0", submitted: str = "2026-01-05T14:30:00Z"
) -> None:
    """The broker's word on an order, without its fills."""
    order = {**ORDER, "id": order_id, "filled_qty": str(filled), "filled_avg_price": "100", "submitted_at": submitted}
    order |= {"status": "partially_filled", "updated_at": f"2026-01-05T14:5{filled // 2}:00Z"}
    tracker.apply(msgspec.json.encode({"event": "order_snapshot", "order": order}))


def test_as_long_as_an_order_says_more_than_its_fills_come_to_they_are_missing() -> None:
    tracker, events = known(), Kept()
    missed = MissedFills(tracker, events)
    assert (missed.since(NOW), missed.compared(NOW)) == (None, False)
    says(tracker, 4)
    assert missed.compared(NOW)
    assert missed.take([activity(1), activity(1, "another")]) == 1
    assert missed.compared(NOW)
    assert missed.take([activity(1), activity(2)]) == 1
    assert (missed.since(NOW), missed.compared(NOW)) == (None, False)
    assert [source for _, source in events.values] == ["backfill"] * 2
    assert tracker.portfolio.symbol_qty("AAPL") == 4


def test_they_are_asked_for_since_the_order_since_none_was_missing_or_for_a_day() -> None:
    tracker = known()
    missed = MissedFills(tracker, Kept())
    says(tracker, 2)
    overlap, submitted = timedelta(minutes=5), datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    assert missed.since(NOW) == submitted - overlap
    a_day_later = submitted - overlap + timedelta(days=1)
    assert missed.since(a_day_later) == submitted - overlap
    assert missed.since(a_day_later + timedelta(minutes=1)) == submitted - overlap + timedelta(minutes=1)
    missed.take([activity(1)])
    missed.compared(NOW)
    says(tracker, 4)
    assert missed.since(NOW + timedelta(minutes=10)) == NOW - overlap
    says(tracker, 2, "order-1", "2026-01-05T14:00:00Z")
    assert missed.since(NOW + timedelta(minutes=10)) == NOW - overlap


def test_after_ten_answers_without_them_they_are_given_up_until_the_order_says_more() -> None:
    tracker = known()
    missed = MissedFills(tracker, Kept())
    says(tracker, 2)
    for _ in range(TRIES - 1):
        missed.take([])
    assert missed.compared(NOW)
    missed.take([])
    assert not missed.compared(NOW)
    assert missed.since(NOW) is None
    says(tracker, 4)
    assert missed.since(NOW) is not None
    assert missed.take([activity(1), activity(2)]) == 2
    assert missed.since(NOW) is None


def test_a_start_asks_as_far_back_as_fills_are_missing() -> None:
    tracker = known()
    says(tracker, 2)
    asked: list[datetime] = []

    def fills(after: datetime, _until: datetime) -> list[dict[str, Any]]:
        asked.append(after)
        return [activity(1)]

    newest = NOW + timedelta(hours=1)
    assert take_fills(tracker, Kept(), fills, newest, newest) == 1
    take_fills(tracker, Kept(), fills, newest, newest)
    overlap = timedelta(minutes=5)
    assert asked == [datetime(2026, 1, 5, 14, 30, tzinfo=UTC) - overlap, newest - overlap]


def test_what_a_forgotten_order_lacks_is_not_missed() -> None:
    tracker = known()
    says(tracker, 2)
    ended = {**ORDER, "filled_qty": "2", "status": "canceled", "updated_at": "2026-01-05T14:59:00Z"}
    tracker.apply(msgspec.json.encode({"event": "order_snapshot", "order": ended}))
    missed = MissedFills(tracker, Kept())
    tracker.forget_ended(0, 10)
    tracker.forget_ended(9, 10)
    assert missed.compared(NOW)
    tracker.forget_ended(10, 10)
    assert not missed.compared(NOW)
