"""The component that feeds the trading thread: stream, assembler, back-fill and warm-up held together by one thread.

``start()`` connects first, so that nothing is missed, then warms up (history until the first expected bar, asked for
again until it comes), then hands on bars as they close. ``emit`` is called in the feed's thread and may wait: the
stream's inbox (10,000 frames) fills, then the socket's buffers, and what the server drops after that is back-filled;
no bar is lost. No bar is handed on twice, also over restarts: bars up to the given cursor are left out. A symbol with a
gap that cannot be filled is warmed up anew. Whether a bar may lead to an order is not known here.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from torghut_runtime.clock import Clock
from torghut_runtime.market.aggregation import MINUTES, Minute
from torghut_runtime.market.features import Bar
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market_data.asking import Answers, Asking, Pasts
from torghut_runtime.market_data.assembler import Assembler
from torghut_runtime.market_data.beginnings import Beginnings
from torghut_runtime.market_data.board import Board
from torghut_runtime.market_data.closed_bars import ClosedBars, Key
from torghut_runtime.market_data.daily import DailyAssembler
from torghut_runtime.market_data.feed_snapshot import FeedSnapshot, lags_of
from torghut_runtime.market_data.handed_on import HandedOn
from torghut_runtime.market_data.hearing import HeardBars, Hearing
from torghut_runtime.market_data.history import History
from torghut_runtime.market_data.mute import MuteWatch
from torghut_runtime.market_data.sources import open_announcements, open_history, open_stream
from torghut_runtime.market_data.stream import DataStream
from torghut_runtime.market_data.subscriptions import Subscriptions
from torghut_runtime.trading_settings import TradingSettings

INBOX_FRAMES: Final = 10_000
_TICK_SECONDS: Final = 0.1
_WARM_UP_RETRY: Final = 2.0
_STOP_SECONDS: Final = 10.0

Emit = Callable[[ClosedBars], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Change:
    subscriptions: Subscriptions
    anew: frozenset[str] = frozenset()


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
        self._subscriptions = subscriptions
        self._clock = clock
        self._emit = emit
        self._lookback = timedelta(minutes=settings.data.lookback_minutes)
        self._assembler = Assembler(lookback=self._lookback, annotate=self._annotated)
        self._days = DailyAssembler(annotate=self._annotated)
        self._hours = {True: SessionHours(exchange=True), False: SessionHours(exchange=False)}
        self._handed = HandedOn(cursors or {}, self._hours_of)
        self._inbox: queue.Queue[HeardBars | Answers | Pasts | _Change] = queue.Queue(INBOX_FRAMES)
        self._mute = MuteWatch(SessionHours())
        self._hearing = Hearing(
            self.board, clock, put=self._put, heard=self._mute.heard, hear_time=hear_time, tell=self._tell
        )
        self._history: History = open_history(settings.broker)
        self._asking = Asking(self._history, clock, put=self._put, past_of=self._past_of, tell=self._tell)
        self._beginnings = Beginnings(
            handed=self._handed,
            assembler=self._assembler,
            days=self._days,
            history=self._history,
            hours_of=self._hours_of,
            emit=emit,
            beat=self._beat,
            tell=self._tell,
        )
        self.announcements = open_announcements(settings.broker)
        self._stopping = threading.Event()
        self._warm = False
        self._since_start = clock.now()
        self._mute_sockets = self._fill_failures = 0
        self._detail = "not started"
        self._stream: DataStream = open_stream(
            settings.broker, self._hearing.events, subscriptions.wanted, longest_pause
        )
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
        self._asking.stop()

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
        return self._hearing.connected_at is not None

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
        last_bars, counts, hearing = self._handed.closes(), replace(self._assembler.counts), self._hearing
        counts.backfilled += self._days.backfilled
        wanted = self._subscriptions.timeframes
        lags, stale = lags_of(last_bars, wanted, self._since_start, self._clock.now(), self._hours_of)
        return FeedSnapshot(
            connected=self.connected,
            warm=self._warm,
            connected_at=hearing.connected_at,
            heard_at=hearing.heard_at,
            last_bars=last_bars,
            lag_seconds=lags,
            staleness_seconds=stale,
            halted=self.board.halted,
            gaps=self._assembler.gaps,
            cursor_ahead=self._beginnings.cursor_ahead,
            counts=counts,
            connections=hearing.connections,
            mute_sockets=self._mute_sockets,
            unreadable=hearing.unreadable,
            fill_failures=self._fill_failures + self._beginnings.failures,
            waiting_frames=self._inbox.qsize(),
            detail=self._detail,
        )

    # In any thread ----------------------------------------------------------------------------------------------------

    def _tell(self, detail: str) -> None:
        self._detail = detail

    def _put(self, item: HeardBars | Answers | Pasts) -> None:
        while not self._stopping.is_set():
            try:
                self._inbox.put(item, timeout=_TICK_SECONDS)
            except queue.Full:
                continue
            return

    def _past_of(self, until: Mapping[str, datetime]) -> list[Minute]:
        return self._beginnings.past_of(self._subscriptions, until)

    def _hours_of(self, symbol: str) -> SessionHours:
        return self._hours["/" not in symbol]

    # In the feed's thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._begin()
        while not self._stopping.is_set():
            self._beat()
            try:
                item = self._inbox.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                pass
            else:
                self._take(item)
            self._tick()

    def _take(self, item: HeardBars | Answers | Pasts | _Change) -> None:
        if isinstance(item, HeardBars):
            self._heard(item)
        elif isinstance(item, Answers):
            self._answered(item)
        elif isinstance(item, Pasts):
            self._renewed(item)
        else:
            self._change(item)

    def _heard(self, bars: HeardBars) -> None:
        now, source_time = self._clock.now(), self._hearing.source_time
        self._send(self._assembler.hear(bars.minutes, now))
        for minute in bars.corrected:
            log.info(
                "the minute %s of %s was corrected: %s %s %s, %s shares",
                minute.opens_at, minute.symbol, minute.high, minute.low, minute.close, minute.volume,
            )  # fmt: skip
            self._send(self._assembler.hear_correction(minute, now))
        self._send(self._days.hear(bars.daily, now if source_time is None else min(now, source_time)))

    def _tick(self) -> None:
        now = self._clock.now()
        if self._mute.is_mute(now, self._hearing.connected_at, self._hearing.heard_at):
            self._mute_sockets += 1
            self._hearing.give_up()
            self._stream.reconnect()
        self._beginnings.try_again(self._subscriptions)
        if not self._asking.is_busy:
            missing = [*self._assembler.missing(now), *self._days.missing(now)]
            renewals = self._assembler.renewals(now)
            if missing or renewals:
                self._asking.ask(missing, renewals)
        self._send(self._assembler.pass_time(now))

    def _answered(self, answers: Answers) -> None:
        self._fill_failures += answers.found is None
        for request in answers.requests:
            place = self._assembler if request.timeframe == MINUTES else self._days
            if answers.found is not None:
                found = answers.found[request.symbol]
                self._send(place.answer(request, found, answers.asked_at, self._hearing.source_time))
            else:
                self._send(place.fail(request, self._clock.now()))

    def _renewed(self, pasts: Pasts) -> None:
        """The past of symbols with a gap: what was known of them is told anew."""
        self._fill_failures += pasts.minutes is None
        of_symbol: dict[str, list[Minute]] = {each.symbol: [] for each in pasts.renewals}
        for minute in pasts.minutes or ():
            of_symbol[minute.symbol].append(minute)
        for renewal in pasts.renewals:
            if pasts.minutes is None:
                self._assembler.put_off(renewal, self._clock.now())
                continue
            bars = self._assembler.renew(renewal, of_symbol[renewal.symbol])
            self._beginnings.hand_on(bars)
            if bars:
                log.warning("minutes of %s were never brought; it was warmed up anew", renewal.symbol)

    def _send(self, groups: Iterable[ClosedBars]) -> None:
        wanted = self._subscriptions.timeframes
        for group in groups:
            fresh = tuple(
                bar for bar in group.bars if bar.timeframe in wanted.get(bar.symbol, ()) and self._handed.is_new(bar)
            )
            if fresh:
                self._emit(group if len(fresh) == len(group.bars) else replace(group, bars=fresh))
                self._handed.note(fresh)

    # Beginnings -------------------------------------------------------------------------------------------------------

    def _change(self, change: _Change) -> None:
        before, after = self._subscriptions.timeframes, change.subscriptions.timeframes
        self._warm = False
        self._subscriptions = change.subscriptions
        self._handed.keep(after)
        for symbol in before:
            if not change.subscriptions.intraday(symbol):
                self._assembler.forget(symbol)
            if not change.subscriptions.is_daily(symbol) or symbol in change.anew:
                self._days.forget(symbol)
        changed = {
            symbol: timeframes
            for symbol, timeframes in after.items()
            if timeframes != before.get(symbol) or symbol in change.anew
        }
        if change.subscriptions.wanted != Subscriptions(before).wanted:
            self._stream.reconnect(change.subscriptions.wanted)
        self._beginnings.set_out(change.subscriptions, changed, self._clock.now(), self._lookback)
        if not self._beginnings.are_warm(change.subscriptions, changed):
            # The others' bars do not wait for history: their exits need them.
            self._beginnings.put_off(change.subscriptions, changed)
        self._warm = True

    def _begin(self) -> None:
        """Set out and warm up; again and again until history answers."""
        self._beginnings.set_out(self._subscriptions, self._subscriptions.timeframes, self._clock.now(), self._lookback)
        while not self._stopping.is_set():
            self._beat()
            if self._beginnings.are_warm(self._subscriptions, self._subscriptions.timeframes):
                break
            self._stopping.wait(_WARM_UP_RETRY)
        self._warm = True

    def _beat(self) -> None:
        self.heartbeat = time.monotonic()

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
