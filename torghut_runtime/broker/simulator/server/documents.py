"""Account, positions, assets, clock and calendar as Alpaca writes them."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from torghut_runtime.broker.simulator.account import ZERO, Position
from torghut_runtime.broker.simulator.admission import asset_flag
from torghut_runtime.broker.simulator.controls import AssetOverride
from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.identities import asset_id
from torghut_runtime.broker.simulator.instants import NEW_YORK_ZONE, SECOND, new_york, rfc3339
from torghut_runtime.broker.simulator.refusals import plain
from torghut_runtime.market.calendar import TradingCalendar

_MAINTENANCE = Decimal("0.3")


def account_document(broker: SimulatedBroker) -> dict[str, Any]:
    """``GET /v2/account``."""
    desk, account = broker.desk, broker.desk.account
    long, short = account.market_values(broker.market.price)
    equity = account.cash + long + short
    buying_power = desk.buying_power()
    configuration = desk.configuration
    return {
        "id": broker.account_id,
        "admin_configurations": {},
        "user_configurations": None,
        "account_number": broker.account_number,
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "currency": "USD",
        "buying_power": plain(buying_power),
        "regt_buying_power": plain(buying_power),
        "daytrading_buying_power": "0",
        "effective_buying_power": plain(buying_power),
        "non_marginable_buying_power": plain(max(ZERO, account.cash - desk.reserved)),
        "options_buying_power": "0",
        "bod_dtbp": "0",
        "cash": plain(account.cash),
        "accrued_fees": "0",
        "portfolio_value": plain(equity),
        "pattern_day_trader": False,
        "trading_blocked": account.blocked,
        "transfers_blocked": False,
        "account_blocked": account.blocked,
        "created_at": rfc3339(broker.created_at),
        "trade_suspended_by_user": configuration.suspend_trade,
        "multiplier": plain(account.multiplier),
        "shorting_enabled": not configuration.no_shorting and account.multiplier > 1,
        "equity": plain(equity),
        "last_equity": plain(account.last_equity),
        "long_market_value": plain(long),
        "short_market_value": plain(short),
        "position_market_value": plain(long - short),
        "initial_margin": plain((long - short) / account.multiplier),
        "maintenance_margin": plain((long - short) * _MAINTENANCE),
        "last_maintenance_margin": "0",
        "sma": "0",
        "daytrade_count": 0,
        "balance_asof": new_york(broker.now).date().isoformat(),
        "crypto_tier": 1,
        "options_trading_level": 0,
        "intraday_adjustments": "0",
        "pending_reg_taf_fees": "0",
    }


def open_positions(broker: SimulatedBroker) -> Iterator[Position]:
    """Positions that are not flat, by symbol."""
    positions = broker.desk.account.positions
    return (positions[symbol] for symbol in sorted(positions) if positions[symbol].qty)


def position_document(broker: SimulatedBroker, position: Position) -> dict[str, Any]:
    """One position of ``GET /v2/positions``."""
    symbol, qty = position.symbol, position.qty
    price = broker.market.price(symbol)
    last_day = broker.last_close.get(symbol)
    held_before = symbol in broker.held_at_close and last_day is not None
    basis = last_day if held_before and last_day is not None else position.average_entry
    value, cost = qty * price, position.cost
    held_for_orders = sum(
        (order.remaining(price) for order in broker.desk.book.open_in(symbol) if (order.sign > 0) != (qty > 0)), ZERO
    )
    return {
        "asset_id": asset_id(symbol),
        "symbol": symbol,
        "exchange": _exchange(symbol),
        "asset_class": _asset_class(symbol),
        "asset_marginable": True,
        "qty": plain(qty),
        "avg_entry_price": plain(round(position.average_entry, 9)),
        "side": "long" if qty > 0 else "short",
        "market_value": plain(value),
        "cost_basis": plain(round(cost, 9)),
        "unrealized_pl": plain(round(value - cost, 9)),
        "unrealized_plpc": _ratio(value - cost, abs(cost)),
        "unrealized_intraday_pl": plain(round(qty * (price - basis), 9)),
        "unrealized_intraday_plpc": _ratio(qty * (price - basis), abs(qty * basis)),
        "current_price": plain(price),
        "lastday_price": plain(basis if last_day is None else last_day),
        "change_today": _ratio(price - (last_day or basis), last_day or basis),
        "qty_available": plain(abs(qty) - held_for_orders if qty > 0 else -(abs(qty) - held_for_orders)),
    }


def _ratio(part: Decimal, whole: Decimal) -> str:
    return "0" if whole == 0 else plain(round(part / whole, 10))


def asset_document(broker: SimulatedBroker, symbol: str) -> dict[str, Any]:
    """One asset of ``GET /v2/assets``."""
    overrides = broker.controls.settings.assets
    crypto = "/" in symbol
    shortable = asset_flag(overrides, symbol, "shortable") and not crypto
    steps = overrides.get(symbol) or AssetOverride()
    named = ("min_order_size", "min_trade_increment", "price_increment")
    return {
        "id": asset_id(symbol),
        "class": _asset_class(symbol),
        "exchange": _exchange(symbol),
        "symbol": symbol,
        "name": f"{symbol} Common Stock",
        "status": "active",
        "tradable": asset_flag(overrides, symbol, "tradable"),
        "marginable": not crypto,
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "shortable": shortable,
        "easy_to_borrow": shortable,
        "fractionable": asset_flag(overrides, symbol, "fractionable"),
        "attributes": [],
        **{name: plain(step) for name in named if (step := getattr(steps, name)) is not None},
    }


def _asset_class(symbol: str) -> str:
    return "crypto" if "/" in symbol else "us_equity"


def _exchange(symbol: str) -> str:
    return "CRYPTO" if "/" in symbol else "NASDAQ"


def clock_document(broker: SimulatedBroker) -> dict[str, Any]:
    """``GET /v2/clock``; the times are in New York, as Alpaca writes them."""
    now = broker.now + broker.controls.clock_skew
    sessions = broker.sessions
    return {
        "timestamp": _new_york_text(now),
        "is_open": sessions.is_open(now),
        "next_open": _new_york_text(sessions.next_open(now)),
        "next_close": _new_york_text(sessions.next_close(now)),
    }


def _new_york_text(ns: int) -> str:
    text = new_york(ns).isoformat(timespec="seconds")
    rest = ns % SECOND
    return text if not rest else f"{text[:19]}.{f'{rest:09d}'.rstrip('0')}{text[19:]}"


def calendar_documents(start: date, end: date) -> list[dict[str, Any]]:
    """``GET /v2/calendar``: one row per session from ``start`` to ``end``."""
    calendar = TradingCalendar()
    rows: list[dict[str, Any]] = []
    for day in calendar.sessions(start, end):
        opens_at, closes_at = calendar.session_open(day), calendar.session_close(day)
        assert opens_at is not None
        assert closes_at is not None
        rows.append(
            {
                "date": day.isoformat(),
                "open": opens_at.astimezone(NEW_YORK_ZONE).strftime("%H:%M"),
                "close": closes_at.astimezone(NEW_YORK_ZONE).strftime("%H:%M"),
                "session_open": "0400",
                "session_close": "2000",
            }
        )
    return rows
