"""Walk-forward: parameters chosen on training data only, applied unchanged to the test window that follows.

One account runs through all test windows; each begins flat and ends flat. The series it leaves is out of sample, and so
is every metric that a gate reads. Folds are cut in ``folds``, orders are simulated in ``simulation``.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from torghut_assets.research import metrics
from torghut_assets.research.candidate import family, timeframes_of, universe_of
from torghut_assets.research.folds import Fold, plan_folds
from torghut_assets.research.settings import Objective, ResearchSettings
from torghut_assets.research.simulation import MarketArrays, SimulationResult, no_trading, prepare_market, simulate
from torghut_runtime.canonical import digest
from torghut_runtime.compiled import Integers, Matrix, Vector
from torghut_runtime.errors import InputError
from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.market.signals import SignalSet
from torghut_runtime.strategies.registry import MAX_SEARCH_POINTS, BoundStrategy

SCHEMA = "torghut.walkforward-results.v1"

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, out of how much."""


def silent(stage: str, done: int, total: int) -> None:
    """Hears about progress and says nothing."""
    del stage, done, total


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WindowMetrics(_Part):
    """What one simulated window earned, after costs; currency unless said otherwise."""

    net_pnl: float
    sharpe_annualized: float | None
    sessions: int
    decisions: int
    orders: int
    fills: int


class FoldResult(_Part):
    """One fold: its windows (both ends included), the parameters chosen on training data, and both outcomes."""

    index: int
    train_first: date
    train_last: date
    test_first: date
    test_last: date
    train_sessions: int
    test_sessions: int
    purge_sessions: int
    parameter_index: int
    parameters: Mapping[str, Any]
    objective_in_sample: float | None
    in_sample: WindowMetrics
    out_of_sample: WindowMetrics


class Trial(_Part):
    """One evaluated configuration: its parameters held fixed through all test windows."""

    parameter_index: int
    parameters: Mapping[str, Any] = Field(description="complete, by strategy_id, defaults included")
    parameters_sha256: str
    sharpe_per_period: float | None
    n_observations: int
    net_pnl: float


class WalkforwardReport(_Part):
    """``backtest/walkforward-results.json``."""

    schema_: Literal["torghut.walkforward-results.v1"] = Field(default=SCHEMA, alias="schema")
    candidate_id: str
    objective: Objective
    mode: Literal["rolling", "anchored"]
    embargo_bars: int
    horizon_bars: int
    sessions: int = Field(description="sessions of the calendar in the data")
    folds: tuple[FoldResult, ...]
    trial_family: str
    trial_timeframe: str
    trial_symbols: tuple[str, ...]
    span_first: date | None
    span_last: date | None
    trials: tuple[Trial, ...]
    invalid_outputs: Mapping[str, int] = Field(description="step outputs that were NaN or out of range, out of sample")
    decisions_sha256: str


@dataclass(frozen=True)
class WalkforwardResults:
    """The report and the frames behind it; columns as in contract ``lane.md`` 6.

    ``trial_returns`` is (sessions, trials): the session returns of every trial over the same out-of-sample sessions.
    """

    report: WalkforwardReport
    decisions: pl.DataFrame
    fills: pl.DataFrame
    equity: pl.DataFrame
    trial_returns: Matrix


@dataclass(frozen=True)
class Chain:
    """Windows simulated one after the other with one account; equity carries over, positions do not.

    ``nothing`` is the result without any window, whose tables have the right columns.
    """

    results: tuple[SimulationResult, ...]
    opening_cash: float
    nothing: SimulationResult

    @property
    def closing_cash(self) -> float:
        """Cash after the last window."""
        return self.results[-1].closing_cash if self.results else self.opening_cash

    @cached_property
    def session_returns(self) -> Vector:
        """One return per session of all windows."""
        parts = [result.session_returns for result in self.results]
        return np.concatenate(parts) if parts else np.empty(0)

    @cached_property
    def mark_sessions(self) -> Integers:
        """Number of the session of every mark of the account, ascending."""
        parts = [result.mark_sessions for result in self.results]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def frame(self, name: Literal["decisions", "fills", "equity"]) -> pl.DataFrame:
        """One table over all windows; order ids go on counting."""
        frames: list[pl.DataFrame] = [getattr(result, name) for result in self.results]
        if name == "fills":
            first = 0
            for index, result in enumerate(self.results):
                frames[index] = frames[index].with_columns(pl.col("order_id") + first)
                first += result.order_count
        return pl.concat(frames) if frames else getattr(self.nothing, name)


@dataclass(frozen=True)
class Setup:
    """What the windows of a candidate have in common."""

    signals: SignalSet
    market: MarketArrays
    strategies: tuple[BoundStrategy, ...]
    settings: ResearchSettings
    folds: tuple[Fold, ...]
    sessions: tuple[date, ...]

    @property
    def horizon_bars(self) -> int:
        """Longest declared holding horizon."""
        return max(each.horizon_bars for each in self.strategies)


