"""Minutes in any order, doubled and with holes, become bars in order: per symbol what an ordered file would give.

Pure and driven by the times it is told; which thread, socket or request is behind it is the feed's business. Each
symbol has a moment up to which everything is settled. A minute that continues it is handed on with the longer bars that
it completes; one behind it is a duplicate; one beyond it waits while the minutes between are asked for. A minute is
known to have had no trade when an answer does not hold it although the stream has gone on, or although it is half a
minute old. Symbols do not wait for each other.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from torghut_runtime.market.aggregation import BACKFILL, LATE, MINUTES, OK, Aggregator, Minute, bar_order, minute_bar
from torghut_runtime.market.calendar import is_exchange_traded
from torghut_runtime.market.features import Bar
from torghut_runtime.market.hours import MINUTE, SessionHours, Span
from torghut_runtime.market_data.closed_bars import ClosedBars, FillRequest

ASK_AFTER: Final = timedelta(seconds=5)
"""How long a minute may be over before it is asked for, although nothing says that it is missing."""
SETTLE_AFTER: Final = timedelta(seconds=30)
"""How old a minute is before an answer without it means that it had no trade."""
GIVE_UP_AFTER: Final = timedelta(seconds=30)
"""How long minutes wait for the ones before them when nobody answers."""
LATE_AFTER: Final = timedelta(seconds=10)
"""A minute that the stream brings later than this is late."""
REPEATS_WINDOW: Final = 120
"""Over so many arrivals of a symbol its repeated minutes are counted."""
_PATIENCE: Final = timedelta(seconds=15)
_RETRIES: Final = (1.0, 2.0, 4.0, 8.0, 15.0)

Annotate = Callable[[Bar], Bar]
"""Adds what is known beside the minutes: quote at the bar's end, volatility, staleness."""


def unchanged(bar: Bar) -> Bar:
    """Adds nothing."""
    return bar


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


@dataclass(slots=True)
class _Series:
    symbol: str
    wants_minutes: bool
    aggregator: Aggregator
    done: datetime
    settled: datetime
    waiting: dict[datetime, Minute] = field(default_factory=dict[datetime, Minute])
    seen: datetime | None = None
    heard: deque[datetime] = field(default_factory=lambda: deque[datetime](maxlen=REPEATS_WINDOW))
    repeats: int = 0
    asked: FillRequest | None = None
    stuck_since: datetime | None = None
    failures: int = 0
    ask_again_at: datetime | None = None

    _expected: tuple[datetime, Span] | None = None

    @property
    def hours(self) -> SessionHours:
        return self.aggregator.hours

    def expected(self) -> Span:
        """The next session minute; remembered, because it is asked for at every tick."""
        known = self._expected
        if known is None or known[0] != self.done:
            known = self._expected = (self.done, self.hours.minute_after(self.done))
        return known[1]


