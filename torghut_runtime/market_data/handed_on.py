"""Up to where bars have been handed on, per symbol and timeframe: nothing is handed on twice, also over restarts. Pure.

Written by the feed's thread, read by any.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from torghut_runtime.market.features import Bar
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market.timeframe import DAILY, TIMEFRAMES
from torghut_runtime.market_data.closed_bars import Key

Wanted = Mapping[str, frozenset[str]]
"""The timeframes of each symbol."""


class HandedOn:
    """What the trading thread has been given, or an earlier process has processed."""

    def __init__(self, cursors: Mapping[Key, datetime], hours_of: Callable[[str], SessionHours]) -> None:
        """Begin with an earlier process's cursors.

        Args:
            cursors: start of the last processed bar.
            hours_of: the sessions of a symbol.
        """
        self._cursors = dict(cursors)
        self._hours_of = hours_of
        self._closes: dict[Key, datetime] = {}
        self._lock = threading.Lock()

    def is_new(self, bar: Bar) -> bool:
        """Whether a bar has not been handed on, and is to be."""
        before = self._closes.get((bar.symbol, bar.timeframe))
        return before is not None and bar.event_ts > before

    def note(self, bars: Iterable[Bar]) -> None:
        """Bars were handed on."""
        with self._lock:
            for bar in bars:
                self._closes[bar.symbol, bar.timeframe] = bar.event_ts

    def until(self, symbol: str, timeframe: str) -> datetime:
        """Close of the last bar."""
        return self._closes[symbol, timeframe]

    def closes(self) -> dict[Key, datetime]:
        """Close of the last bar of everything that is followed; a copy."""
        with self._lock:
            return dict(self._closes)

    def keep(self, wanted: Wanted) -> None:
        """Forget what is not wanted any more."""
        with self._lock:
            self._closes = {key: at for key, at in self._closes.items() if key[1] in wanted.get(key[0], ())}

    def set_out(self, wanted: Wanted, now: datetime) -> dict[Key, datetime]:
        """Where each of these goes on: behind what was handed on or the cursor, else as a neighbour, else now."""
        found = {key: moment for key in keys_of(wanted) if (moment := self._processed(key)) is not None}
        for symbol, timeframe in keys_of(wanted):
            if timeframe == DAILY:
                found.setdefault((symbol, DAILY), self._hours_of(symbol).last_closed(now).closes_at)
                continue
            others = [found[symbol, each] for each in wanted[symbol] - {DAILY} if (symbol, each) in found]
            found.setdefault((symbol, timeframe), max(others, default=now.replace(second=0, microsecond=0)))
        with self._lock:
            self._closes.update(found)
        return found

    def _processed(self, key: Key) -> datetime | None:
        if key in self._closes:
            return self._closes[key]
        cursor = self._cursors.get(key)
        span = None if cursor is None else self._hours_of(key[0]).span(cursor, key[1])
        if cursor is None or span is not None:
            return None if span is None else span.closes_at
        return cursor + timedelta(seconds=TIMEFRAMES[key[1]])


def keys_of(wanted: Wanted) -> list[Key]:
    """Every symbol and timeframe."""
    return [(symbol, timeframe) for symbol in wanted for timeframe in sorted(wanted[symbol])]
