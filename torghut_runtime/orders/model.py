"""Decisions, intents and the terms of orders: what is written down before anything is sent (``runtime.md`` 5).

Values only. The key of an order is a function of what was decided, never of quantity, price, parameters or equity, so
that the same bar decides the same order once, whatever else has changed.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from torghut_runtime.risk.limits import Side

if TYPE_CHECKING:
    from torghut_runtime.orders.step_record import StepRecord

OrderType = Literal["market", "limit"]
TimeInForce = Literal["day", "gtc", "opg"]

_KEY_VERSION: Final = "t1"
_KEY_BYTES: Final = 28
_NAMESPACE: Final = uuid.UUID("6c1d5c0e-8b0f-5d0a-9a53-2f6f0f1c7e11")
_ONE: Final = Decimal(1)
_CENT: Final = Decimal("0.01")
_HUNDREDTH_CENT: Final = Decimal("0.0001")


@lru_cache(maxsize=1024)
def client_order_id(account_label: str, strategy_id: str, symbol: str, bar_ts: datetime, intent_seq: int) -> str:
    """The key of an intent: ``t1-`` and base32 of the first 28 bytes of SHA-256, 48 characters.

    ``bar_ts`` is the start of the deciding bar.
    """
    start = bar_ts.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    parts = [_KEY_VERSION, account_label, strategy_id, symbol, start, intent_seq]
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).digest()[:_KEY_BYTES]
    return f"{_KEY_VERSION}-{base64.b32encode(digest).decode().rstrip('=').lower()}"


def trace_of(decision_hash: str) -> str:
    """What ties a decision's step, intents, orders, fills and log lines together."""
    return decision_hash.removeprefix(f"{_KEY_VERSION}-")[:32]


@lru_cache(maxsize=1024)
def record_id(key: str) -> uuid.UUID:
    """The id under which the record of a key is stored; equal keys have equal ids."""
    return uuid.uuid5(_NAMESPACE, key)


def to_price_increment(price: Decimal) -> Decimal:
    """Rounded half up to a cent from one dollar on, to a hundredth of a cent below."""
    return price.quantize(_CENT if price >= _ONE else _HUNDREDTH_CENT, rounding=ROUND_HALF_UP)


def plain(number: Decimal) -> str:
    """A number as brokers take it: decimal text without exponent or trailing zeros."""
    text = f"{number.normalize():f}"
    return "0" if text == "-0" else text


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """What is asked of the broker; ``qty`` in shares, above 0."""

    symbol: str
    side: Side
    qty: Decimal
    order_type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None = None

    def payload(self, client_order_id: str) -> dict[str, str]:
        """The request, every number as decimal text."""
        body = {
            "symbol": self.symbol,
            "qty": plain(self.qty),
            "side": self.side,
            "type": self.order_type,
            "time_in_force": self.time_in_force,
            "client_order_id": client_order_id,
        }
        return body if self.limit_price is None else {**body, "limit_price": plain(self.limit_price)}


@dataclass(frozen=True, slots=True)
class Decision:
    """What a strategy decided at the close of one bar, with everything that it was decided on."""

    decision_hash: str
    """The key of its first intent."""
    strategy_id: str
    symbol: str
    timeframe: str
    bar_ts: datetime
    decided_at: datetime
    rationale: str
    detail: Mapping[str, Any]
    """``decision_json``: plain values."""
    step: "StepRecord | None" = field(default=None, compare=False, repr=False)
    """The recorded step that it follows from; written with its first intent."""

    @property
    def id(self) -> uuid.UUID:
        """Its record."""
        return record_id(self.decision_hash)

    @property
    def trace_id(self) -> str:
        """What ties intent, orders, fills and log lines to it."""
        return trace_of(self.decision_hash)


@dataclass(frozen=True, slots=True)
class Intent:
    """One order that a decision asks for."""

    client_order_id: str
    seq: int
    strategy_id: str
    terms: OrderTerms
    is_exit: bool
    worst_price: Decimal
    """What a share is reserved at: the worst of limit and reference price."""
    arrival_price: Decimal | None
    """The reference price that the decision was sized on."""
    arrival_mid: Decimal | None = None
    """Quote mid at that moment; None without a fresh quote."""
    trace_id: str = ""
    """Of its decision; empty where nobody knows the decision any more."""

    @property
    def id(self) -> uuid.UUID:
        """Its record."""
        return record_id(self.client_order_id)

    @property
    def signed_qty(self) -> Decimal:
        """Shares, negative for a sale."""
        return self.terms.qty if self.terms.side == "buy" else -self.terms.qty
