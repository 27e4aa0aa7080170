"""The envelope that the forwarder writes, and that the ingest reads back what was forwarded."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from torghut_runtime.order_feed.envelope import Rejected, decode
from torghut_runtime.order_feed.publication import envelope, record_key

NOW = datetime(2026, 1, 5, 15, 0, 0, 250_000, UTC)
ORDER = {"id": "b1", "client_order_id": "c1", "symbol": "AAPL", "status": "new", "submitted_at": "2026-01-05T14:59:59Z"}


def written(payload: dict[str, Any]) -> dict[str, Any]:
    return json.loads(envelope(payload, account_label="paper", seq=7, source="ws", now=NOW))


def test_the_envelope_has_its_fields_in_order_and_the_payload_as_it_came() -> None:
    payload = {"event": "new", "timestamp": "2026-01-05T14:59:59.5Z", "order": ORDER, "unknown": {"ä": 1.5}}
    found = written(payload)
    assert list(found) == [
        "ingestTs",
        "eventTs",
        "feed",
        "channel",
        "symbol",
        "seq",
        "payload",
        "isFinal",
        "source",
        "window",
        "version",
        "accountLabel",
    ]
    assert found == {
        "ingestTs": "2026-01-05T15:00:00.250000Z",
        "eventTs": "2026-01-05T14:59:59.5Z",
        "feed": "alpaca",
        "channel": "trade_updates",
        "symbol": "AAPL",
        "seq": 7,
        "payload": payload,
        "isFinal": True,
        "source": "ws",
        "window": None,
        "version": 1,
        "accountLabel": "paper",
    }
    assert list(found["payload"]) == list(payload)


@pytest.mark.parametrize(
    ("payload", "event_ts", "symbol"),
    [
        ({"timestamp": "a", "t": "b", "order": ORDER}, "a", "AAPL"),
        ({"t": "b", "order": ORDER}, "b", "AAPL"),
        ({"order": ORDER}, "2026-01-05T14:59:59Z", "AAPL"),
        ({"order": {"id": "b1", "symbol": ""}}, "2026-01-05T15:00:00.250000Z", "UNKNOWN"),
        ({}, "2026-01-05T15:00:00.250000Z", "UNKNOWN"),
    ],
)
def test_time_and_symbol_come_from_the_first_source_that_has_them(
    payload: dict[str, Any], event_ts: str, symbol: str
) -> None:
    found = written(payload)
    assert (found["eventTs"], found["symbol"]) == (event_ts, symbol)


def test_the_key_is_account_and_order() -> None:
    assert record_key("paper", {"order": ORDER}) == b"paper:b1"
    assert record_key("paper", {"order": {"client_order_id": "c1"}}) == b"paper:c1"
    assert record_key("paper", {}) == b"paper:"


def test_the_ingest_reads_what_was_forwarded() -> None:
    payload = {"event": "new", "timestamp": "2026-01-05T14:59:59.5Z", "order": ORDER}
    event = decode(
        envelope(payload, account_label="mine", seq=1, source="rest", now=NOW), account_label="other", record_ns=None
    )
    assert not isinstance(event, Rejected)
    assert (event.account, event.order_id, event.event_type) == ("mine", "b1", "new")
