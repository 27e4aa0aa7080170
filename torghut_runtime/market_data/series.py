"""What is known of the minutes of one symbol: how far they are handed on, which wait, which were never brought. Pure.

Which minutes follow from that is told in :mod:`torghut_runtime.market_data.assembler`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from torghut_runtime.market.aggregation import Aggregator, Minute
from torghut_runtime.market.hours import SessionHours, Span
from torghut_runtime.market_data.closed_bars import FillRequest, Renewal

REPEATS_WINDOW: Final = 120
"""Over so many arrivals of a symbol its repeated minutes are counted."""
_RETRIES: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
_SURE_AFTER: Final = timedelta(minutes=5)
"""A minute that the stream brought is in history at the latest after this."""


@dataclass(slots=True)
class Counts:
    """What happened to minutes so far."""

    duplicates: int = 0
    late: int = 0
    too_late: int = 0
    backfilled: int = 0
    corrected: int = 0
    without_trade: int = 0
    given_up: int = 0
    gaps: int = 0


def retry_pause(failures: int) -> timedelta:
    """How long to wait before asking again after so many failures in a row, the first one 0."""
    return timedelta(seconds=_RETRIES[min(failures, len(_RETRIES) - 1)])


@dataclass(slots=True)
class Gap:
    """Minutes before ``end`` were never brought: what is built on them is wrong until the past is told anew."""

    end: datetime
    since: list[Minute] = field(default_factory=list[Minute])
    """Minutes handed on since, which history may not have yet."""
    asked: Renewal | None = None
    failures: int = 0
    ask_again_at: datetime | None = None


@dataclass(slots=True)
class Series:
    """One symbol; everything that closes up to ``done`` is handed on or known to be missing."""

    symbol: str
    wants_minutes: bool
    aggregator: Aggregator
    done: datetime
    settled: datetime
    begin: datetime
    """Where it set out: history before it was taken by the warm-up."""
    waiting: dict[datetime, Minute] = field(default_factory=dict[datetime, Minute])
    seen: datetime | None = None
    heard: deque[datetime] = field(default_factory=lambda: deque[datetime](maxlen=REPEATS_WINDOW))
    repeats: int = 0
    asked: FillRequest | None = None
    stuck_since: datetime | None = None
    failures: int = 0
    ask_again_at: datetime | None = None
    gap: Gap | None = None

    _expected: tuple[datetime, Span] | None = None

    @property
    def hours(self) -> SessionHours:
        """Sessions of the symbol."""
        return self.aggregator.hours

    def expected(self) -> Span:
        """The next session minute; remembered, because it is asked for at every tick."""
        known = self._expected
        if known is None or known[0] != self.done:
            known = self._expected = (self.done, self.hours.minute_after(self.done))
        return known[1]

    def note_arrival(self, opens_at: datetime) -> None:
        """The stream brought a minute; count how many of the last ones it had brought before."""
        self.heard.append(opens_at)
        if self.seen is None or opens_at > self.seen:
            self.seen = opens_at
        else:
            self.repeats = 1
        if self.repeats:
            self.repeats = len(self.heard) - len(set(self.heard))

    def leave_out(self, end: datetime) -> bool:
        """Minutes before ``end`` will not be brought; whether that is news."""
        gap = self.gap
        if gap is None:
            self.gap = Gap(end)
            return True
        if end > gap.end:  # what has been asked for meanwhile does not reach over it
            gap.end, gap.asked = end, None
        return False

    def renewal(self, now: datetime) -> Renewal | None:
        """The past that should be asked for now: once the gap lies behind, and not too often."""
        gap = self.gap
        if gap is None or gap.asked is not None or self.done < gap.end:
            return None
        if gap.ask_again_at is not None and now < gap.ask_again_at:
            return None
        gap.since = [each for each in gap.since if each.opens_at >= self.done - _SURE_AFTER]
        gap.asked = Renewal(self.symbol, self.done)
        return gap.asked

    def put_off(self, renewal: Renewal, now: datetime) -> None:
        """Nobody told the past; it is asked for again later."""
        gap = self.gap
        if gap is not None and gap.asked == renewal:
            gap.asked, gap.ask_again_at = None, now + retry_pause(gap.failures)
            gap.failures += 1

    def past(self, renewal: Renewal, minutes: Sequence[Minute]) -> list[Minute] | None:
        """Every minute up to ``done``, in order, from the past and what was handed on since; None if not asked for.

        The gap is closed, and longer bars grow from nothing.
        """
        gap = self.gap
        if gap is None or gap.asked != renewal:
            return None
        self.gap = None
        self.aggregator = Aggregator(self.symbol, self.aggregator.timeframes, self.hours)
        known = {each.opens_at: each for each in gap.since}
        known |= {each.opens_at: each for each in minutes if each.opens_at < renewal.until}
        return [known[opens_at] for opens_at in sorted(known)]
