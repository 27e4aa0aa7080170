"""What is known of a symbol's market at the moment of a decision: reference price, touch, average daily volume.

VWAP and other features are never prices here. Whoever has more than bars (a stream of quotes, the broker's word on
assets) gives the trader another :class:`MarketSource`; with :class:`BarsOnly` everything is known from bars alone.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Protocol

from torghut_runtime.market.features import Bar
from torghut_runtime.orders.increments import US_SHARES, Increments
from torghut_runtime.risk.limits import Side
from torghut_runtime.strategies.registry import BoundStrategy

QUOTE_MAX_AGE: Final = 5.0
ADV_SESSIONS: Final = 20
_LEAST_PRICE: Final = Decimal("0.0001")


def as_decimal(value: float) -> Decimal:
    """A float as the decimal that it is written as."""
    return Decimal(repr(value))


@dataclass(frozen=True, slots=True)
class PriceSnapshot:
    """The reference price of a decision and where it comes from; bid and ask only where a quote is fresh."""

    price: Decimal
    as_of: datetime
    source: str
    bid: Decimal | None = None
    ask: Decimal | None = None
    stale: bool = False
    """Whether nothing newer than too old a price is known."""
    half_spread: Decimal | None = None
    """Half of what bid and ask were usually apart, where no quote is fresh."""
    increments: Increments = US_SHARES
    """The asset's steps of prices and quantities."""

    @property
    def mid(self) -> Decimal | None:
        """Mid of the fresh quote."""
        return None if self.bid is None or self.ask is None else (self.bid + self.ask) / 2

    def touch(self, side: Side) -> Decimal:
        """Where a limit order would trade at once: the ask to buy, the bid to sell.

        Without a quote it is the price and half the usual spread; the price alone where that is not known either.
        """
        quoted = self.ask if side == "buy" else self.bid
        if quoted is None:
            away = self.half_spread or Decimal(0)
            quoted = self.price + away if side == "buy" else max(self.price - away, _LEAST_PRICE)
        return self.increments.nearest_price(quoted)

    def document(self) -> dict[str, object]:
        """``params.price_snapshot`` of the decision."""
        spread = None if self.bid is None or self.ask is None else self.ask - self.bid
        return {"as_of": self.as_of, "price": self.price, "spread": spread, "source": self.source}


def price_of(bar: Bar, now: datetime) -> PriceSnapshot:
    """The mid of the bar's quote where it is fresh, else its close."""
    quoted = 0.0 < bar.bid <= bar.ask and math.isfinite(bar.ask)
    if quoted and (now - bar.event_ts).total_seconds() <= QUOTE_MAX_AGE:
        bid, ask = as_decimal(bar.bid), as_decimal(bar.ask)
        return PriceSnapshot((bid + ask) / 2, bar.event_ts, "quote", bid, ask)
    return PriceSnapshot(as_decimal(bar.close), bar.event_ts, "bar")


@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """What stands for or against trading a symbol now, beside prices and caps."""

    halted: bool = False
    frozen: bool = False
    trades: bool = True
    """Whether it is known to trade since market data were last connected."""
    calendar_agrees: bool = True
    allowed: bool = True
    """Whether the strategy may enter it: its own symbols ∩ universe."""
    tradable: bool = True
    shortable: bool = True
    quality: tuple[str, ...] = ()
    """``feature_quality:<reason>``."""


class MarketSource(Protocol):
    """What a trader asks about a symbol's market, in its own thread; nothing may wait."""

    def price(self, bar: Bar, now: datetime, *, waits: bool) -> PriceSnapshot:
        """The reference price of a decision on ``bar``; ``waits``: the order will wait for the next session."""
        ...

    def price_now(self, symbol: str, now: datetime) -> PriceSnapshot | None:
        """The newest price of a symbol; None where bars alone know it."""
        ...

    def facts(self, symbol: str, timeframe: str, strategy: BoundStrategy, now: datetime) -> SymbolFacts:
        """What stands against trading a symbol on bars of this timeframe."""
        ...

    def average_daily_volume(self, symbol: str) -> Decimal | None:
        """Average daily shares of 20 sessions; None where bars alone know them."""
        ...

    def forget(self, symbol: str, timeframe: str) -> None:
        """History of the two is about to be fed anew."""
        ...


_NOTHING_AGAINST: Final = SymbolFacts()


class BarsOnly:
    """A market known by its bars: as a replay has it."""

    def price(self, bar: Bar, now: datetime, *, waits: bool) -> PriceSnapshot:
        """See :func:`price_of`."""
        del waits
        return price_of(bar, now)

    def price_now(self, symbol: str, now: datetime) -> PriceSnapshot | None:
        """Nothing newer than the last bar."""
        del symbol, now

    def facts(self, symbol: str, timeframe: str, strategy: BoundStrategy, now: datetime) -> SymbolFacts:
        """Nothing stands against it."""
        del symbol, timeframe, strategy, now
        return _NOTHING_AGAINST

    def average_daily_volume(self, symbol: str) -> Decimal | None:
        """Nothing beside the bars."""
        del symbol

    def forget(self, symbol: str, timeframe: str) -> None:
        """Nothing was kept."""


@dataclass
class DailyVolumes:
    """Average daily shares of the last 20 complete sessions, per symbol."""

    _running: dict[str, tuple[date, float]] = field(default_factory=dict[str, tuple[date, float]])
    _complete: dict[str, deque[float]] = field(default_factory=dict[str, deque[float]])

    def add(self, bar: Bar) -> None:
        """Count a bar; one without a volume counts as none."""
        if bar.session is None:
            return
        volume = 0.0 if math.isnan(bar.volume) else bar.volume
        session, so_far = self._running.get(bar.symbol, (bar.session, 0.0))
        if session != bar.session:
            self._complete.setdefault(bar.symbol, deque(maxlen=ADV_SESSIONS)).append(so_far)
            so_far = 0.0
        self._running[bar.symbol] = (bar.session, so_far + volume)

    def average(self, symbol: str) -> Decimal | None:
        """Mean over the complete sessions; None before there are 20."""
        known = self._complete.get(symbol)
        if known is None or len(known) < ADV_SESSIONS:
            return None
        return as_decimal(sum(known) / ADV_SESSIONS)
