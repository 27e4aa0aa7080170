"""The market as the running engine knows it: reference prices of section 6, halts, allow-list, quality, assets.

The trading thread asks; answers come from what other threads have brought (board, universe, asset book, calendar
guard). Nothing here waits or decides; reasons are collected in :mod:`torghut_runtime.risk.limits`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from torghut_runtime.compiled import Vector
from torghut_runtime.engine.market_view import (
    QUOTE_MAX_AGE,
    PriceSnapshot,
    SymbolFacts,
    as_decimal,
)
from torghut_runtime.market.features import Bar
from torghut_runtime.market_data.board import Board
from torghut_runtime.market_data.broker_facts import AssetBook, CalendarGuard
from torghut_runtime.market_data.closed_bars import ClosedBars
from torghut_runtime.market_data.feature_gate import FeatureGate
from torghut_runtime.market_data.universe import Universe, is_allowed
from torghut_runtime.orders.increments import US_SHARES, Increments
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import TradingSettings

TRADE_MAX_AGE: Final = 60.0


def reference_price(
    board: Board,
    symbol: str,
    close: float,
    closed_at: datetime,
    now: datetime,
    lookback: timedelta,
    increments: Increments = US_SHARES,
) -> PriceSnapshot:
    """The newest price that may be used: quote mid, last trade, last close; a close that is too old is ``stale``."""
    quote, trade = board.quote(symbol), board.trade(symbol)
    if quote is not None and (now - quote.at).total_seconds() <= QUOTE_MAX_AGE:
        bid, ask = as_decimal(quote.bid), as_decimal(quote.ask)
        return PriceSnapshot((bid + ask) / 2, quote.at, "quote", bid, ask, increments=increments)
    spread = board.median_spread(symbol)
    half = None if spread is None else as_decimal(spread) / 2
    if trade is not None and (now - trade.at).total_seconds() <= TRADE_MAX_AGE:
        return PriceSnapshot(as_decimal(trade.price), trade.at, "trade", half_spread=half, increments=increments)
    stale = now - closed_at > lookback
    return PriceSnapshot(as_decimal(close), closed_at, "bar", stale=stale, half_spread=half, increments=increments)


class LiveMarket:
    """See :class:`~torghut_runtime.engine.market_view.MarketSource`."""

    def __init__(
        self,
        settings: TradingSettings,
        *,
        board: Board,
        universe: Universe,
        gate: FeatureGate,
        assets: AssetBook,
        calendar: CalendarGuard,
        repeats: Callable[[str], int] = lambda _: 0,
        is_frozen: Callable[[str], bool] = lambda _: False,
        daily_volumes: Mapping[str, float] | None = None,
    ) -> None:
        """Put together what is known.

        Args:
            settings: how long a close may serve as price.
            board: quotes, trades, halts.
            universe: which symbols may be entered.
            gate: quality of features; told every bar through :meth:`observe`.
            assets: what the broker allows.
            calendar: whether broker and calendar agree.
            repeats: how many of a symbol's last minutes came twice, see :meth:`MarketFeed.repeats`.
            is_frozen: whether a symbol's position is in dispute.
            daily_volumes: mean daily shares of 20 sessions, see ``average_volumes`` in
                :mod:`torghut_runtime.market_data.warm_up`; may be set anew at any time.
        """
        self._board = board
        self._universe = universe
        self._gate = gate
        self._assets = assets
        self._calendar = calendar
        self._repeats = repeats
        self._is_frozen = is_frozen
        self._lookback = timedelta(minutes=settings.data.price_lookback_minutes)
        self._closes: dict[str, tuple[datetime, float]] = {}
        self.daily_volumes: Mapping[str, float] = daily_volumes or {}

    def observe(self, bar: Bar, row: Vector) -> None:
        """Take every bar with its features, warm-up included: for the driver."""
        self._gate.note(bar, row)
        known = self._closes.get(bar.symbol)
        if known is None or known[0] <= bar.event_ts:
            self._closes[bar.symbol] = (bar.event_ts, bar.close)

    def note_gaps(self, closed: ClosedBars) -> None:
        """Take which of these bars follow others that were never brought, before they are decided on."""
        for bar in closed.bars:
            if bar.symbol in closed.after_gap:
                self._gate.note_gap(bar.symbol, bar.timeframe)

    def price(self, bar: Bar, now: datetime, *, waits: bool) -> PriceSnapshot:
        """The reference price; for an order that waits for the next session the last close."""
        increments = self._assets.of(bar.symbol).increments
        if waits:
            return PriceSnapshot(as_decimal(bar.close), bar.event_ts, "bar", increments=increments)
        closed_at, close = self._closes.get(bar.symbol, (bar.event_ts, bar.close))
        if closed_at < bar.event_ts:
            closed_at, close = bar.event_ts, bar.close
        return reference_price(self._board, bar.symbol, close, closed_at, now, self._lookback, increments)

    def price_now(self, symbol: str, now: datetime) -> PriceSnapshot | None:
        """The newest price; None before the symbol's first bar."""
        known = self._closes.get(symbol)
        if known is None:
            return None
        increments = self._assets.of(symbol).increments
        return reference_price(self._board, symbol, known[1], known[0], now, self._lookback, increments)

    def facts(self, symbol: str, timeframe: str, strategy: BoundStrategy, now: datetime) -> SymbolFacts:
        """What stands against trading a symbol with this strategy."""
        asset = self._assets.of(symbol)
        return SymbolFacts(
            halted=self._board.is_halted(symbol),
            frozen=self._is_frozen(symbol),
            trades=self._board.trades(symbol),
            calendar_agrees=self._calendar.agrees,
            allowed=is_allowed(symbol, strategy.entry.universe_symbols, self._universe.view.symbols),
            tradable=asset.tradable,
            shortable=asset.shortable,
            quality=tuple(
                f"feature_quality:{each}" for each in self._gate.reasons(symbol, timeframe, now, self._repeats(symbol))
            ),
        )

    def average_daily_volume(self, symbol: str) -> Decimal | None:
        """Mean daily shares of the last 20 sessions."""
        volume = self.daily_volumes.get(symbol)
        return None if volume is None else as_decimal(volume)

    def forget(self, symbol: str, timeframe: str) -> None:
        """The quality of a symbol is judged anew; its price may be in other units now."""
        self._gate.forget(symbol, timeframe)
        self._closes.pop(symbol, None)
