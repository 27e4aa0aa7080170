"""What the database keeps of an account's orders, read back for a new process or for an order that was forgotten.

Orders that ended long before the newest event of the account are not read as orders but as what they traded: a process
that runs forgets them just so. Events come from their columns, in which every message was decoded when it was stored.
What follows from them is :mod:`torghut_runtime.orders.reconcile`'s business. Nothing here writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast

import psycopg
import sqlalchemy as sa
from psycopg.rows import RowFactory, dict_row, tuple_row

from torghut_runtime.order_feed.event import TERMINAL, OrderEvent
from torghut_runtime.order_feed.statements import EVENT_COLUMNS
from torghut_runtime.orders.booked_fills import BookedFill
from torghut_runtime.orders.journal import StoredIntent
from torghut_runtime.orders.model import Decision, Intent, OrderTerms, trace_of
from torghut_runtime.orders.positions import UNATTRIBUTED, Slot
from torghut_runtime.storage.database import driver_errors
from torghut_runtime.storage.order_tables import execution_order_events

KEPT: Final = timedelta(hours=1)
"""Orders that ended so long before the account's newest event are read as what they traded."""


@dataclass(frozen=True)
class StoredOrders:
    """Intents, events and fills of an account."""

    intents: Sequence[StoredIntent] = ()
    """Those that are not over, and those of orders that have not ended long ago; oldest first."""
    events: Sequence[OrderEvent] = ()
    """Of the same orders and of those that are none of ours, in the order in which they were stored."""
    settled: Sequence[tuple[Slot, BookedFill]] = ()
    """What the other orders have traded."""
    last_entries: Mapping[Slot, datetime] = field(default_factory=dict[Slot, datetime])
    """When the newest entry went out, per slot, of the intents that are not among those here."""
    newest_event_at: datetime | None = None
    """Broker time; None without an event."""


_SETTLED: Final = """
WITH settled AS MATERIALIZED (
    SELECT e.alpaca_order_id, e.client_order_id, e.symbol, e.side, i.strategy_id FROM executions e
    LEFT JOIN order_intents i
        ON i.client_order_id = e.client_order_id AND i.alpaca_account_label = e.alpaca_account_label
    WHERE e.alpaca_account_label = %(account)s AND e.alpaca_order_id IS NOT NULL AND e.fills_complete
        AND e.symbol IS NOT NULL AND e.status = ANY(%(ended)s) AND e.last_update_at < %(before)s
        AND (i.id IS NULL OR i.state = ANY(%(ended)s))
        AND NOT EXISTS (
            SELECT FROM executions o WHERE o.client_order_id = e.client_order_id
                AND o.alpaca_account_label = e.alpaca_account_label AND o.id <> e.id)
), known AS MATERIALIZED (
    SELECT i.id, i.is_exit, i.state, i.strategy_id, i.symbol, i.sent_at,
        i.state <> ALL(%(ended)s) OR (s.alpaca_order_id IS NULL AND (
            i.updated_at >= now() - %(kept)s
            OR EXISTS (SELECT FROM executions e WHERE e.client_order_id = i.client_order_id
                AND e.alpaca_account_label = i.alpaca_account_label))) AS is_kept
    FROM order_intents i LEFT JOIN settled s ON s.client_order_id = i.client_order_id
    WHERE i.alpaca_account_label = %(account)s
)
"""
"""Orders that ended long ago and whose story is whole: every fill is stored, no other order bears their client's id,
their intent is over. And every intent, with whether it is still to be told."""

_INTENT: Final = (
    "client_order_id", "intent_seq", "strategy_id", "symbol", "side", "qty", "order_type", "time_in_force",
    "limit_price", "is_exit", "worst_price", "arrival_price", "arrival_mid", "state", "sent_at",
)  # fmt: skip
_DECISION: Final = ("strategy_id", "symbol", "timeframe", "bar_ts", "decided_at", "rationale", "decision_json")
_INTENT_COLUMNS: Final = ", ".join(f"i.{name}" for name in _INTENT)
_OPEN_DECISION: Final = ", ".join(
    f"CASE WHEN i.state <> ALL(%(ended)s) THEN d.{name} END AS d_{name}" for name in _DECISION
)
"""What was decided is asked only of intents that are not over."""
_FROM_INTENTS: Final = "order_intents i LEFT JOIN trade_decisions d ON d.id = i.trade_decision_id"
_NUMBERS: Final = frozenset(
    column.name for column in execution_order_events.columns if isinstance(column.type, sa.Numeric)
)
_EVENT: Final = ", ".join(f"trim_scale(t.{name})" if name in _NUMBERS else f"t.{name}" for name in EVENT_COLUMNS)
_FIELDS: Final = OrderEvent.__struct_fields__[: len(EVENT_COLUMNS)]

