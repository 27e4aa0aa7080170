"""How much each cap leaves: what doctor judges where no runtime tells it.

A cap is known by the reason code that it refuses an entry with. Only caps that hold for every entry are here; those of
one strategy or symbol are seen in the decisions that they refuse.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from torghut_runtime.risk.limits import Exposure, Limits, smallest


@dataclass(frozen=True, slots=True)
class Cap:
    """One cap: its reason code, the variables that it comes from, its value, and what it leaves; None is unknown."""

    code: str
    source: str
    value: Decimal
    room: Decimal | None

    @property
    def is_used_up(self) -> bool:
        """Whether no entry can pass it."""
        return self.value <= 0 if self.room is None else self.room <= 0


def caps(limits: Limits, exposure: Exposure | None) -> Iterator[Cap]:
    """The caps that are set, with the room they leave; without an account only those of 0 are known to bind."""
    yield from _sizes(limits)
    yield from _counts(limits, exposure)
    if exposure is None:
        yield from _amounts_without_account(limits)
    else:
        yield from _amounts(limits, exposure)


def _sizes(limits: Limits) -> Iterator[Cap]:
    given = (
        ("max_notional_exceeded", "TRADING_MAX_NOTIONAL_PER_TRADE", limits.max_notional_per_trade),
        ("max_notional_exceeded", "TRADING_PORTFOLIO_NOTIONAL_PER_POSITION", limits.notional_per_position),
        ("max_position_pct_exceeded", "TRADING_MAX_POSITION_PCT_EQUITY", limits.max_position_pct),
        ("symbol_notional_exceeded", "TRADING_PORTFOLIO_MAX_NOTIONAL_PER_SYMBOL", limits.max_notional_per_symbol),
        ("participation_exceeds_max", "TRADING_MAX_PARTICIPATION_RATE", limits.participation_rate),
    )
    for code, source, value in given:
        if value is not None:
            yield Cap(code, source, value, None)


def _counts(limits: Limits, exposure: Exposure | None) -> Iterator[Cap]:
    minute = "TRADING_MAX_ORDERS_PER_MINUTE"
    given = (
        ("max_positions_exceeded", "TRADING_PORTFOLIO_MAX_POSITIONS", limits.max_positions, "symbols"),
        ("order_rate_exceeded", minute, limits.orders_per_minute, "orders_last_minute"),
        (
            "order_rate_exceeded",
            "TRADING_MAX_ORDERS_PER_SYMBOL_PER_MINUTE",
            limits.orders_per_symbol_per_minute,
            "orders_in_symbol_last_minute",
        ),
        ("max_open_orders_exceeded", "TRADING_MAX_OPEN_ORDERS", limits.max_open_orders, "open_orders"),
        (
            "max_open_orders_exceeded",
            "TRADING_MAX_OPEN_ORDERS_PER_SYMBOL",
            limits.max_open_orders_per_symbol,
            "open_orders_in_symbol",
        ),
    )
    for code, source, value, taken in given:
        if value is not None:
            room = None if exposure is None else Decimal(value - int(getattr(exposure, taken)))
            yield Cap(code, source, Decimal(value), room)


def _amounts_without_account(limits: Limits) -> Iterator[Cap]:
    given = (
        ("gross_exposure_exceeded", "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE", limits.max_gross),
        ("gross_exposure_exceeded", "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY", limits.max_gross_pct),
        ("net_exposure_exceeded", "TRADING_PORTFOLIO_MAX_NET_EXPOSURE", limits.max_net),
        ("net_exposure_exceeded", "TRADING_PORTFOLIO_MAX_NET_EXPOSURE_PCT_EQUITY", limits.max_net_pct),
        ("daily_loss_limit_reached", "TRADING_MAX_DAILY_LOSS", limits.max_daily_loss),
        ("daily_loss_limit_reached", "TRADING_MAX_DAILY_LOSS_PCT_EQUITY", limits.max_daily_loss_pct),
        ("max_drawdown_exceeded", "TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT", limits.max_drawdown),
    )
    for code, source, value in given:
        if value is not None:
            yield Cap(code, source, value, None)


def _amounts(limits: Limits, exposure: Exposure) -> Iterator[Cap]:
    equity, opening = exposure.equity, exposure.opening_equity
    yield Cap("insufficient_buying_power", "account", exposure.buying_power, exposure.buying_power)
    gross, net = limits.gross_cap(equity), limits.net_cap(equity)
    if gross is not None:
        yield Cap("gross_exposure_exceeded", "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE*", gross, gross - exposure.gross)
    if net is not None:
        yield Cap("net_exposure_exceeded", "TRADING_PORTFOLIO_MAX_NET_EXPOSURE*", net, net - abs(exposure.net))
    loss = smallest(limits.max_daily_loss, limits.max_daily_loss_pct * opening)
    assert loss is not None
    yield Cap("daily_loss_limit_reached", "TRADING_MAX_DAILY_LOSS*", loss, loss - (opening - equity))
    mark = exposure.high_water_mark
    fallen = (mark - equity) / mark if mark > 0 else Decimal(0)
    drawdown = limits.max_drawdown
    room = drawdown - max(fallen, Decimal(0))
    yield Cap("max_drawdown_exceeded", "TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT", drawdown, room)


def document(limits: Limits, exposure: Exposure | None) -> list[dict[str, object]]:
    """The caps as plain values."""
    return [
        {"code": cap.code, "source": cap.source, "value": cap.value, "room": cap.room} for cap in caps(limits, exposure)
    ]
