"""Minutes in any order, doubled and with holes, become bars in order: per symbol what an ordered file would give.

Pure and driven by the times it is told; which thread, socket or request is behind it is the feed's business. Each
symbol has a moment up to which everything is settled. A minute that continues it is handed on with the longer bars that
it completes; one behind it is a duplicate; one beyond it waits while the minutes between are asked for. A minute is
known to have had no trade when an answer does not hold it although the stream has gone on, or although it is half a
minute old. Symbols do not wait for each other.

Minutes that nobody brings, because nobody answers or because they lie further back than is asked for, leave a gap: the
bars behind it go on and are told apart, and the symbol's past is wanted anew, gap and all.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Final

from torghut_runtime.market.aggregation import BACKFILL, LATE, MINUTES, OK, Aggregator, Minute, bar_order, minute_bar
from torghut_runtime.market.calendar import is_exchange_traded
from torghut_runtime.market.features import Bar
from torghut_runtime.market.hours import MINUTE, SessionHours, Span
from torghut_runtime.market_data.closed_bars import ClosedBars, FillRequest, Renewal
from torghut_runtime.market_data.series import Counts, Series, retry_pause

ASK_AFTER: Final = timedelta(seconds=5)
"""How long a minute may be over before it is asked for, although nothing says that it is missing."""
SETTLE_AFTER: Final = timedelta(seconds=30)
"""How old a minute is before an answer without it means that it had no trade."""
GIVE_UP_AFTER: Final = timedelta(seconds=30)
"""How long minutes wait for the ones before them when nobody answers."""
LATE_AFTER: Final = timedelta(seconds=10)
"""A minute that the stream brings later than this is late."""
RENEWED_AT_ONCE: Final = 20
"""The past of so many symbols is asked for together: behind it wait the minutes that are missing now."""
_PATIENCE: Final = timedelta(seconds=15)
_WARM_UP_TAKES: Final = timedelta(minutes=10)
"""The first minutes after a warm-up may be so much older than is asked for otherwise."""

Annotate = Callable[[Bar], Bar]
"""Adds what is known beside the minutes: quote at the bar's end, volatility, staleness."""


def unchanged(bar: Bar) -> Bar:
    """Adds nothing."""
    return bar