_KEPT_INTENTS: Final = f"""{_SETTLED}
SELECT {_INTENT_COLUMNS}, d.decision_hash AS d_hash, {_OPEN_DECISION}
FROM {_FROM_INTENTS} JOIN known k ON k.id = i.id AND k.is_kept
ORDER BY i.created_at, i.intent_seq
"""  # noqa: S608 - the names of columns are ours
_KEPT_EVENTS: Final = f"""{_SETTLED}
SELECT {_EVENT} FROM execution_order_events t
LEFT JOIN settled s ON s.alpaca_order_id = t.alpaca_order_id
WHERE t.alpaca_account_label = %(account)s AND s.alpaca_order_id IS NULL
ORDER BY t.event_seq
"""  # noqa: S608
_SETTLED_FILLS: Final = f"""{_SETTLED}
SELECT coalesce(s.strategy_id, %(nobody)s), s.symbol, coalesce(t.event_ts_ns, -1), f.alpaca_order_id,
    f.broker_execution_id, trim_scale(CASE WHEN s.side IN ('sell', 'sell_short') THEN -f.qty ELSE f.qty END),
    trim_scale(f.price)
FROM order_fills f JOIN settled s ON s.alpaca_order_id = f.alpaca_order_id
JOIN execution_order_events t ON t.event_fingerprint = f.event_fingerprint
WHERE f.alpaca_account_label = %(account)s AND f.state = 'counted'
"""  # noqa: S608
_LAST_ENTRIES: Final = f"""{_SETTLED}
SELECT strategy_id, symbol, max(sent_at) FROM known
WHERE NOT is_kept AND NOT is_exit AND sent_at IS NOT NULL AND state <> 'rejected' AND strategy_id IS NOT NULL
GROUP BY strategy_id, symbol ORDER BY max(sent_at)
"""  # noqa: S608


def stored_orders(connection: sa.Connection, account_label: str, *, kept: timedelta = KEPT) -> StoredOrders:
    """Everything that a new process has to know; ``kept``: orders that ended so long ago are not told as orders."""
    newest = newest_event_at(connection, account_label)
    asked = {
        "account": account_label,
        "ended": sorted(TERMINAL),
        "before": None if newest is None else newest - kept,
        "kept": kept,
        "nobody": UNATTRIBUTED,
    }
    return StoredOrders(
        [_stored(row) for row in _rows(connection, _KEPT_INTENTS, asked, dict_row)],
        [_event(row) for row in _rows(connection, _KEPT_EVENTS, asked)],
        [((row[0], row[1]), BookedFill(*row[2:])) for row in _rows(connection, _SETTLED_FILLS, asked)],
        {(row[0], row[1]): row[2] for row in _rows(connection, _LAST_ENTRIES, asked)},
        newest,
    )


def recalled(
    connection: sa.Connection, account_label: str, order_id: str, client_order_id: str | None
) -> tuple[Intent | None, list[OrderEvent]]:
    """What is stored of one order: its intent where it is ours, and its events in the order of their storing."""
    asked = {"account": account_label, "order": order_id, "client": client_order_id, "ended": sorted(TERMINAL)}
    intents = f"""SELECT {_INTENT_COLUMNS}, d.decision_hash AS d_hash, {_OPEN_DECISION} FROM {_FROM_INTENTS}
        WHERE i.alpaca_account_label = %(account)s AND i.client_order_id = %(client)s"""  # noqa: S608
    events = f"""SELECT {_EVENT} FROM execution_order_events t
        WHERE t.alpaca_account_label = %(account)s AND t.alpaca_order_id = %(order)s ORDER BY t.event_seq"""  # noqa: S608
    known = [_stored(row).intent for row in _rows(connection, intents, asked, dict_row)]
    return known[0] if known else None, [_event(row) for row in _rows(connection, events, asked)]


def newest_event_at(connection: sa.Connection, account_label: str) -> datetime | None:
    """Broker time of the newest stored event of an account, None without one."""
    table = execution_order_events
    query = sa.select(sa.func.max(table.c.event_ts)).where(table.c.alpaca_account_label == account_label)
    return connection.execute(query).scalar()


def _rows(
    connection: sa.Connection, statement: str, asked: Mapping[str, Any], made: RowFactory[Any] = tuple_row
) -> list[Any]:
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    with driver_errors(connection.engine.url):
        return driver.cursor(row_factory=made).execute(statement.encode(), asked, binary=True).fetchall()


def _event(row: Sequence[Any]) -> OrderEvent:
    return OrderEvent(**dict(zip(_FIELDS, row, strict=True)))


def _stored(row: Mapping[str, Any]) -> StoredIntent:
    decision = None
    if row["d_bar_ts"] is not None:
        decision = Decision(
            decision_hash=row["d_hash"],
            strategy_id=row["d_strategy_id"],
            symbol=row["d_symbol"],
            timeframe=row["d_timeframe"],
            bar_ts=row["d_bar_ts"],
            decided_at=row["d_decided_at"],
            rationale=row["d_rationale"] or "",
            detail=row["d_decision_json"],
        )
    terms = OrderTerms(
        symbol=row["symbol"],
        side=row["side"],
        qty=row["qty"],
        order_type=row["order_type"],
        time_in_force=row["time_in_force"],
        limit_price=row["limit_price"],
    )
    intent = Intent(
        client_order_id=row["client_order_id"],
        seq=row["intent_seq"],
        strategy_id=row["strategy_id"] or "",
        terms=terms,
        is_exit=row["is_exit"],
        worst_price=row["worst_price"] or Decimal(0),
        arrival_price=row["arrival_price"],
        arrival_mid=row["arrival_mid"],
        trace_id="" if row["d_hash"] is None else trace_of(row["d_hash"]),
    )
    return StoredIntent(intent, decision, row["state"], row["sent_at"])
