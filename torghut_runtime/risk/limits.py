"""The last word on an order: every cap, and the reason codes of what they refuse (``runtime.md`` 8).

Pure functions of what is known at the moment of decision. All reasons that apply are collected, in the order of the
contract. Amounts are ``Decimal`` in account currency; ``None`` means no cap, 0 allows nothing. An exit passes every
check that would keep exposure open; it never passes the stops.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from torghut_runtime.risk.trading_state import HALTED, REDUCING, State
from torghut_runtime.trading_settings import TradingSettings

Side = Literal["buy", "sell"]
_BPS: Final = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class Limits:
    """The caps of the settings, as numbers."""

    default_qty: Decimal
    max_notional_per_trade: Decimal | None
    min_notional_per_trade: Decimal | None
    notional_per_position: Decimal | None
    max_position_pct: Decimal | None
    participation_rate: Decimal
    participation_is_explicit: bool
    cooldown_seconds: int
    allow_shorts: bool
    max_positions: int | None
    max_notional_per_symbol: Decimal | None
    max_gross: Decimal | None
    max_gross_pct: Decimal | None
    max_net: Decimal | None
    max_net_pct: Decimal | None
    max_daily_loss: Decimal | None
    max_daily_loss_pct: Decimal
    max_drawdown: Decimal
    orders_per_minute: int
    orders_per_symbol_per_minute: int
    max_open_orders: int
    max_open_orders_per_symbol: int
    price_collar_bps: Decimal

    @classmethod
    def of(cls, settings: TradingSettings) -> "Limits":
        """The limits that the environment asks for."""
        sizing, risk = settings.sizing, settings.risk
        return cls(
            default_qty=sizing.default_qty,
            max_notional_per_trade=sizing.max_notional_per_trade,
            min_notional_per_trade=sizing.min_notional_per_trade,
            notional_per_position=sizing.notional_per_position,
            max_position_pct=sizing.max_position_pct_equity,
            participation_rate=settings.participation_rate,
            participation_is_explicit=sizing.given_participation_rate is not None,
            cooldown_seconds=sizing.cooldown_seconds,
            allow_shorts=sizing.allow_shorts,
            max_positions=sizing.max_positions,
            max_notional_per_symbol=sizing.max_notional_per_symbol,
            max_gross=sizing.max_gross_exposure,
            max_gross_pct=sizing.max_gross_exposure_pct,
            max_net=sizing.max_net_exposure,
            max_net_pct=sizing.max_net_exposure_pct,
            max_daily_loss=risk.max_daily_loss,
            max_daily_loss_pct=risk.max_daily_loss_pct,
            max_drawdown=settings.stops.max_drawdown,
            orders_per_minute=risk.max_orders_per_minute,
            orders_per_symbol_per_minute=risk.max_orders_per_symbol_per_minute,
            max_open_orders=risk.max_open_orders,
            max_open_orders_per_symbol=risk.max_open_orders_per_symbol,
            price_collar_bps=risk.price_collar_bps,
        )

    def gross_cap(self, equity: Decimal) -> Decimal | None:
        """The smaller of the two caps on gross exposure, None without either."""
        return smallest(self.max_gross, _share(self.max_gross_pct, equity))

    def net_cap(self, equity: Decimal) -> Decimal | None:
        """The smaller of the two caps on the absolute net exposure."""
        return smallest(self.max_net, _share(self.max_net_pct, equity))

    def daily_loss_cap(self, opening_equity: Decimal) -> Decimal:
        """The loss of a day, in currency, at which nothing more is entered."""
        cap = smallest(self.max_daily_loss, self.max_daily_loss_pct * opening_equity)
        assert cap is not None
        return cap


@dataclass(frozen=True, slots=True)
class Gate:
    """What must hold before any order leaves, whatever it is for."""

    trading_enabled: bool = True
    kill_switch: bool = False
    state: State = "ACTIVE"
    reconciled: bool = True
    lease_held: bool = True
    account_matches: bool = True
    backpressure: bool = False
    entry_refusals: tuple[str, ...] = ()
    """Codes of what stands against entries only: a flag, stale flags, the live gate."""


@dataclass(frozen=True, slots=True)
class Flatten:
    """An operator's word that positions are to be closed in any state."""

    override_kill_switch: bool = False


