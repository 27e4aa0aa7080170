"""From a strategy's wish to shares: budgets, room, lots, and opposite wishes."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from risk_cases import entry, exposure, limits

from torghut_runtime.risk.allocator import Wish, net, size_entry, size_step, size_target
from torghut_runtime.risk.limits import entry_reasons


@pytest.mark.parametrize(
    ("wish", "caps", "qty"),
    [
        ({}, {}, 1),
        ({}, {"default_qty": 7}, 7),
        ({"fixed_qty": 25.0}, {}, 25),
        ({"fixed_qty": 25.0}, {"max_notional_per_trade": 1_000}, 10),
        ({"notional_cap": 5_000}, {"max_notional_per_trade": 1_000}, 10),
        ({"notional_cap": 1_000}, {"max_notional_per_trade": 5_000}, 10),
        ({"notional_cap": 5_000, "fraction": 0.5}, {}, 25),
        ({"notional_cap": 5_000, "fraction": -0.5}, {}, 25),
        ({"position_pct": "0.05"}, {"max_position_pct": "0.02"}, 20),
        ({"notional_cap": 5_000}, {"notional_per_position": 1_999}, 19),
        ({}, {"max_gross": 5_000}, 1),
    ],
)
def test_the_smallest_budget_counts(wish: dict[str, Any], caps: dict[str, Any], qty: int) -> None:
    asked = {name: Decimal(v) if name in {"notional_cap", "position_pct"} else v for name, v in wish.items()}
    sized = size_entry(Wish(**{"fraction": 1.0, **asked}), "buy", 100.0, exposure(), limits(**caps))
    assert (sized.qty, sized.reasons) == (qty, ())


@pytest.mark.parametrize(
    ("caps", "taken", "qty", "reason"),
    [
        ({"max_gross": 1_000}, {"gross": 400}, 6, "gross_exposure_exceeded"),
        ({"max_gross": 1_000}, {"gross": 901}, 0, "gross_exposure_exceeded"),
        ({"max_net": 1_000}, {"net": 400}, 6, "net_exposure_exceeded"),
        ({"max_net": 1_000}, {"net": -400}, 10, None),
        ({"max_notional_per_symbol": 1_000}, {"symbol_net": 500}, 5, "symbol_notional_exceeded"),
        ({"max_position_pct": "0.01"}, {"strategy_symbol": 300}, 7, "max_position_pct_exceeded"),
        ({}, {"buying_power": 250}, 2, "insufficient_buying_power"),
        ({}, {"buying_power": 0}, 0, "insufficient_buying_power"),
    ],
)
def test_room_is_what_positions_and_reservations_leave(
    caps: dict[str, Any], taken: dict[str, Any], qty: int, reason: str | None
) -> None:
    sized = size_entry(Wish(1.0, fixed_qty=10.0), "buy", 100.0, exposure(**taken), limits(**caps))
    assert sized.qty == qty
    assert sized.clipped_by == (() if reason is None else (reason,))
    assert sized.reasons == ((reason,) if qty == 0 else ())


@pytest.mark.parametrize(
    ("caps", "reason"),
    [
        ({"max_notional_per_trade": 0}, "max_notional_exceeded"),
        ({"max_position_pct": 0}, "max_position_pct_exceeded"),
        ({"default_qty": 0}, "qty_below_min"),
        ({"max_notional_per_trade": 99}, "qty_below_min"),
    ],
)
def test_no_shares_have_the_reason_of_the_cap(caps: dict[str, Any], reason: str) -> None:
    sized = size_entry(Wish(1.0), "buy", 100.0, exposure(), limits(**caps))
    assert (sized.qty, sized.reasons) == (0, (reason,))


def test_a_strategy_never_has_more_in_a_symbol_than_its_cap_whatever_it_signals() -> None:
    cap, bought = Decimal(1_000), Decimal(0)
    for _ in range(5):
        sized = size_entry(
            Wish(1.0, notional_cap=cap), "buy", 30.0, exposure(strategy_symbol=bought, symbol_net=bought), limits()
        )
        bought += sized.qty * 30
    assert bought == 990


def test_a_target_is_signed_and_its_step_is_clipped() -> None:
    wish = Wish(-0.5, notional_cap=Decimal(10_000))
    assert size_target(wish, 100.0, Decimal(100_000), limits()) == -50
    assert size_target(wish, 100.0, Decimal(100_000), limits(max_gross=2_000)) == -10
    assert size_step(wish, Decimal(50), "sell", 100.0, exposure(gross=1_500), limits(max_gross=2_000)).qty == 5


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ([10, -3], [7, 0]),
        ([10, 5, -7], [8, 0, 0]),
        ([4, -4], [0, 0]),
        ([-2, 1, -9], [-2, 0, -8]),
        ([3, 4], [3, 4]),
        ([], []),
    ],
)
def test_opposite_entries_are_netted_from_the_last_on(wanted: list[int], left: list[int]) -> None:
    assert net([Decimal(qty) for qty in wanted]) == left


@pytest.mark.parametrize(
    ("lot", "cap", "qty", "reasons"),
    [
        ("0.0001", 10_000, "0.1666", ()),
        ("0.01", 10_000, "0.16", ()),
        ("0.1", 6_000, "0.1", ()),
        ("0.1", 5_999, "0", ("qty_below_min",)),
        ("1", 59_999, "0", ("qty_below_min",)),
        ("1", 60_000, "1", ()),
        ("100", 60_000, "0", ("qty_below_min",)),
    ],
)
def test_a_quantity_is_floored_to_the_assets_lots(lot: str, cap: int, qty: str, reasons: tuple[str, ...]) -> None:
    wish = Wish(1.0, notional_cap=Decimal(cap), lot=Decimal(lot))
    sized = size_entry(wish, "buy", 60_000.0, exposure(), limits())
    assert (sized.qty, sized.reasons) == (Decimal(qty), reasons)
    assert size_target(wish, 60_000.0, Decimal(100_000), limits()) == Decimal(qty)


def test_room_for_less_than_a_lot_has_the_reason_of_its_cap() -> None:
    wish = Wish(1.0, fixed_qty=1.0, lot=Decimal("0.1"))
    bounds = limits(max_gross=1_000)
    assert size_entry(wish, "buy", 100.0, exposure(gross=990), bounds).qty == Decimal("0.1")
    assert size_entry(wish, "buy", 100.0, exposure(gross=991), bounds).reasons == ("gross_exposure_exceeded",)


def test_lots_are_netted_without_a_rest() -> None:
    lot = Decimal("0.1")
    assert net([Decimal("0.3"), Decimal("-0.1")], lot) == [Decimal("0.2"), 0]
    assert net([Decimal("0.7"), Decimal("0.1"), Decimal("-0.3")], lot) == [Decimal("0.5"), 0, 0]


whole = st.integers(0, 200_000).map(Decimal)
cap = st.none() | whole


@given(
    st.floats(0.01, 1.0),
    st.floats(0.5, 5_000.0).map(lambda price: round(price, 2)),
    st.fixed_dictionaries(
        {
            "gross": whole, "net": st.integers(-200_000, 200_000).map(Decimal), "symbol_net": whole,
            "strategy_symbol": whole, "buying_power": whole,
        }
    ),
    st.fixed_dictionaries(
        {
            "max_notional_per_trade": cap, "notional_per_position": cap, "max_notional_per_symbol": cap,
            "max_gross": cap, "max_net": cap,
            "max_position_pct": st.none() | st.sampled_from([Decimal("0.1"), Decimal(1)]),
        }
    ),
    cap,
    st.sampled_from(("0.000000001", "0.0001", "0.1", "1", "100")).map(Decimal),
)  # fmt: skip
def test_what_the_sizer_lets_through_breaks_no_cap(
    fraction: float,
    price: float,
    taken: dict[str, Any],
    caps: dict[str, Any],
    strategy_cap: Decimal | None,
    lot: Decimal,
) -> None:
    around, bounds = exposure(**taken, in_symbol=True, symbols=1), limits(**caps)
    sized = size_entry(Wish(fraction, notional_cap=strategy_cap, lot=lot), "buy", price, around, bounds)
    assert sized.qty % lot == 0
    assert (sized.qty > 0) == (sized.reasons == ())
    if sized.qty > 0:
        asked = entry(qty=sized.qty, worst_price=Decimal(str(price)), strategy_notional_cap=strategy_cap)
        assert entry_reasons(asked, around, bounds) == []
