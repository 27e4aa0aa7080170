"""Limits, exposures and entries for tests: nothing is near any cap unless a test says so."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from torghut_runtime.risk.limits import Entry, Exposure, Limits

LIMITS = Limits(
    default_qty=Decimal(1),
    max_notional_per_trade=None,
    min_notional_per_trade=None,
    notional_per_position=None,
    max_position_pct=None,
    participation_rate=Decimal("0.1"),
    participation_is_explicit=False,
    cooldown_seconds=0,
    allow_shorts=False,
    max_positions=None,
    max_notional_per_symbol=None,
    max_gross=None,
    max_gross_pct=None,
    max_net=None,
    max_net_pct=None,
    max_daily_loss=None,
    max_daily_loss_pct=Decimal("0.03"),
    max_drawdown=Decimal("0.08"),
    orders_per_minute=60,
    orders_per_symbol_per_minute=6,
    max_open_orders=50,
    max_open_orders_per_symbol=2,
    price_collar_bps=Decimal(200),
)
EXPOSURE = Exposure(
    equity=Decimal(100_000),
    opening_equity=Decimal(100_000),
    high_water_mark=Decimal(100_000),
    buying_power=Decimal(1_000_000),
    gross=Decimal(0),
    net=Decimal(0),
    symbol_net=Decimal(0),
    strategy_symbol=Decimal(0),
    symbols=0,
    in_symbol=False,
)
ENTRY = Entry(side="buy", qty=Decimal(10), worst_price=Decimal(100))


def money(values: dict[str, Any]) -> dict[str, Any]:
    """Whole numbers and text as decimals, except for counts."""
    counts = {
        "symbols", "open_orders", "open_orders_in_symbol", "orders_last_minute", "orders_in_symbol_last_minute",
        "seconds_since_entry", "max_positions", "orders_per_minute", "orders_per_symbol_per_minute", "max_open_orders",
        "max_open_orders_per_symbol", "cooldown_seconds",
    }  # fmt: skip
    return {
        name: Decimal(value)
        if isinstance(value, int | str) and not isinstance(value, bool) and name not in counts and name != "side"
        else value
        for name, value in values.items()
    }


def limits(**changes: Any) -> Limits:
    return replace(LIMITS, **money(changes))


def exposure(**changes: Any) -> Exposure:
    return replace(EXPOSURE, **money(changes))


def entry(**changes: Any) -> Entry:
    return replace(ENTRY, **money(changes))
