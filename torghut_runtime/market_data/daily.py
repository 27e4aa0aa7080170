"""Daily bars as the source makes them: the stream tells the day so far, the last one after the close is the day.

Pure, like :mod:`torghut_runtime.market_data.assembler`, and with the same way of asking. A day that the stream did not
bring after its close is asked for; a day waits until the sessions before it are there or known to have no bar.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

from torghut_runtime.market.aggregation import BACKFILL, LATE, OK, Minute, bar_order, daily_bar
from torghut_runtime.market.calendar import NEW_YORK, is_exchange_traded
from torghut_runtime.market.features import Bar
from torghut_runtime.market.hours import Session, SessionHours
from torghut_runtime.market.timeframe import DAILY
from torghut_runtime.market_data.assembler import LATE_AFTER, Annotate, unchanged
from torghut_runtime.market_data.closed_bars import ClosedBars, FillRequest, Kind

ASK_AFTER: Final = timedelta(seconds=30)
"""How long a session may be over before its bar is asked for: after the close it takes a while to be made."""
SETTLE_AFTER: Final = timedelta(minutes=30)
"""How old a session is before an answer without its bar means that there is none."""
_LAST_WORD: Final = timedelta(minutes=5)
_BEYOND_DOUBT: Final = timedelta(minutes=90)
_ASK_EVERY: Final = timedelta(seconds=60)
_ZONE: Final = ZoneInfo(NEW_YORK)
_DAY: Final = timedelta(days=1)


@dataclass(slots=True)
class _Days:
    symbol: str
    hours: SessionHours
    done: datetime
    settled: datetime
    waiting: dict[date, Minute] = field(default_factory=dict[date, Minute])
    asked: FillRequest | None = None
    ask_again_at: datetime | None = None


class DailyAssembler:
    """Orders the native daily bars of every symbol that a daily strategy wants."""

    def __init__(self, *, annotate: Annotate = unchanged) -> None:
        self.backfilled = 0
        """Days that history brought because the stream did not."""
        self._annotate = annotate
        self._days: dict[str, _Days] = {}
        self._hours = {True: SessionHours(exchange=True), False: SessionHours(exchange=False)}

    def follow(self, symbol: str, since: datetime) -> None:
        """Expect the bar of every session that closes after ``since``."""
        self._days[symbol] = _Days(symbol, self._hours[is_exchange_traded(symbol)], since, since)

    def forget(self, symbol: str) -> None:
        """Expect nothing more of a symbol."""
        self._days.pop(symbol, None)

    def hear(self, bars: Sequence[Minute], now: datetime) -> list[ClosedBars]:
        """Daily bars of the stream; ``opens_at`` is midnight in New York, or any moment of the day.

        ``now``: the earlier of our clock and the source's, so that a clock that is ahead ends no day.
        """
        touched: dict[str, _Days] = {}
        for bar in bars:
            days = self._days.get(bar.symbol)
            session = None if days is None else self._session(days, bar)
            if days is None or session is None or session.closes_at <= days.done or now < session.closes_at:
                continue  # the day so far is nobody's bar
            mark = LATE if now - session.closes_at > LATE_AFTER else OK
            days.waiting.setdefault(session.day, replace(bar, mark=mark))
            touched[bar.symbol] = days
        return self._drained(touched.values())

    def missing(self, now: datetime) -> list[FillRequest]:
        """What should be asked for now: from the first missing session to the last one that is over."""
        requests: list[FillRequest] = []
        for days in self._days.values():
            if days.asked is not None or (days.ask_again_at is not None and now < days.ask_again_at):
                continue
            expected = self._next(days, days.done)
            if expected.closes_at + ASK_AFTER > now:
                continue
            last = days.hours.last_closed(now - ASK_AFTER)
            start = _midnight(days, expected.day)
            days.asked = FillRequest(days.symbol, DAILY, start, _midnight(days, last.day + _DAY))
            requests.append(days.asked)
        return requests

    def answer(
        self,
        request: FillRequest,
        bars: Sequence[Minute],
        asked_at: datetime,
        source_time: datetime | None = None,
    ) -> list[ClosedBars]:
        """The daily bars that a source of history has; arguments as those of the minutes' assembler."""
        days = self._days.get(request.symbol)
        if days is None or days.asked != request:
            return []
        days.asked, days.ask_again_at = None, asked_at + _ASK_EVERY
        for bar in bars:
            session = self._session(days, bar)
            if session is not None and session.closes_at > days.done and _is_over(session, asked_at, source_time):
                self.backfilled += session.day not in days.waiting
                days.waiting.setdefault(session.day, replace(bar, mark=BACKFILL))
        days.settled = max(days.settled, asked_at - SETTLE_AFTER)
        return self._drained([days])

    def fail(self, request: FillRequest, now: datetime) -> list[ClosedBars]:
        """Nobody answered; a day is never given up."""
        days = self._days.get(request.symbol)
        if days is not None and days.asked == request:
            days.asked, days.ask_again_at = None, now + _ASK_EVERY
        return []

    def _drained(self, touched: Iterable[_Days]) -> list[ClosedBars]:
        bars = [bar for days in touched for bar in self._ready(days)]
        bars.sort(key=bar_order)
        grouped = groupby(map(self._annotate, bars), key=lambda bar: bar.event_ts)
        found = [list(group) for _, group in grouped]
        return [ClosedBars(tuple(group), _kind(group)) for group in found]

    def _ready(self, days: _Days) -> list[Bar]:
        bars: list[Bar] = []
        while True:
            expected = self._next(days, days.done)
            bar = days.waiting.pop(expected.day, None)
            if bar is not None:
                bars.append(daily_bar(bar, expected))
            elif expected.closes_at > days.settled or not days.waiting:
                return bars
            days.done = expected.closes_at

    @staticmethod
    def _next(days: _Days, moment: datetime) -> Session:
        """The first session that closes after a moment."""
        return days.hours.at(moment) or days.hours.after(moment)

    @staticmethod
    def _session(days: _Days, bar: Minute) -> Session | None:
        around_the_clock = not is_exchange_traded(days.symbol)
        day = bar.opens_at.date() if around_the_clock else bar.opens_at.astimezone(_ZONE).date()
        return days.hours.on(day)


def _is_over(session: Session, asked_at: datetime, source_time: datetime | None) -> bool:
    """Whether the session is over by our clock, and by the source's or so long that ours cannot be that wrong."""
    if asked_at < session.closes_at:
        return False
    near = source_time is None or source_time >= session.closes_at - _LAST_WORD
    return near or asked_at >= session.closes_at + _BEYOND_DOUBT


def _midnight(days: _Days, day: date) -> datetime:
    zone = _ZONE if is_exchange_traded(days.symbol) else UTC
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _kind(bars: Sequence[Bar]) -> Kind:
    return "backfill" if all(bar.signal_quality_flag == BACKFILL for bar in bars) else "live"
