"""At what price orders trade, on both sides of every threshold; bars are (open, high, low, close)."""

from decimal import Decimal

import pytest
from simulated_days import MINUTE, OPEN, Watched, flat, minute_bars, tape_of

QUIET = (100.0, 100.0, 100.0, 100.0)
RANGE = (100.0, 102.0, 98.0, 101.0)


def prices(watched: Watched) -> list[str]:
    return [str(price) for _, price in watched.fills()]


def test_a_market_order_buys_at_the_ask_around_the_next_opening_print() -> None:
    day = Watched(tape_of(*minute_bars([QUIET, (101.0, 103.0, 99.0, 102.0)], spread=0.10)))
    day.broker.step()
    day.order("buy")
    day.broker.step()
    assert prices(day) == ["101.05"]


def test_a_market_order_sells_at_the_bid_and_never_outside_the_bar() -> None:
    day = Watched(tape_of(*minute_bars([QUIET, QUIET, (101.0, 103.0, 100.98, 102.0)], spread=0.10)))
    day.broker.step()
    day.order("buy")
    day.broker.step()
    day.order("sell")
    day.broker.step()
    assert prices(day) == ["100", "100.98"]


@pytest.mark.parametrize(
    ("side", "limit", "expected"),
    [
        ("buy", "97.99", []),
        ("buy", "98", ["98"]),
        ("buy", "99.5", ["99.5"]),
        ("buy", "100.01", ["100.01"]),
        ("buy", "150", ["100.01"]),
        ("sell", "102.01", []),
        ("sell", "102", ["102"]),
        ("sell", "99.99", ["99.99"]),
        ("sell", "50", ["99.99"]),
    ],
)
def test_a_limit_trades_when_touched_at_its_price_and_at_the_open_if_that_is_better(
    side: str, limit: str, expected: list[str]
) -> None:
    day = Watched(tape_of(*minute_bars([QUIET, RANGE], spread=0.02)))
    day.broker.step()
    day.order(side, type="limit", limit_price=limit)
    day.broker.step()
    assert prices(day) == expected


@pytest.mark.parametrize(
    ("side", "stop", "expected"),
    [
        ("buy", "102.01", []),
        ("buy", "102", ["102"]),
        ("buy", "101", ["101"]),
        ("buy", "100", ["100.01"]),
        ("buy", "90", ["100.01"]),
        ("sell", "97.99", []),
        ("sell", "98", ["98"]),
        ("sell", "99", ["99"]),
        ("sell", "100", ["99.99"]),
        ("sell", "110", ["99.99"]),
    ],
)
def test_a_stop_trades_where_it_is_reached_and_through_a_gap_at_the_open(
    side: str, stop: str, expected: list[str]
) -> None:
    day = Watched(tape_of(*minute_bars([QUIET, RANGE], spread=0.02)))
    day.broker.step()
    day.order(side, type="stop", stop_price=stop)
    day.broker.step()
    assert prices(day) == expected


@pytest.mark.parametrize(
    ("stop", "limit", "expected"),
    [
        ("101", "101", ["101"]),
        ("101", "101.5", ["101"]),
        ("101", "100.99", []),  # set off in the bar, but what the price did afterwards is not known
        ("99", "100", ["100"]),  # a gap sets it off at the open; the limit is touched afterwards
        ("99", "101", ["100.01"]),
        ("103", "104", []),
    ],
)
def test_a_stop_limit_becomes_a_limit_once_it_is_set_off(stop: str, limit: str, expected: list[str]) -> None:
    day = Watched(tape_of(*minute_bars([QUIET, RANGE], spread=0.02)))
    day.broker.step()
    day.order("buy", type="stop_limit", stop_price=stop, limit_price=limit)
    day.broker.step()
    assert prices(day) == expected


def test_a_stop_limit_that_was_set_off_rests_as_a_limit_in_later_bars() -> None:
    day = Watched(tape_of(*minute_bars([QUIET, RANGE, RANGE], spread=0.02)))
    day.broker.step()
    day.order("buy", type="stop_limit", stop_price="101", limit_price="100.99")
    day.broker.step(2)
    assert prices(day) == ["100.01"]