def set_up(signals: SignalSet, strategies: Sequence[BoundStrategy], settings: ResearchSettings) -> Setup:
    """Lay out the data as arrays and cut the folds."""
    timeframes = timeframes_of(strategies)
    symbols = universe_of(strategies, signals)
    used = signals.frame.filter(pl.col("timeframe").is_in(timeframes), pl.col("symbol").is_in(symbols))
    market = prepare_market(used)
    around_the_clock = not any(is_exchange_traded(symbol) for symbol in symbols)
    sessions = _sessions(market, around_the_clock=around_the_clock)
    horizons = [(each.entry.base_timeframe, each.horizon_bars) for each in strategies]
    folds = plan_folds(sessions, settings.folds, horizons=horizons, around_the_clock=around_the_clock)
    return Setup(signals, market, tuple(strategies), settings, tuple(folds), tuple(sessions))


def _sessions(market: MarketArrays, *, around_the_clock: bool) -> list[date]:
    if not market.sessions or around_the_clock:
        return list(market.sessions)
    return TradingCalendar().sessions(market.sessions[0], market.sessions[-1])


def parameter_points(strategies: Sequence[BoundStrategy]) -> list[list[BoundStrategy]]:
    """Every combination of the strategies' search spaces, bound; the first strategy's changes slowest.

    Raises:
        InputError: more than the allowed number of combinations.
    """
    grids = [each.grid() for each in strategies]
    total = 1
    for grid in grids:
        total *= len(grid)
    if total > MAX_SEARCH_POINTS:
        raise InputError(
            f"{total} combinations over all strategies, at most {MAX_SEARCH_POINTS} are searched", field="search"
        )
    variants = [
        [each if not overrides else each.with_params(**overrides) for overrides in grid]
        for each, grid in zip(strategies, grids, strict=True)
    ]
    return [list(point) for point in itertools.product(*variants)]


def windows(setup: Setup, points: Sequence[Sequence[BoundStrategy]]) -> Iterator[SimulationResult]:
    """Simulate the test windows in order with one account, window i with ``points[i]``, each when it is asked for."""
    cash = setup.settings.capital
    for fold, point in zip(setup.folds, points, strict=True):
        result = simulate(setup.market, point, setup.settings, fold.test, cash, fold.index)
        cash = result.closing_cash
        yield result


def run_chain(setup: Setup, points: Sequence[Sequence[BoundStrategy]]) -> Chain:
    """Simulate all test windows in order, window i with ``points[i]``."""
    capital = setup.settings.capital
    return Chain(tuple(windows(setup, points)), capital, no_trading(setup.market, setup.strategies, capital, fold=0))


def chosen_points(setup: Setup, report: WalkforwardReport) -> list[list[BoundStrategy]]:
    """The strategies with the parameters of each fold."""
    points = parameter_points(setup.strategies)
    return [points[fold.parameter_index] for fold in report.folds]


def applied_strategies(strategies: Sequence[BoundStrategy], report: WalkforwardReport) -> list[BoundStrategy]:
    """The strategies as a promotion would trade them: with the parameters chosen for the newest test window.

    They are the newest that were evaluated out of sample. Without a fold nothing was chosen, and the entries stand.
    """
    if not report.folds:
        return list(strategies)
    return parameter_points(strategies)[report.folds[-1].parameter_index]


def walk_forward(setup: Setup, candidate_id: str, progress: Progress = silent) -> WalkforwardResults:
    """Choose parameters per fold on its training window, apply them to its test window, and evaluate every trial."""
    points = parameter_points(setup.strategies)
    settings = setup.settings
    total = len(setup.folds) * len(points)
    chosen: list[tuple[int, SimulationResult]] = []
    for fold in setup.folds:
        best: tuple[float, int, SimulationResult] | None = None
        for index, point in enumerate(points):
            trained = simulate(setup.market, point, settings, fold.train, settings.capital, fold.index)
            score = _score(settings.objective, trained)
            value = -np.inf if score is None else score
            if best is None or value > best[0]:
                best = (value, index, trained)
            progress("walk-forward", fold.index * len(points) + index + 1, total)
        assert best is not None
        chosen.append((best[1], best[2]))
    chain = run_chain(setup, [points[index] for index, _ in chosen])
    folds = tuple(
        _fold_result(fold, points[index], index, trained, tested, settings)
        for fold, (index, trained), tested in zip(setup.folds, chosen, chain.results, strict=True)
    )
    trials, returns = _trials(setup, points, chain, [index for index, _ in chosen], progress)
    decisions = chain.frame("decisions")
    spans = setup.market.sessions
    report = WalkforwardReport(
        schema=SCHEMA,
        candidate_id=candidate_id,
        objective=settings.objective,
        mode=settings.folds.mode,
        embargo_bars=settings.folds.embargo_bars,
        horizon_bars=setup.horizon_bars,
        sessions=len(setup.sessions),
        folds=folds,
        trial_family=family(setup.strategies),
        trial_timeframe="+".join(timeframes_of(setup.strategies)),
        trial_symbols=universe_of(setup.strategies, setup.signals),
        span_first=spans[0] if spans else None,
        span_last=spans[-1] if spans else None,
        trials=trials,
        invalid_outputs=_invalid_outputs(chain, setup.strategies),
        decisions_sha256=decisions_digest(decisions),
    )
    return WalkforwardResults(report, decisions, chain.frame("fills"), chain.frame("equity"), returns)


