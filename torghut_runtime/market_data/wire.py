"""Alpaca's market-data messages as plain values: bars, quotes, trades and statuses of stream and history.

A message that is not what it should be is None here; who counts it is told elsewhere. Nothing is read from a socket.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from torghut_runtime.market.aggregation import Minute

BAR, UPDATED_BAR, DAILY_BAR, QUOTE, TRADE, STATUS = "b", "u", "d", "q", "t", "s"

_HALTS: Final = frozenset({"H", "P", "2"})
"""Trading halt and pause (tapes C and A/B use letters and digits)."""
_RESUMPTIONS: Final = frozenset({"T", "3"})
"""Trading goes on. Other codes change nothing: quotes come back (Q) and prices are indicated (5) while it is halted."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask."""

    at: datetime
    bid: float
    ask: float


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade's price."""

    at: datetime
    price: float


def moment_of(value: Any) -> datetime | None:
    """A message's time: MessagePack's timestamp, or RFC 3339 text; cut to microseconds."""
    try:
        if isinstance(value, str):
            whole, dot, rest = value.removesuffix("Z").partition(".")
            moment = datetime.fromisoformat(whole)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return moment.replace(microsecond=int(rest[:6].ljust(6, "0"))) if dot else moment.astimezone(UTC)
        return datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanoseconds // 1000)
    except (AttributeError, TypeError, ValueError, OverflowError, OSError):
        return None


def _price(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) and number > 0.0 else None


def bar_of(message: Mapping[str, Any], symbol: str | None = None) -> Minute | None:
    """A bar; seconds of its start are cut off."""
    name = message.get("S") if symbol is None else symbol
    opens_at = moment_of(message.get("t"))
    open_, high, low, close = (_price(message.get(key)) for key in ("o", "h", "l", "c"))
    volume = message.get("v")
    if not isinstance(name, str) or opens_at is None or isinstance(volume, bool):
        return None
    if open_ is None or high is None or low is None or close is None or not isinstance(volume, int | float):
        return None
    if not low <= min(open_, close) <= max(open_, close) <= high or not math.isfinite(volume) or volume < 0:
        return None
    return Minute(name, opens_at.replace(second=0, microsecond=0), open_, high, low, close, float(volume))


def quote_of(message: Mapping[str, Any]) -> Quote | None:
    """A quote with two sides that do not cross."""
    at, bid, ask = moment_of(message.get("t")), _price(message.get("bp")), _price(message.get("ap"))
    if at is None or bid is None or ask is None or bid > ask:
        return None
    return Quote(at, bid, ask)


def trade_of(message: Mapping[str, Any]) -> Trade | None:
    """A trade."""
    at, price = moment_of(message.get("t")), _price(message.get("p"))
    return None if at is None or price is None else Trade(at, price)


def halt_of(message: Mapping[str, Any]) -> bool | None:
    """Whether a status says that trading is halted (True) or goes on (False); None: neither."""
    code = message.get("sc")
    return True if code in _HALTS else False if code in _RESUMPTIONS else None