@dataclass(frozen=True, slots=True)
class MarketView:
    """What is known of a symbol's market; ages in seconds."""

    is_open: bool = True
    calendar_agrees: bool = True
    halted: bool = False
    frozen: bool = False
    trades: bool = True
    """Whether it is known to trade since market data were last connected: a halt is told once, to whoever listens."""
    bar_age: float = 0.0
    bar_max_age: float = 0.0
    reference_price: Decimal | None = None
    reference_stale: bool = False
    order_price: Decimal | None = None
    """Limit of the order, or the price it is expected at."""
    tradable: bool = True
    shortable: bool = True
    allowed: bool = True
    """Whether strategy and universe name the symbol."""
    quality: tuple[str, ...] = ()
    """Why its features are not good enough, each as a reason code."""
    from_history: bool = False
    """Whether the bar was back-filled or came late: with nothing newer in it an old one moves nothing, exits too."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """The account and what of it is taken, reservations of open orders included; currency unless said otherwise."""

    equity: Decimal
    opening_equity: Decimal
    """At the beginning of the session, moved by deposits and withdrawals."""
    high_water_mark: Decimal
    buying_power: Decimal
    gross: Decimal
    net: Decimal
    symbol_net: Decimal
    """Signed notional of the symbol."""
    strategy_symbol: Decimal
    """Absolute notional that the strategy has in the symbol."""
    symbols: int
    """Symbols with a position or an open entry."""
    in_symbol: bool
    """Whether the symbol is one of them."""
    open_orders: int = 0
    open_orders_in_symbol: int = 0
    orders_last_minute: int = 0
    orders_in_symbol_last_minute: int = 0
    opposite_order_open: bool = False
    seconds_since_entry: float | None = None
    """Since the last submitted entry of strategy and symbol."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that is about to be ordered."""

    side: Side
    qty: Decimal
    worst_price: Decimal
    """The worst of limit, stop and reference price."""
    opens_short: bool = False
    strategy_notional_cap: Decimal | None = None
    strategy_position_pct: Decimal | None = None
    average_daily_volume: Decimal | None = None
    """Shares, mean of 20 sessions; None where unknown."""
    min_qty: Decimal = Decimal(0)
    """The fewest shares that the broker takes an order for."""

    @property
    def notional(self) -> Decimal:
        """What it costs at worst."""
        return self.qty * self.worst_price


def smallest(*caps: Decimal | None) -> Decimal | None:
    """The smallest of the caps that are set, None when none is."""
    return min((cap for cap in caps if cap is not None), default=None)


def _share(fraction: Decimal | None, equity: Decimal) -> Decimal | None:
    return None if fraction is None else fraction * equity


def _collected(*checks: tuple[bool, str]) -> Iterator[str]:
    return (reason for refused, reason in checks if refused)


def gate_reasons(gate: Gate, *, is_exit: bool, flatten: Flatten | None = None) -> list[str]:
    """What stops an order whatever its size; an exit goes on in REDUCING and under back-pressure.

    With ``flatten`` an exit goes on in HALTED too, and under the kill switch where the operator has said so.
    """
    flattens = is_exit and flatten is not None
    overridden = is_exit and flatten is not None and flatten.override_kill_switch
    return [
        *_collected((not gate.trading_enabled, "trading_disabled")),
        *(() if is_exit else gate.entry_refusals),
        *_collected(
            (gate.kill_switch and not overridden, "kill_switch_enabled"),
            (gate.state == REDUCING and not is_exit, "state_reducing"),
            (gate.state == HALTED and not flattens, "state_halted"),
            (not gate.reconciled, "not_reconciled"),
            (not gate.lease_held, "lease_not_held"),
            (not gate.account_matches, "account_mismatch"),
            (gate.backpressure and not is_exit, "backpressure"),
        ),
    ]


def market_reasons(market: MarketView, limits: Limits, *, is_exit: bool, opens_short: bool = False) -> list[str]:
    """What a symbol's market forbids; an exit obeys a halt or a freeze, and waits for the session elsewhere.

    An old bar that history brought decides no exit either: the newer bars that follow it do.
    """
    stopped = [*_collected((market.halted, "symbol_halted"), (market.frozen, "symbol_frozen"))]
    old = market.bar_age > market.bar_max_age
    if is_exit:
        return [*stopped, *_collected((old and market.from_history, "signal_stale"))]
    return [
        *_collected((not market.allowed, "symbol_not_allowed")),
        *market.quality,
        *_collected((not market.is_open, "market_closed"), (not market.calendar_agrees, "calendar_broker_mismatch")),
        *stopped,
        *_collected(
            (old or not market.trades, "signal_stale"),
            (market.reference_price is None, "missing_price"),
            (market.reference_price is not None and market.reference_stale, "price_stale"),
            (_outside_collar(market, limits), "price_collar_exceeded"),
            (not market.tradable, "asset_not_tradable"),
            (opens_short and not market.shortable, "asset_not_shortable"),
        ),
    ]


