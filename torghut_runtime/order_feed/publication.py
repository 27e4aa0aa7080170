"""What the forwarder writes: the envelope around a trade update, and the key that keeps an order's events together.

Reading it back is ``envelope``'s business.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, cast

from torghut_runtime.canonical import utc_text

FEED: Final = "alpaca"
CHANNEL: Final = "trade_updates"
NO_SYMBOL: Final = "UNKNOWN"
VERSION: Final = 1

Source = Literal["ws", "rest"]
"""Whether the broker said it by itself or was asked."""
Payload = Mapping[str, Any]


def order_of(payload: Payload) -> Mapping[str, Any]:
    """The order that a trade update is about; empty when it carries none."""
    order: object = payload.get("order")
    return cast("Mapping[str, Any]", order) if isinstance(order, Mapping) else {}


def order_id_of(payload: Payload) -> str:
    """The broker's id of the order, else the client's, else empty."""
    order = order_of(payload)
    return str(order.get("id") or order.get("client_order_id") or "")


def record_key(account_label: str, payload: Payload) -> bytes:
    """``<account label>:<order id>``: the events of one order share a partition and keep their order."""
    return f"{account_label}:{order_id_of(payload)}".encode()


def envelope(payload: Payload, *, account_label: str, seq: int, source: Source, now: datetime) -> bytes:
    """The value of the record: envelope version 1 around the payload as it came.

    Args:
        payload: data of a ``trade_updates`` frame, or what the broker answered in that form.
        account_label: whose order it is.
        seq: row number in the outbox.
        source: of the payload.
        now: when it came, UTC.
    """
    order = order_of(payload)
    event_ts = payload.get("timestamp") or payload.get("t") or order.get("submitted_at") or utc_text(now)
    document = {
        "ingestTs": utc_text(now),
        "eventTs": event_ts,
        "feed": FEED,
        "channel": CHANNEL,
        "symbol": order.get("symbol") or NO_SYMBOL,
        "seq": seq,
        "payload": payload,
        "isFinal": True,
        "source": source,
        "window": None,
        "version": VERSION,
        "accountLabel": account_label,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
