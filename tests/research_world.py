"""Researched candidates for tests of the research modules, each made once per process."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lane_project import momentum_entry, trending_bars
from lane_signals import Row, daily_rows, legacy_entry, write_entries, write_rows

from torghut_assets.bundle import Research
from torghut_assets.market.data import MarketData, market_signals, read_market_bars
from torghut_assets.research.candidate import specify
from torghut_assets.research.report import evaluate
from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.strategies import load_strategies
from torghut_assets.research.walkforward import Setup, set_up, walk_forward
from torghut_runtime.market.signals import SignalSet
from torghut_runtime.strategies.registry import BoundStrategy

FREE = {"default_half_spread_bps": 0, "impact_bps_at_full_participation": 0, "sec_fee_rate": 0, "taf_per_share": 0}


@dataclass(frozen=True)
class Researched:
    """A candidate with everything that research knows about it."""

    market: MarketData
    setup: Setup
    research: Research


def settings(**changes: Any) -> ResearchSettings:
    """Research settings with two points of the lookahead check."""
    return ResearchSettings.model_validate({"lookahead_points": 2, **changes})


def signals_of(rows: Sequence[Row]) -> SignalSet:
    """The signal set of rows."""
    with tempfile.TemporaryDirectory() as folder:
        return market_signals(None, write_rows(Path(folder) / "signals.json", rows))


def bound(signals: SignalSet, *entries: dict[str, Any]) -> tuple[BoundStrategy, ...]:
    """Strategies of a configuration; the legacy rule when none is given."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_entries(Path(folder) / "strategies.yaml", *(entries or (legacy_entry(),)))
        return load_strategies(path, signals)


def setup_of(rows: Sequence[Row], *entries: dict[str, Any], **changes: Any) -> Setup:
    """Data, strategies, settings and folds."""
    signals = signals_of(rows)
    return set_up(signals, bound(signals, *entries), settings(**changes))


@cache
def momentum() -> Researched:
    """Momentum on 420 sessions of two symbols, with two parameter points."""
    with tempfile.TemporaryDirectory() as folder:
        bars = read_market_bars(trending_bars(Path(folder) / "bars.parquet"), "1Day")
    market = MarketData(bars, market_signals(bars, None))
    return _researched("momentum", market, momentum_entry(search={"lookback_bars": [20, 40]}))


@cache
def nothing() -> Researched:
    """The legacy rule on three sessions: no fold."""
    return _researched("nothing", MarketData(None, signals_of(daily_rows(3))), legacy_entry())


def _researched(name: str, market: MarketData, entry: dict[str, Any]) -> Researched:
    strategies = bound(market.signals, entry)
    spec = specify(name, market.signals, strategies, settings())
    setup = set_up(market.signals, strategies, settings())
    results = walk_forward(setup, spec.candidate_id)
    return Researched(market, setup, Research(spec, results, evaluate(spec, setup, results, bars=market.bars)))
