"""What the market knows at a moment: last prices, quotes, the bars so far, halts and splits.

The tape carries prices in the units of its file; after a split everything from then on is divided by the ratio, and
history is kept as it was sent. Orders are not this module's business.
"""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from torghut_runtime.broker.simulator.market_event import MarketBar, MarketQuote, price_of
from torghut_runtime.broker.simulator.tape import Tape

_DEFAULT_SPREAD: Final = 0.0002
"""Ask less bid as a fraction of the price where the tape has no quotes."""
_CENT: Final = 0.01


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask; at is nanoseconds UTC."""

    at: int
    bid: float
    ask: float


@dataclass(frozen=True, slots=True)
class AppliedSplit:
    """``ratio`` new shares for one old share from ``at`` on."""

    symbol: str
    ratio: Decimal
    at: int
    announced_at: int


class Market:
    """Prices and bars as far as time has come."""

    def __init__(self, tape: Tape, start: int) -> None:
        self.symbols = frozenset(tape.symbols)
        self.timeframe = tape.timeframe
        self.halted: set[str] = set()
        self.splits: list[AppliedSplit] = []
        self.announced: list[AppliedSplit] = []
        self._last: dict[str, tuple[int, float]] = {}
        self._quotes: dict[str, Quote] = {}
        self._history: defaultdict[str, list[MarketBar]] = defaultdict(list)
        self._ratio: dict[str, float] = {}
        self._reference: dict[str, float] = {}
        for bar in tape.bars:
            self._reference.setdefault(bar.symbol, bar.open)
        for quote in tape.quotes:
            self._reference.setdefault(quote.symbol, (quote.bid + quote.ask) / 2)
        for bar in tape.history(start):
            self.close(bar)

    def scale(self, event: MarketBar) -> MarketBar:
        """The bar in the units of today."""
        ratio = self._ratio.get(event.symbol)
        return event if ratio is None else event.scaled(ratio)

    def scale_quote(self, event: MarketQuote) -> MarketQuote:
        """The quote in the units of today."""
        ratio = self._ratio.get(event.symbol)
        return event if ratio is None else event.scaled(ratio)

    def open(self, bar: MarketBar) -> None:
        """The opening print is known."""
        self._last[bar.symbol] = (bar.opens_at, bar.open)

    def close(self, bar: MarketBar) -> None:
        """The bar is known; it becomes history."""
        self._last[bar.symbol] = (bar.closes_at, bar.close)
        self._history[bar.symbol].append(bar)
        if not math.isnan(bar.bid) and not math.isnan(bar.ask):
            self._quotes[bar.symbol] = Quote(bar.closes_at, bar.bid, bar.ask)

    def quote(self, quote: MarketQuote) -> None:
        """A quote is known."""
        self._quotes[quote.symbol] = Quote(quote.at, quote.bid, quote.ask)

    def correct(self, symbol: str, opens_at: int, fields: dict[str, float]) -> MarketBar | None:
        """Replace values of a bar that was sent; None where there is no such bar."""
        bars = self._history[symbol]
        index = bisect_left(bars, opens_at, key=lambda bar: bar.opens_at)
        if index == len(bars) or bars[index].opens_at != opens_at:
            return None
        old = bars[index]
        values = {name: getattr(old, name) for name in ("open", "high", "low", "close", "volume")} | fields
        bars[index] = MarketBar(
            symbol, opens_at, old.closes_at, **values, bid=old.bid, ask=old.ask, in_session=old.in_session
        )
        return bars[index]

    def split(self, split: AppliedSplit) -> None:
        """Prices jump from now on."""
        symbol, ratio = split.symbol, float(split.ratio)
        self.splits.append(split)
        self._ratio[symbol] = self._ratio.get(symbol, 1.0) * ratio
        if symbol in self._last:
            at, price = self._last[symbol]
            self._last[symbol] = (at, round(price / ratio, 6))
        self._quotes.pop(symbol, None)

    def last_trade(self, symbol: str) -> tuple[int, float] | None:
        """Time and price of the newest trade."""
        return self._last.get(symbol)

    def price(self, symbol: str) -> Decimal:
        """The newest price; before the first event that of the tape's first."""
        last = self._last.get(symbol)
        if last is not None:
            return price_of(last[1])
        return price_of(self._reference[symbol] / self._ratio.get(symbol, 1.0))

    def price_float(self, symbol: str) -> float:
        """As :meth:`price`, for sums that need no exactness."""
        last = self._last.get(symbol)
        return self._reference[symbol] if last is None else last[1]

    def spread(self, symbol: str) -> Decimal:
        """Ask less bid of the newest quote, else two basis points of the price and one cent at least; in dollars."""
        quote = self._quotes.get(symbol)
        if quote is not None and quote.ask >= quote.bid:
            return price_of(quote.ask) - price_of(quote.bid)
        return price_of(round(max(_CENT, self.price_float(symbol) * _DEFAULT_SPREAD), 2))

    def newest_quote(self, symbol: str) -> Quote:
        """The newest quote; made of price and usual spread where the tape has none."""
        known = self._quotes.get(symbol)
        if known is not None:
            return known
        price, half = float(self.price(symbol)), float(self.spread(symbol)) / 2
        at = self._last.get(symbol, (0, 0.0))[0]
        return Quote(at, round(price - half, 4), round(price + half, 4))

    def bars(self, symbol: str, start: int, end: int) -> list[MarketBar]:
        """Bars so far that begin in [start, end], as they were sent."""
        bars = self._history.get(symbol, [])
        first = bisect_left(bars, start, key=lambda bar: bar.opens_at)
        last = bisect_right(bars, end, key=lambda bar: bar.opens_at)
        return bars[first:last]

    def last_bar(self, symbol: str) -> MarketBar | None:
        """The newest bar."""
        bars = self._history.get(symbol)
        return bars[-1] if bars else None

    def adjustment(self, symbol: str, at: int) -> float:
        """What prices of a bar that began at ``at`` are divided by in split-adjusted history."""
        ratio = 1.0
        for split in self.splits:
            if split.symbol == symbol and split.at > at:
                ratio *= float(split.ratio)
        return ratio
