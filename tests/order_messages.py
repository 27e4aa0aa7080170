"""Broker messages for tests: single ones by hand, and whole histories whose end state the generator knows."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from torghut_runtime.order_feed.envelope import decode
from torghut_runtime.order_feed.event import IMPLIED_STATUS, OrderEvent

ACCOUNT = "paper"
DAY_NS = 1_760_000_000_000_000_000


def rfc3339(nanoseconds: int) -> str:
    from datetime import UTC, datetime

    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def payload(event: str | None = "new", *, order: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    """One trade update; ``order`` overrides the order's fields, ``data`` the update's."""
    body = {
        "id": "order-1",
        "client_order_id": "client-1",
        "symbol": "AAPL",
        "qty": "3",
        "filled_qty": "0",
        "filled_avg_price": None,
        "side": "buy",
        "type": "limit",
        "time_in_force": "day",
        "limit_price": "150.25",
        "status": None if event == "activity_fill" else IMPLIED_STATUS.get(event or "", event),
    }
    body.update(order or {})
    update: dict[str, Any] = {"event": event, "timestamp": rfc3339(DAY_NS), "order": body}
    update.update(data)
    return {key: value for key, value in update.items() if value is not ...}


def envelope(update: dict[str, Any], **fields: Any) -> bytes:
    """The forwarder's record value around a trade update."""
    value = {
        "ingestTs": "2025-10-09T08:53:20.5Z",
        "eventTs": update.get("timestamp"),
        "feed": "alpaca",
        "channel": "trade_updates",
        "symbol": "UNKNOWN",
        "seq": 1,
        "payload": update,
        "isFinal": True,
        "source": "ws",
        "window": None,
        "version": 1,
        "accountLabel": ACCOUNT,
    }
    value.update(fields)
    return json.dumps({key: item for key, item in value.items() if item is not ...}).encode()


def decoded(update: dict[str, Any], **fields: Any) -> OrderEvent:
    event = decode(envelope(update, **fields), account_label=ACCOUNT)
    assert isinstance(event, OrderEvent), event
    return event


@dataclass
class History:
    """The updates of one order in the order of the broker, and where they lead."""

    order_id: str
    client_order_id: str
    updates: list[dict[str, Any]] = field(default_factory=list)
    status: str = "unknown"
    filled: Decimal = Decimal(0)
    value: Decimal = Decimal(0)
    fills: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)

    @property
    def average(self) -> Decimal | None:
        return None if not self.filled else (self.value / self.filled).quantize(Decimal("1e-10"))

    def values(self) -> Iterator[bytes]:
        for number, update in enumerate(self.updates):
            yield envelope(update, seq=number)


def history(generator: random.Random, number: int, *, partials: int | None = None) -> History:
    """A plausible life of one order, written down step by step; this is the independent model of the tests."""
    order_id, client = f"order-{number:08d}", f"client-{number:08d}"
    made = History(order_id, client)
    qty = Decimal(generator.randint(1, 40)) if partials is None else Decimal(partials)
    symbol = generator.choice(["AAPL", "MSFT", "BTC/USD", "AAPL250321P00200000"])
    side = generator.choice(["buy", "sell"])
    moment = DAY_NS + number * 1_000_003

    def step(event: str, status: str, **data: Any) -> None:
        nonlocal moment
        moment += generator.randint(1, 50_000_000)
        order = {
            "id": order_id,
            "client_order_id": client,
            "symbol": symbol,
            "qty": str(qty),
            "side": side,
            "filled_qty": str(made.filled),
            "filled_avg_price": None if made.average is None else str(made.average),
            "status": status,
            "submitted_at": rfc3339(DAY_NS + number * 1_000_003),
        }
        made.updates.append(payload(event, order=order, timestamp=rfc3339(moment), **data))
        made.status = status

    def execute(part: Decimal) -> None:
        price = Decimal(generator.randint(10_000, 20_000)) / 100
        made.filled += part
        made.value += price * part
        execution = f"exec-{number:08d}-{len(made.fills)}"
        made.fills[execution] = (price, part)
        done = made.filled == qty
        step(
            "fill" if done else "partial_fill",
            "filled" if done else "partially_filled",
            execution_id=execution,
            price=str(price),
            qty=str(part),
        )

    if generator.random() < 0.05:
        step("rejected", "rejected", execution_id=f"rej-{number:08d}")
        return made
    step("pending_new", "pending_new")
    step("new", "new", execution_id=f"new-{number:08d}")
    if partials is not None:
        for _ in range(partials):
            execute(Decimal(1))
        return made
    ending = generator.choice(["filled", "filled", "canceled", "expired", "open"])
    while made.filled < qty and (ending == "filled" or generator.random() < 0.4):
        execute(min(qty - made.filled, Decimal(generator.randint(1, 15))))
    if made.filled < qty and ending in {"canceled", "expired"}:
        step(ending, ending, execution_id=f"end-{number:08d}")
    return made
