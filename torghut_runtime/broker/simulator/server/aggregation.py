"""History in the timeframe that a client asks for, from the bars of the tape."""

import re
from collections.abc import Sequence
from typing import Final

from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.instants import SECOND, in_new_york, new_york
from torghut_runtime.broker.simulator.market_event import MarketBar
from torghut_runtime.market.timeframe import DAILY, TIMEFRAMES

_REQUESTED: Final = re.compile(r"(\d{1,2})(Min|T|Hour|H|Day|D)")
_SECONDS: Final = {"Min": 60, "T": 60, "Hour": 3600, "H": 3600, "Day": 86_400, "D": 86_400}


def aggregated(
    broker: SimulatedBroker, symbol: str, timeframe: str, start: int, end: int, *, adjusted: bool
) -> list[MarketBar] | None:
    """Bars that begin in [start, end] (nanoseconds); the last one may still be growing.

    Args:
        broker: whose history is read.
        symbol: of the bars; an unknown one has none.
        timeframe: as Alpaca writes it (``5Min``, ``1Day``); one that is finer than the tape's has no bars.
        start: first beginning.
        end: last beginning.
        adjusted: prices and volumes in the units of after all splits so far.

    Returns:
        Bars by time; None where the timeframe is none.
    """
    asked = _REQUESTED.fullmatch(timeframe)
    if asked is None:
        return None
    wanted = int(asked[1]) * _SECONDS[asked[2]]
    own = TIMEFRAMES[broker.market.timeframe]
    if wanted < own or wanted % own:
        return []
    daily = wanted == _SECONDS["D"]
    margin = wanted * SECOND
    bars = broker.market.bars(symbol, start - margin, end)
    if adjusted:
        bars = [bar.scaled(broker.market.adjustment(symbol, bar.opens_at)) for bar in bars]
    if daily:
        found = day_bars(broker, bars)
    elif wanted == own:
        found = bars
    else:
        found = _grouped(bars, margin)
    return [bar for bar in found if start <= bar.opens_at <= end]


def day_bars(broker: SimulatedBroker, bars: Sequence[MarketBar]) -> list[MarketBar]:
    """One bar per day (New York), beginning at midnight; the last one is the day so far."""
    groups: dict[int, list[MarketBar]] = {}
    for bar in bars:
        midnight = in_new_york(new_york(bar.opens_at).date(), 0, 0)
        groups.setdefault(midnight, []).append(bar)
    if broker.market.timeframe == DAILY:
        return [_joined(at, members[-1:]) for at, members in groups.items()]
    return [_joined(at, members) for at, members in groups.items()]


def _grouped(bars: Sequence[MarketBar], length: int) -> list[MarketBar]:
    groups: dict[int, list[MarketBar]] = {}
    for bar in bars:
        groups.setdefault(bar.opens_at // length * length, []).append(bar)
    return [_joined(at, members) for at, members in groups.items()]


def _joined(at: int, members: Sequence[MarketBar]) -> MarketBar:
    return MarketBar(
        members[0].symbol,
        at,
        members[-1].closes_at,
        members[0].open,
        max(bar.high for bar in members),
        min(bar.low for bar in members),
        members[-1].close,
        sum(bar.volume for bar in members),
        members[-1].bid,
        members[-1].ask,
        members[0].in_session,
    )
