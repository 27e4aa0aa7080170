"""Identity of broker events: equal events have equal fingerprints, whichever way and however often they come.

Sequence numbers, topics, partitions, offsets and envelope times are never part of it.
"""

import hashlib

import msgspec

from torghut_runtime.order_feed.event import STREAM_FILLS

_ENCODER = msgspec.json.Encoder()


def order_key(order_id: str | None, client_order_id: str | None) -> str:
    """The broker's id of an order, or ``c:`` and the client's where there is none yet."""
    return order_id if order_id is not None else f"c:{client_order_id}"


def fingerprint(
    *,
    account: str,
    order: str,
    event_type: str | None,
    execution_id: str | None,
    time_ns: int | None,
    claimed_qty: str | None,
) -> bytes:
    """SHA-256 of the canonical array that identifies an event; ``claimed_qty`` as :func:`values.number_text` has it."""
    if execution_id is None:
        parts: list[object] = ["state", account, order, event_type, time_ns, claimed_qty]
    elif event_type in STREAM_FILLS:
        parts = ["fill", account, execution_id]
    else:
        parts = ["exec", account, order, execution_id, event_type]
    return hashlib.sha256(_ENCODER.encode(parts)).digest()


def content_digest(parts: list[str | int | bool | None]) -> bytes:
    """SHA-256 of the canonical array of everything an event says, its numbers as canonical text."""
    return hashlib.sha256(_ENCODER.encode(parts)).digest()
