"""What a record value is read as, and the reason why it is not."""

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from order_messages import ACCOUNT, DAY_NS, decoded, envelope, payload, rfc3339

from torghut_runtime.order_feed.envelope import Rejected, decode
from torghut_runtime.order_feed.event import OrderEvent
from torghut_runtime.order_feed.state import fold

SAMPLES = Path(__file__).parents[2] / "fixtures" / "alpaca_trade_updates.jsonl"
EXPECTED_SAMPLES = [
    *["missing_trade_update_payload"] * 4,
    *["accepted"] * 4,
    "missing_trade_update_payload",
    *["accepted"] * 7,
]


def reason(value: bytes | None) -> str:
    found = decode(value, account_label=ACCOUNT)
    return found.reason if isinstance(found, Rejected) else "accepted"


@pytest.mark.parametrize(
    ("line", "expected"), list(zip(SAMPLES.read_bytes().splitlines(), EXPECTED_SAMPLES, strict=True))
)
def test_public_samples_are_accepted_or_refused_for_the_right_reason(line: bytes, expected: str) -> None:
    assert reason(line) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "invalid_json"),
        (b"null", "invalid_json"),
        (b'"text"', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b'{"order": {"id": "\xff"}}', "invalid_json"),
        (b'{"order": {"id": "a"}, "x": NaN}', "invalid_json"),
        (b'{"order": {"id": "a\x00"}}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"{}", "missing_trade_update_payload"),
        (b'{"order": []}', "missing_trade_update_payload"),
        (b'{"channel": "trade_updates", "payload": {"event": "new"}}', "missing_trade_update_payload"),
        (b'{"order": {"id": "", "client_order_id": null}}', "missing_order_identity"),
        (b'{"order": {"id": true}}', "missing_order_identity"),
        (envelope(payload(), version=1), "accepted"),
        (envelope(payload(), version=2), "accepted"),
        (envelope(payload(), version=...), "accepted"),
        (envelope(payload(), version=3), "unsupported_version"),
        (envelope(payload(), version="x"), "unsupported_version"),
        (envelope(payload(price="abc")), "invalid_number"),
        (envelope(payload(qty=[1])), "invalid_number"),
        (envelope(payload(price="Infinity")), "invalid_number"),
        (envelope(payload(price="999999999999999999.9999999999")), "accepted"),
        (envelope(payload(price="1e18")), "number_out_of_range"),
        (envelope(payload(price="999999999999999999.99999999999")), "number_out_of_range"),
        (envelope(payload(price="1e999999999999999999999")), "number_out_of_range"),
        (b'{"order": {"id": "a", "filled_qty": 1e99999999999999999999}}', "number_out_of_range"),
        (b'{"order": {"id": "a", "filled_qty": 1e-99999999999999999999}}', "accepted"),
        (envelope(payload(price="-1")), "number_out_of_range"),
        (envelope(payload(order={"filled_qty": "-0.1"})), "number_out_of_range"),
        (envelope(payload(order={"filled_qty": "-0"})), "accepted"),
        (b'{"order": {"id": "a", "filled_qty": ' + b"9" * 5000 + b"}}", "number_out_of_range"),
        (envelope(payload(order={"qty": "nonsense", "limit_price": "1e30", "side": "x" * 9})), "accepted"),
        (envelope(payload(position_qty="nonsense", order={"filled_avg_price": "?"})), "accepted"),
        (envelope(payload(order={"symbol": "A" * 64})), "accepted"),
        (envelope(payload(order={"symbol": "A" * 65})), "field_too_long"),
        (envelope(payload(order={"id": "i" * 128})), "accepted"),
        (envelope(payload(order={"id": "i" * 129})), "field_too_long"),
        (envelope(payload("e" * 65)), "field_too_long"),
        (envelope(payload(execution_id="x" * 129)), "field_too_long"),
        (envelope(payload(order={"symbol": "A\0"})), "nul_character"),
        (envelope(payload(order={"legs": [{"a": "\0"}]})), "nul_character"),
        (envelope(payload(order={"note": "\\u0000"})), "accepted"),
        (b'{"order": {"id": "a"}, "p": "' + b"x" * (1_048_576 - 31) + b'"}', "accepted"),
        (b'{"order": {"id": "a"}, "p": "' + b"x" * (1_048_577 - 31) + b'"}', "record_too_large"),
        (b"{" + b"x" * 1_048_576, "record_too_large"),
        (envelope(payload(order={"legs": [{"symbol": ""}], "symbol": ""})), "accepted"),
        (envelope(payload("some_future_event", order={"status": "never heard of"})), "accepted"),
        (envelope(payload(None, timestamp=None, order={"status": None, "qty": None, "symbol": None})), "accepted"),
    ],
)
def test_a_record_is_accepted_or_refused_for_one_reason(value: bytes | None, expected: str) -> None:
    assert reason(value) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"timestamp": "2025-10-03T14:00:00.123456789Z"}, 1_759_500_000_123_456_789),
        ({"timestamp": "2025-10-03T10:00:00.5-04:00"}, 1_759_500_000_500_000_000),
        ({"timestamp": "2025-10-03T14:00:00"}, 1_759_500_000_000_000_000),
        ({"timestamp": 1_759_500_000}, 1_759_500_000_000_000_000),
        ({"timestamp": 1_759_500_000_123}, 1_759_500_000_123_000_000),
        ({"timestamp": 1_759_500_000_123_456}, 1_759_500_000_123_456_000),
        ({"timestamp": 1_759_500_000_123_456_789}, 1_759_500_000_123_456_789),
        ({"timestamp": "1759500000"}, 1_759_500_000_000_000_000),
        ({"timestamp": "2025-13-03T14:00:00Z", "t": "2025-10-03T14:00:00Z"}, 1_759_500_000_000_000_000),
        ({"timestamp": "soon", "t": {}, "at": "2025-10-03T14:00:00Z"}, 1_759_500_000_000_000_000),
        ({"timestamp": "2025-10-03T14:00:00.1234567890Z"}, None),
        ({"timestamp": None}, None),
    ],
)
def test_the_first_usable_time_counts_to_the_nanosecond(times: dict[str, Any], expected: int | None) -> None:
    assert decoded(payload(**times)).time_ns == expected


