"""The evaluation report (``backtest/evaluation-report.json``): every metric that a gate reads, and what it was made of.

A pure function of the research inputs: what depends on other candidates or on executions is frozen in the evidence
instead. A figure that nobody has computed is absent, and the gates report it as missing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from torghut_assets.research import metrics
from torghut_assets.research.baseline import (
    BUY_AND_HOLD,
    CASH,
    Baseline,
    baseline_equity,
    baseline_sharpe,
    equal_baselines,
    run_baselines,
    scaled_pnl,
)
from torghut_assets.research.candidate import CandidateSpec, Universe, timeframes_of, universe_of
from torghut_assets.research.lookahead import LookaheadReport, check_lookahead
from torghut_assets.research.walkforward import (
    Chain,
    Progress,
    Setup,
    WalkforwardResults,
    chosen_points,
    run_chain,
    sharpe_variance,
    silent,
)
from torghut_runtime.compiled import Vector
from torghut_runtime.market.bars import BarSet
from torghut_runtime.market.calendar import is_exchange_traded
from torghut_runtime.market.features import FEATURE_WARMUP_BARS, FeaturePipeline, compute_features
from torghut_runtime.market.signals import SignalSet
from torghut_runtime.strategies.registry import BoundStrategy

SCHEMA = "torghut.evaluation-report.v1"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QualitySection(_Part):
    """What gate 0 reads; see ``torghut_runtime.market.quality`` for the meaning of each."""

    source: Literal["signals", "bars"]
    rows_read: int
    rows: int
    feature_schema_version: str
    required_feature_null_rate: float | None
    has_ingest_ts: bool
    staleness_ms_p95: float | None
    symbol_coverage: float | None
    duplicate_count: int
    duplicate_ratio: float
    backward_steps: int
    exchange_traded: bool
    missing_sessions: int | None
    missing_session_ratio: float | None
    outside_session_rows: int | None
    outside_session_ratio: float | None
    unused_timeframe_rows: int | None
    adjusted_prices: bool


class SearchSection(_Part):
    """The search space that parameters were chosen from."""

    parameter_points: int
    objective: str


class CountSection(_Part):
    """Decisions, orders, fills and trades (round trips) are different things; all out of sample."""

    decision_count: int
    order_count: int
    fill_count: int
    trade_count: int
    fold_count: int
    session_count: int
    invalid_output_count: int


class PerformanceSection(_Part):
    """Out of sample, after costs. Fractions are of the capital or of equity, money is in account currency."""

    capital: float
    final_equity: float
    net_pnl: float
    gross_pnl: float = Field(description="before costs, of the same fills")
    total_return: float
    annual_return: float | None
    annual_volatility: float | None
    max_drawdown: float = Field(description="currency")
    drawdown_fraction: float
    drawdown_sessions: int
    zero_drawdown: bool
    return_over_drawdown: float | None
    sharpe_annualized: float | None
    sortino_annualized: float | None
    calmar: float | None
    expected_shortfall_95: float | None = Field(description="mean loss of the worst 5 % of sessions, a fraction")
    hit_rate: float | None = Field(description="share of trades with a profit after costs")
    average_trade: float | None
    exposure: float | None = Field(description="mean gross exposure over equity, marked on every bar")
    time_in_market: float | None = Field(description="share of bars with a position")
    turnover_ratio: float | None = Field(description="traded notional per year of 252 sessions, over mean equity")
    traded_notional: float
    cost_bps: float | None = Field(description="all costs over the traded notional")
    capacity_notional: float | None = Field(description="capital at which impact halves the edge")


class CostSection(_Part):
    """Costs by component, in account currency."""

    total: float
    half_spread: float
    impact: float
    commission: float
    fees: float
    fills_with_recorded_inputs: int
    fills_with_assumed_inputs: int


class FoldSection(_Part):
    """How the profit spreads over the folds."""

    net_pnl: tuple[float, ...]
    negative_fold_ratio: float | None
    net_pnl_cv: float | None


class StatisticsSection(_Part):
    """Inputs of every statistic, so that a reader can recompute it."""

    sharpe_per_period: float | None
    sharpe_annualized: float | None
    n_observations: int
    skewness: float | None
    kurtosis: float | None
    n_trials: int = Field(description="of this candidate; those on record are in the evidence")
    trial_variance: float | None = Field(description="of this candidate's trials, per period, ddof 1")


class BaselineResult(_Part):
    """One baseline over the same test windows."""

    name: str
    available: bool
    note: str | None
    net_pnl: float | None
    net_pnl_at_equal_volatility: float | None
    sharpe_annualized: float | None


class BaselineSection(_Part):
    """The comparison that gate 6 reads."""

    results: tuple[BaselineResult, ...]
    best: str
    net_pnl_delta: float = Field(description="net profit minus the best baseline's, scaled to equal volatility")
    equal_to: tuple[str, ...] = Field(description="baselines whose decisions the candidate repeats")


class Curves(_Part):
    """Session by session, for pictures: equity of the candidate and of the baselines."""

    sessions: tuple[str, ...]
    equity: tuple[float, ...]
    baselines: Mapping[str, tuple[float, ...]]


class EvaluationReport(_Part):
    """``backtest/evaluation-report.json``."""

    schema_: Literal["torghut.evaluation-report.v1"] = Field(default=SCHEMA, alias="schema")
    name: str
    candidate_id: str
    dataset_id: str
    data_quality: QualitySection
    universe: Universe
    search: SearchSection
    counts: CountSection
    performance: PerformanceSection
    costs: CostSection
    folds: FoldSection
    statistics: StatisticsSection
    baselines: BaselineSection
    lookahead: LookaheadReport
    monthly_returns: Mapping[str, float] = Field(description="YYYY-MM to the return of the sessions in it")
    curves: Curves


def evaluate(
    spec: CandidateSpec,
    setup: Setup,
    results: WalkforwardResults,
    *,
    bars: BarSet | None = None,
    pipeline: FeaturePipeline = compute_features,
    progress: Progress = silent,
) -> EvaluationReport:
    """Measure a candidate's walk-forward results.

    Args:
        spec: the candidate.
        setup: data, folds and settings of the walk-forward.
        results: what it gave.
        bars: the bars that features were computed from, for the lookahead check.
        pipeline: computes the features.
        progress: told how far it is.
    """
    chosen = chosen_points(setup, results.report)
    chain = run_chain(setup, chosen)
    progress("baselines", 0, 2)
    baselines = run_baselines(setup)
    progress("lookahead", 1, 2)
    lookahead = check_lookahead(setup, chosen, chain, bars=bars, pipeline=pipeline)
    progress("lookahead", 2, 2)
    trades = metrics.round_trips(results.fills)
    returns = chain.session_returns
    costs = _costs(results.fills)
    performance = _performance(setup, chain, results, trades, costs.total)
    return EvaluationReport(
        schema=SCHEMA,
        name=spec.name,
        candidate_id=spec.candidate_id,
        dataset_id=spec.dataset.dataset_id,
        data_quality=quality_section(setup.signals, setup.strategies),
        universe=spec.universe,
        search=SearchSection(parameter_points=spec.search_points, objective=setup.settings.objective),
        counts=CountSection(
            decision_count=results.decisions.height,
            order_count=sum(result.order_count for result in chain.results),
            fill_count=results.fills.height,
            trade_count=trades.height,
            fold_count=len(results.report.folds),
            session_count=len(returns),
            invalid_output_count=sum(results.report.invalid_outputs.values()),
        ),
        performance=performance,
        costs=costs,
        folds=_folds(results),
        statistics=_statistics(returns, results),
        baselines=_baselines(setup, results, baselines, returns, performance.net_pnl),
        lookahead=lookahead,
        monthly_returns=_monthly(chain),
        curves=_curves(setup, chain, baselines),
    )


def quality_section(signals: SignalSet, strategies: Sequence[BoundStrategy]) -> QualitySection:
    """What gate 0 reads about a candidate's data."""
    required = sorted({name for each in strategies for name in each.strategy_class.features})
    warmup = max((FEATURE_WARMUP_BARS.get(name, 0) for name in required), default=0)
    universe = universe_of(strategies, signals)
    quality = signals.quality.for_candidate(
        signals.frame,
        required_features=required,
        warmup=warmup if signals.source == "bars" else 0,
        symbols=universe,
        timeframes=timeframes_of(strategies),
    )
    return QualitySection(
        source=signals.source,
        rows_read=quality.rows_read,
        rows=quality.rows,
        feature_schema_version=quality.feature_schema_version,
        required_feature_null_rate=quality.required_feature_null_rate,
        has_ingest_ts=quality.staleness_ms_p95 is not None,
        staleness_ms_p95=quality.staleness_ms_p95,
        symbol_coverage=quality.symbol_coverage,
        duplicate_count=quality.duplicate_count,
        duplicate_ratio=quality.duplicate_ratio,
        backward_steps=quality.backward_steps,
        exchange_traded=any(is_exchange_traded(symbol) for symbol in universe),
        missing_sessions=quality.missing_sessions,
        missing_session_ratio=quality.missing_session_ratio,
        outside_session_rows=quality.outside_session_rows,
        outside_session_ratio=quality.outside_session_ratio,
        unused_timeframe_rows=quality.unused_timeframe_rows,
        adjusted_prices=quality.adjusted,
    )


