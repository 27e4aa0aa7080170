"""Metrics against values computed by hand, and None where a metric is not defined."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from torghut_assets.research import metrics
from torghut_assets.research.metrics import Drawdown

START = datetime(2024, 1, 2, 21, tzinfo=UTC)
RETURNS = np.array([0.02, -0.01, 0.03, 0.0, -0.02])


def vector(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def test_sharpe_is_mean_over_standard_deviation_with_one_degree_less():
    # mean 0.004, deviations 0.016, -0.014, 0.026, -0.004, -0.024: squares sum 0.00172, variance 0.00043
    assert metrics.sharpe_per_period(RETURNS) == pytest.approx(0.004 / math.sqrt(0.00043), rel=1e-12)
    assert metrics.annualized(0.1) == pytest.approx(1.5874507866, rel=1e-9)


@pytest.mark.parametrize("returns", [(), (0.01,), (0.01, 0.01, 0.01), (0.0, 0.0)])
def test_without_variance_there_is_no_sharpe(returns: tuple[float, ...]):
    assert metrics.sharpe_per_period(vector(*returns)) is None
    assert metrics.annualized(None) is None


def test_sortino_counts_all_periods_below_its_target_of_zero():
    downside = math.sqrt((0.01**2 + 0.02**2) / 5)
    assert metrics.sortino_annualized(RETURNS) == pytest.approx(0.004 / downside * math.sqrt(252), rel=1e-12)
    assert metrics.sortino_annualized(vector(0.01, 0.02)) is None
    assert metrics.sortino_annualized(vector(-0.01)) is None


def test_skewness_and_kurtosis_are_population_moments_and_normal_is_3():
    # 1, 2, 3, 10: centred -3, -2, -1, 6; second moment 12.5, third 45, fourth 348.5
    values = vector(1, 2, 3, 10)
    assert metrics.skewness(values) == pytest.approx(45 / 12.5**1.5, rel=1e-12)
    assert metrics.kurtosis(values) == pytest.approx(348.5 / 12.5**2, rel=1e-12)
    normal = np.random.default_rng(1).normal(size=200_000)
    assert metrics.kurtosis(normal) == pytest.approx(3, abs=0.05)
    assert metrics.skewness(vector(1, 1, 1)) is None
    assert metrics.kurtosis(vector(1)) is None


def test_expected_shortfall_is_the_mean_of_the_worst_twentieth_and_at_least_one():
    returns = np.arange(-20, 20) / 1000
    assert metrics.expected_shortfall(returns) == pytest.approx(0.0195, rel=1e-12)
    assert metrics.expected_shortfall(RETURNS) == pytest.approx(0.02, rel=1e-12)
    assert metrics.expected_shortfall(vector(0.01)) == pytest.approx(-0.01)
    assert metrics.expected_shortfall(vector()) is None
    assert metrics.expected_shortfall(np.arange(21) / -100) == pytest.approx((0.20 + 0.19) / 2)


def test_drawdown_counts_marks_between_decisions():
    # bought at 100, at 50 in the middle, sold at 101: nearly half is lost on the way
    assert metrics.drawdown(vector(100_000, 50_000, 101_000), 100_000) == Drawdown(0.5, 50_000, 1)


def test_the_first_peak_is_the_capital():
    assert metrics.drawdown(vector(90, 95, 99), 100) == Drawdown(0.1, 10.0, 3)
    assert metrics.drawdown(vector(100, 101, 102), 100) == Drawdown(0.0, 0.0, 0)
    assert metrics.drawdown(vector(), 100) == Drawdown(0.0, 0.0, 0)


def test_the_largest_fall_in_currency_and_as_a_fraction_may_be_two_falls():
    fall = metrics.drawdown(vector(100, 50, 1000, 800, 1000), 100)
    assert (fall.fraction, fall.currency) == (0.5, 200.0)


def test_time_below_the_peak_is_counted_in_sessions_by_their_last_mark():
    sessions = np.array([0, 0, 1, 1, 2, 2, 5, 5])
    equity = vector(100, 90, 95, 99, 98, 97, 96, 101)
    assert metrics.drawdown(equity, 100, sessions).sessions == 3
    assert metrics.drawdown(vector(100, 90, 90, 90), 100, np.array([0, 1, 2, 5])).sessions == 5
    assert metrics.drawdown(vector(90, 100, 90, 100), 100, np.array([0, 0, 1, 1])).sessions == 0


def test_turnover_is_per_year_of_252_sessions():
    assert metrics.turnover_per_year(200_000, 100_000, 126) == pytest.approx(4.0)
    assert metrics.turnover_per_year(200_000, 100_000, 0) is None
    assert metrics.turnover_per_year(200_000, 0, 126) is None


def test_capacity_is_the_size_at_which_impact_halves_the_edge():
    # an edge of 1000 before an impact of 50: at ten times the size 10,000 before 5,000
    assert metrics.capacity_notional(950, 50, 100_000) == pytest.approx(1_000_000)
    assert metrics.capacity_notional(-60, 50, 100_000) == 0.0
    assert metrics.capacity_notional(-50, 50, 100_000) == 0.0
    assert metrics.capacity_notional(950, 0, 100_000) is None


def test_annual_return_compounds():
    assert metrics.geometric_annual_return(0.1, 126) == pytest.approx(0.21)
    assert metrics.geometric_annual_return(0.1, 252) == pytest.approx(0.1)
    assert metrics.geometric_annual_return(-1.0, 10) == -1.0
    assert metrics.geometric_annual_return(-1.5, 10) == -1.0
    assert metrics.geometric_annual_return(0.1, 0) is None


def test_the_variation_of_fold_profits():
    assert metrics.coefficient_of_variation([1, 3]) == pytest.approx(math.sqrt(2) / 2)
    assert metrics.coefficient_of_variation([-1, -3]) == pytest.approx(math.sqrt(2) / 2)
    assert metrics.coefficient_of_variation([2, 2, 2]) == 0.0
    assert metrics.coefficient_of_variation([1, -1]) is None
    assert metrics.coefficient_of_variation([1]) is None


def test_a_mean_of_nothing_is_none():
    assert metrics.mean_or_none(vector()) is None
    assert metrics.mean_or_none(vector(1, 2)) == 1.5


def fills(*rows: tuple[str, float, float, float], symbol: str = "AAA", strategy: str = "s") -> pl.DataFrame:
    """(side, qty, price, all costs) at one fill per day; costs lie in two components."""
    n = len(rows)
    return pl.DataFrame(
        {
            "fold": pl.Series([0] * n, dtype=pl.Int32),
            "strategy_id": [strategy] * n,
            "symbol": [symbol] * n,
            "filled_at": pl.Series([START + timedelta(days=day) for day in range(n)], dtype=pl.Datetime("us", "UTC")),
            "side": [row[0] for row in rows],
            "qty": [float(row[1]) for row in rows],
            "price": [float(row[2]) for row in rows],
            "half_spread_cost": [row[3] * 0.75 for row in rows],
            "impact_cost": [0.0] * n,
            "commission": [row[3] * 0.25 for row in rows],
            "fees": [0.0] * n,
        },
        schema_overrides=dict.fromkeys(("qty", "price", *metrics.COST_COLUMNS), pl.Float64),
    )


def trips(frame: pl.DataFrame, *columns: str) -> list[Any]:
    chosen = metrics.round_trips(frame).select(columns or ("side", "qty", "notional", "costs", "net_pnl"))
    return chosen.rows()


def test_a_trade_goes_from_flat_to_flat():
    frame = fills(("buy", 10, 100, 1), ("sell", 10, 110, 2))
    assert trips(frame) == [("long", 10.0, 1000.0, 3.0, 97.0)]
    (trip,) = metrics.round_trips(frame).rows(named=True)
    assert (trip["opened_at"], trip["closed_at"]) == (START, START + timedelta(days=1))


def test_a_position_that_is_closed_in_parts_is_one_trade():
    frame = fills(("buy", 10, 100, 1), ("sell", 4, 110, 1), ("buy", 2, 90, 1), ("sell", 8, 120, 1))
    assert trips(frame) == [("long", 12.0, 1180.0, 4.0, 440 + 960 - 1000 - 180 - 4.0)]


def test_a_fill_that_turns_a_position_round_shares_its_costs_by_quantity():
    frame = fills(("buy", 10, 100, 0), ("sell", 30, 110, 6), ("buy", 20, 105, 1))
    assert trips(frame) == [("long", 10.0, 1000.0, 2.0, 98.0), ("short", 20.0, 2200.0, 5.0, 95.0)]


def test_shorts_gain_when_prices_fall():
    assert trips(fills(("sell", 5, 100, 1), ("buy", 5, 90, 1))) == [("short", 5.0, 500.0, 2.0, 48.0)]


def test_what_is_not_closed_is_no_trade():
    assert trips(fills(("buy", 10, 100, 1), ("sell", 9, 110, 1))) == []
    assert metrics.round_trips(fills()).height == 0


def test_strategies_and_symbols_have_trades_of_their_own():
    frame = pl.concat(
        [
            fills(("buy", 1, 100, 0), ("sell", 1, 101, 0)),
            fills(("buy", 1, 100, 0), ("sell", 1, 102, 0), symbol="BBB"),
            fills(("buy", 1, 100, 0), ("sell", 1, 103, 0), strategy="t"),
        ]
    ).sort("filled_at", maintain_order=True)
    assert trips(frame, "strategy_id", "symbol", "net_pnl") == [("s", "AAA", 1.0), ("s", "BBB", 2.0), ("t", "AAA", 3.0)]


def test_costs_and_notional_add_up_both_sides():
    frame = fills(("buy", 10, 100, 4), ("sell", 10, 110, 8))
    assert metrics.total_costs(frame) == {"half_spread_cost": 9.0, "impact_cost": 0.0, "commission": 3.0, "fees": 0.0}
    assert metrics.traded_notional(frame) == 2100.0