def test_a_time_of_the_order_is_the_last_resort_and_the_envelope_is_none() -> None:
    event = decoded(payload(timestamp=None, order={"updated_at": "2025-10-03T14:00:00Z"}))
    assert event.time_ns == 1_759_500_000_000_000_000
    event = decoded(payload(timestamp=None), eventTs="2025-10-03T14:00:00Z")
    assert (event.time_ns, event.fallback_ns) == (None, 1_759_500_000_000_000_000)


def test_ids_and_quantities_may_be_json_numbers() -> None:
    event = decoded(payload("fill", price=1.5, qty=2, order={"id": 12345678901234567890, "filled_qty": 2}))
    assert (event.order_id, event.fill_price, event.fill_qty) == ("12345678901234567890", Decimal("1.5"), 2)


def test_numbers_are_exact_and_rounded_half_even_to_ten_places() -> None:
    event = decoded(payload(price="0.12345678905", qty="0.12345678915", order={"filled_qty": "0.1"}))
    assert (event.fill_price, event.fill_qty) == (Decimal("0.1234567890"), Decimal("0.1234567892"))
    raw = envelope(payload()).replace(b'"filled_qty": "0"', b'"filled_qty": 0.1000000000000000055')
    found = decode(raw, account_label=ACCOUNT)
    assert isinstance(found, OrderEvent)
    assert found.claimed_qty == Decimal("0.1")


@pytest.mark.parametrize(
    ("fields", "update", "expected"),
    [
        ({"accountLabel": "live"}, {}, "live"),
        ({"accountLabel": ..., "account_label": "snake"}, {}, "snake"),
        ({"accountLabel": ""}, {"account_label": "inner"}, "inner"),
        ({"accountLabel": "x" * 65}, {"account_label": "inner"}, "inner"),
        ({"accountLabel": 7}, {}, "paper"),
    ],
)
def test_the_account_is_the_first_usable_label(fields: dict[str, Any], update: dict[str, Any], expected: str) -> None:
    assert decoded(payload(**update), **fields).account == expected


@pytest.mark.parametrize(
    ("order_symbol", "envelope_symbol", "expected"),
    [
        (" aapl ", "UNKNOWN", "AAPL"),
        ("", "msft", "MSFT"),
        ("", "UNKNOWN", None),
        (None, "", None),
        ("AAPL250321P00200000", "x", "AAPL250321P00200000"),
        ("BTC/USD", "x", "BTC/USD"),
    ],
)
def test_the_symbol_is_the_orders_else_the_envelopes(
    order_symbol: str | None, envelope_symbol: str, expected: str | None
) -> None:
    assert decoded(payload(order={"symbol": order_symbol}), symbol=envelope_symbol).symbol == expected


