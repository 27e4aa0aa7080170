"""What is known of each symbol beside its bars: newest quote and trade, volatility of the last minute, halts.

Written by the stream's thread, read by any. Conflated: per symbol only the newest quote is kept, with the last ones of
the minutes before, because a bar is told after it has ended. What follows from a price is told elsewhere.

A halt, and its end, is told once, to whoever is connected at that moment. So of each symbol is known, too, whether it
has traded since the connection stands: what traded is not halted, whatever was told before; of what has not, nobody
knows.
"""

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Final

from torghut_runtime.market_data.wire import Quote, Trade

WINDOW_SECONDS: Final = 60
LEAST_RETURNS: Final = 30
_MINUTES: Final = 120
_SECONDS: Final = 300


@dataclass(slots=True)
class _Symbol:
    quote: Quote | None = None
    minutes: deque[tuple[int, Quote]] = field(default_factory=lambda: deque[tuple[int, Quote]](maxlen=_MINUTES))
    trade: Trade | None = None
    seconds: deque[tuple[int, float]] = field(default_factory=lambda: deque[tuple[int, float]](maxlen=_SECONDS))
    halted: bool = False
    halted_in: int = 0
    traded_in: int = 0
    """The connections, counted from 1, over which a halt was told and a trade came last."""


def _minute_of(moment: datetime) -> int:
    """The minute that ends with or after a moment: a quote at its very end belongs to it."""
    return math.ceil(moment.timestamp() / 60)


class Board:
    """The newest of everything, per symbol."""

    def __init__(self) -> None:
        self._symbols: dict[str, _Symbol] = {}
        self._connection = 0
        self._since: datetime | None = None
        self._lock = threading.Lock()

    def _of(self, symbol: str) -> _Symbol:
        known = self._symbols.get(symbol)
        if known is None:
            known = self._symbols[symbol] = _Symbol()
        return known

    # Written ----------------------------------------------------------------------------------------------------------

    def connected(self, at: datetime) -> None:
        """A connection stands since then: what comes is of now."""
        with self._lock:
            self._connection += 1
            self._since = at

    def disconnected(self) -> None:
        """Nothing comes any more."""
        with self._lock:
            self._since = None

    def quoted(self, symbol: str, quote: Quote) -> None:
        """Take a quote; one that is older than the newest is dropped."""
        with self._lock:
            known = self._of(symbol)
            if known.quote is not None and quote.at < known.quote.at:
                return
            known.quote = quote
            minute = _minute_of(quote.at)
            if known.minutes and known.minutes[-1][0] == minute:
                known.minutes[-1] = (minute, quote)
            else:
                known.minutes.append((minute, quote))

    def traded(self, symbol: str, trade: Trade) -> None:
        """Take a trade; one that is older than the newest is dropped."""
        with self._lock:
            known = self._of(symbol)
            self._has_traded(known, trade.at)
            if known.trade is not None and trade.at < known.trade.at:
                return
            known.trade = trade
            second = math.ceil(trade.at.timestamp())
            if known.seconds and known.seconds[-1][0] == second:
                known.seconds[-1] = (second, trade.price)
            else:
                known.seconds.append((second, trade.price))

    def minute_traded(self, symbol: str, opens_at: datetime) -> None:
        """The stream brought a minute, which has a bar because there were trades in it."""
        with self._lock:
            self._has_traded(self._of(symbol), opens_at)

    def halt(self, symbol: str, *, halted: bool) -> None:
        """Trading in a symbol is halted, or goes on."""
        with self._lock:
            known = self._of(symbol)
            known.halted = halted
            if halted:
                known.halted_in = self._connection
            else:
                known.traded_in = self._connection

    def _has_traded(self, known: _Symbol, at: datetime) -> None:
        """There was a trade at ``at`` or later; one from before the connection says nothing of now."""
        if self._since is None or at < self._since:
            return
        known.traded_in = self._connection
        if known.halted_in != self._connection:
            known.halted = False

    # Read -------------------------------------------------------------------------------------------------------------

    def quote(self, symbol: str) -> Quote | None:
        """The newest quote."""
        known = self._symbols.get(symbol)
        return None if known is None else known.quote

    def trade(self, symbol: str) -> Trade | None:
        """The newest trade."""
        known = self._symbols.get(symbol)
        return None if known is None else known.trade

    def is_halted(self, symbol: str) -> bool:
        """Whether the exchange has halted the symbol."""
        known = self._symbols.get(symbol)
        return known is not None and known.halted

    def trades(self, symbol: str) -> bool:
        """Whether the symbol is known to trade since the connection stands."""
        known = self._symbols.get(symbol)
        return known is not None and self._since is not None and known.traded_in == self._connection

    @property
    def halted(self) -> tuple[str, ...]:
        """Symbols that are halted, sorted."""
        with self._lock:
            return tuple(sorted(name for name, known in self._symbols.items() if known.halted))

    def quote_at(self, symbol: str, moment: datetime) -> Quote | None:
        """The newest quote of the minute that ended at ``moment``; None where there was none in it."""
        known = self._symbols.get(symbol)
        if known is None:
            return None
        minute = _minute_of(moment)
        with self._lock:
            return next((quote for at, quote in reversed(known.minutes) if at == minute), None)

    def median_spread(self, symbol: str) -> float | None:
        """Median of ask − bid at the ends of the last 120 minutes that had a quote; None without one."""
        known = self._symbols.get(symbol)
        if known is None:
            return None
        with self._lock:
            spreads = [quote.ask - quote.bid for _, quote in known.minutes]
        return median(spreads) if spreads else None

    def volatility_at(self, symbol: str, moment: datetime) -> float:
        """Population standard deviation of the 1-second log returns of the 60 s before ``moment``.

        A return exists where two seconds on end had a trade, between their last prices; NaN under 30 returns.
        """
        known = self._symbols.get(symbol)
        if known is None:
            return math.nan
        end = math.floor(moment.timestamp())
        with self._lock:
            closes = [each for each in known.seconds if end - WINDOW_SECONDS <= each[0] <= end]
        returns = [
            math.log(price / before)
            for (second, before), (following, price) in pairwise(closes)
            if following == second + 1
        ]
        if len(returns) < LEAST_RETURNS:
            return math.nan
        mean = math.fsum(returns) / len(returns)
        return math.sqrt(math.fsum((each - mean) ** 2 for each in returns) / len(returns))
