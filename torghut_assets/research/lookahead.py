"""The lookahead check: what was decided at a time must not depend on what came after it.

At a sample of time points the data are cut off, features computed anew and the test window simulated again; features
and decisions up to that point must be bitwise what they are with all data. How bad a leak is for a candidate is the
gates' business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from torghut_assets.research.candidate import universe_of
from torghut_assets.research.folds import Fold
from torghut_assets.research.simulation import SimulationResult, Window, prepare_market, simulate
from torghut_assets.research.walkforward import Chain, Setup
from torghut_runtime.market.bars import BarSet
from torghut_runtime.market.features import FEATURES, FeaturePipeline, compute_features
from torghut_runtime.market.frame import ROW_ORDER
from torghut_runtime.market.signals import features_of_bars
from torghut_runtime.strategies.registry import BoundStrategy


class Leak(BaseModel):
    """The earliest thing that changed: a feature of a bar, or a decision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_ts: datetime
    symbol: str
    feature: str | None = Field(description="null when a decision changed though no feature did")
    cut_off_at: datetime


class LookaheadReport(BaseModel):
    """Outcome of the check; ``detected`` is null when not a single point could be checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detected: bool | None
    checked_points: int
    first_leak: Leak | None


@dataclass(frozen=True)
class CutOff:
    """One point of time at which the future is cut off, and the fold it lies in."""

    at: datetime
    fold: int


def cut_offs(setup: Setup, points: int, seed: int) -> list[CutOff]:
    """A seeded sample of bar closes inside the test windows, ascending; the last bar of a window is left out.

    A point is only of use with something before it and something after it in its window.
    """
    rng = np.random.default_rng(seed)
    found: list[CutOff] = []
    frame = setup.market.frame
    per_fold: list[tuple[Fold, pl.Series]] = []
    for fold in setup.folds:
        inside = pl.col("session").is_between(fold.test.first_session, fold.test.last_session)
        moments = frame.filter(inside)["event_ts"].unique().sort()
        if moments.len() > 1:
            per_fold.append((fold, moments.head(-1)))
    if not per_fold:
        return []
    for number in range(points):
        fold, moments = per_fold[number % len(per_fold)]
        found.append(CutOff(moments[int(rng.integers(moments.len()))], fold.index))
    return sorted({(each.at, each.fold): each for each in found}.values(), key=lambda each: each.at)


def check_lookahead(
    setup: Setup,
    chosen: Sequence[Sequence[BoundStrategy]],
    chain: Chain,
    *,
    bars: BarSet | None,
    pipeline: FeaturePipeline = compute_features,
) -> LookaheadReport:
    """Cut the future off at a sample of points and compare.

    Args:
        setup: data, folds, settings (number of points, seed).
        chosen: per fold the strategies with the parameters that were applied.
        chain: the walk-forward's account.
        bars: the bars that the features were computed from; None when they came with the data, which then cannot leak
            inside a file and only the decisions are compared.
        pipeline: computes the features.
    """
    points = cut_offs(setup, setup.settings.lookahead_points, setup.settings.seed)
    leaks: list[Leak] = []
    for point in points:
        known = _known_at(setup, point.at, bars, pipeline)
        leak = _feature_leak(setup, known, point.at) or _decision_leak(setup, chosen, chain, known, point)
        if leak is not None:
            leaks.append(leak)
    first = min(leaks, key=lambda leak: (leak.event_ts, leak.symbol, leak.feature or ""), default=None)
    return LookaheadReport(detected=bool(leaks) if points else None, checked_points=len(points), first_leak=first)


def _known_at(setup: Setup, at: datetime, bars: BarSet | None, pipeline: FeaturePipeline) -> pl.DataFrame:
    if bars is None:
        return setup.signals.frame.filter(pl.col("event_ts") <= at)
    return features_of_bars(bars, at, pipeline)


def _feature_leak(setup: Setup, known: pl.DataFrame, at: datetime) -> Leak | None:
    whole = setup.signals.frame.filter(pl.col("event_ts") <= at)
    if whole.height != known.height:
        row = whole.row(0, named=True)
        return Leak(event_ts=row["event_ts"], symbol=row["symbol"], feature="rows", cut_off_at=at)
    earliest: tuple[int, str] | None = None
    for name in (*FEATURES, "half_spread_bps"):
        before, after = known[name].to_numpy(), whole[name].to_numpy()
        differs = ~((before == after) | (np.isnan(before) & np.isnan(after)))
        if differs.any():
            row = int(np.argmax(differs))
            if earliest is None or row < earliest[0]:
                earliest = (row, name)
    if earliest is None:
        return None
    row = whole.select(ROW_ORDER).row(earliest[0], named=True)
    return Leak(event_ts=row["event_ts"], symbol=row["symbol"], feature=earliest[1], cut_off_at=at)


def _decision_leak(
    setup: Setup, chosen: Sequence[Sequence[BoundStrategy]], chain: Chain, known: pl.DataFrame, point: CutOff
) -> Leak | None:
    fold = setup.folds[point.fold]
    symbols = universe_of(setup.strategies, setup.signals)
    timeframes = {each.entry.base_timeframe for each in setup.strategies}
    used = known.filter(pl.col("timeframe").is_in(list(timeframes)), pl.col("symbol").is_in(symbols))
    market = prepare_market(used)
    until = Window(fold.test.first_session, max(market.sessions[-1], fold.test.first_session))
    opening = chain.results[point.fold].opening_cash
    cut = simulate(market, chosen[point.fold], setup.settings, until, opening, point.fold, close_out=False)
    return _first_difference(cut, chain.results[point.fold], point.at)


def _first_difference(cut: SimulationResult, whole: SimulationResult, at: datetime) -> Leak | None:
    columns = ["decided_at", "symbol", "strategy_id", "signal", "target_qty", "reason"]
    before = cut.decisions.filter(pl.col("decided_at") <= at).select(columns)
    after = whole.decisions.filter(pl.col("decided_at") <= at).select(columns)
    if before.equals(after):
        return None
    rows, others = before.rows(), after.rows()
    shared = min(len(rows), len(others))
    at_row = next((row for row in range(shared) if rows[row] != others[row]), shared)
    longer = rows if at_row < len(rows) else others
    return Leak(event_ts=longer[at_row][0], symbol=longer[at_row][1], feature=None, cut_off_at=at)
