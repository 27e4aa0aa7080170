"""The component that feeds the trading thread: stream, assembler, back-fill and warm-up held together by one thread.

``start()`` connects first, so that nothing is missed, then warms up (history until the first expected bar, asked for
again until it comes), then hands on bars as they close. ``emit`` is called in the feed's thread and may wait: the
stream's inbox (10,000 frames) fills, then the socket's buffers, and what the server drops after that is back-filled;
no bar is lost. No bar is handed on twice, also over restarts: bars up to the given cursor are left out. Whether a bar
may lead to an order is not known here.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from torghut_runtime.clock import Clock
from torghut_runtime.market.aggregation import MINUTES, Minute, bar_order
from torghut_runtime.market.features import Bar
from torghut_runtime.market.hours import MINUTE, SessionHours
from torghut_runtime.market.timeframe import DAILY, TIMEFRAMES
from torghut_runtime.market_data.assembler import Assembler, Counts
from torghut_runtime.market_data.board import Board
from torghut_runtime.market_data.closed_bars import ClosedBars, FillRequest
from torghut_runtime.market_data.daily import DailyAssembler
from torghut_runtime.market_data.history import History, HistoryError
from torghut_runtime.market_data.lag import lag_seconds
from torghut_runtime.market_data.mute import MuteWatch
from torghut_runtime.market_data.sources import open_announcements, open_history, open_stream
from torghut_runtime.market_data.stream import DataStream, Message, StreamEvents
from torghut_runtime.market_data.subscriptions import Subscriptions
from torghut_runtime.market_data.warm_up import history_start, warm_up_bars
from torghut_runtime.market_data.wire import (
    BAR,
    DAILY_BAR,
    QUOTE,
    STATUS,
    TRADE,
    UPDATED_BAR,
    bar_of,
    halt_of,
    quote_of,
    trade_of,
)
from torghut_runtime.trading_settings import TradingSettings

INBOX_FRAMES: Final = 10_000
_TICK_SECONDS: Final = 0.1
_WARM_UP_RETRY: Final = 2.0
_STOP_SECONDS: Final = 10.0

Emit = Callable[[ClosedBars], None]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Bars:
    """Bars of one frame."""

    minutes: list[Minute]
    corrected: list[Minute]
    daily: list[Minute]


@dataclass(frozen=True, slots=True)
class _Answers:
    """What came of requests; None where nobody answered."""

    requests: Sequence[FillRequest]
    found: Mapping[str, list[Minute]] | None
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class _Change:
    subscriptions: Subscriptions
    anew: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FeedSnapshot:
    """What can be seen of the feed; a copy.

    ``last_bars``: close of the last bar handed on per symbol and timeframe. ``lag_seconds``: how long the next bar of a
    timeframe is overdue, of the symbol that is least behind; ``staleness_seconds``: the same per symbol. What was
    overdue before the start does not count.
    """

    connected: bool
    warm: bool
    connected_at: datetime | None
    heard_at: datetime | None
    last_bars: Mapping[Key, datetime]
    lag_seconds: Mapping[str, float]
    staleness_seconds: Mapping[str, float]
    halted: tuple[str, ...]
    cursor_ahead: tuple[Key, ...]
    counts: Counts
    connections: int
    mute_sockets: int
    unreadable: int
    fill_failures: int
    waiting_frames: int
    detail: str


class MarketFeed:
    """Feeds one engine; see the module."""

    def __init__(
        self,
        settings: TradingSettings,
        subscriptions: Subscriptions,
        clock: Clock,
        emit: Emit,
        *,
        cursors: Mapping[Key, datetime] | None = None,
        longest_pause: float = 30.0,
        board: Board | None = None,
        hear_time: Callable[[datetime], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            settings: broker access, feed, look-back.
            subscriptions: symbols with their timeframes and history.
            clock: that bars are aged by.
            emit: takes bars, in the feed's thread; may wait.
            cursors: start of the last processed bar, see :mod:`torghut_runtime.storage.trade_cursor`.
            longest_pause: seconds between attempts to connect, at most.
            board: where quotes, trades and halts are noted; one of its own where none is given.
            hear_time: told the times of what the source sends: for a clock that follows a simulator.
        """
        self.board = board or Board()
        self.heartbeat = time.monotonic()
        self._settings = settings
        self._subscriptions = subscriptions
        self._clock = clock
        self._emit = emit
        self._hear_time = hear_time
        self._cursors = dict(cursors or {})
        self._lookback = timedelta(minutes=settings.data.lookback_minutes)
        self._assembler = Assembler(lookback=self._lookback, annotate=self._annotated)
        self._days = DailyAssembler(annotate=self._annotated)
        self._hours = {True: SessionHours(exchange=True), False: SessionHours(exchange=False)}
        self._handed: dict[Key, datetime] = {}
        self._inbox: queue.Queue[_Bars | _Answers | _Change] = queue.Queue(INBOX_FRAMES)
        self._mute = MuteWatch(SessionHours())
        self._history: History = open_history(settings.broker)
        self.announcements = open_announcements(settings.broker)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="market-history")
        self._filling = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._connected_at: datetime | None = None
        self._heard_at: datetime | None = None
        self._source_time: datetime | None = None
        self._warm = False
        self._since_start = clock.now()
        self._connections = self._mute_sockets = self._unreadable = self._fill_failures = 0
        self._detail = "not started"
        self._cursor_ahead: tuple[Key, ...] = ()
        events = StreamEvents(self._heard, self._subscribed, self._gone, self._refused)
        self._stream: DataStream = open_stream(settings.broker, events, subscriptions.wanted, longest_pause)
        self._thread = threading.Thread(target=self._run, name="market-feed", daemon=True)

    # For the owner ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect and begin to feed; returns at once."""
        self._detail = "connecting"
        self._stream.start()
        self._thread.start()

    def stop(self) -> None:
        """Disconnect and end; what waits is not handed on."""
        self._stopping.set()
        self._stream.stop()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def is_alive(self) -> bool:
        """Whether both threads run."""
        return self._thread.is_alive() and self._stream.is_alive

    def subscribe(self, subscriptions: Subscriptions, *, anew: Iterable[str] = ()) -> None:
        """Follow other symbols or timeframes: what is new is warmed up, and so are the symbols of ``anew``."""
        self._inbox.put(_Change(subscriptions, frozenset(anew)))

    def repeats(self, symbol: str) -> int:
        """How many of the last 120 minutes that the stream brought of a symbol it had brought before."""
        return self._assembler.repeats(symbol)

    @property
    def connected(self) -> bool:
        """Whether the stream has confirmed what it sends."""
        return self._connected_at is not None

    @property
    def warm(self) -> bool:
        """Whether all history has been handed on."""
        return self._warm

    @property
    def subscriptions(self) -> Subscriptions:
        """What is followed."""
        return self._subscriptions

    @property
    def history(self) -> History:
        """The client of history, for whoever needs more of it."""
        return self._history

    def snapshot(self) -> FeedSnapshot:
        """What can be seen now."""
        now = self._clock.now()
        with self._lock:
            last_bars, counts = dict(self._handed), replace(self._assembler.counts)
            wanted = self._subscriptions.timeframes
        lags: dict[str, float] = {}
        stale: dict[str, float] = {}
        for (symbol, timeframe), last in last_bars.items():
            if timeframe not in wanted.get(symbol, ()):
                continue
            seconds = lag_seconds(max(last, self._since_start), timeframe, now, self._hours_of(symbol))
            lags[timeframe] = min(seconds, lags.get(timeframe, math.inf))
            stale[symbol] = max(seconds, stale.get(symbol, 0.0))
        return FeedSnapshot(
            connected=self._connected_at is not None,
            warm=self._warm,
            connected_at=self._connected_at,
            heard_at=self._heard_at,
            last_bars=last_bars,
            lag_seconds=lags,
            staleness_seconds=stale,
            halted=self.board.halted,
            cursor_ahead=self._cursor_ahead,
            counts=counts,
            connections=self._connections,
            mute_sockets=self._mute_sockets,
            unreadable=self._unreadable,
            fill_failures=self._fill_failures,
            waiting_frames=self._inbox.qsize(),
            detail=self._detail,
        )

    # In the stream's thread -------------------------------------------------------------------------------------------

    def _subscribed(self) -> None:
        self._connections += 1
        self._connected_at = self._clock.now()
        self._detail = "connected"

    def _gone(self) -> None:
        if self._connected_at is not None:
            self._detail = "disconnected"
        self._connected_at = None

    def _refused(self, code: int, text: str) -> None:
        self._detail = f"refused: {code} {text}"

    def _heard(self, frame: Sequence[Message]) -> None:
        self._heard_at = self._clock.now()
        self._mute.heard()
        bars = _Bars([], [], [])
        places = {BAR: bars.minutes, UPDATED_BAR: bars.corrected, DAILY_BAR: bars.daily}
        for message in frame:
            kind, symbol = message.get("T"), message.get("S")
            place = places.get(str(kind))
            if not isinstance(symbol, str):
                self._unreadable += 1
            elif place is not None:
                bar = bar_of(message)
                if bar is None:
                    self._unreadable += 1
                else:
                    place.append(bar)
                    if kind == BAR:
                        self._tell_time(bar.opens_at + MINUTE)
            else:
                self._note(str(kind), symbol, message)
        if bars.minutes or bars.corrected or bars.daily:
            self._put(bars)

    def _note(self, kind: str, symbol: str, message: Message) -> None:
        if kind == QUOTE:
            quote = quote_of(message)
            if quote is not None:
                self.board.quoted(symbol, quote)
                self._tell_time(quote.at)
        elif kind == TRADE:
            trade = trade_of(message)
            if trade is not None:
                self.board.traded(symbol, trade)
                self._tell_time(trade.at)
        elif kind == STATUS:
            halted = halt_of(message)
            if halted is not None:
                self.board.halt(symbol, halted=halted)

    def _tell_time(self, moment: datetime) -> None:
        """The source is at least so far; nobody's clock is a minute ahead of ours without being wrong."""
        known = self._source_time
        if known is None or moment > known:
            self._hear_time(moment)
        if (known is None or moment > known) and moment <= self._clock.now() + MINUTE:
            self._source_time = moment

    def _put(self, item: _Bars | _Answers) -> None:
        while not self._stopping.is_set():
            try:
                self._inbox.put(item, timeout=_TICK_SECONDS)
            except queue.Full:
                continue
            return

    # In the feed's thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._begin(self._subscriptions, self._subscriptions.timeframes)
        while not self._stopping.is_set():
            self.heartbeat = time.monotonic()
            try:
                item = self._inbox.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                pass
            else:
                self._take(item)
            self._tick()

    def _take(self, item: _Bars | _Answers | _Change) -> None:
        now = self._clock.now()
        if isinstance(item, _Bars):
            self._send(self._assembler.hear(item.minutes, now))
            for minute in item.corrected:
                self._send(self._assembler.hear_correction(minute, now))
            self._send(self._days.hear(item.daily, now if self._source_time is None else min(now, self._source_time)))
        elif isinstance(item, _Answers):
            self._answered(item)
        else:
            self._change(item)

    def _tick(self) -> None:
        now = self._clock.now()
        self._send(self._assembler.pass_time(now))
        if self._mute.is_mute(now, self._connected_at, self._heard_at):
            self._mute_sockets += 1
            self._stream.reconnect()
        if not self._filling:
            missing = [*self._assembler.missing(now), *self._days.missing(now)]
            if missing:
                self._filling = True
                self._pool.submit(self._fill, missing)

    def _fill(self, missing: Sequence[FillRequest]) -> None:
        """Ask for what is missing, one request per timeframe; in the pool's thread."""
        for timeframe in (MINUTES, DAILY):
            requests = [request for request in missing if request.timeframe == timeframe]
            if not requests:
                continue
            asked_at = self._clock.now()
            start, end = min(each.start for each in requests), max(each.end for each in requests)
            try:
                found = self._history.bars([each.symbol for each in requests], timeframe, start, end)
            except HistoryError as error:
                self._detail, found = f"history: {error}", None
            except Exception as error:  # noqa: BLE001 - whatever it was, it is asked again
                self._detail, found = f"history: {type(error).__name__}", None
            self._put(_Answers(requests, found, asked_at))
        self._filling = False

    def _answered(self, answers: _Answers) -> None:
        self._fill_failures += answers.found is None
        for request in answers.requests:
            place = self._assembler if request.timeframe == MINUTES else self._days
            if answers.found is not None:
                found = answers.found[request.symbol]
                self._send(place.answer(request, found, answers.asked_at, self._source_time))
            else:
                self._send(place.fail(request, self._clock.now()))

    def _send(self, groups: Iterable[ClosedBars]) -> None:
        for group in groups:
            fresh = tuple(bar for bar in group.bars if self._is_new(bar))
            if fresh:
                self._emit(group if len(fresh) == len(group.bars) else ClosedBars(fresh, group.kind))
                with self._lock:
                    for bar in fresh:
                        self._handed[bar.symbol, bar.timeframe] = bar.event_ts

    def _is_new(self, bar: Bar) -> bool:
        wanted = bar.timeframe in self._subscriptions.timeframes.get(bar.symbol, ())
        handed = self._handed.get((bar.symbol, bar.timeframe))
        return wanted and handed is not None and bar.event_ts > handed

    # Beginnings -------------------------------------------------------------------------------------------------------

    def _change(self, change: _Change) -> None:
        before, after = self._subscriptions.timeframes, change.subscriptions.timeframes
        with self._lock:
            self._subscriptions = change.subscriptions
            for key in [each for each in self._handed if each[1] not in after.get(each[0], ())]:
                del self._handed[key]
        for symbol in set(before) - set(after):
            self._assembler.forget(symbol)
            self._days.forget(symbol)
        changed = {
            symbol: timeframes
            for symbol, timeframes in after.items()
            if timeframes != before.get(symbol) or symbol in change.anew
        }
        if change.subscriptions.wanted != Subscriptions(before).wanted:
            self._stream.reconnect(change.subscriptions.wanted)
        self._begin(change.subscriptions, changed)

    def _begin(self, subscriptions: Subscriptions, symbols: Mapping[str, frozenset[str]]) -> None:
        """Set out from cursor or now, and warm up; again and again until history answers."""
        if not symbols:
            self._warm = True
            return
        self._warm = False
        now = self._clock.now()
        since = self._since(symbols, now)
        with self._lock:
            self._handed.update(since)
        ahead = (key for key, moment in since.items() if moment > now)
        self._cursor_ahead = tuple(sorted({*self._cursor_ahead, *ahead} & set(_keys(subscriptions.timeframes))))
        for symbol in symbols:
            intraday = subscriptions.intraday(symbol)
            if intraday:
                begin = max(since[symbol, each] for each in intraday)
                self._assembler.follow(symbol, intraday, max(begin, _floor(now - self._lookback)))
            if subscriptions.is_daily(symbol):
                self._days.follow(symbol, since[symbol, DAILY])
        while not self._stopping.is_set():
            self.heartbeat = time.monotonic()
            try:
                self._warm_up(subscriptions, symbols)
            except HistoryError as error:
                self._detail = f"warm-up: {error}"
                self._fill_failures += 1
                self._stopping.wait(_WARM_UP_RETRY)
            else:
                self._warm = True
                return

    def _since(self, symbols: Mapping[str, frozenset[str]], now: datetime) -> dict[Key, datetime]:
        """Up to when bars are processed: handed on before, or the cursor; without either as a neighbour, or now."""
        found = {key: moment for key in _keys(symbols) if (moment := self._processed(key)) is not None}
        for symbol, timeframe in _keys(symbols):
            if timeframe == DAILY:
                found.setdefault((symbol, DAILY), self._hours_of(symbol).last_closed(now).closes_at)
                continue
            others = [found[symbol, each] for each in symbols[symbol] - {DAILY} if (symbol, each) in found]
            found.setdefault((symbol, timeframe), max(others, default=_floor(now)))
        return found

    def _processed(self, key: Key) -> datetime | None:
        if key in self._handed:
            return self._handed[key]
        cursor = self._cursors.get(key)
        span = None if cursor is None else self._hours_of(key[0]).span(cursor, key[1])
        if cursor is None or span is not None:
            return None if span is None else span.closes_at
        return cursor + timedelta(seconds=TIMEFRAMES[key[1]])

    def _warm_up(self, subscriptions: Subscriptions, symbols: Mapping[str, frozenset[str]]) -> None:
        spans: dict[tuple[datetime, datetime], list[str]] = {}
        for symbol in symbols:
            if subscriptions.intraday(symbol):
                until = self._assembler.settled_until(symbol)
                start = history_start(subscriptions, symbol, until, self._hours_of(symbol))
                spans.setdefault((start, until), []).append(symbol)
        series: dict[Key, list[Bar]] = {key: [] for key in _keys(symbols)}
        for symbol in symbols:
            if subscriptions.is_daily(symbol):
                key = (symbol, DAILY)
                series[key] = warm_up_bars(
                    self._history, symbol, subscriptions, self._handed[key], self._hours_of(symbol)
                )
        minutes: list[Minute] = []
        for (start, until), names in spans.items():
            self.heartbeat = time.monotonic()
            found = self._history.bars(names, MINUTES, start, until) if start < until else {}
            minutes += [minute for of_symbol in found.values() for minute in of_symbol]
        for bar in self._assembler.warm_up(minutes):  # when everything is there: a second try begins with nothing
            series[bar.symbol, bar.timeframe].append(bar)
        for bars in series.values():
            if bars:
                self._emit(ClosedBars(tuple(sorted(bars, key=bar_order)), "warm_up"))

    def _hours_of(self, symbol: str) -> SessionHours:
        return self._hours["/" not in symbol]

    def _annotated(self, bar: Bar) -> Bar:
        """What is known beside the minutes: the newest quote at the bar's end, volatility, age."""
        quote = self.board.quote_at(bar.symbol, bar.event_ts)
        return replace(
            bar,
            bid=math.nan if quote is None else quote.bid,
            ask=math.nan if quote is None else quote.ask,
            vol_realized_w60s=self.board.volatility_at(bar.symbol, bar.event_ts),
            staleness_ms=(self._clock.now() - bar.event_ts).total_seconds() * 1000.0,
        )


def _keys(timeframes: Mapping[str, frozenset[str]]) -> list[Key]:
    return [(symbol, timeframe) for symbol in timeframes for timeframe in sorted(timeframes[symbol])]


def _floor(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
