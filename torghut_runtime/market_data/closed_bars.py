"""What market data hand to the trading thread: bars that closed at one time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from torghut_runtime.market.features import Bar

Kind = Literal["live", "backfill", "warm_up"]
Key = tuple[str, str]
"""Symbol and timeframe."""


@dataclass(frozen=True, slots=True)
class ClosedBars:
    """Bars that closed at one time, at most one per symbol and timeframe, ordered by symbol and length.

    Live and back-filled ones go the same way through the pipeline; each bar says of itself what it is
    (``signal_quality_flag``), and its age decides whether an intent may follow. ``backfill``: none of the bars came by
    the stream. ``warm_up`` is another thing: all the history of one symbol and timeframe, oldest first. Whoever takes
    it forgets what was known of the two and feeds it without deciding.

    ``after_gap``: symbols whose bars here follow minutes that nobody brought. Their features are not what an ordered
    file would give, until a warm-up of theirs has come.
    """

    bars: tuple[Bar, ...]
    kind: Kind = "live"
    after_gap: frozenset[str] = frozenset()

    @property
    def closed_at(self) -> datetime:
        """When they closed; the last of a warm-up."""
        return self.bars[-1].event_ts


@dataclass(frozen=True, slots=True)
class FillRequest:
    """Bars that are missing: those of ``timeframe`` that begin in [start, end); ``timeframe`` 1Min or 1Day."""

    symbol: str
    timeframe: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Renewal:
    """The past of a symbol's minutes is wanted anew, up to ``until`` (UTC)."""

    symbol: str
    until: datetime
