"""What a trader knows of its symbols' markets: reference prices, daily volumes, and what stands against trading there.

Fed with bars in the trading thread; where prices newer than the last bar come from is
:mod:`torghut_runtime.engine.market_view`'s business.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from torghut_runtime.clock import Clock
from torghut_runtime.engine.driver import Verdict
from torghut_runtime.engine.market_view import DailyVolumes, MarketSource, PriceSnapshot, SymbolFacts, as_decimal
from torghut_runtime.market.features import Bar
from torghut_runtime.market.timeframe import DAILY, timeframe_seconds
from torghut_runtime.orders.frozen_symbols import SPLIT, FrozenSymbols
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.risk.limits import MarketView
from torghut_runtime.strategies.registry import BoundStrategy

_GRACE_SECONDS: Final = 10.0
"""How much older than its timeframe a bar may be when it is decided on, unless a setting says otherwise."""


class PriceBook:
    """Prices and volumes of one account's symbols; marks its portfolio."""

    def __init__(
        self,
        *,
        market: MarketSource,
        portfolio: Portfolio,
        frozen: FrozenSymbols,
        bar_max_age_seconds: float | None,
        is_open: Callable[[str], bool],
        clock: Clock,
    ) -> None:
        self._market = market
        self._portfolio = portfolio
        self._frozen = frozen
        self._bar_max_age_seconds = bar_max_age_seconds
        self._is_open = is_open
        self._clock = clock
        self._volumes = DailyVolumes()
        self._prices: dict[str, PriceSnapshot] = {}

    def take(self, bar: Bar, now: datetime) -> None:
        """A bar has closed."""
        self._volumes.add(bar)
        self._price(bar, now)
        if bar.session is not None:
            self._mark(bar.symbol, as_decimal(bar.close))

    def learn(self, bars: Sequence[Bar], *, is_first: bool) -> None:
        """Take all the history of one symbol and timeframe; volumes are counted the first time alone."""
        if is_first:
            for bar in bars:
                self._volumes.add(bar)
        self._price(bars[-1], self._clock.now())
        last = next((bar for bar in reversed(bars) if bar.session is not None), None)
        if last is not None:
            self._mark(last.symbol, as_decimal(last.close))

    def forget(self, symbol: str, timeframe: str) -> None:
        """History of the two is about to be fed anew."""
        self._market.forget(symbol, timeframe)

    def _price(self, bar: Bar, now: datetime) -> None:
        self._prices[bar.symbol] = self._market.price(bar, now, waits=self.waits(bar))

    def _mark(self, symbol: str, price: Decimal) -> None:
        """Take a new price; where it jumps by an announced split the symbol is frozen and keeps its value."""
        held = self._portfolio.symbol_qty(symbol)
        self._frozen.price_moves(symbol, held, self._portfolio.marks.get(symbol), price)
        if self._frozen.reason(symbol) != SPLIT:
            self._portfolio.mark(symbol, price)

    def of(self, symbol: str) -> PriceSnapshot:
        """The reference price of decisions on the symbol's last bar."""
        return self._prices[symbol]

    def get(self, symbol: str) -> PriceSnapshot | None:
        """As :meth:`of`; None before the symbol's first bar."""
        return self._prices.get(symbol)

    def newest(self, symbol: str) -> PriceSnapshot | None:
        """The newest price of a symbol, for orders that are priced again; None before there is one."""
        return self._market.price_now(symbol, self._clock.now()) or self._prices.get(symbol)

    def average_volume(self, symbol: str) -> Decimal | None:
        """Average daily shares of 20 sessions; None while they are not known."""
        known = self._market.average_daily_volume(symbol)
        return self._volumes.average(symbol) if known is None else known

    def waits(self, bar: Bar) -> bool:
        """Whether a decision on this bar waits for the next session: daily ones, once the session is over."""
        return bar.timeframe == DAILY and not self._is_open(bar.symbol)

    def view(self, verdict: Verdict, price: PriceSnapshot, *, order_price: Decimal | None = None) -> MarketView:
        """What limits ask about the market of a verdict's symbol."""
        bar, now = verdict.bar, self._clock.now()
        facts = self._market.facts(bar.symbol, bar.timeframe, verdict.strategy, now)
        return MarketView(
            is_open=self.waits(bar) or self._is_open(bar.symbol),
            calendar_agrees=facts.calendar_agrees,
            halted=facts.halted,
            frozen=facts.frozen or bar.symbol in self._frozen,
            bar_age=(now - bar.event_ts).total_seconds(),
            bar_max_age=self._bar_max_age(bar.timeframe),
            trades=facts.trades or self.waits(bar),
            reference_price=price.price,
            reference_stale=price.stale,
            order_price=order_price or price.price,
            tradable=facts.tradable,
            shortable=facts.shortable,
            allowed=facts.allowed,
            quality=facts.quality,
            from_history=bar.signal_quality_flag > 0.0,
        )

    def view_of_queued(self, strategy: BoundStrategy | None, intent: Intent) -> MarketView:
        """What limits ask before an order goes that waited for its session; its bar was judged with its decision."""
        symbol, price = intent.terms.symbol, intent.worst_price
        now = self._clock.now()
        facts = SymbolFacts() if strategy is None else self._market.facts(symbol, DAILY, strategy, now)
        return MarketView(
            calendar_agrees=facts.calendar_agrees,
            halted=facts.halted,
            frozen=facts.frozen or symbol in self._frozen,
            reference_price=price,
            order_price=price,
            tradable=facts.tradable,
            shortable=facts.shortable,
            allowed=facts.allowed,
        )

    def _bar_max_age(self, timeframe: str) -> float:
        given = self._bar_max_age_seconds
        return timeframe_seconds(timeframe) + _GRACE_SECONDS if given is None else float(given)
