"""The decoder over mutated messages: it answers, keeps its promises about what it accepts, and misreads nothing."""

import json
import random
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pytest
from order_messages import ACCOUNT, envelope, history, payload

from torghut_runtime.order_feed.envelope import MAX_BYTES, Rejected, decode
from torghut_runtime.order_feed.event import OrderEvent
from torghut_runtime.order_feed.state import fold

SAMPLES = Path(__file__).parents[2] / "fixtures" / "alpaca_trade_updates.jsonl"
TOKENS = [
    b"null", b"NaN", b"Infinity", b"-1", b"1e18", b"1e400000", b"9" * 40, b'""', b"{}", b"[]", b"true", b"0.1",
    b'"\\u0000"', b'"\\ud800"', b"\x00", b"\xff", b'"trade_updates"', b'"order"', b'"A' + b"A" * 70 + b'"',
]  # fmt: skip
REASONS = {
    "invalid_json", "missing_trade_update_payload", "missing_order_identity", "unsupported_version", "invalid_number",
    "number_out_of_range", "field_too_long", "nul_character", "record_too_large",
}  # fmt: skip


def corpus() -> list[bytes]:
    made = [value for number in range(5) for value in history(random.Random(number), number).values()]
    return [*SAMPLES.read_bytes().splitlines(), *made, envelope(payload("trade_bust", previous_execution_id="e"))]


def mutated(generator: random.Random, values: list[bytes]) -> bytes:
    data = bytearray(generator.choice(values))
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(data) + 1)
        match generator.randrange(6):
            case 0:
                data[at:at] = bytes([generator.randrange(256)])
            case 1:
                del data[at : at + generator.randint(1, 20)]
            case 2:
                data[at:at] = generator.choice(TOKENS)
            case 3:
                other = generator.choice(values)
                data[at:at] = other[: generator.randrange(len(other))]
            case 4:
                start = data.find(b": ", at)
                end = data.find(b",", start)
                if 0 < start < end:
                    data[start + 2 : end] = generator.choice(TOKENS)
            case _:
                if at < len(data):
                    data[at] ^= 1 << generator.randrange(8)
    return bytes(data)


def number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent that no decimal holds
        return Decimal(0) if "e-" in text.lower() else Decimal("1e999999")


def check(value: bytes) -> bool:
    """One message; returns whether it was accepted."""
    found = decode(value, account_label=ACCOUNT)
    assert decode(value, account_label=ACCOUNT) == found
    if isinstance(found, Rejected):
        assert found.reason in REASONS
        return False
    assert isinstance(found, OrderEvent)
    assert len(value) <= MAX_BYTES
    root = json.loads(value, parse_float=number)
    data = root
    if root.get("channel") == "trade_updates" and isinstance(root.get("payload"), dict):
        data = root["payload"]
    elif root.get("stream") == "trade_updates" and isinstance(root.get("data"), dict):
        data = root["data"]
    order = data["order"]
    assert found.order_id is not None or found.client_order_id is not None
    if isinstance(order.get("id"), str) and order["id"]:
        assert found.order_id == order["id"]
    for found_number, given in ((found.claimed_qty, order.get("filled_qty")), (found.fill_price, data.get("price"))):
        if found_number is None:
            assert given in (None, "") or str(given).strip() == ""
        else:
            assert found_number.is_finite()
            assert 0 <= found_number < 10**18
            assert abs(found_number - Decimal(str(given).strip())) <= Decimal("5e-11")
    state = fold([found])
    assert state.filled_qty >= 0
    return True


def run(seed: int, count: int) -> tuple[int, int]:
    generator = random.Random(seed)
    values = corpus()
    accepted = sum(check(mutated(generator, values)) for _ in range(count))
    return accepted, count - accepted


def test_twenty_thousand_mutated_messages_are_read_or_refused() -> None:
    accepted, refused = run(20_260_201, 20_000)
    assert accepted + refused == 20_000
    assert min(accepted, refused) > 1_000


@pytest.mark.campaign
def test_a_million_mutated_messages_are_read_or_refused() -> None:
    accepted, refused = run(20_260_202, 1_000_000)
    assert accepted + refused == 1_000_000
