"""Which bars of which symbols are wanted, and how much history their strategies need. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from torghut_runtime.market.aggregation import BUILT, MINUTES
from torghut_runtime.market.timeframe import DAILY
from torghut_runtime.market_data.stream import Wanted
from torghut_runtime.strategies.registry import BoundStrategy

FEATURE_HISTORY_BARS: Final = 120
"""Bars before those that a strategy warms up on: as many as the quality gate looks at, and enough for every average."""
LIVE_TIMEFRAMES: Final = (MINUTES, *BUILT)
"""What the stream gives or is built from it."""


@dataclass(frozen=True)
class Subscriptions:
    """The timeframes of each symbol, and how many bars of history each of the two needs."""

    timeframes: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    history_bars: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def intraday(self, symbol: str) -> frozenset[str]:
        """What is taken or built from the minutes of a symbol."""
        return self.timeframes.get(symbol, frozenset()) - {DAILY}

    def is_daily(self, symbol: str) -> bool:
        """Whether daily bars are wanted, which come as the source makes them."""
        return DAILY in self.timeframes.get(symbol, frozenset())

    @property
    def wanted(self) -> Wanted:
        """What the stream subscribes to."""
        return Wanted(
            frozenset(symbol for symbol in self.timeframes if self.intraday(symbol)),
            frozenset(symbol for symbol in self.timeframes if self.is_daily(symbol)),
        )


def subscriptions_to(history_bars: Mapping[tuple[str, str], int]) -> Subscriptions:
    """Subscriptions to symbols and timeframes, each with its bars of history."""
    timeframes: dict[str, set[str]] = {}
    for symbol, timeframe in history_bars:
        timeframes.setdefault(symbol, set()).add(timeframe)
    return Subscriptions(
        {symbol: frozenset(wanted) for symbol, wanted in sorted(timeframes.items())}, dict(history_bars)
    )


def subscriptions_of(strategies: Sequence[BoundStrategy], universe: Collection[str]) -> Subscriptions:
    """What strategies want: their own symbols, or the universe where they name none.

    A symbol outside the universe is subscribed to as well: a position in it must be able to leave. Timeframes that the
    stream cannot give (:data:`LIVE_TIMEFRAMES`) are left out.
    """
    history: dict[tuple[str, str], int] = {}
    for strategy in strategies:
        entry = strategy.entry
        if entry.base_timeframe not in LIVE_TIMEFRAMES:
            continue
        for symbol in universe if entry.universe_symbols is None else entry.universe_symbols:
            key = (symbol, entry.base_timeframe)
            history[key] = max(history.get(key, 0), strategy.warmup_bars + FEATURE_HISTORY_BARS)
    return subscriptions_to(history)
