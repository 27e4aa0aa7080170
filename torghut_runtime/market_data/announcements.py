"""Announced splits: history is fetched anew, in the new units, before a session that begins with one.

Asked once before each session and, where one is announced, warmed up again half an hour before the open and once more
at the open, because that is when a source changes its units at the latest. What becomes of positions and orders is told
elsewhere (``symbol_frozen``).
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from torghut_runtime.broker.protocol import UncertainError
from torghut_runtime.clock import Clock
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market_data.feed import MarketFeed
from torghut_runtime.orders.splits import Split

BEFORE_OPEN: Final = timedelta(minutes=30)


class AnnouncementWatch:
    """Looks for splits and has their symbols warmed up again; ``check`` asks the broker and may wait."""

    def __init__(self, feed: MarketFeed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._hours = SessionHours()
        self._asked: date | None = None
        self._fetched: set[tuple[date, str]] = set()
        self.splits: Sequence[Split] = ()
        """Of the session that is open or next."""

    def check(self) -> Sequence[str]:
        """The symbols whose history is being fetched anew because of this call."""
        now = self._clock.now()
        session = self._hours.at(now) or self._hours.after(now)
        if now < session.opens_at - BEFORE_OPEN:
            return ()
        symbols = self._feed.subscriptions.timeframes
        if self._asked != session.day and symbols:
            try:
                self.splits = self._feed.announcements.splits(symbols.keys(), session.day, session.day)
            except UncertainError:
                return ()  # asked again with the next call
            self._asked, self._fetched = session.day, set()
        stage = (session.day, "open" if now >= session.opens_at else "before")
        if not self.splits or stage in self._fetched:
            return ()
        self._fetched.add(stage)
        anew = sorted({split.symbol for split in self.splits})
        self._feed.subscribe(self._feed.subscriptions, anew=anew)
        return anew
