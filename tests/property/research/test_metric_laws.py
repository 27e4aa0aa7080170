"""Laws of metrics: what scaling, repetition and order may and may not change; trades add up to the account."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torghut_assets.research import metrics

RETURNS = st.lists(st.integers(-900, 900).map(lambda value: value / 10_000), min_size=2, max_size=60).map(np.array)
EQUITY = st.lists(st.integers(1, 10_000), min_size=1, max_size=60).map(lambda values: np.array(values, dtype=float))
FILL = st.tuples(st.sampled_from("AB"), st.sampled_from(["buy", "sell"]), st.integers(1, 50), st.integers(1, 500))


def close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


@given(returns=RETURNS, factor=st.sampled_from([0.5, 2.0, 8.0]))
def test_ratios_do_not_depend_on_the_size_of_the_bet(returns: np.ndarray, factor: float) -> None:
    for metric in (metrics.sharpe_per_period, metrics.sortino_annualized, metrics.skewness, metrics.kurtosis):
        assert close(metric(returns * factor), metric(returns))
    shortfall, scaled = metrics.expected_shortfall(returns), metrics.expected_shortfall(returns * factor)
    assert shortfall is not None
    assert close(scaled, shortfall * factor)


@given(returns=RETURNS)
def test_losses_for_gains_turn_the_signs(returns: np.ndarray) -> None:
    sharpe, turned = metrics.sharpe_per_period(returns), metrics.sharpe_per_period(-returns)
    assert close(turned, None if sharpe is None else -sharpe)
    assert close(metrics.kurtosis(-returns), metrics.kurtosis(returns))


@given(returns=RETURNS)
def test_the_order_of_returns_changes_no_ratio(returns: np.ndarray) -> None:
    for metric in (metrics.sharpe_per_period, metrics.sortino_annualized, metrics.kurtosis, metrics.expected_shortfall):
        assert close(metric(returns[::-1]), metric(returns))


@given(returns=RETURNS)
def test_moments_keep_their_bounds(returns: np.ndarray) -> None:
    skewness, kurtosis = metrics.skewness(returns), metrics.kurtosis(returns)
    shortfall = metrics.expected_shortfall(returns)
    if skewness is not None and kurtosis is not None:
        assert kurtosis >= skewness**2 + 1 - 1e-9
    assert shortfall is not None
    assert -returns.mean() - 1e-12 <= shortfall <= -returns.min() + 1e-12


@given(equity=EQUITY, opening=st.integers(1, 10_000))
def test_a_drawdown_is_what_a_search_over_all_pairs_finds(equity: np.ndarray, opening: int) -> None:
    curve = [float(opening), *equity]
    falls = [(peak - low, (peak - low) / peak) for i, peak in enumerate(curve) for low in curve[i:]]
    found = metrics.drawdown(equity, float(opening))
    assert found.currency == max(fall for fall, _ in falls)
    assert found.fraction == pytest.approx(max(fraction for _, fraction in falls), rel=1e-12)
    assert 0 <= found.fraction < 1
    assert 0 <= found.sessions <= len(equity)


@given(equity=EQUITY, more=st.integers(1, 10_000))
def test_a_longer_history_never_has_a_smaller_drawdown(equity: np.ndarray, more: int) -> None:
    before = metrics.drawdown(equity, 5_000.0)
    after = metrics.drawdown(np.append(equity, float(more)), 5_000.0)
    assert (after.fraction, after.currency) >= (before.fraction, before.currency)
    assert after.sessions >= before.sessions


@given(equity=EQUITY, repeats=st.integers(1, 4))
def test_more_marks_in_a_session_make_no_longer_drawdown(equity: np.ndarray, repeats: int) -> None:
    sessions = np.repeat(np.arange(len(equity)), repeats)
    assert metrics.drawdown(np.repeat(equity, repeats), 5_000.0, sessions) == metrics.drawdown(equity, 5_000.0)


@given(rows=st.lists(FILL, max_size=40))
def test_trades_and_what_is_open_add_up_to_the_account(rows: list[tuple[str, str, int, int]]) -> None:
    costs = [0.01 * qty * price for _, _, qty, price in rows]
    frame = pl.DataFrame(
        {
            "fold": pl.Series([0] * len(rows), dtype=pl.Int32),
            "strategy_id": pl.Series(["s"] * len(rows), dtype=pl.String),
            "symbol": pl.Series([row[0] for row in rows], dtype=pl.String),
            "filled_at": pl.Series(range(len(rows)), dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "side": pl.Series([row[1] for row in rows], dtype=pl.String),
            "qty": pl.Series([row[2] for row in rows], dtype=pl.Float64),
            "price": pl.Series([row[3] for row in rows], dtype=pl.Float64),
            "half_spread_cost": pl.Series(costs, dtype=pl.Float64),
            **{name: pl.Series([0.0] * len(rows), dtype=pl.Float64) for name in ("impact_cost", "commission", "fees")},
        }
    )
    trades = metrics.round_trips(frame)
    cash = dict.fromkeys("AB", 0.0)
    held = dict.fromkeys("AB", 0)
    flat_cash = dict.fromkeys("AB", 0.0)
    closed = dict.fromkeys("AB", 0)
    for (symbol, side, qty, price), cost in zip(rows, costs, strict=True):
        signed = qty if side == "buy" else -qty
        before = held[symbol]
        held[symbol] += signed
        cash[symbol] -= signed * price + cost
        if before * signed < 0 and abs(signed) >= abs(before):
            closed[symbol] += 1
            opening = abs(held[symbol]) / qty
            # the part of this fill that opens the next trade is not the closed trade's
            flat_cash[symbol] = cash[symbol] + held[symbol] * price + cost * opening
    for symbol in "AB":
        own = trades.filter(pl.col("symbol") == symbol)
        assert own.height == closed[symbol]
        assert float(own["net_pnl"].sum()) == pytest.approx(flat_cash[symbol], abs=1e-6)
    assert trades["closed_at"].is_sorted()
    assert (trades["qty"] > 0).all()


@given(notional=st.integers(0, 10**9), sessions=st.integers(1, 5000))
def test_turnover_is_the_same_for_twice_the_notional_in_twice_the_time(notional: int, sessions: int) -> None:
    once = metrics.turnover_per_year(float(notional), 1e5, sessions)
    assert close(metrics.turnover_per_year(2.0 * notional, 1e5, 2 * sessions), once)


@given(edge=st.integers(1, 10**6), impact=st.integers(1, 10**6))
def test_at_capacity_impact_takes_half_of_the_edge(edge: int, impact: int) -> None:
    capital = 1e5
    capacity = metrics.capacity_notional(float(edge - impact), float(impact), capital)
    assert capacity is not None
    size = capacity / capital
    assert impact * size**2 == pytest.approx(edge * size / 2)