def _score(objective: Objective, result: SimulationResult) -> float | None:
    if objective == "net_pnl":
        return result.closing_cash - result.opening_cash
    if objective == "sharpe_annualized":
        return metrics.annualized(metrics.sharpe_per_period(result.session_returns))
    equity = result.equity["equity"].to_numpy()
    fall = metrics.drawdown(equity, result.opening_cash).fraction
    gained = result.closing_cash / result.opening_cash - 1.0
    return None if fall == 0.0 else gained / fall


def _fold_result(
    fold: Fold,
    point: Sequence[BoundStrategy],
    index: int,
    trained: SimulationResult,
    tested: SimulationResult,
    settings: ResearchSettings,
) -> FoldResult:
    return FoldResult(
        index=fold.index,
        train_first=fold.train.first_session,
        train_last=fold.train.last_session,
        test_first=fold.test.first_session,
        test_last=fold.test.last_session,
        train_sessions=fold.train_sessions,
        test_sessions=fold.test_sessions,
        purge_sessions=fold.purge_sessions,
        parameter_index=index,
        parameters=_searched(point),
        objective_in_sample=_score(settings.objective, trained),
        in_sample=_window_metrics(trained),
        out_of_sample=_window_metrics(tested),
    )


def _searched(point: Sequence[BoundStrategy]) -> dict[str, Any]:
    """Values of the searched parameters, by name, or by strategy and name where there are several strategies."""
    values: dict[str, Any] = {}
    for each in point:
        params: Any = each.params.model_dump(mode="json")
        for name in sorted(each.entry.search):
            value = params
            for part in name.split("."):
                value = value[part]
            values[name if len(point) == 1 else f"{each.entry.strategy_id}.{name}"] = value
    return values


def _window_metrics(result: SimulationResult) -> WindowMetrics:
    return WindowMetrics(
        net_pnl=result.closing_cash - result.opening_cash,
        sharpe_annualized=metrics.annualized(metrics.sharpe_per_period(result.session_returns)),
        sessions=len(result.session_returns),
        decisions=len(result.decision_table),
        orders=result.order_count,
        fills=len(result.fill_table),
    )


def _trials(
    setup: Setup,
    points: Sequence[Sequence[BoundStrategy]],
    chain: Chain,
    chosen: Sequence[int],
    progress: Progress,
) -> tuple[tuple[Trial, ...], Matrix]:
    if not setup.folds:
        return (), np.empty((0, 0))
    trials: list[Trial] = []
    columns: list[Vector] = []
    for index, point in enumerate(points):
        same = all(each == index for each in chosen)
        run = chain if same else run_chain(setup, [point] * len(setup.folds))
        returns = run.session_returns
        columns.append(returns)
        parameters = {each.entry.strategy_id: each.params.model_dump(mode="json") for each in point}
        trials.append(
            Trial(
                parameter_index=index,
                parameters=parameters,
                parameters_sha256=digest([parameters[each.entry.strategy_id] for each in point]),
                sharpe_per_period=metrics.sharpe_per_period(returns),
                n_observations=len(returns),
                net_pnl=run.closing_cash - run.opening_cash,
            )
        )
        progress("trials", index + 1, len(points))
    return tuple(trials), np.ascontiguousarray(np.column_stack(columns))


def sharpe_variance(trials: Sequence[Trial]) -> float | None:
    """Variance (ddof 1) of the trials' Sharpe ratios per period; None below two that have one."""
    known = [trial.sharpe_per_period for trial in trials if trial.sharpe_per_period is not None]
    return float(np.var(known, ddof=1)) if len(known) > 1 else None


def _invalid_outputs(chain: Chain, strategies: Sequence[BoundStrategy]) -> dict[str, int]:
    counts = {each.entry.strategy_id: 0 for each in strategies}
    for result in chain.results:
        for name, count in result.invalid_outputs.items():
            counts[name] += count
    return counts


def decisions_digest(decisions: pl.DataFrame) -> str:
    """sha256 over what was decided where and when."""
    columns = decisions.select("fold", "strategy_id", "symbol", "decided_at", "signal", "target_qty", "reason")
    return digest([list(row) for row in columns.iter_rows()])