class Assembler:
    """Orders the minutes of every symbol and builds the longer bars."""

    def __init__(self, *, lookback: timedelta, annotate: Annotate = unchanged) -> None:
        self.counts = Counts()
        self.corrections: list[Minute] = []
        self._lookback = lookback
        self._annotate = annotate
        self._series: dict[str, _Series] = {}
        self._hours = {True: SessionHours(exchange=True), False: SessionHours(exchange=False)}

    def follow(self, symbol: str, timeframes: Collection[str], since: datetime) -> None:
        """Expect every session minute of a symbol that closes after ``since``."""
        hours = self._hours[is_exchange_traded(symbol)]
        aggregator = Aggregator(symbol, timeframes, hours)
        self._series[symbol] = _Series(symbol, MINUTES in timeframes, aggregator, since, since)

    def warm_up(self, minutes: Iterable[Minute]) -> list[Bar]:
        """Minutes before the first expected one, in order per symbol; the bars they make, for features only.

        What they leave unfinished grows on: a longer bar that is handed on later has all its minutes.
        """
        bars: list[Bar] = []
        for minute in minutes:
            series = self._series.get(minute.symbol)
            span = None if series is None else series.hours.minute(minute.opens_at)
            if series is not None and span is not None and span.closes_at <= series.done:
                bars += _with_longer(series, replace(minute, mark=BACKFILL), span)
        for series in self._series.values():
            bars += series.aggregator.settle(series.done)
        return sorted(bars, key=bar_order)

    def forget(self, symbol: str) -> None:
        """Expect nothing more of a symbol."""
        self._series.pop(symbol, None)

    @property
    def symbols(self) -> Collection[str]:
        """Whose minutes are expected."""
        return self._series.keys()

    # What comes -------------------------------------------------------------------------------------------------------

    def hear(self, minutes: Sequence[Minute], now: datetime) -> list[ClosedBars]:
        """Minutes that the stream brought."""
        touched: dict[str, _Series] = {}
        for minute in minutes:
            series = self._series.get(minute.symbol)
            if series is None:
                continue
            touched[minute.symbol] = series
            late = now - (minute.opens_at + MINUTE) > LATE_AFTER
            self.counts.late += late
            self._take(series, replace(minute, mark=LATE) if late else minute)
            series.heard.append(minute.opens_at)
            if series.seen is None or minute.opens_at > series.seen:
                series.seen = minute.opens_at
            else:
                series.repeats = 1
            if series.repeats:
                series.repeats = len(series.heard) - len(set(series.heard))
            if not series.failures:
                series.ask_again_at = None  # whether something is missing is known better now
        return self._drained(touched.values(), now)

    def hear_correction(self, minute: Minute, now: datetime) -> list[ClosedBars]:
        """A corrected minute: one that was handed on stays as it was, one that waits is replaced."""
        series = self._series.get(minute.symbol)
        if series is None:
            return []
        self.counts.corrected += 1
        self.corrections = [*self.corrections[-99:], minute]
        if minute.opens_at < series.done:
            return []
        series.waiting[minute.opens_at] = minute
        return self._drained([series], now)

    def answer(
        self,
        request: FillRequest,
        minutes: Sequence[Minute],
        asked_at: datetime,
        source_time: datetime | None = None,
    ) -> list[ClosedBars]:
        """What a source of history has of the minutes asked for.

        Args:
            request: as :meth:`missing` gave it.
            minutes: what the source has.
            asked_at: when it was asked.
            source_time: the newest time that the source has told of anything. Only what lies before it can be known to
                be missing: our clock may be wrong.
        """
        series = self._series.get(request.symbol)
        if series is None or series.asked != request:
            return []
        series.asked, series.failures, series.ask_again_at = None, 0, None
        for minute in minutes:
            inside = request.start <= minute.opens_at < request.end
            if inside and minute.opens_at >= series.done and minute.opens_at not in series.waiting:
                series.waiting[minute.opens_at] = replace(minute, mark=BACKFILL)
                self.counts.backfilled += 1
        passed = [opens_at for opens_at in series.waiting if opens_at >= request.end]
        if passed or (series.seen is not None and series.seen >= request.end):
            series.settled = max(series.settled, request.end)
        known_by = asked_at if source_time is None else min(asked_at, source_time)
        series.settled = max(series.settled, min(request.end, known_by - SETTLE_AFTER))
        if series.settled < request.end:
            series.ask_again_at = max(min(request.end, asked_at) + SETTLE_AFTER, asked_at + _PATIENCE)
        return self._drained([series], asked_at)

    def fail(self, request: FillRequest, now: datetime) -> list[ClosedBars]:
        """Nobody answered; after a while what waits goes on without the missing minutes."""
        series = self._series.get(request.symbol)
        if series is None or series.asked != request:
            return []
        series.asked = None
        series.ask_again_at = now + timedelta(seconds=_RETRIES[min(series.failures, len(_RETRIES) - 1)])
        series.failures += 1
        return self.pass_time(now)

    def pass_time(self, now: datetime) -> list[ClosedBars]:
        """Give up on minutes that others have waited for long enough."""
        stuck: list[_Series] = []
        for series in self._series.values():
            since = series.stuck_since
            if since is not None and now - since >= GIVE_UP_AFTER and series.waiting:
                series.settled = max(series.settled, min(series.waiting))
                self.counts.given_up += 1
                stuck.append(series)
        return self._drained(stuck, now)

    def repeats(self, symbol: str) -> int:
        """How many of the last 120 minutes that the stream brought of a symbol it had brought before."""
        series = self._series.get(symbol)
        return 0 if series is None else series.repeats

    # What is missing --------------------------------------------------------------------------------------------------

    def missing(self, now: datetime) -> list[FillRequest]:
        """What should be asked for now, once per symbol until it is answered or failed."""
        requests: list[FillRequest] = []
        for series in self._series.values():
            if series.asked is not None or (series.ask_again_at is not None and now < series.ask_again_at):
                continue
            expected = series.expected()
            if series.waiting:
                end = min(series.waiting)
            elif expected.closes_at + ASK_AFTER <= now:
                end = _last_over(series.hours, expected, now)
            else:
                continue
            if end > expected.opens_at:
                start = max(expected.opens_at, _floor(now - self._lookback))
                if start >= end:  # too long ago to be asked for
                    start = end - MINUTE
                series.asked = FillRequest(series.symbol, MINUTES, start, end)
                requests.append(series.asked)
        return requests

    # Handing on -------------------------------------------------------------------------------------------------------

    def _take(self, series: _Series, minute: Minute) -> None:
        if minute.opens_at < series.done:
            skipped = series.seen is None or minute.opens_at > series.seen
            self.counts.too_late += skipped
            self.counts.duplicates += not skipped
        elif minute.opens_at in series.waiting:
            self.counts.duplicates += 1
        else:
            series.waiting[minute.opens_at] = minute

    def _drained(self, touched: Iterable[_Series], now: datetime) -> list[ClosedBars]:
        bars: list[Bar] = []
        for series in touched:
            bars += self._ready(series, now)
        bars.sort(key=bar_order)
        return [_closed(list(group)) for _, group in groupby(map(self._annotate, bars), key=lambda bar: bar.event_ts)]

    def _ready(self, series: _Series, now: datetime) -> list[Bar]:
        """Everything of a symbol that nothing is missing before, in order."""
        bars: list[Bar] = []
        while True:
            first = min(series.waiting, default=None)
            if first is None and series.settled <= series.done:
                break
            expected = series.expected()
            if first is not None and first < expected.closes_at:
                self._hand_on(series, series.waiting.pop(first), bars)
            elif expected.closes_at <= series.settled:
                target = series.settled if first is None else min(series.settled, first)
                self.counts.without_trade += 1
                bars += series.aggregator.settle(target)
                series.done = target
            else:
                break
        if first is None:
            series.stuck_since = None
        elif series.stuck_since is None:
            series.stuck_since = now
        return bars

    @staticmethod
    def _hand_on(series: _Series, minute: Minute, bars: list[Bar]) -> None:
        span = series.hours.minute(minute.opens_at)
        bars += _with_longer(series, minute, span)
        series.done = span.closes_at
        series.stuck_since = None

    def settled_until(self, symbol: str) -> datetime:
        """Up to when every minute of a symbol is handed on or known to be missing."""
        return self._series[symbol].done


def _with_longer(series: _Series, minute: Minute, span: Span) -> list[Bar]:
    """A minute, where it is wanted, and the longer bars that end before or with it."""
    bars = series.aggregator.add(minute, span)
    if series.wants_minutes:
        bars.append(minute_bar(minute, span))
    return sorted(bars, key=bar_order) if len(bars) > 1 else bars


def _closed(bars: list[Bar]) -> ClosedBars:
    live = any(bar.signal_quality_flag in (OK, LATE) for bar in bars)
    return ClosedBars(tuple(bars), "live" if live else "backfill")


def _floor(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _last_over(hours: SessionHours, expected: Span, now: datetime) -> datetime:
    """End of the last minute of the expected one's session that has been over for long enough."""
    session = hours.at(expected.opens_at)
    assert session is not None
    return min(session.closes_at, _floor(now - ASK_AFTER))