def test_an_order_that_comes_within_a_bar_is_not_filled_by_what_came_before_it() -> None:
    day = Watched(tape_of(*minute_bars([QUIET, RANGE, QUIET], spread=0.02)))
    day.broker.advance_to(day.broker.now + 90_000_000_000)  # half way through the second minute
    day.order("buy", type="limit", limit_price="99")
    day.order("buy", type="limit", limit_price="101.01")
    day.broker.step()
    assert prices(day) == ["101.01"]  # at the closing ask; the low of the bar lay before the order


def test_an_opening_order_trades_at_the_opening_print_of_the_session_only() -> None:
    early = Watched(tape_of(*minute_bars([RANGE, RANGE], spread=0.10)), start=OPEN - 60 * MINUTE)
    early.order("buy", time_in_force="opg")
    early.order("buy", type="limit", limit_price="99.99", time_in_force="opg")
    early.broker.step()
    assert prices(early) == ["100"]
    assert early.events[-2:] == ["fill", "canceled"]


def test_fills_are_bounded_by_a_share_of_the_volume_and_go_on_in_the_next_bar() -> None:
    day = Watched(flat(50, 1) + flat(50, 3, volume=1000))
    day.broker.step()
    day.order("buy", qty="250")
    day.broker.step(3)
    assert [str(qty) for qty, _ in day.fills()] == ["100", "100", "50"]
    assert day.events == ["pending_new", "new", "partial_fill", "partial_fill", "fill"]


def test_orders_share_the_volume_of_a_bar_in_the_order_of_their_arrival() -> None:
    day = Watched(flat(50, 1) + flat(50, 1, volume=1000))
    day.broker.step()
    first, second = day.order("buy", qty="70"), day.order("buy", qty="70")
    day.broker.step()
    filled = {frame["order"]["id"]: frame["order"]["filled_qty"] for frame in day.frames}
    assert (filled[first["id"]], filled[second["id"]]) == ("70", "30")


def test_immediate_or_cancel_takes_what_is_there_and_ends() -> None:
    day = Watched(flat(50, 1) + flat(50, 2, volume=1000))
    day.broker.step()
    day.order("buy", qty="250", time_in_force="ioc")
    day.broker.step(2)
    assert [str(qty) for qty, _ in day.fills()] == ["100"]
    assert day.events == ["pending_new", "new", "partial_fill", "canceled"]


def test_notional_and_fractional_orders_buy_parts_of_a_share() -> None:
    day = Watched(flat(30, 2))
    day.broker.step()
    day.order("buy", qty=None, notional="100")
    day.order("buy", qty="0.5")
    day.broker.step()
    assert [str(qty) for qty, _ in day.fills()] == ["3.333333333", "0.5"]
    assert day.frames[0]["order"]["qty"] is None
    assert day.position() == Decimal("3.833333333")


def assert_filled_after_a_halted_minute(day: Watched) -> None:
    """What is open does not trade in a minute of AAPL's halt, and does in the one after it."""
    day.broker.control({"halt": ["AAPL"]})
    day.broker.step()
    assert day.fills() == []
    day.broker.control({"halt": []})
    day.broker.step()
    assert len(day.fills()) == 1


def test_nothing_trades_in_a_halted_symbol() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    day.order("buy")
    assert_filled_after_a_halted_minute(day)


def test_an_opening_order_of_a_symbol_that_is_halted_at_the_bell_is_filled_with_the_first_print_after_it() -> None:
    day = Watched(flat(50, 3), start=OPEN - 60 * MINUTE)
    day.order("buy", time_in_force="opg")
    assert_filled_after_a_halted_minute(day)


def test_a_bar_outside_the_session_trades_nothing() -> None:
    early = minute_bars(flat(50, 1), start=OPEN - 60 * MINUTE)[0]
    outside = type(early)(*(getattr(early, name) for name in early.__slots__[:-1]), in_session=False)
    day = Watched(tape_of(outside, *minute_bars(flat(50, 2))))
    day.order("buy")
    day.broker.step()
    assert day.events == ["accepted"]
    day.broker.step(2)
    assert day.events == ["accepted", "new", "fill"]
