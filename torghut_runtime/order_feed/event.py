"""A broker order event after decoding, and the vocabulary of statuses and event types.

Immutable and free of transport: the same broker event is the same value whichever way it came.
"""

from decimal import Decimal
from typing import Final, Literal

import msgspec

PENDING: Final = frozenset({"pending_cancel", "pending_replace"})
RANKS: Final[dict[str, int]] = {
    "pending_new": 10,
    **dict.fromkeys(("held", "pending_review", "accepted_for_bidding"), 15),
    "accepted": 20,
    **dict.fromkeys(("new", "stopped", "suspended", "calculated", "done_for_day"), 30),
    "partially_filled": 40,
    "rejected": 50,
    "expired": 60,
    "canceled": 70,
    "replaced": 80,
    "filled": 90,
}
"""How far an order has come; from 50 on it has ended."""
TERMINAL_RANK: Final = 50
TERMINAL: Final = frozenset(status for status, rank in RANKS.items() if rank >= TERMINAL_RANK)
UNKNOWN: Final = "unknown"
ORDER_STATUSES: Final = (*RANKS, UNKNOWN)

STREAM_FILLS: Final = frozenset({"fill", "partial_fill"})
ACTIVITY_FILL: Final = "activity_fill"
ORDER_SNAPSHOT: Final = "order_snapshot"
CORRECTIONS: Final = frozenset({"restated", "trade_correct", "trade_bust"})
VOIDING: Final = frozenset({"trade_correct", "trade_bust"})
IMPLIED_STATUS: Final[dict[str, str]] = {
    **{status: status for status in RANKS},
    "fill": "filled",
    "partial_fill": "partially_filled",
    **dict.fromkeys(PENDING, "new"),
}
"""What an event type says about the order where no field does."""

Source = Literal["stream", "submit", "reconcile", "backfill"]
"""Where an event that did not come from Kafka came from."""


class OrderEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One event of one order; numbers are rounded to ten decimals, times are nanoseconds since 1970 (UTC)."""

    fingerprint: bytes
    content_sha256: bytes
    account: str
    order_id: str | None
    client_order_id: str | None
    symbol: str | None = None
    event_type: str | None = None
    status: str | None = None
    execution_id: str | None = None
    previous_execution_id: str | None = None
    time_ns: int | None = None
    fill_price: Decimal | None = None
    fill_qty: Decimal | None = None
    position_qty: Decimal | None = None
    claimed_qty: Decimal | None = None
    claimed_price: Decimal | None = None
    qty: Decimal | None = None
    notional: Decimal | None = None
    side: str | None = None
    order_type: str | None = None
    time_in_force: str | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    extended_hours: bool | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    submitted_ns: int | None = None
    fallback_ns: int | None = None
    """Envelope or record time; for reporting only, part of neither identity nor content."""

    @property
    def has_fill(self) -> bool:
        """Whether the event states one execution completely."""
        return self.fill_price is not None and self.fill_qty is not None and self.fill_qty > 0


def key_order(time_ns: int | None) -> int:
    """A broker time as a sort key: a missing one sorts lowest."""
    return -1 if time_ns is None else time_ns