def _costs(fills: pl.DataFrame) -> CostSection:
    parts = metrics.total_costs(fills)
    assumed = int(fills["assumed_inputs"].sum())
    return CostSection(
        total=math.fsum(parts.values()),
        half_spread=parts["half_spread_cost"],
        impact=parts["impact_cost"],
        commission=parts["commission"],
        fees=parts["fees"],
        fills_with_recorded_inputs=fills.height - assumed,
        fills_with_assumed_inputs=assumed,
    )


def _performance(
    setup: Setup, chain: Chain, results: WalkforwardResults, trades: pl.DataFrame, costs: float
) -> PerformanceSection:
    capital = setup.settings.capital
    returns = chain.session_returns
    equity = results.equity["equity"].to_numpy()
    fall = metrics.drawdown(equity, capital, chain.mark_sessions)
    net = chain.closing_cash - capital
    total_return = net / capital
    annual = metrics.geometric_annual_return(total_return, len(returns))
    notional = metrics.traded_notional(results.fills)
    gross = results.equity["gross_exposure"].to_numpy()
    impact = float(results.fills["impact_cost"].sum())
    return PerformanceSection(
        capital=capital,
        final_equity=chain.closing_cash,
        net_pnl=net,
        gross_pnl=net + costs,
        total_return=total_return,
        annual_return=annual,
        annual_volatility=(
            float(returns.std(ddof=1)) * math.sqrt(metrics.SESSIONS_PER_YEAR) if len(returns) > 1 else None
        ),
        max_drawdown=fall.currency,
        drawdown_fraction=fall.fraction,
        drawdown_sessions=fall.sessions,
        zero_drawdown=fall.fraction == 0.0,
        return_over_drawdown=None if fall.fraction == 0.0 else total_return / fall.fraction,
        sharpe_annualized=metrics.annualized(metrics.sharpe_per_period(returns)),
        sortino_annualized=metrics.sortino_annualized(returns),
        calmar=None if fall.fraction == 0.0 or annual is None else annual / fall.fraction,
        expected_shortfall_95=metrics.expected_shortfall(returns),
        hit_rate=None if trades.height == 0 else trades.filter(pl.col("net_pnl") > 0).height / trades.height,
        average_trade=metrics.mean_or_none(trades["net_pnl"].to_numpy()),
        exposure=metrics.mean_or_none(gross / equity) if len(equity) and float(equity.min()) > 0 else None,
        time_in_market=metrics.mean_or_none((gross > 0).astype(np.float64)),
        turnover_ratio=metrics.turnover_per_year(notional, metrics.mean_or_none(equity) or 0.0, len(returns)),
        traded_notional=notional,
        cost_bps=None if notional == 0.0 else costs / notional * 1e4,
        capacity_notional=metrics.capacity_notional(net, impact, capital),
    )


