"""How an exit is ordered: at the touch of a fresh quote where limits are preferred, else at the market.

What becomes of a limit that nobody meets is the dispatcher's business; outside the session exits wait for the opening
and go as market orders.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final

from torghut_runtime.engine.market_view import QUOTE_MAX_AGE, PriceSnapshot
from torghut_runtime.risk.limits import Side
from torghut_runtime.trading_settings import TradingSettings

WITHOUT_FRESH_PRICE: Final = "exit_without_fresh_price"
_TRADE_MAX_AGE: Final = 60.0


def exit_limit(price: PriceSnapshot, side: Side, settings: TradingSettings) -> Decimal | None:
    """The touch of a fresh quote; None where there is none, or market orders are preferred."""
    if not settings.execution.prefer_limit or price.mid is None:
        return None
    return price.touch(side)


def exit_flags(price: PriceSnapshot, now: datetime, settings: TradingSettings) -> list[str]:
    """``exit_without_fresh_price`` where the reference price is older than its source may be."""
    oldest = {"quote": QUOTE_MAX_AGE, "trade": _TRADE_MAX_AGE}.get(
        price.source, 60.0 * settings.data.price_lookback_minutes
    )
    is_old = price.stale or (now - price.as_of).total_seconds() > oldest
    return [WITHOUT_FRESH_PRICE] if is_old else []
