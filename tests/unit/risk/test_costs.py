"""Costs of a fill, component by component, on both sides of every bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from torghut_runtime.risk.costs import COST_PARTS, CostModel, fill_costs

NOTHING = {
    "default_half_spread_bps": 0.0,
    "impact_bps_at_full_participation": 0.0,
    "sec_fee_rate": 0.0,
    "taf_per_share": 0.0,
}


def charged(
    qty: float = 100.0,
    price: float = 100.0,
    *,
    sell: bool = False,
    half_spread_bps: float = np.nan,
    volume: float = 1e6,
    participation: float = 0.1,
    filled: tuple[float, float] = (0.0, 0.0),
    **model: float,
) -> dict[str, float]:
    out = np.zeros(5)
    costs = CostModel(**{**NOTHING, **model}).vector()
    fill_costs(costs, qty, price, sell, half_spread_bps, volume, participation, *filled, out)
    return dict(zip(COST_PARTS, out.tolist(), strict=True))


def test_the_defaults_are_those_of_the_contract() -> None:
    assert CostModel().model_dump() == {
        "default_half_spread_bps": 1.0,
        "impact_bps_at_full_participation": 50.0,
        "commission_bps": 0.0,
        "commission_per_share": 0.0,
        "commission_minimum": 0.0,
        "sec_fee_rate": 0.0000278,
        "taf_per_share": 0.000166,
        "taf_max_per_order": 8.30,
    }


@pytest.mark.parametrize("sell", [False, True])
def test_a_spread_of_five_on_a_price_of_100_is_250_bps_of_every_fill(sell: bool) -> None:
    cost = charged(half_spread_bps=5 / 2 / 100 * 1e4, sell=sell)
    assert cost["half_spread"] == pytest.approx(10_000 * 0.025)
    assert cost["assumed"] == 0.0


def test_an_unknown_quote_costs_the_default_and_says_so() -> None:
    cost = charged(default_half_spread_bps=1.0)
    assert (cost["half_spread"], cost["assumed"]) == (pytest.approx(1.0), 1.0)
    assert charged(half_spread_bps=0.0, default_half_spread_bps=1.0)["half_spread"] == 0.0


@pytest.mark.parametrize(
    ("volume", "impact", "assumed"),
    [
        (1e6, 10_000 * 50e-4 * 1e-4, 0.0),
        (100.0, 10_000 * 50e-4, 0.0),
        (1000.0, 10_000 * 50e-4 * 0.1, 0.0),
        (np.nan, 10_000 * 50e-4 * 0.1, 1.0),
        (99.0, 10_000 * 50e-4, 1.0),
        (1.0, 10_000 * 50e-4, 1.0),
        (0.0, 10_000 * 50e-4, 1.0),
    ],
)
def test_impact_is_linear_in_the_share_of_the_volume(volume: float, impact: float, assumed: float) -> None:
    cost = charged(volume=volume, half_spread_bps=0.0, impact_bps_at_full_participation=50.0)
    assert cost["impact"] == pytest.approx(impact)
    assert cost["assumed"] == assumed


def test_commissions_add_up_or_are_the_minimum() -> None:
    parts = {"commission_bps": 2.0, "commission_per_share": 0.01}
    assert charged(**parts)["commission"] == pytest.approx(2.0 + 1.0)
    assert charged(**parts, commission_minimum=2.99)["commission"] == pytest.approx(3.0)
    assert charged(**parts, commission_minimum=3.01)["commission"] == pytest.approx(3.01)


def test_the_minimum_holds_per_order_not_per_fill() -> None:
    model = {"commission_per_share": 0.01, "commission_minimum": 1.5}
    first = charged(qty=100.0, **model)["commission"]
    second = charged(qty=100.0, filled=(100.0, 10_000.0), **model)["commission"]
    third = charged(qty=100.0, filled=(200.0, 20_000.0), **model)["commission"]
    assert (first, second, third) == (pytest.approx(1.5), pytest.approx(0.5), pytest.approx(1.0))


def test_regulatory_fees_fall_on_sales_only() -> None:
    model = {"sec_fee_rate": 0.0000278, "taf_per_share": 0.000166}
    assert charged(**model)["fees"] == 0.0
    assert charged(sell=True, **model)["fees"] == pytest.approx(10_000 * 0.0000278 + 100 * 0.000166)


@pytest.mark.parametrize(("qty", "taf"), [(49_999.0, 8.299834), (50_000.0, 8.30), (50_001.0, 8.30), (1e6, 8.30)])
def test_the_trading_activity_fee_is_capped_per_order(qty: float, taf: float) -> None:
    assert charged(qty=qty, sell=True, taf_per_share=0.000166)["fees"] == pytest.approx(taf)


def test_the_cap_holds_over_all_fills_of_an_order() -> None:
    fees = [
        charged(qty=30_000.0, sell=True, taf_per_share=0.000166, filled=(30_000.0 * n, 3e6 * n))["fees"]
        for n in range(3)
    ]
    assert fees == [pytest.approx(4.98), pytest.approx(3.32), pytest.approx(0.0)]


@settings(deadline=None)
@given(
    st.lists(st.floats(0.01, 1e6), min_size=1, max_size=6),
    st.floats(0.01, 1e4),
    st.booleans(),
    st.floats(0, 20),
    st.floats(0, 50),
)
def test_an_order_pays_the_same_commission_and_fees_in_one_fill_or_in_many(
    parts: list[float], price: float, sell: bool, bps: float, minimum: float
) -> None:
    model = {
        "commission_bps": bps,
        "commission_minimum": minimum,
        "commission_per_share": 0.005,
        "sec_fee_rate": 0.0000278,
        "taf_per_share": 0.000166,
    }
    done = total = 0.0
    for qty in parts:
        cost = charged(qty, price, sell=sell, filled=(done, done * price), **model)
        assert min(cost.values()) >= -1e-9 * done * price
        total += cost["commission"] + cost["fees"]
        done += qty
    once = charged(done, price, sell=sell, **model)
    assert total == pytest.approx(once["commission"] + once["fees"], rel=1e-9)


@pytest.mark.parametrize("wrong", [{"commission_bps": -1}, {"taf": 1}, {"sec_fee_rate": 1.0}, {"commission_bps": "1"}])
def test_a_model_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CostModel.model_validate(wrong)
