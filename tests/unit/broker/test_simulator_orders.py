"""The life of orders: sessions, cancels, replacements and their races, reservations and refusals."""

from decimal import Decimal
from typing import Any

import pytest
from simulated_days import MINUTE, OPEN, Watched, flat, minute_bars, tape_of

from torghut_runtime.broker.simulator.refusals import Refusal
from torghut_runtime.errors import InputError

HOUR = 60 * MINUTE


def refusal(action: Any, *arguments: Any, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        action(*arguments, **fields)
    return caught.value


def test_an_order_before_the_session_is_accepted_and_works_from_the_bell() -> None:
    day = Watched(flat(50, 2), start=OPEN - HOUR)
    assert day.order()["status"] == "accepted"
    day.broker.step()
    assert day.events == ["accepted", "new", "fill"]
    assert day.frames[1]["timestamp"] == "2026-01-05T14:30:00Z"


def test_a_day_order_expires_at_the_close_with_what_it_was_filled() -> None:
    last = minute_bars(flat(50, 1, volume=10), start=OPEN + 6 * HOUR + 29 * MINUTE)
    day = Watched(tape_of(*minute_bars(flat(50, 1)), *last))
    day.broker.step()
    day.order(qty="3", type="limit", limit_price="150.25")
    day.broker.step(2)
    assert day.events == ["pending_new", "new", "partial_fill", "expired"]
    order = day.frames[-1]["order"]
    assert (order["status"], order["filled_qty"]) == ("expired", "1")
    assert order["expired_at"] == "2026-01-05T21:00:00Z"


def test_a_gtc_order_stays_overnight_and_ends_after_89_days() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    order = day.order(type="limit", limit_price="1", time_in_force="gtc")
    assert order["expires_at"] == "2026-04-04T20:00:00Z"
    day.broker.advance_to(OPEN + 24 * HOUR)
    assert day.events == ["pending_new", "new"]
    day.broker.advance_to(OPEN + 100 * 24 * HOUR)
    assert day.events[-1] == "expired"


def test_latency_lies_between_submit_and_new_and_before_the_fill() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    day.broker.control({"latency_ms": 90_000})
    day.order()
    assert day.events == ["pending_new"]
    day.broker.step()
    assert day.fills() == []
    day.broker.step()
    assert day.events == ["pending_new", "new", "fill"]
    assert day.frames[1]["timestamp"] == "2026-01-05T14:32:30Z"


def test_a_fill_overtakes_a_slow_cancel() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    order = day.order()
    day.broker.control({"cancel_latency_ms": 90_000})
    day.broker.cancel(order["id"])
    day.broker.step(2)
    assert day.events == ["pending_new", "new", "pending_cancel", "fill", "order_cancel_rejected"]
    assert day.frames[-1]["reason"] == "TOO_LATE_TO_CANCEL"
    assert day.frames[-1]["order"]["status"] == "filled"
    assert day.position() == 10


def test_a_cancel_ends_what_is_left() -> None:
    day = Watched(flat(50, 1) + flat(50, 3, volume=30))
    day.broker.step()
    order = day.order()
    day.broker.step()
    day.broker.cancel(order["id"])
    assert day.events == ["pending_new", "new", "partial_fill", "pending_cancel", "canceled"]
    assert day.frames[-1]["order"]["filled_qty"] == "3"
    day.broker.step()
    assert day.position() == 3
    again = refusal(day.broker.cancel, order["id"])
    assert (again.status, again.code, again.message) == (422, 42210000, 'order is already in "canceled" state')


def test_a_replacement_takes_over_the_rest_and_both_orders_name_each_other() -> None:
    day = Watched(flat(50, 1) + flat(50, 3, volume=30))
    day.broker.step()
    old = day.order(type="limit", limit_price="51")
    day.broker.step()
    new = day.broker.replace(old["id"], {"limit_price": "52"})
    assert new["replaces"] == old["id"]
    assert day.events[-3:] == ["pending_replace", "replaced", "new"]
    replaced, working = day.frames[-2]["order"], day.frames[-1]["order"]
    assert (replaced["replaced_by"], replaced["filled_qty"], replaced["status"]) == (new["id"], "3", "replaced")
    assert (working["qty"], working["limit_price"], working["filled_qty"]) == ("7", "52", "0")
    day.broker.step(2)
    assert day.position() == 9


def test_a_fill_overtakes_a_slow_replacement() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    old = day.order()
    day.broker.control({"cancel_latency_ms": 90_000})
    new = day.broker.replace(old["id"], {"qty": "20"})
    day.broker.step(2)
    assert day.events == ["pending_new", "new", "pending_replace", "fill", "order_replace_rejected", "rejected"]
    assert day.broker.desk.existing(new["id"]).status == "rejected"
    assert day.position() == 10


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"type": "trailing_stop", "trail_price": "1"}, 42210000, "trail_price"),
        ({"time_in_force": "fok"}, 42210000, "fok"),
        ({"time_in_force": "cls"}, 42210000, "cls"),
        ({"time_in_force": "gtd"}, 40010001, "invalid time_in_force"),
        ({"order_class": "bracket"}, 42210000, "bracket"),
        ({"take_profit": {"limit_price": "1"}}, 42210000, "take_profit"),
        ({"extended_hours": True}, 42210000, "extended hours"),
        ({"qty": "0.5", "time_in_force": "gtc"}, 42210000, "fractional orders must be DAY orders"),
        ({"qty": None, "notional": "10", "time_in_force": "ioc"}, 42210000, "fractional orders must be DAY orders"),
        ({"notional": "10"}, 42210000, "only one of qty or notional is accepted"),
        ({"qty": None}, 40010001, "qty or notional is required"),
        ({"qty": "0"}, 42210000, "qty must be > 0"),
        ({"qty": "-1"}, 42210000, "qty must be > 0"),
        ({"qty": "1e999"}, 40010001, "invalid qty"),
        ({"qty": "NaN"}, 40010001, "invalid qty"),
        ({"qty": "0.0000000001"}, 42210000, "decimal places"),
        ({"type": "limit"}, 42210000, "limit orders require a limit price"),
        ({"limit_price": "10"}, 42210000, "market orders require no limit price"),
        ({"type": "limit", "limit_price": "11.055"}, 42210000, "sub-penny increment"),
        ({"type": "limit", "limit_price": "0.12345"}, 42210000, "sub-penny increment"),
        ({"type": "stop", "stop_price": "60", "time_in_force": "opg"}, 42210000, "opg orders"),
        ({"side": "hold"}, 40010001, "invalid side"),
        ({"symbol": "NONE"}, 42210000, 'asset "NONE" not found'),
        ({"symbol": ""}, 40010001, "symbol is required"),
        ({"client_order_id": "x" * 129}, 40010001, "128 characters"),
        ({"position_intent": "sell_to_open"}, 42210000, "position_intent"),
        ({"position_intent": "buy_to_close"}, 42210000, "position intent mismatch"),
    ],
)
def test_every_other_order_is_refused_with_422_and_leaves_nothing(
    fields: dict[str, Any], code: int, message: str
) -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    found = refusal(day.order, **fields)
    assert (found.status, found.code) == (422, code)
    assert message in found.message
    assert len(day.broker.desk.book) == 0
    assert day.raw == []