def _folds(results: WalkforwardResults) -> FoldSection:
    profits = tuple(fold.out_of_sample.net_pnl for fold in results.report.folds)
    losing = sum(profit < 0 for profit in profits)
    return FoldSection(
        net_pnl=profits,
        negative_fold_ratio=losing / len(profits) if profits else None,
        net_pnl_cv=metrics.coefficient_of_variation(profits),
    )


def _statistics(returns: Vector, results: WalkforwardResults) -> StatisticsSection:
    sharpe = metrics.sharpe_per_period(returns)
    return StatisticsSection(
        sharpe_per_period=sharpe,
        sharpe_annualized=metrics.annualized(sharpe),
        n_observations=len(returns),
        skewness=metrics.skewness(returns),
        kurtosis=metrics.kurtosis(returns),
        n_trials=len(results.report.trials),
        trial_variance=sharpe_variance(results.report.trials),
    )


def _baselines(
    setup: Setup, results: WalkforwardResults, baselines: Sequence[Baseline], returns: Vector, net_pnl: float
) -> BaselineSection:
    capital = setup.settings.capital
    listed: list[BaselineResult] = []
    scaled: dict[str, float] = {}
    for baseline in baselines:
        value = scaled_pnl(baseline, returns, capital)
        if value is not None:
            scaled[baseline.name] = value
        if baseline.chain is not None:
            profit = baseline.chain.closing_cash - capital
        else:
            profit = 0.0 if baseline.name == CASH else None
        listed.append(
            BaselineResult(
                name=baseline.name,
                available=value is not None,
                note=baseline.unavailable,
                net_pnl=profit,
                net_pnl_at_equal_volatility=value,
                sharpe_annualized=baseline_sharpe(baseline),
            )
        )
    best = max(scaled, key=lambda name: (scaled[name], name == BUY_AND_HOLD))
    return BaselineSection(
        results=tuple(listed),
        best=best,
        net_pnl_delta=net_pnl - scaled[best],
        equal_to=tuple(equal_baselines(setup, results.decisions, baselines)),
    )


def _monthly(chain: Chain) -> dict[str, float]:
    months: dict[str, float] = {}
    for result in chain.results:
        for day, value in zip(result.session_dates, result.session_returns, strict=True):
            month = f"{day:%Y-%m}"
            months[month] = (1.0 + months.get(month, 0.0)) * (1.0 + float(value)) - 1.0
    return months


def _curves(setup: Setup, chain: Chain, baselines: Sequence[Baseline]) -> Curves:
    capital = setup.settings.capital
    equity = capital * np.cumprod(1.0 + chain.session_returns)
    days = [day.isoformat() for result in chain.results for day in result.session_dates]
    others: dict[str, Any] = {
        baseline.name: tuple(baseline_equity(baseline, capital).tolist())
        for baseline in baselines
        if baseline.chain is not None
    }
    return Curves(sessions=tuple(days), equity=tuple(equity.tolist()), baselines=others)
