"""Prices and quantities in the asset's own steps, and in those of US shares where the broker names none."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torghut_runtime.orders.increments import US_SHARES, Increments
from torghut_runtime.risk.limits import Side

STEPS = ("0.0000001", "0.0001", "0.0025", "0.01", "0.05", "0.125", "1", "10")
steps = st.sampled_from(STEPS).map(Decimal)
prices = st.decimals("0.00001", "1000000", places=7).map(Decimal)
quantities = st.decimals("0", "1000000", places=9).map(Decimal)


@pytest.mark.parametrize(
    ("price", "rounded"),
    [
        ("635.815", "635.82"),
        ("635.8149", "635.81"),
        ("120.1234", "120.12"),
        ("1.005", "1.01"),
        ("1", "1.00"),
        ("0.99995", "1.0000"),
        ("0.12345", "0.1235"),
        ("0.12344", "0.1234"),
        ("0.00001", "0.0001"),
    ],
)
def test_without_a_step_of_its_own_a_price_is_rounded_half_up_to_cents_or_hundredths_of_them(
    price: str, rounded: str
) -> None:
    assert US_SHARES.nearest_price(Decimal(price)) == Decimal(rounded)


@pytest.mark.parametrize(
    ("step", "price", "rounded"),
    [
        ("0.05", "120.124", "120.10"),
        ("0.05", "120.125", "120.15"),
        ("0.0001", "120.12345", "120.1235"),
        ("0.01", "0.1234", "0.12"),
        ("0.05", "0.01", "0.05"),
        ("25", "60012.5", "60025"),
    ],
)
def test_a_step_that_the_broker_names_goes_before_the_rule(step: str, price: str, rounded: str) -> None:
    assert Increments(price=Decimal(step)).nearest_price(Decimal(price)) == Decimal(rounded)


@given(prices, steps)
def test_a_price_is_a_multiple_of_its_step_and_never_further_than_half_of_one_away(
    price: Decimal, step: Decimal
) -> None:
    rounded = Increments(price=step).nearest_price(price)
    assert rounded % step == 0
    assert rounded == step or abs(rounded - price) <= step / 2


@given(prices, steps, st.sampled_from(("buy", "sell")))
def test_a_price_within_a_bound_never_passes_it(price: Decimal, step: Decimal, side: Side) -> None:
    rounded = Increments(price=step).price_within(price, side)
    assert rounded % step == 0
    assert abs(rounded - price) < step or rounded == step
    assert rounded >= price if side == "sell" else rounded <= price or rounded == step


@given(quantities, steps, st.decimals("0", "5", places=4).map(Decimal))
def test_what_can_leave_is_all_but_less_than_a_lot_or_nothing_below_the_least(
    qty: Decimal, step: Decimal, least: Decimal
) -> None:
    leaves = Increments(qty=step, min_qty=least).sellable(qty)
    assert leaves % step == 0
    assert 0 <= qty - leaves < step or (leaves == 0 and qty - qty % step < least)


@given(quantities)
def test_without_a_step_of_its_own_all_of_a_position_can_leave(qty: Decimal) -> None:
    assert US_SHARES.sellable(qty) == qty


@pytest.mark.parametrize(("qty", "leaves"), [("1.9", "0"), ("2", "2"), ("2.1", "2")])
def test_less_than_the_least_is_no_order(qty: str, leaves: str) -> None:
    assert Increments(qty=Decimal(1), min_qty=Decimal(2)).sellable(Decimal(qty)) == Decimal(leaves)


def test_entries_are_in_whole_shares_unless_a_step_is_named() -> None:
    assert (US_SHARES.lot, Increments(qty=Decimal("0.0001")).lot) == (1, Decimal("0.0001"))
