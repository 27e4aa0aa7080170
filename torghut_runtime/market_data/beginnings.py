"""How symbols set out: where their bars go on, and the history before that, which is handed on first.

Used by the feed's thread alone. History that cannot be had is asked for again; what waits for it meanwhile is for the
feed to say.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from torghut_runtime.market.aggregation import Minute, bar_order
from torghut_runtime.market.features import Bar
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market.timeframe import DAILY
from torghut_runtime.market_data.assembler import Assembler
from torghut_runtime.market_data.closed_bars import ClosedBars, Key
from torghut_runtime.market_data.daily import DailyAssembler
from torghut_runtime.market_data.handed_on import HandedOn, Wanted, keys_of
from torghut_runtime.market_data.history import History, HistoryError
from torghut_runtime.market_data.subscriptions import Subscriptions
from torghut_runtime.market_data.warm_up import past_minutes, warm_up_bars

_TRY_AGAIN: Final = 30.0


class Beginnings:
    """See the module."""

    def __init__(
        self,
        *,
        handed: HandedOn,
        assembler: Assembler,
        days: DailyAssembler,
        history: History,
        hours_of: Callable[[str], SessionHours],
        emit: Callable[[ClosedBars], None],
        beat: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            handed: up to where bars have been handed on.
            assembler: of minutes.
            days: of daily bars.
            history: whom to ask.
            hours_of: the sessions of a symbol.
            emit: takes history; may wait.
            beat: called before whatever may take its time.
            tell: told why history does not answer.
        """
        self.cursor_ahead: tuple[Key, ...] = ()
        """What was processed, it is said, at a time that has not come yet."""
        self.failures = 0
        self._handed = handed
        self._assembler = assembler
        self._days = days
        self._history = history
        self._hours_of = hours_of
        self._emit = emit
        self._beat = beat
        self._tell = tell
        self._owed: set[str] = set()
        self._pay_at = 0.0

    def set_out(self, subscriptions: Subscriptions, symbols: Wanted, now: datetime, lookback: timedelta) -> None:
        """Go on from what was handed on, the cursor or now, but not further back than ``lookback``."""
        since = self._handed.set_out(symbols, now)
        ahead = (key for key, moment in since.items() if moment > now)
        self.cursor_ahead = tuple(sorted({*self.cursor_ahead, *ahead} & set(keys_of(subscriptions.timeframes))))
        oldest = (now - lookback).replace(second=0, microsecond=0)
        for symbol in symbols:
            intraday = subscriptions.intraday(symbol)
            if intraday:
                begin = max(since[symbol, each] for each in intraday)
                self._assembler.follow(symbol, intraday, max(begin, oldest))

    def are_warm(self, subscriptions: Subscriptions, symbols: Wanted) -> bool:
        """Whether history has answered now, and all that it told is handed on."""
        try:
            self._warm_up(subscriptions, symbols)
        except HistoryError as error:
            self._tell(f"warm-up: {error}")
            self.failures += 1
            return False
        return True

    def put_off(self, subscriptions: Subscriptions, symbols: Iterable[str]) -> None:
        """Minutes go on as behind a gap until history answers, daily bars wait for it."""
        for symbol in symbols:
            if subscriptions.intraday(symbol):
                self._assembler.want_past(symbol)
        self._owed |= {symbol for symbol in symbols if subscriptions.is_daily(symbol)}
        self._pay_at = time.monotonic() + _TRY_AGAIN

    def try_again(self, subscriptions: Subscriptions) -> None:
        """Ask once more for the history of daily bars that wait for it, now and then."""
        if self._owed and time.monotonic() >= self._pay_at:
            owed = {symbol: frozenset({DAILY}) for symbol in self._owed if subscriptions.is_daily(symbol)}
            self._pay_at = time.monotonic() + _TRY_AGAIN
            self._owed = set() if self.are_warm(subscriptions, owed) else set(owed)

    def past_of(self, subscriptions: Subscriptions, until: Mapping[str, datetime]) -> list[Minute]:
        """The minutes that symbols need before a moment each; in any thread.

        Raises:
            HistoryError: no answer.
        """
        return past_minutes(self._history, subscriptions, until, self._hours_of)

    def hand_on(self, bars: Iterable[Bar]) -> None:
        """All history of a symbol and timeframe together, oldest first."""
        series: dict[Key, list[Bar]] = {}
        for bar in bars:
            series.setdefault((bar.symbol, bar.timeframe), []).append(bar)
        for key in sorted(series):
            self._emit(ClosedBars(tuple(sorted(series[key], key=bar_order)), "warm_up"))

    def _warm_up(self, subscriptions: Subscriptions, symbols: Wanted) -> None:
        bars: list[Bar] = []
        daily = [symbol for symbol in symbols if DAILY in symbols[symbol]]
        for symbol in daily:
            self._beat()
            until = self._handed.until(symbol, DAILY)
            bars += warm_up_bars(self._history, symbol, subscriptions, until, self._hours_of(symbol))
        intraday = [symbol for symbol in symbols if symbols[symbol] - {DAILY}]
        ends = {each: self._assembler.settled_until(each) for each in intraday}
        minutes = past_minutes(self._history, subscriptions, ends, self._hours_of, self._beat)
        bars += self._assembler.warm_up(minutes)  # when everything is there: a second try begins with nothing
        self.hand_on(bars)
        for symbol in daily:
            self._days.follow(symbol, self._handed.until(symbol, DAILY))