def _outside_collar(market: MarketView, limits: Limits) -> bool:
    reference, price = market.reference_price, market.order_price
    if reference is None or price is None or reference <= 0:
        return False
    return abs(price - reference) * _BPS > limits.price_collar_bps * reference


def entry_reasons(entry: Entry, exposure: Exposure, limits: Limits) -> list[str]:
    """Every cap that an entry would break."""
    return [
        *_collected(
            (
                exposure.seconds_since_entry is not None and exposure.seconds_since_entry < limits.cooldown_seconds,
                "cooldown_active",
            )
        ),
        *_size_reasons(entry, exposure, limits),
        *_account_reasons(entry, exposure, limits),
        *_collected((exposure.opposite_order_open, "precheck_opposite_side_open_order")),
    ]


def _size_reasons(entry: Entry, exposure: Exposure, limits: Limits) -> Iterator[str]:
    notional = entry.notional
    trade_cap = smallest(limits.max_notional_per_trade, entry.strategy_notional_cap, limits.notional_per_position)
    strategy_cap = smallest(entry.strategy_notional_cap, limits.notional_per_position)
    in_strategy = exposure.strategy_symbol + notional
    pct = smallest(limits.max_position_pct, entry.strategy_position_pct)
    symbol_after = abs(exposure.symbol_net + (notional if entry.side == "buy" else -notional))
    new_symbol = not exposure.in_symbol
    volume = entry.average_daily_volume
    return _collected(
        (entry.qty <= 0 or entry.qty < entry.min_qty, "qty_below_min"),
        (
            limits.min_notional_per_trade is not None and notional < limits.min_notional_per_trade,
            "min_notional_not_met",
        ),
        (_above(notional, trade_cap) or _above(in_strategy, strategy_cap), "max_notional_exceeded"),
        (_above(in_strategy, _share(pct, exposure.equity)), "max_position_pct_exceeded"),
        (_above(symbol_after, limits.max_notional_per_symbol), "symbol_notional_exceeded"),
        (
            new_symbol and limits.max_positions is not None and exposure.symbols + 1 > limits.max_positions,
            "max_positions_exceeded",
        ),
        (entry.opens_short and not limits.allow_shorts, "shorts_not_allowed"),
        (volume is not None and entry.qty > limits.participation_rate * volume, "participation_exceeds_max"),
        (volume is None and limits.participation_is_explicit, "adv_unavailable"),
    )


def _account_reasons(entry: Entry, exposure: Exposure, limits: Limits) -> Iterator[str]:
    notional = entry.notional
    net_after = exposure.net + (notional if entry.side == "buy" else -notional)
    net_cap = limits.net_cap(exposure.equity)
    return _collected(
        (notional > exposure.buying_power, "insufficient_buying_power"),
        (_above(exposure.gross + notional, limits.gross_cap(exposure.equity)), "gross_exposure_exceeded"),
        (_above(abs(net_after), net_cap) and abs(net_after) > abs(exposure.net), "net_exposure_exceeded"),
        (
            exposure.orders_last_minute >= limits.orders_per_minute
            or exposure.orders_in_symbol_last_minute >= limits.orders_per_symbol_per_minute,
            "order_rate_exceeded",
        ),
        (
            exposure.open_orders >= limits.max_open_orders
            or exposure.open_orders_in_symbol >= limits.max_open_orders_per_symbol,
            "max_open_orders_exceeded",
        ),
        (daily_loss_reached(exposure.equity, exposure.opening_equity, limits), "daily_loss_limit_reached"),
        (drawdown(exposure.equity, exposure.high_water_mark) >= limits.max_drawdown, "max_drawdown_exceeded"),
    )


def _above(value: Decimal, cap: Decimal | None) -> bool:
    return cap is not None and value > cap


def daily_loss_reached(equity: Decimal, opening_equity: Decimal, limits: Limits) -> bool:
    """Whether the loss since the session began is as large as the smaller of the two caps."""
    return opening_equity - equity >= limits.daily_loss_cap(opening_equity)


def drawdown(equity: Decimal, high_water_mark: Decimal) -> Decimal:
    """Fall of the equity below its high-water mark, as a fraction of the mark; 0 at or above it."""
    if high_water_mark <= 0:
        return Decimal(0)
    return max((high_water_mark - equity) / high_water_mark, Decimal(0))
