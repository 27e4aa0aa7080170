"""The evaluation report: its figures agree with the frames they come from, and with each other."""

import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import polars as pl
import pytest
from lane_signals import daily_rows
from research_world import FREE, momentum, nothing, setup_of

from torghut_assets.research import metrics
from torghut_assets.research.candidate import specify
from torghut_assets.research.report import EvaluationReport, evaluate
from torghut_assets.research.walkforward import walk_forward
from torghut_runtime.canonical import canonical_json

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return momentum().research.report


def test_profit_before_costs_is_profit_and_costs(report: EvaluationReport):
    performance = report.performance
    assert performance.gross_pnl == pytest.approx(performance.net_pnl + report.costs.total, rel=1e-12)
    parts = (report.costs.half_spread, report.costs.impact, report.costs.commission, report.costs.fees)
    assert report.costs.total == pytest.approx(math.fsum(parts), rel=1e-12)
    assert performance.cost_bps == pytest.approx(report.costs.total / performance.traded_notional * 1e4)
    assert performance.final_equity == pytest.approx(performance.capital + performance.net_pnl)
    assert sum(report.folds.net_pnl) == pytest.approx(performance.net_pnl)


def test_trades_add_up_to_the_net_profit(report: EvaluationReport):
    trades = metrics.round_trips(momentum().research.results.fills)
    assert report.counts.trade_count == trades.height
    assert float(trades["net_pnl"].sum()) == pytest.approx(report.performance.net_pnl, abs=1e-6)
    assert report.performance.average_trade == pytest.approx(report.performance.net_pnl / trades.height)
    assert report.performance.hit_rate == trades.filter(pl.col("net_pnl") > 0).height / trades.height


def test_counts_are_four_different_numbers(report: EvaluationReport):
    results = momentum().research.results
    counts = report.counts
    assert (counts.decision_count, counts.fill_count) == (results.decisions.height, results.fills.height)
    assert 0 < counts.trade_count < counts.decision_count
    assert len({counts.trade_count, counts.decision_count, counts.order_count, counts.fill_count}) == 4
    assert (counts.fold_count, counts.session_count) == (5, sum(fold.test_sessions for fold in results.report.folds))


def test_statistics_can_be_recomputed_from_the_equity(report: EvaluationReport):
    returns = momentum().research.results.equity["session_return"].drop_nulls().to_numpy()
    stated = report.statistics
    assert stated.n_observations == len(returns)
    assert stated.sharpe_per_period == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert stated.sharpe_annualized == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(252))
    centred = returns - returns.mean()
    assert stated.kurtosis == pytest.approx((centred**4).mean() / (centred**2).mean() ** 2)
    assert stated.n_trials == 2
    assert stated.trial_variance is not None


def test_months_and_curves_compound_to_the_total_return(report: EvaluationReport):
    total = report.performance.total_return
    assert np.prod([1 + value for value in report.monthly_returns.values()]) == pytest.approx(1 + total)
    assert report.curves.equity[-1] == pytest.approx(report.performance.final_equity)
    assert len(report.curves.sessions) == len(report.curves.equity) == report.counts.session_count
    assert {len(curve) for curve in report.curves.baselines.values()} == {report.counts.session_count}


def test_the_drawdown_counts_every_mark(report: EvaluationReport):
    equity = momentum().research.results.equity["equity"].to_numpy()
    peaks = np.maximum.accumulate(np.maximum(equity, report.performance.capital))
    assert report.performance.drawdown_fraction == pytest.approx(float((1 - equity / peaks).max()))
    assert report.performance.max_drawdown == pytest.approx(float((peaks - equity).max()))


def test_a_path_that_halves_between_two_trades_has_a_drawdown_of_half():
    # bought at about 100 and sold at 101, with 50 in between
    rows = daily_rows(100, price=lambda index: 50.0 if index % 10 in (4, 5, 6) else 100.0 + (index % 10 > 6))
    setup = setup_of(rows, costs=FREE, folds={"min_folds": 1})
    results = walk_forward(setup, "cand-test")
    spec = specify("halved", setup.signals, setup.strategies, setup.settings)
    performance = evaluate(spec, setup, results).performance
    assert performance.drawdown_fraction == pytest.approx(0.5, abs=0.01)
    assert performance.net_pnl > 0


def test_the_best_baseline_is_the_one_that_the_delta_is_measured_from(report: EvaluationReport):
    found = {each.name: each.net_pnl_at_equal_volatility for each in report.baselines.results}
    best = report.baselines.best
    assert set(found) == {"buy_and_hold", "legacy_macd_rsi", "cash"}
    assert found[best] == max(value for value in found.values() if value is not None)
    assert report.baselines.net_pnl_delta == pytest.approx(report.performance.net_pnl - (found[best] or 0.0))


def test_recorded_and_assumed_inputs_of_costs_are_counted():
    rows = daily_rows(100, spread=0.02)
    for row in rows[:60]:
        del row["payload"]["spread"]
    setup = setup_of(rows)
    results = walk_forward(setup, "cand-test")
    costs = evaluate(specify("name", setup.signals, setup.strategies, setup.settings), setup, results).costs
    assert costs.fills_with_assumed_inputs > 0
    assert costs.fills_with_recorded_inputs > 0
    assert costs.fills_with_recorded_inputs + costs.fills_with_assumed_inputs == results.fills.height


def test_without_folds_what_is_not_defined_is_absent():
    report = nothing().research.report
    performance = report.performance
    undefined = [
        *(performance.annual_return, performance.annual_volatility, performance.return_over_drawdown),
        *(performance.sharpe_annualized, performance.sortino_annualized, performance.calmar, performance.hit_rate),
        *(performance.expected_shortfall_95, performance.average_trade, performance.exposure, performance.cost_bps),
        *(performance.turnover_ratio, report.folds.negative_fold_ratio, report.folds.net_pnl_cv),
        *(report.statistics.skewness, report.statistics.kurtosis, report.statistics.trial_variance),
    ]
    assert set(undefined) == {None}
    assert (performance.net_pnl, performance.zero_drawdown, report.counts.fold_count) == (0.0, True, 0)
    assert report.baselines.best in {"buy_and_hold", "cash"}


def test_a_flat_account_has_no_exposure_and_time_in_the_market_counts_positions_only(report: EvaluationReport):
    results = momentum().research.results
    exposures = results.equity["gross_exposure"]
    assert exposures.filter((exposures != 0) & (exposures.abs() < 1)).len() == 0
    assert report.performance.time_in_market == (exposures > 1).mean()
    for fold in results.report.folds:
        assert results.equity.filter(pl.col("fold") == fold.index).row(-1, named=True)["gross_exposure"] == 0


@pytest.mark.parametrize("candidate", [momentum, nothing])
@pytest.mark.parametrize("name", ["candidate-spec", "walkforward-results", "evaluation-report"])
def test_artifacts_fit_their_published_schema(candidate, name: str):
    research = candidate().research
    model = {
        "candidate-spec": research.spec,
        "walkforward-results": research.results.report,
        "evaluation-report": research.report,
    }[name]
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.validate(json.loads(canonical_json(model)), schema)
