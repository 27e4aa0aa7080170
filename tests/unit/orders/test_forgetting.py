"""What ended long ago is forgotten and changes nothing; memory stays flat over days; corrections still count."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from order_cases import ACCOUNT, MS, fill, intent, state

from torghut_runtime.clock import NANOSECONDS
from torghut_runtime.orders.booked_fills import BookedFill
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.tracker import OrderTracker

SLOT = ("s1", "AAPL")
DAY = 86_400 * NANOSECONDS


def at(second: int) -> str:
    return f"2026-01-05T14:{second // 60 % 60:02d}:{second % 60:02d}.{second // 3600:06d}Z"


def event(number: int, order: Intent, name: str, second: int, **extra: Any) -> bytes:
    filled = name in ("fill", "trade_bust") and extra.pop("filled", True)
    body = {
        "id": f"order-{number}", "client_order_id": order.client_order_id, "symbol": "AAPL", "side": order.terms.side,
        "qty": str(order.terms.qty), "status": {"fill": "filled", "trade_bust": "canceled"}.get(name, name),
        "filled_qty": str(order.terms.qty) if filled else "0", "submitted_at": at(second),
    }  # fmt: skip
    return msgspec.json.encode({"event": name, "timestamp": at(second), "order": body, **extra})


def trade(tracker: OrderTracker, number: int) -> list[bytes]:
    """Buy, or sell what was bought; the events."""
    side = "buy" if number % 2 == 0 else "sell"
    order = intent(number, side=side, qty=10)
    tracker.expect(order)
    events = [
        event(number, order, "new", 2 * number),
        event(number, order, "fill", 2 * number + 1, execution_id=f"x{number}", price=str(100 + number % 7), qty="10"),
    ]
    for each in events:
        tracker.apply(each)
    return events


def sizes(tracker: OrderTracker) -> int:
    """How many things tracker, book and portfolio hold."""
    parts: Sequence[Any] = [tracker, vars(tracker)["_book"], tracker.portfolio]
    found = 0
    for part in parts:
        names = getattr(part, "__dict__", None) or {name: getattr(part, name) for name in part.__slots__}
        for value in names.values():
            if hasattr(value, "__len__"):
                found += len(value)
                if isinstance(value, dict):
                    found += sum(len(each) for each in value.values() if isinstance(each, list | set | tuple))
    return found


def test_memory_stays_flat_over_days_of_orders() -> None:
    tracker = OrderTracker(ACCOUNT, Portfolio(Decimal(100_000)))
    after: list[int] = []
    for day in range(6):
        for number in range(day * 50, day * 50 + 50):
            trade(tracker, number)
        tracker.forget(intent(100_000 + day))
        tracker.forget_ended(day * DAY, 2 * DAY)
        after.append(sizes(tracker))
    assert after[5] == after[4] == after[3] > 0
    assert len(list(tracker.orders())) == 100


@given(st.lists(st.sampled_from(["trade", "forget"]), max_size=40))
def test_forgetting_changes_no_position_and_no_cash(steps: list[str]) -> None:
    forgetful, mindful = (OrderTracker(ACCOUNT, Portfolio(Decimal(100_000))) for _ in range(2))
    for number, step in enumerate(steps):
        if step == "trade":
            trade(forgetful, number)
            trade(mindful, number)
        else:
            forgetful.forget_ended(number, 0)
        ours, theirs = forgetful.portfolio, mindful.portfolio
        assert ours.position(SLOT) == theirs.position(SLOT)
        assert (ours.cash, ours.gross, ours.net) == (theirs.cash, theirs.gross, theirs.net)


def test_a_bust_of_a_forgotten_fill_takes_it_back() -> None:
    tracker = OrderTracker(ACCOUNT, Portfolio(Decimal(100_000)))
    events = trade(tracker, 0)
    order = intent(0, qty=10)
    stored = [each for value in events if (each := tracker.read(value)) is not None]
    tracker.recall = lambda order_id, _: (order, stored) if order_id == "order-0" else (None, [])
    tracker.forget_ended(0, 0)
    assert list(tracker.orders()) == []
    assert tracker.portfolio.position(SLOT).qty == 10
    assert tracker.apply(events[1]) is None
    assert tracker.portfolio.position(SLOT).qty == 10
    tracker.apply(event(0, order, "trade_bust", 50, previous_execution_id="x0", filled=False))
    assert tracker.portfolio.position(SLOT).qty == 0
    assert tracker.portfolio.cash == 100_000


def test_what_was_recalled_for_nothing_new_is_forgotten_again() -> None:
    tracker = OrderTracker(ACCOUNT, Portfolio(Decimal(100_000)))
    events = trade(tracker, 0)
    stored = [each for value in events if (each := tracker.read(value)) is not None]
    tracker.recall = lambda *_: (intent(0, qty=10), stored)
    tracker.forget_ended(0, 0)
    assert tracker.apply(events[1]) is None
    assert [order.order_id for order in tracker.orders()] == ["order-0"]
    tracker.forget_ended(1, 5)
    assert tracker.forget_ended(6, 5) == 1
    assert list(tracker.orders()) == []
    assert (tracker.portfolio.position(SLOT).qty, tracker.portfolio.cash) == (10, 99_000)


def test_an_order_that_is_open_is_never_forgotten() -> None:
    tracker = OrderTracker(ACCOUNT, Portfolio(Decimal(100_000)))
    order = intent(0, qty=10)
    tracker.expect(order)
    tracker.apply(event(0, order, "new", 1))
    assert tracker.forget_ended(0, 0) == 0
    assert tracker.portfolio.gross == 1_000


# Adjustments ----------------------------------------------------------------------------------------------------------


def split(number: int, at_ms: int, factor: str) -> BookedFill:
    return BookedFill.adjustment(number, at_ms * MS, Decimal(factor), Decimal(0), Decimal(0))


def test_a_split_stands_in_its_place_among_the_fills_whenever_they_come() -> None:
    orders = {"a": (10, 100, 1), "b": (20, 30, 5)}
    positions: list[Any] = []
    for first in (("a", "b"), ("b", "a")):
        portfolio = Portfolio(Decimal(10_000))
        portfolio.adjust(SLOT, split(1, 3, "4"))
        for name in first:
            qty, price, at_ms = orders[name]
            portfolio.update(name, None, "s1", state(fill(qty, price, at_ms), qty=qty, status="filled"))
        portfolio.adjust(SLOT, split(1, 3, "4"))
        positions.append((portfolio.position(SLOT), portfolio.cash))
    assert positions[0] == positions[1]
    assert (positions[0][0].qty, positions[0][0].average_entry) == (60, Decimal(80) / 3)


def test_a_booked_difference_is_worth_what_it_cost() -> None:
    portfolio = Portfolio(Decimal(1_000))
    portfolio.adjust(
        ("unattributed", "AAPL"), BookedFill.adjustment(1, MS, Decimal(1), Decimal(-3), Decimal(50))
    )  # fmt: skip
    portfolio.mark("AAPL", Decimal(50))
    assert (portfolio.symbol_qty("AAPL"), portfolio.cash, portfolio.equity) == (-3, 1_150, 1_000)


def test_changes_of_positions_are_told_once() -> None:
    tracker = OrderTracker(ACCOUNT, Portfolio(Decimal(100_000)))
    trade(tracker, 0)
    assert [(slot, position.qty) for slot, position in tracker.portfolio.take_changes()] == [(SLOT, 10)]
    assert tracker.portfolio.take_changes() == []