class Assembler:
    """Orders the minutes of every symbol and builds the longer bars."""

    def __init__(self, *, lookback: timedelta, annotate: Annotate = unchanged) -> None:
        self.counts = Counts()
        self._lookback = lookback
        self._annotate = annotate
        self._series: dict[str, Series] = {}
        self._hours = {True: SessionHours(exchange=True), False: SessionHours(exchange=False)}

    def follow(self, symbol: str, timeframes: Collection[str], since: datetime) -> None:
        """Expect every session minute of a symbol that closes after ``since``."""
        hours = self._hours[is_exchange_traded(symbol)]
        aggregator = Aggregator(symbol, timeframes, hours)
        self._series[symbol] = Series(symbol, MINUTES in timeframes, aggregator, since, since, since)

    def warm_up(self, minutes: Iterable[Minute]) -> list[Bar]:
        """Minutes before the first expected one, in order per symbol; the bars they make, for features only.

        What they leave unfinished grows on: a longer bar that is handed on later has all its minutes.
        """
        of_symbol: dict[str, list[Minute]] = {}
        for minute in minutes:
            of_symbol.setdefault(minute.symbol, []).append(minute)
        bars = [bar for symbol, series in self._series.items() for bar in _built(series, of_symbol.get(symbol, ()))]
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
        touched: dict[str, Series] = {}
        for minute in minutes:
            series = self._series.get(minute.symbol)
            if series is None:
                continue
            touched[minute.symbol] = series
            late = now - (minute.opens_at + MINUTE) > LATE_AFTER
            self.counts.late += late
            self._take(series, replace(minute, mark=LATE) if late else minute)
            series.note_arrival(minute.opens_at)
            if not series.failures:
                series.ask_again_at = None  # whether something is missing is known better now
        return self._drained(touched.values(), now)

    def hear_correction(self, minute: Minute, now: datetime) -> list[ClosedBars]:
        """A corrected minute: one that was handed on stays as it was, one that waits is replaced."""
        series = self._series.get(minute.symbol)
        if series is None:
            return []
        self.counts.corrected += 1
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
        series.ask_again_at = now + retry_pause(series.failures)
        series.failures += 1
        return self.pass_time(now)

    def pass_time(self, now: datetime) -> list[ClosedBars]:
        """Give up on minutes that others have waited for long enough, unless an answer is still to come."""
        stuck: list[Series] = []
        for series in self._series.values():
            since = series.stuck_since
            if since is not None and now - since >= GIVE_UP_AFTER and series.waiting and series.asked is None:
                self._leave_out(series, min(series.waiting))
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
                start = max(expected.opens_at, min(self._reach(series, now), end - MINUTE))
                if start > expected.opens_at:
                    self._leave_out(series, start)
                series.asked = FillRequest(series.symbol, MINUTES, start, end)
                requests.append(series.asked)
        return requests

    def _reach(self, series: Series, now: datetime) -> datetime:
        """How far back minutes are asked for."""
        warming_up = _WARM_UP_TAKES if series.done == series.begin else timedelta(0)
        return _floor(now - self._lookback - warming_up)

    # Gaps -------------------------------------------------------------------------------------------------------------

    @property
    def gaps(self) -> tuple[str, ...]:
        """Symbols whose past is wanted anew, sorted."""
        return tuple(sorted(symbol for symbol, series in self._series.items() if series.gap is not None))

    def want_past(self, symbol: str) -> None:
        """The history of a symbol could not be had when it set out."""
        self._leave_out(self._series[symbol], self._series[symbol].done)

    def _leave_out(self, series: Series, end: datetime) -> None:
        self.counts.gaps += series.leave_out(end)

    def renewals(self, now: datetime) -> list[Renewal]:
        """The pasts that should be asked for now, a few at a time, each once until it is told or put off."""
        found = (renewal for series in self._series.values() if (renewal := series.renewal(now)) is not None)
        return list(islice(found, RENEWED_AT_ONCE))

    def put_off(self, renewal: Renewal, now: datetime) -> None:
        """Nobody told the past of a symbol."""
        series = self._series.get(renewal.symbol)
        if series is not None:
            series.put_off(renewal, now)

    def renew(self, renewal: Renewal, minutes: Sequence[Minute]) -> list[Bar]:
        """The past of a symbol's bars, gap and all, in order, for features only; what is handed on follows it."""
        series = self._series.get(renewal.symbol)
        past = None if series is None else series.past(renewal, minutes)
        return [] if series is None or past is None else sorted(_built(series, past), key=bar_order)

    # Handing on -------------------------------------------------------------------------------------------------------

    def _take(self, series: Series, minute: Minute) -> None:
        if minute.opens_at < series.done:
            skipped = series.seen is None or minute.opens_at > series.seen
            self.counts.too_late += skipped
            self.counts.duplicates += not skipped
        elif minute.opens_at in series.waiting:
            self.counts.duplicates += 1
        else:
            series.waiting[minute.opens_at] = minute

    def _drained(self, touched: Iterable[Series], now: datetime) -> list[ClosedBars]:
        bars: list[Bar] = []
        gaps: set[str] = set()
        for series in touched:
            bars += self._ready(series, now)
            if series.gap is not None:
                gaps.add(series.symbol)
        bars.sort(key=bar_order)
        grouped = groupby(map(self._annotate, bars), key=lambda bar: bar.event_ts)
        return [_closed(list(group), gaps) for _, group in grouped]

    def _ready(self, series: Series, now: datetime) -> list[Bar]:
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
    def _hand_on(series: Series, minute: Minute, bars: list[Bar]) -> None:
        span = series.hours.minute(minute.opens_at)
        bars += _with_longer(series, minute, span)
        series.done = span.closes_at
        series.stuck_since = None
        if series.gap is not None:
            series.gap.since.append(minute)

    def settled_until(self, symbol: str) -> datetime:
        """Up to when every minute of a symbol is handed on or known to be missing."""
        return self._series[symbol].done


def _with_longer(series: Series, minute: Minute, span: Span) -> list[Bar]:
    """A minute, where it is wanted, and the longer bars that end before or with it."""
    bars = series.aggregator.add(minute, span)
    if series.wants_minutes:
        bars.append(minute_bar(minute, span))
    return sorted(bars, key=bar_order) if len(bars) > 1 else bars


def _built(series: Series, minutes: Iterable[Minute]) -> list[Bar]:
    """The bars of a symbol's past: those that ended by where it goes on."""
    bars: list[Bar] = []
    for minute in minutes:
        span = series.hours.minute(minute.opens_at)
        if span.closes_at <= series.done:
            bars += _with_longer(series, replace(minute, mark=BACKFILL), span)
    return bars + series.aggregator.settle(series.done)


def _closed(bars: list[Bar], gaps: Collection[str]) -> ClosedBars:
    live = any(bar.signal_quality_flag in (OK, LATE) for bar in bars)
    after_gap = frozenset(bar.symbol for bar in bars if bar.symbol in gaps) if gaps else frozenset[str]()
    return ClosedBars(tuple(bars), "live" if live else "backfill", after_gap)


def _floor(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _last_over(hours: SessionHours, expected: Span, now: datetime) -> datetime:
    """End of the last minute of the expected one's session that has been over for long enough."""
    session = hours.at(expected.opens_at)
    assert session is not None
    return min(session.closes_at, _floor(now - ASK_AFTER))
