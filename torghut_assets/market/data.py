"""A candidate's market data: bars with the signals computed from them, or signals that came as a file."""

from dataclasses import dataclass
from pathlib import Path

from torghut_runtime.errors import InputError
from torghut_runtime.market.bars import BarSet, read_bars
from torghut_runtime.market.features import FeaturePipeline, compute_features
from torghut_runtime.market.signals import SignalSet, read_signals, signals_from_bars


@dataclass(frozen=True)
class MarketData:
    """``bars`` is None where the features came with the data."""

    bars: BarSet | None
    signals: SignalSet


def read_market_bars(bars: Path | None, timeframe: str | None) -> BarSet | None:
    """The bars of a candidate, None where it has signals instead.

    Raises:
        InputError: the file cannot be used, or a timeframe is given where there are no bars.
    """
    if bars is not None:
        return read_bars(bars, timeframe)
    if timeframe is not None:
        raise InputError("is of bars; signals name their own timeframe", field="timeframe")
    return None


def market_signals(
    bars: BarSet | None, signals: Path | None, pipeline: FeaturePipeline = compute_features
) -> SignalSet:
    """The signals of a candidate, computed from its bars or read from its file.

    Raises:
        InputError: the file cannot be used, or there is neither.
    """
    if bars is not None:
        return signals_from_bars(bars, pipeline)
    if signals is None:
        raise InputError("give either bars or signals")
    return read_signals(signals)
