"""Fills that nobody has heard here are taken from the account's activities: all that were asked for, or none."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.event import Source
from torghut_runtime.orders.fill_history import take_fills
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
