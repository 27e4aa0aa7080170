"""How much each cap leaves: what the status shows, the metrics export, and doctor judges where no runtime tells it.

A cap is known by the reason code that it refuses an entry with, and by the variable that it comes from: of several for
one thing the one that binds. Room is that of a symbol in which nothing is held or ordered yet; what one strategy or
symbol has used up of its own caps is seen in the decisions that they refuse.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from torghut_runtime.risk.limits import Exposure, Limits, drawdown

GROSS: Final = "gross_exposure_exceeded"
NET: Final = "net_exposure_exceeded"
DAILY_LOSS: Final = "daily_loss_limit_reached"
DRAWDOWN: Final = "max_drawdown_exceeded"
OPEN_ORDERS: Final = "max_open_orders_exceeded"

_Given = tuple[str, Decimal | None]
"""A variable and its value."""


@dataclass(frozen=True, slots=True)
class Cap:
    """One cap: its reason code, the variable that it comes from, its value, and what it leaves; None is unknown."""

    code: str
    source: str
    value: Decimal
    room: Decimal | None

    @property
    def is_used_up(self) -> bool:
        """Whether no entry can pass it."""
        return self.value <= 0 if self.room is None else self.room <= 0

    @property
    def document(self) -> dict[str, object]:
        """The cap as plain values."""
        return {"code": self.code, "source": self.source, "value": self.value, "room": self.room}


def caps(limits: Limits, account: Exposure | None) -> Iterator[Cap]:
    """The caps that are set, with the room they leave; without an account only those of 0 are known to bind.

    ``account``: as an entry in a symbol of which nothing is held or ordered finds it.
    """
    yield from _sizes(limits)
    yield from _counts(limits, account)
    if account is None:
        yield from _amounts_without_account(limits)
    else:
        yield from _amounts(limits, account)


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


def _counts(limits: Limits, account: Exposure | None) -> Iterator[Cap]:
    taken = (None, None, None) if account is None else (
        account.symbols, account.orders_last_minute, account.open_orders
    )  # fmt: skip
    positions, sent, opened = taken
    given = (
        ("max_positions_exceeded", "TRADING_PORTFOLIO_MAX_POSITIONS", limits.max_positions, positions),
        ("order_rate_exceeded", "TRADING_MAX_ORDERS_PER_MINUTE", limits.orders_per_minute, sent),
        (
            "order_rate_exceeded",
            "TRADING_MAX_ORDERS_PER_SYMBOL_PER_MINUTE",
            limits.orders_per_symbol_per_minute,
            None,
        ),
        (OPEN_ORDERS, "TRADING_MAX_OPEN_ORDERS", limits.max_open_orders, opened),
        (OPEN_ORDERS, "TRADING_MAX_OPEN_ORDERS_PER_SYMBOL", limits.max_open_orders_per_symbol, None),
    )
    for code, source, value, used in given:
        if value is not None:
            yield Cap(code, source, Decimal(value), None if used is None else Decimal(value - used))


def _amounts_without_account(limits: Limits) -> Iterator[Cap]:
    given = (
        (GROSS, "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE", limits.max_gross),
        (GROSS, "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY", limits.max_gross_pct),
        (NET, "TRADING_PORTFOLIO_MAX_NET_EXPOSURE", limits.max_net),
        (NET, "TRADING_PORTFOLIO_MAX_NET_EXPOSURE_PCT_EQUITY", limits.max_net_pct),
        (DAILY_LOSS, "TRADING_MAX_DAILY_LOSS", limits.max_daily_loss),
        (DAILY_LOSS, "TRADING_MAX_DAILY_LOSS_PCT_EQUITY", limits.max_daily_loss_pct),
        (DRAWDOWN, "TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT", limits.max_drawdown),
    )
    for code, source, value in given:
        if value is not None:
            yield Cap(code, source, value, None)


def _amounts(limits: Limits, account: Exposure) -> Iterator[Cap]:
    equity, opening = account.equity, account.opening_equity
    yield Cap("insufficient_buying_power", "account", account.buying_power, account.buying_power)
    given = (
        (
            GROSS,
            ("TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE", limits.max_gross),
            ("TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY", _share(limits.max_gross_pct, equity)),
            account.gross,
        ),
        (
            NET,
            ("TRADING_PORTFOLIO_MAX_NET_EXPOSURE", limits.max_net),
            ("TRADING_PORTFOLIO_MAX_NET_EXPOSURE_PCT_EQUITY", _share(limits.max_net_pct, equity)),
            abs(account.net),
        ),
        (
            DAILY_LOSS,
            ("TRADING_MAX_DAILY_LOSS", limits.max_daily_loss),
            ("TRADING_MAX_DAILY_LOSS_PCT_EQUITY", _share(limits.max_daily_loss_pct, opening)),
            opening - equity,
        ),
        (
            DRAWDOWN,
            ("TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT", limits.max_drawdown),
            ("", None),
            drawdown(equity, account.high_water_mark),
        ),
    )
    for code, first, second, used in given:
        for source, value in _tightest(first, second):
            yield Cap(code, source, value, value - used)


def _share(fraction: Decimal | None, whole: Decimal) -> Decimal | None:
    return None if fraction is None else fraction * whole


def _tightest(*given: _Given) -> list[tuple[str, Decimal]]:
    """The variable whose value is smallest; none where none is set."""
    known = [(source, value) for source, value in given if value is not None]
    return sorted(known, key=lambda each: each[1])[:1]
