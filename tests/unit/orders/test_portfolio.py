"""Positions follow fills and their corrections; reservations hold from before the order until its end."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from order_cases import fill, intent, state

from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.positions import Position

SLOT = ("s1", "AAPL")
CASH = Decimal(100_000)


def portfolio() -> Portfolio:
    return Portfolio(CASH)


def values(held: Portfolio) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    position = held.position(SLOT)
    return position.qty, position.average_entry, position.realized, held.cash


def test_a_reservation_counts_like_a_position_until_the_order_ends() -> None:
    held, order = portfolio(), intent(qty=10, price=100)
    held.reserve(order)
    assert (held.gross, held.net, held.symbol_net("AAPL"), held.in_slot(SLOT)) == (1_000, 1_000, 1_000, 1_000)
    assert (held.pending(SLOT), held.symbols()) == (10, {"AAPL"})
    held.update("o1", order.client_order_id, "s1", state(fill(4, 99, 1), status="partially_filled"))
    held.mark("AAPL", Decimal(101))
    assert held.gross == 4 * 101 + 6 * 100
    assert held.pending(SLOT) == 6
    held.update("o1", order.client_order_id, "s1", state(fill(4, 99, 1), status="canceled"))
    assert (held.gross, held.pending(SLOT), held.reservations) == (404, 0, {})


def test_an_exit_reserves_shares_and_no_exposure() -> None:
    held = portfolio()
    held.update("o1", None, "s1", state(fill(10, 100, 1), status="filled"))
    held.mark("AAPL", Decimal(100))
    held.reserve(intent(1, side="sell", qty=10, is_exit=True))
    assert (held.gross, held.net) == (1_000, 1_000)
    assert held.waiting(SLOT, exits=True) == -10
    assert held.waiting(SLOT, exits=False) == 0


def test_an_order_that_never_left_gives_everything_back() -> None:
    held, order = portfolio(), intent()
    held.reserve(order)
    held.release(order.client_order_id)
    assert (held.gross, held.pending(SLOT)) == (0, 0)


def test_round_trips_realize_and_a_flip_starts_anew() -> None:
    held = portfolio()
    held.update("o1", None, "s1", state(fill(10, 100, 1), fill(10, 110, 2), qty=20, status="filled"))
    assert values(held) == (20, 105, 0, CASH - 2_100)
    held.bar_passed(SLOT)
    held.update("o2", None, "s1", state(fill(30, 120, 3), side="sell", qty=30, status="filled"))
    assert values(held) == (-10, 120, 300, CASH - 2_100 + 3_600)
    assert held.position(SLOT).bars_held == 0


def test_bars_are_counted_while_something_is_held() -> None:
    held = portfolio()
    held.bar_passed(SLOT)
    held.update("o1", None, "s1", state(fill(5, 100, 1)))
    held.bar_passed(SLOT)
    held.update("o1", None, "s1", state(fill(5, 100, 1), fill(5, 100, 2)))
    held.bar_passed(SLOT)
    assert held.position(SLOT).bars_held == 2


def test_a_busted_fill_leaves_nothing_behind() -> None:
    held = portfolio()
    good, bad = fill(4, 100, 1), fill(6, 130, 2)
    held.update("o1", None, "s1", state(good, bad, status="filled"))
    held.update("o1", None, "s1", state(good, fill(6, 130, 2, state="voided"), status="partially_filled"))
    assert values(held) == (4, 100, 0, CASH - 400)


def test_a_fill_that_comes_late_takes_its_place_in_time() -> None:
    held = portfolio()
    held.update("o2", None, "s1", state(fill(10, 120, 5), side="sell", status="filled"))
    assert held.position(SLOT).qty == -10
    held.update("o1", None, "s1", state(fill(10, 100, 1), status="filled"))
    assert values(held) == (0, 0, 200, CASH + 200)


def test_what_the_broker_only_claims_is_held_at_the_price_that_makes_its_average() -> None:
    held = portfolio()
    claim: dict[str, Any] = {"filled_qty": Decimal(10), "avg_fill_price": Decimal(106), "last_fill_ns": 9}
    held.update("o1", None, "s1", state(fill(4, 100, 1), status="filled", **claim))
    assert values(held) == (10, 106, 0, CASH - 1_060)
    held.update("o1", None, "s1", state(fill(4, 100, 1), fill(6, 110, 2), status="filled"))
    assert values(held) == (10, 106, 0, CASH - 1_060)


def test_equity_is_cash_and_positions_at_their_marks() -> None:
    held = portfolio()
    held.update("o1", None, "s1", state(fill(10, 100, 1), status="filled"))
    assert held.equity == CASH
    held.mark("AAPL", Decimal(90))
    assert held.equity == CASH - 100
    assert list(held.positions()) == [(SLOT, held.position(SLOT))]
    assert held.symbol_qty("AAPL") == 10


fills = st.lists(
    st.tuples(st.sampled_from(["buy", "sell"]), st.integers(1, 50), st.integers(1, 300)), min_size=1, max_size=12
)


@given(fills, st.randoms())
def test_the_order_of_arrival_changes_nothing(orders: list[tuple[str, int, int]], random: Any) -> None:
    states = [
        (f"o{at}", state(fill(qty, price, at, f"x{at}"), side=side, qty=qty, status="filled"))
        for at, (side, qty, price) in enumerate(orders)
    ]
    plain, shuffled = portfolio(), portfolio()
    for name, each in states:
        plain.update(name, None, "s1", each)
    random.shuffle(states)
    for name, each in [*states, *states]:
        shuffled.update(name, None, "s1", each)
    assert values(shuffled) == values(plain)
    net = sum(qty if side == "buy" else -qty for side, qty, _ in orders)
    assert plain.position(SLOT).qty == net
    assert plain.cash == CASH - sum((qty if side == "buy" else -qty) * price for side, qty, price in orders)


@given(fills)
def test_cash_and_cost_of_what_is_held_explain_the_realised_result(orders: list[tuple[str, int, int]]) -> None:
    position, cash = Position(), Decimal(0)
    for side, qty, price in orders:
        signed = Decimal(qty if side == "buy" else -qty)
        position.take(signed, Decimal(price))
        cash -= signed * price
    assert abs(cash + position.qty * position.average_entry - position.realized) < Decimal("1e-15")
