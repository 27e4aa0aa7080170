"""What tests of the order feed put into the database and read from it."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from order_messages import ACCOUNT

from torghut_runtime.order_feed.envelope import decode
from torghut_runtime.order_feed.event import OrderEvent
from torghut_runtime.order_feed.ingest import Arrival, Ingested, Letter, cursor_of, ingest_batch
from torghut_runtime.storage.database import transaction

SOURCE = "cluster/topic/0"
PREFIX = "torghut_trading_order_feed_"


def batches(values: Sequence[bytes | None], size: int) -> Iterable[list[tuple[int, bytes | None]]]:
    numbered = list(enumerate(values))
    for start in range(0, len(numbered), size):
        yield numbered[start : start + size]


def ingest(
    connection: sa.Connection, values: Sequence[bytes | None], *, size: int = 200, start: int = 0
) -> list[Ingested]:
    """Feed record values as if they came from one Kafka partition, one transaction per batch."""
    done: list[Ingested] = []
    for batch in batches(values, size):
        arrivals: list[Arrival] = []
        letters: list[Letter] = []
        for offset, value in batch:
            event = decode(value, account_label=ACCOUNT, record_ns=1_760_000_000_000_000_000)
            if isinstance(event, OrderEvent):
                arrivals.append(Arrival(event, value or b"", SOURCE, 0, start + offset))
            else:
                letters.append(Letter(SOURCE, 0, start + offset, None, None, value, event.reason, event.detail))
        with transaction(connection):
            done.append(ingest_batch(cursor_of(connection), arrivals, letters, counted=True))
        connection.commit()
    return done


def rows(connection: sa.Connection, statement: str, **values: Any) -> list[Any]:
    found = connection.execute(sa.text(statement), values).all()
    connection.commit()
    return list(found)


def execution(connection: sa.Connection, order_id: str) -> Any:
    (row,) = rows(connection, "SELECT * FROM executions WHERE alpaca_order_id = :id", id=order_id)
    return row


def counters(connection: sa.Connection) -> dict[str, int]:
    return {
        row.name.removeprefix(PREFIX).removesuffix("_total"): row.value
        for row in rows(connection, "SELECT name, value FROM durable_counters")
    }


STATE_COLUMNS = """
    alpaca_account_label, alpaca_order_id, client_order_id, symbol, side, order_type, time_in_force, submitted_qty,
    notional, limit_price, stop_price, extended_hours, status, filled_qty, avg_fill_price, fills_complete,
    pending_cancel, pending_replace, replaces_order_id, replaced_by_order_id, submitted_at, acked_at, first_fill_at,
    last_fill_at, terminal_at, last_update_at
"""


def stored_state(connection: sa.Connection) -> dict[str, list[Any]]:
    """Everything that must not depend on the way in which events came."""
    return {
        "executions": sorted(map(tuple, rows(connection, f"SELECT {STATE_COLUMNS} FROM executions")), key=repr),
        "fills": sorted(map(tuple, rows(connection, """
            SELECT alpaca_account_label, broker_execution_id, alpaca_order_id, symbol, side, price, qty, cum_qty,
                event_ts, state, event_fingerprint FROM order_fills""")), key=repr),
        "events": sorted(map(tuple, rows(connection, """
            SELECT event_fingerprint, content_sha256, alpaca_order_id, status
            FROM execution_order_events""")), key=repr),
        "discrepancies": sorted(map(tuple, rows(connection, """
            SELECT alpaca_account_label, alpaca_order_id, symbol, kind FROM reconcile_discrepancies
            WHERE resolved_at IS NULL AND kind <> 'identity_conflict'""")), key=repr),
    }  # fmt: skip


def intend(
    connection: sa.Connection,
    client_order_id: str = "client-1",
    *,
    side: str = "buy",
    qty: Decimal | None = Decimal(3),
    notional: Decimal | None = None,
    arrival_price: Decimal | None = Decimal(100),
    arrival_mid: Decimal | None = None,
    state: str = "submitting",
    seq: int = 0,
    decision_id: uuid.UUID | None = None,
    sent_at: datetime = datetime(2025, 10, 9, 8, 53, 20, 500_000, tzinfo=UTC),
    strategy_id: str = "s1",
) -> tuple[uuid.UUID, uuid.UUID]:
    """A decision with its intent, as the runtime commits them before it calls the broker."""
    if decision_id is None:
        decision_id = uuid.uuid4()
        connection.execute(
            sa.text("""INSERT INTO trade_decisions (id, decision_hash, strategy_id, alpaca_account_label, symbol,
                timeframe, bar_ts, decided_at, decision_json) VALUES (:id, :hash, :strategy, 'paper', 'AAPL', '1Min',
                '2025-10-09T08:52:00Z', '2025-10-09T08:53:20Z', '{}')"""),
            {"id": decision_id, "hash": client_order_id, "strategy": strategy_id},
        )
    intent_id = uuid.uuid4()
    connection.execute(
        sa.text("""INSERT INTO order_intents (id, trade_decision_id, intent_seq, alpaca_account_label, client_order_id,
            strategy_id, adapter, symbol, side, order_type, time_in_force, qty, notional, extended_hours, arrival_price,
            arrival_mid, submit_payload, state, sent_at) VALUES (:id, :decision, :seq, 'paper', :client, :strategy,
            'simulator', 'AAPL', :side, 'limit', 'day', :qty, :notional, false, :arrival, :mid, '{}', :state,
            :sent)"""),
        {
            "id": intent_id, "decision": decision_id, "seq": seq, "client": client_order_id, "strategy": strategy_id,
            "side": side, "qty": qty, "notional": notional, "arrival": arrival_price, "mid": arrival_mid,
            "state": state, "sent": sent_at,
        },
    )  # fmt: skip
    connection.commit()
    return decision_id, intent_id