@pytest.mark.parametrize("price", ["11.05", "0.1234", "1"])
def test_prices_at_the_increment_are_taken(price: str) -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    assert day.order(type="limit", limit_price=price)["limit_price"] == price


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "limit", "limit_price": "11.05"}, None),
        ({"type": "limit", "limit_price": "11.0"}, None),
        ({"type": "limit", "limit_price": "0.05"}, None),
        ({"type": "limit", "limit_price": "11.06"}, "invalid limit_price 11.06"),
        ({"type": "stop", "stop_price": "60.01"}, "invalid stop_price 60.01"),
        ({"qty": "0.25"}, None),
        ({"qty": "0.125"}, "minimal qty of order 0.25"),
        ({"qty": "0.3"}, "invalid qty 0.3"),
    ],
)
def test_an_order_off_the_steps_that_an_asset_names_is_refused(fields: dict[str, Any], message: str | None) -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    steps = {"price_increment": "0.05", "min_order_size": "0.25", "min_trade_increment": "0.125"}
    day.broker.control({"assets": {"AAPL": steps}})
    if message is None:
        assert day.order(**fields)["status"] == "pending_new"
        return
    found = refusal(day.order, **fields)
    assert (found.status, found.code, len(day.broker.desk.book)) == (422, 42210000, 0)
    assert message in found.message


def test_a_new_price_is_held_to_the_steps_too_and_a_finer_step_replaces_the_cents() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    day.broker.control({"assets": {"AAPL": {"price_increment": "0.0025"}}})
    order = day.order(type="limit", limit_price="11.0025")
    found = refusal(day.broker.desk.replace, order["id"], {"limit_price": "11.0026"})
    assert (found.status, "multiple of 0.0025" in found.message) == (422, True)


@pytest.mark.parametrize("step", ["0", "-0.01", "1e-10", "NaN"])
def test_a_step_that_is_none_changes_nothing(step: str) -> None:
    day = Watched(flat(50, 1))
    with pytest.raises(InputError):
        day.broker.control({"assets": {"AAPL": {"price_increment": step}}})
    assert day.broker.controls.document()["controls"] == {}


def test_a_client_order_id_is_taken_once() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    day.order(client_order_id="mine")
    day.broker.step()
    found = refusal(day.order, client_order_id="mine")
    assert (found.status, found.code, found.message) == (422, 40010001, "client_order_id must be unique")


