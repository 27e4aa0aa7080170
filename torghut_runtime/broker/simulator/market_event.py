"""What happens on the market: bars and quotes, as the tape carries them. Prices are dollars per share, float64."""

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

PRICE_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class MarketBar:
    """One bar; it is known to the market at its close.

    Attributes:
        opens_at: start, nanoseconds UTC.
        closes_at: end, nanoseconds UTC.
        volume: shares; NaN where unknown.
        bid: best bid at the bar's end; NaN where unknown. ``ask`` likewise.
        in_session: whether the bar lies in the exchange's hours (or its symbol trades around the clock).
    """

    symbol: str
    opens_at: int
    closes_at: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    bid: float = math.nan
    ask: float = math.nan
    in_session: bool = True

    def scaled(self, ratio: float) -> "MarketBar":
        """The same bar after a split of ``ratio`` new shares for one old share."""
        if ratio == 1:
            return self
        return MarketBar(
            self.symbol,
            self.opens_at,
            self.closes_at,
            _rounded(self.open / ratio),
            _rounded(self.high / ratio),
            _rounded(self.low / ratio),
            _rounded(self.close / ratio),
            self.volume * ratio,
            _rounded(self.bid / ratio),
            _rounded(self.ask / ratio),
            self.in_session,
        )


@dataclass(frozen=True, slots=True)
class MarketQuote:
    """Best bid and ask at a moment; sizes in shares, infinite where unknown."""

    symbol: str
    at: int
    bid: float
    ask: float
    bid_size: float = math.inf
    ask_size: float = math.inf

    def scaled(self, ratio: float) -> "MarketQuote":
        """The same quote after a split of ``ratio`` new shares for one old share."""
        if ratio == 1:
            return self
        bid, ask = _rounded(self.bid / ratio), _rounded(self.ask / ratio)
        return MarketQuote(self.symbol, self.at, bid, ask, self.bid_size * ratio, self.ask_size * ratio)


def _rounded(price: float) -> float:
    return price if math.isnan(price) else round(price, PRICE_DECIMALS)


@lru_cache(maxsize=65_536)
def price_of(value: float) -> Decimal:
    """A price of the tape as a decimal, to six places."""
    return Decimal(repr(round(value, PRICE_DECIMALS)))
