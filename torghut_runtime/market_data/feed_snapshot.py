"""What can be seen of the feed at one moment, and how late each timeframe and symbol is in it. Pure."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market_data.closed_bars import Key
from torghut_runtime.market_data.lag import lag_seconds
from torghut_runtime.market_data.series import Counts


@dataclass(frozen=True)
class FeedSnapshot:
    """What can be seen of the feed; a copy.

    ``last_bars``: close of the last bar handed on per symbol and timeframe. ``lag_seconds``: how long the next bar of a
    timeframe is overdue, of the symbol that is least behind; ``staleness_seconds``: the same per symbol. What was
    overdue before the start does not count. ``gaps``: symbols whose history is being fetched anew, because minutes
    before their last bars were never brought.
    """

    connected: bool
    warm: bool
    connected_at: datetime | None
    heard_at: datetime | None
    last_bars: Mapping[Key, datetime]
    lag_seconds: Mapping[str, float]
    staleness_seconds: Mapping[str, float]
    halted: tuple[str, ...]
    gaps: tuple[str, ...]
    cursor_ahead: tuple[Key, ...]
    counts: Counts
    connections: int
    mute_sockets: int
    unreadable: int
    fill_failures: int
    waiting_frames: int
    detail: str


def lags_of(
    last_bars: Mapping[Key, datetime],
    wanted: Mapping[str, Collection[str]],
    since: datetime,
    now: datetime,
    hours_of: Callable[[str], SessionHours],
) -> tuple[dict[str, float], dict[str, float]]:
    """Lag per timeframe and staleness per symbol, in seconds.

    Args:
        last_bars: close of the last bar per symbol and timeframe.
        wanted: the timeframes of each symbol that count.
        since: what was due before does not count.
        now: the moment of judgement.
        hours_of: the sessions of a symbol.
    """
    lags: dict[str, float] = {}
    stale: dict[str, float] = {}
    for (symbol, timeframe), last in last_bars.items():
        if timeframe not in wanted.get(symbol, ()):
            continue
        seconds = lag_seconds(max(last, since), timeframe, now, hours_of(symbol))
        lags[timeframe] = min(seconds, lags.get(timeframe, math.inf))
        stale[symbol] = max(seconds, stale.get(symbol, 0.0))
    return lags, stale