@pytest.mark.parametrize(
    ("event", "order_status", "data_status", "expected"),
    [
        ("fill", "partially_filled", "x", "partially_filled"),
        ("fill", "", "rejected", "rejected"),
        ("FILL", None, None, "filled"),
        ("pending_cancel", None, None, "new"),
        ("some_future_event", None, None, None),
    ],
)
def test_the_status_is_stated_or_implied(
    event: str, order_status: str | None, data_status: str | None, expected: str | None
) -> None:
    found = decoded(payload(event, status=data_status, order={"status": order_status}))
    assert (found.status, found.event_type) == (expected, event.lower())


def sha256(parts: list[Any]) -> bytes:
    return hashlib.sha256(json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode()).digest()


def test_identity_is_the_digest_of_the_documented_array() -> None:
    fill = payload("fill", execution_id="e1", order={"id": "o1"})
    assert decoded(fill).fingerprint == sha256(["fill", "paper", "e1"])
    other = payload("canceled", execution_id="e1", order={"id": "o1"})
    assert decoded(other).fingerprint == sha256(["exec", "paper", "o1", "e1", "canceled"])
    state = payload("new", order={"id": None, "client_order_id": "ü\n", "filled_qty": "1.50"})
    assert decoded(state).fingerprint == sha256(["state", "paper", "c:ü\n", "new", DAY_NS, "1.5"])
    bare = payload("new", timestamp=None, order={"id": "o1", "filled_qty": None})
    assert decoded(bare).fingerprint == sha256(["state", "paper", "o1", "new", None, None])


def test_an_unknown_status_text_takes_no_part() -> None:
    new = decoded(payload("new"))
    odd = decoded(payload("future", timestamp=rfc3339(DAY_NS + 1), order={"status": "odd", "filled_qty": "2"}))
    assert fold([new, odd]).status == "new"
    assert fold([new, odd]).filled_qty == 0
    known = decoded(payload("future", timestamp=rfc3339(DAY_NS + 1), order={"status": "canceled"}))
    assert fold([new, known]).status == "canceled"


def test_pending_cancel_is_a_flag_until_it_is_refused() -> None:
    new = decoded(payload("new"))
    asked = decoded(payload("pending_cancel", timestamp=rfc3339(DAY_NS + 1)))
    refused = decoded(payload("order_cancel_rejected", timestamp=rfc3339(DAY_NS + 2), order={"status": "new"}))
    assert (fold([new, asked]).status, fold([new, asked]).pending_cancel) == ("new", True)
    assert fold([refused, new, asked]).pending_cancel is False


def test_more_fills_than_the_order_asked_for_are_told_and_the_claim_counts() -> None:
    fills = [
        decoded(payload("partial_fill", execution_id=f"e{n}", price="10", qty="2", order={"filled_qty": "3"}))
        for n in range(2)
    ]
    state = fold(fills)
    assert (state.filled_qty, state.discrepancies) == (3, {"overfill", "fill_gap"})


def test_a_missing_fill_is_a_gap_and_the_brokers_average_stands() -> None:
    last = decoded(
        payload(
            "fill", execution_id="e2", price="12", qty="1", order={"filled_qty": "3", "filled_avg_price": "10.6666"}
        )
    )
    state = fold([last])
    assert (state.status, state.filled_qty, state.avg_fill_price) == ("filled", 3, Decimal("10.6666"))
    assert (state.fills_complete, state.discrepancies) == (False, {"fill_gap"})


def test_a_corrected_fill_counts_with_its_new_terms() -> None:
    fill = decoded(payload("fill", execution_id="e1", price="10", qty="3", order={"filled_qty": "3"}))
    correction = decoded(
        payload(
            "trade_correct",
            execution_id="e2",
            previous_execution_id="e1",
            price="11",
            qty="2",
            timestamp=rfc3339(DAY_NS + 5),
            order={"filled_qty": "2", "status": "partially_filled"},
        )
    )
    state = fold([correction, fill])
    assert (state.status, state.filled_qty, state.avg_fill_price) == ("partially_filled", 2, 11)
    assert {f.execution_id: f.state for f in state.fills} == {"e1": "voided", "e2": "counted"}