def test_buying_power_bounds_purchases_to_the_cent() -> None:
    day = Watched(flat(50, 2), cash=Decimal(1000))
    day.broker.step()
    found = refusal(day.order, qty="40.1", type="limit", limit_price="50")
    assert (found.status, found.code, found.message) == (403, 40310000, "insufficient buying power")
    assert found.fields == {"buying_power": "2000", "cost_basis": "2005"}
    day.order(qty="40", type="limit", limit_price="50")
    assert refusal(day.order, qty="1").fields["buying_power"] == "0"
    day.broker.cancel_all()
    day.order(qty="40", type="limit", limit_price="50")


def test_short_sales_need_permission_a_shortable_asset_and_whole_shares() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    assert refusal(day.order, "sell", qty="0.5").message == "fractional orders cannot be sold short"
    day.broker.control({"assets": {"AAPL": {"shortable": False}}})
    assert refusal(day.order, "sell").message == 'asset "AAPL" cannot be sold short'
    day.broker.control({"assets": {}})
    day.broker.desk.configuration.no_shorting = True
    assert refusal(day.order, "sell").message == "account is not allowed to short"
    day.broker.desk.configuration.no_shorting = False
    assert day.order("sell")["position_intent"] == "sell_to_open"
    day.broker.step()
    assert day.position() == -10
    assert day.order("buy")["position_intent"] == "buy_to_close"


def test_more_than_is_held_cannot_be_sold_and_open_orders_hold_shares() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    day.order(qty="10")
    day.broker.step()
    day.order("sell", qty="7", type="limit", limit_price="60")
    found = refusal(day.order, "sell", qty="4", type="limit", limit_price="61")
    assert found.message == "insufficient qty available for order (requested: 4, available: 3)"
    assert found.fields == {"available": "3", "existing_qty": "10", "held_for_orders": "7", "symbol": "AAPL"}
    day.order("sell", qty="3", type="limit", limit_price="61")


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ({"type": "limit", "limit_price": "50"}, {"type": "limit", "limit_price": "50.01"}, False),
        ({"type": "limit", "limit_price": "50"}, {"type": "limit", "limit_price": "50"}, True),
        ({"type": "limit", "limit_price": "40"}, {"type": "market"}, True),
        ({"type": "stop", "stop_price": "60"}, {"type": "limit", "limit_price": "70"}, True),
    ],
)
def test_orders_of_both_sides_that_could_meet_are_refused_naming_the_one_that_stands(
    first: dict[str, Any], second: dict[str, Any], refused: bool
) -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    standing = day.order("buy", **first)
    if not refused:
        day.order("sell", **second)
        return
    found = refusal(day.order, "sell", **second)
    assert (found.status, found.code) == (403, 40310000)
    assert found.message == "potential wash trade detected. use complex orders"
    assert found.fields["existing_order_id"] == standing["id"]
    assert found.fields["reject_reason"] == f"opposite side {first['type']} order exists"
    assert day.broker.desk.existing(standing["id"]).status == "new"


@pytest.mark.parametrize(
    ("minutes", "accepted"), [(-3, True), (-2, False), (60, False), (9 * 60 + 29, False), (9 * 60 + 30, True)]
)
def test_opening_orders_are_taken_between_seven_in_the_evening_and_two_minutes_to_the_bell(
    minutes: int, accepted: bool
) -> None:
    day = Watched(flat(50, 2), start=OPEN - HOUR)
    day.broker.advance_to(OPEN + minutes * MINUTE)
    if accepted:
        assert day.order(time_in_force="opg")["status"] == "accepted"
    else:
        assert refusal(day.order, time_in_force="opg").status == 403


def test_closing_a_position_sells_all_or_the_part_that_is_asked_for() -> None:
    day = Watched(flat(50, 4))
    day.broker.step()
    day.order(qty="10")
    day.broker.step()
    day.broker.close_position("AAPL", percentage=Decimal(50))
    day.broker.step()
    assert day.position() == 5
    day.broker.close_position("AAPL")
    day.broker.step()
    assert day.position() == 0
    assert refusal(day.broker.close_position, "AAPL").status == 404


def test_a_blocked_or_suspended_account_takes_no_order() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    day.broker.control({"account": {"blocked": True}})
    assert refusal(day.order).status == 403
    day.broker.control({"account": {"blocked": False}})
    day.broker.desk.configuration.suspend_trade = True
    assert refusal(day.order).message == "new orders are rejected by user request"


def test_canceling_everything_while_a_replacement_is_pending_leaves_no_order_open() -> None:
    day = Watched(flat(50, 5))
    day.broker.step()
    old = day.order(type="limit", limit_price="40")
    day.broker.control({"cancel_latency_ms": 30_000})
    new = day.broker.replace(old["id"], {"limit_price": "41"})
    assert {order.id for order in day.broker.cancel_all()} == {old["id"], new["id"]}
    day.broker.step(2)
    assert day.broker.desk.book.open_orders() == []
    assert day.broker.desk.reserved == 0
    assert day.broker.desk.existing(old["id"]).status == "canceled"
