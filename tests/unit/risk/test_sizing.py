"""How many shares: each cap alone, all together, and an explicit zero."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torghut_runtime.risk.sizing import entry_quantity, target_quantity, to_lots

UNSET = np.nan


def entry(
    price: float = 100.0,
    equity: float = 100_000.0,
    *,
    cap: float = UNSET,
    pct: float = UNSET,
    qty: float = UNSET,
    fraction: float = 1.0,
    gross: float = 0.0,
    reserved: float = 0.0,
    limit: float = 1.0,
    fractional: bool = False,
) -> float:
    return entry_quantity(price, equity, cap, pct, qty, fraction, gross, reserved, limit, fractional)


@pytest.mark.parametrize(
    ("arguments", "shares"),
    [
        ({}, 1000),
        ({"cap": 25_000.0}, 250),
        ({"cap": 25_099.99}, 250),
        ({"cap": 25_100.0}, 251),
        ({"cap": 99.99}, 0),
        ({"cap": 0.0}, 0),
        ({"pct": 0.1}, 100),
        ({"pct": 0.0}, 0),
        ({"cap": 5_000.0, "pct": 0.1}, 50),
        ({"cap": 50_000.0, "pct": 0.1}, 100),
        ({"qty": 7.0}, 7),
        ({"qty": 7.9}, 7),
        ({"qty": 0.0}, 0),
        ({"qty": 500.0, "cap": 5_000.0}, 50),
        ({"qty": 500.0, "pct": 0.1}, 100),
        ({"qty": 5000.0}, 1000),
        ({"qty": 7.0, "fraction": 0.1}, 7),
        ({"fraction": 0.5}, 500),
        ({"fraction": -0.5}, 500),
        ({"fraction": 0.0}, 0),
        ({"gross": 60_000.0}, 400),
        ({"gross": 60_000.0, "reserved": 30_000.0}, 100),
        ({"gross": 100_000.0}, 0),
        ({"gross": 150_000.0}, 0),
        ({"gross": 60_000.0, "limit": 2.0}, 1400),
        ({"limit": 0.0}, 0),
        ({"limit": 0.5}, 500),
        ({"equity": 0.0}, 0),
        ({"equity": -5.0}, 0),
        ({"price": 0.0}, 0),
        ({"price": UNSET}, 0),
        ({"cap": 150.0, "fractional": True}, 1.5),
        ({"gross": 99_950.0, "fractional": True}, 0.5),
    ],
)
def test_an_entry_has_the_smallest_of_caps_and_room(arguments: dict[str, float], shares: float) -> None:
    assert entry(**arguments) == pytest.approx(shares)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("fraction", "arguments", "shares"),
    [
        (1.0, {}, 1000),
        (0.25, {}, 250),
        (-0.25, {}, -250),
        (0.0, {}, 0),
        (0.5, {"cap": 10_000.0}, 50),
        (0.5, {"pct": 0.1}, 50),
        (1.0, {"qty": 7.0}, 7),
        (-1.0, {"qty": 7.0}, -7),
    ],
)
def test_a_target_is_a_signed_share_of_the_budget(fraction: float, arguments: dict[str, float], shares: float) -> None:
    caps = {"cap": UNSET, "pct": UNSET, "qty": UNSET, **arguments}
    found = target_quantity(100.0, 100_000.0, caps["cap"], caps["pct"], caps["qty"], fraction, 1.0, False)
    assert found == shares


def test_a_quantity_a_rounding_below_a_whole_number_is_that_number() -> None:
    assert 0.29 * 100_000 < 29_000
    assert entry(29.0, 100_000.0, pct=0.29) == 1000
    assert to_lots(2.9999999, False) == 2.0
    assert to_lots(2.9999999, True) == 2.9999999


amounts = st.one_of(st.just(UNSET), st.floats(0, 1e7))


@settings(deadline=None)
@given(
    price=st.floats(0.01, 1e5),
    equity=st.floats(0, 1e7),
    cap=amounts,
    pct=st.one_of(st.just(UNSET), st.floats(0, 1)),
    qty=amounts,
    fraction=st.floats(-1, 1),
    gross=st.floats(0, 1e7),
    reserved=st.floats(0, 1e7),
    limit=st.floats(0, 3),
    fractional=st.booleans(),
)
def test_no_entry_is_larger_than_any_of_its_caps(
    price: float,
    equity: float,
    cap: float,
    pct: float,
    qty: float,
    fraction: float,
    gross: float,
    reserved: float,
    limit: float,
    fractional: bool,
) -> None:
    shares = entry_quantity(price, equity, cap, pct, qty, fraction, gross, reserved, limit, fractional)
    slack = 1 + 1e-9
    assert shares >= 0
    assert shares * price <= max(limit * equity - gross - reserved, 0) * slack
    for bound, unit in ((cap, price), (equity * pct, price), (qty, 1.0)):
        if not np.isnan(bound):
            assert shares * unit <= bound * slack
    if not fractional:
        assert shares == np.floor(shares)
    whole = entry_quantity(price, equity, cap, pct, qty, fraction, gross, reserved, limit, False)
    part = entry_quantity(price, equity, cap, pct, qty, fraction, gross, reserved, limit, True)
    assert part * slack >= whole >= np.floor(part)
