"""Simulated time: what is due when, in one total order, and the time stamps that the broker writes.

Time moves only by :meth:`Timetable.run`; nothing here reads the machine's clock.
"""

import heapq
from bisect import bisect_right
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from torghut_runtime.broker.simulator.instants import MICROSECOND, moment_of, nanoseconds
from torghut_runtime.market.calendar import TradingCalendar

DUE: Final = 0
QUOTE_ARRIVES: Final = 1
BAR_CLOSES: Final = 2
SESSION_CLOSES: Final = 3
SESSION_OPENS: Final = 4
BAR_OPENS: Final = 5
"""Ranks of what happens at one time: what ends comes before what begins."""

Action = Callable[[], None]


class Timetable:
    """The simulated clock and everything that is due.

    Attributes:
        now: nanoseconds, UTC.
        skew: nanoseconds by which the broker's written times are ahead.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self.skew = 0
        self._due: list[tuple[int, int, int, Action]] = []
        self._number = 0
        self._last_stamp = 0

    def stamp(self) -> int:
        """The time to write now: never twice the same, a microsecond apart at least."""
        self._last_stamp = max(self.now + self.skew, self._last_stamp + MICROSECOND)
        return self._last_stamp

    def schedule(self, at: int, action: Action, rank: int = DUE) -> None:
        """Have ``action`` done at a time; at one time by rank, then in the order of scheduling."""
        self._number += 1
        heapq.heappush(self._due, (max(at, self.now), rank, self._number, action))

    def next_key(self) -> tuple[int, int] | None:
        """Time and rank of what is due next."""
        return (self._due[0][0], self._due[0][1]) if self._due else None

    def run_next(self) -> None:
        """Do what is due next."""
        at, _, _, action = heapq.heappop(self._due)
        self.now = max(self.now, at)
        action()


class Sessions:
    """The exchange's sessions around the span of a tape, as nanoseconds."""

    def __init__(self, start: int, end: int) -> None:
        first = moment_of(start).date() - timedelta(days=30)
        last = moment_of(end).date() + timedelta(days=400)
        calendar = TradingCalendar()
        self.days: list[date] = []
        self.opens: list[int] = []
        self.closes: list[int] = []
        for day in calendar.sessions(first, last):
            opens_at, closes_at = calendar.session_open(day), calendar.session_close(day)
            if opens_at is not None and closes_at is not None:
                self.days.append(day)
                self.opens.append(nanoseconds(opens_at))
                self.closes.append(nanoseconds(closes_at))

    def is_open(self, ns: int) -> bool:
        """Whether the exchange is open: from the bell to, not including, the close."""
        index = bisect_right(self.opens, ns) - 1
        return index >= 0 and ns < self.closes[index]

    def next_open(self, ns: int) -> int:
        """The first open after ``ns``."""
        return self.opens[bisect_right(self.opens, ns)]

    def next_close(self, ns: int) -> int:
        """The first close after ``ns``."""
        return self.closes[bisect_right(self.closes, ns)]

    def open_on(self, day: date) -> int | None:
        """The opening bell of a day, None when it is no session."""
        return self.opens[self.days.index(day)] if day in self.days else None

    def first_open_from(self, day: date) -> int:
        """The opening bell of the first session on or after a day."""
        return next(opens_at for known, opens_at in zip(self.days, self.opens, strict=True) if known >= day)

    def date_of(self, ns: int) -> date:
        """The date of the session that is open, or was last."""
        return self.days[max(0, bisect_right(self.opens, ns) - 1)]
