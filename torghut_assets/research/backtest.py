"""The fast loop of a researcher: one strategy over bars, walked forward, with neither gates nor database.

:func:`backtest` is what a notebook calls; ``torghut backtest`` prints its result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from torghut_assets.market.data import MarketData, market_signals
from torghut_assets.research.candidate import CandidateSpec, slug, specify
from torghut_assets.research.report import EvaluationReport, evaluate
from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.tearsheet import render_tearsheet
from torghut_assets.research.walkforward import Progress, WalkforwardReport, set_up, silent, walk_forward
from torghut_runtime.errors import InputError
from torghut_runtime.market.bars import BarSet, bars_from_frame, read_bars
from torghut_runtime.market.features import FeaturePipeline, compute_features
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import Strategy
from torghut_runtime.strategies.registry import BoundStrategy, default_registry, resolve


@dataclass(frozen=True)
class Backtest:
    """What one strategy did out of sample: frames as in contract ``lane.md`` 6, and the metrics.

    ``report`` has the same figures that gates would read; ``tearsheet()`` is the page about them.
    """

    spec: CandidateSpec
    walkforward: WalkforwardReport
    report: EvaluationReport
    decisions: pl.DataFrame
    fills: pl.DataFrame
    equity: pl.DataFrame

    def tearsheet(self) -> bytes:
        """The tear sheet as self-contained HTML."""
        return render_tearsheet(self.spec, self.walkforward, self.report)


def backtest(
    bars: Path | pl.DataFrame | BarSet,
    strategy: str | type[Strategy],
    settings: ResearchSettings | None = None,
    *,
    timeframe: str | None = None,
    params: Mapping[str, Any] | None = None,
    search: Mapping[str, tuple[Any, ...]] | None = None,
    pipeline: FeaturePipeline = compute_features,
    progress: Progress = silent,
) -> Backtest:
    """Walk one strategy forward over bars.

    Without caps of its own the strategy may hold each symbol at an equal share of equity.

    Args:
        bars: a Parquet or CSV file, a table with its columns, or bars that were read already.
        strategy: type of an installed strategy, or a class at hand.
        settings: capital, folds, costs; the defaults when left out.
        timeframe: of the bars; inferred when left out.
        params: the strategy's parameters.
        search: parameter to values, for the walk-forward to choose from on training data.
        pipeline: computes the features.
        progress: told how far it is.

    Raises:
        InputError: bars, strategy or parameters that cannot be used.
    """
    chosen = settings or ResearchSettings()
    data = _bars(bars, timeframe)
    market = MarketData(data, market_signals(data, None, pipeline))
    symbols = market.signals.quality.symbols
    entry = _entry(strategy, data.timeframe, len(symbols), params or {}, search or {})
    bound = _bind(entry, strategy, market.signals.available_features)
    spec = specify(slug(entry.strategy_id), market.signals, [bound], chosen)
    setup = set_up(market.signals, [bound], chosen)
    results = walk_forward(setup, spec.candidate_id, progress)
    report = evaluate(spec, setup, results, bars=data, pipeline=pipeline, progress=progress)
    return Backtest(spec, results.report, report, results.decisions, results.fills, results.equity)


def _bars(bars: Path | pl.DataFrame | BarSet, timeframe: str | None) -> BarSet:
    if isinstance(bars, BarSet):
        return bars
    return bars_from_frame(bars, timeframe) if isinstance(bars, pl.DataFrame) else read_bars(bars, timeframe)


def _entry(
    strategy: str | type[Strategy],
    timeframe: str,
    symbols: int,
    params: Mapping[str, Any],
    search: Mapping[str, tuple[Any, ...]],
) -> StrategyEntry:
    name = strategy if isinstance(strategy, str) else strategy.type
    return StrategyEntry(
        strategy_id=f"backtest-{name}".replace("_", "-"),
        name=f"backtest-{name}".replace("_", "-"),
        strategy_type=name,
        base_timeframe=timeframe,
        max_position_pct_equity=1.0 / symbols,
        params=dict(params),
        search=dict(search),
    )


def _bind(entry: StrategyEntry, strategy: str | type[Strategy], available: frozenset[str]) -> BoundStrategy:
    registry = default_registry()
    if not isinstance(strategy, str):
        known = registry.classes.get((strategy.type, strategy.version))
        entry = entry.model_copy(update={"version": strategy.version})
        registry = registry if known is strategy else registry.extended(strategy)
    elif not strategy:
        raise InputError("must name a strategy type", field="strategy")
    return resolve(entry, available, registry)
