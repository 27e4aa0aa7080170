"""What the execution assets read from the database, each in one snapshot."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import date
from typing import Any

import sqlalchemy as sa

from torghut_assets.execution.cursor import REPORTED_AGAIN, DateCount
from torghut_runtime.storage.order_costs import COSTS

_COUNTS = """
    SELECT trading_date, count(*) AS events, count(fill_qty) AS fills,
        count(DISTINCT (alpaca_account_label, coalesce(alpaca_order_id, 'c:' || client_order_id))) AS orders_changed,
        min(event_seq) AS event_seq_from, max(event_seq) AS event_seq_to, max(event_ts) AS max_event_ts
    FROM execution_order_events
"""


@contextmanager
def snapshot(connection: sa.Connection) -> Generator[sa.Connection]:
    """One REPEATABLE READ snapshot; the connection may not be in a transaction."""
    with connection.begin():
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        yield connection


def head(connection: sa.Connection) -> int:
    """The newest ``event_seq``."""
    return int(connection.execute(sa.text("SELECT last_event_seq FROM event_seq_head")).scalar_one())


def counts_between(connection: sa.Connection, after: int, until: int) -> list[DateCount]:
    """Events with ``after < event_seq <= until``, by trading date."""
    found = connection.execute(
        sa.text(f"{_COUNTS} WHERE event_seq > :after AND event_seq <= :until GROUP BY trading_date"),
        {"after": after, "until": until},
    )
    return [_count(row) for row in found]


def counts_of_newest_dates(connection: sa.Connection) -> list[DateCount]:
    """All events of the newest trading dates."""
    found = connection.execute(
        sa.text(  # the names of columns are ours
            _COUNTS  # noqa: S608
            + " WHERE trading_date IN (SELECT DISTINCT trading_date FROM execution_order_events"
            " ORDER BY 1 DESC LIMIT :many) GROUP BY trading_date"
        ),
        {"many": REPORTED_AGAIN},
    )
    return [_count(row) for row in found]


def _count(row: "sa.Row[Any]") -> DateCount:
    return DateCount(
        row.trading_date,
        row.events,
        row.fills,
        row.orders_changed,
        row.event_seq_from,
        row.event_seq_to,
        row.max_event_ts,
    )


def _mappings(connection: sa.Connection, statement: str, **values: Any) -> list[dict[str, Any]]:
    found = connection.execute(sa.text(statement), values).mappings()
    return [{str(key): row[key] for key in row} for row in found]


def executions_of(connection: sa.Connection, day: date) -> list[dict[str, Any]]:
    """Orders that an event of ``day`` touched, without what says only when a row was written."""
    rows = _mappings(
        connection,
        """
        SELECT e.* FROM executions e WHERE EXISTS (
            SELECT FROM execution_order_events v WHERE v.trading_date = :day
                AND v.alpaca_account_label = e.alpaca_account_label
                AND (v.alpaca_order_id = e.alpaca_order_id
                     OR (v.alpaca_order_id IS NULL AND v.client_order_id = e.client_order_id)))
        ORDER BY e.alpaca_account_label, coalesce(e.alpaca_order_id, 'c:' || e.client_order_id), e.id
        """,
        day=day,
    )
    return [_without(row, "id", "created_at", "updated_at") for row in rows]


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {
        key: str(value) if key.endswith("_id") and value is not None else value
        for key, value in row.items()
        if key not in names
    }


def costs_of(connection: sa.Connection, day: date) -> list[dict[str, Any]]:
    """Costs of the orders whose last fill is of ``day`` (UTC)."""
    return _mappings(
        connection,
        f"{COSTS} AND t.last_fill_at >= CAST(:day AS date) AND t.last_fill_at < CAST(:day AS date) + 1"
        " ORDER BY t.alpaca_account_label, t.strategy_id, t.symbol, e.alpaca_order_id, e.client_order_id",
        day=day,
    )


def reconciliation_of(connection: sa.Connection, day: date) -> dict[str, Any]:
    """Totals of a day beside what is open in the whole feed."""
    (totals,) = _mappings(
        connection,
        """
        SELECT count(*) AS events, count(fill_qty) AS fills, coalesce(min(event_seq), 0) AS event_seq_from,
            coalesce(max(event_seq), 0) AS event_seq_to, max(event_ts) AS max_event_ts
        FROM execution_order_events WHERE trading_date = :day
        """,
        day=day,
    )
    return {
        "trading_date": day,
        "totals": totals,
        "counters": {
            row["name"]: row["value"]
            for row in _mappings(connection, "SELECT name, value FROM durable_counters ORDER BY name")
        },
        "discrepancies": _mappings(
            connection,
            """
            SELECT kind, count(*) AS count, min(first_seen_at) AS oldest FROM reconcile_discrepancies
            WHERE resolved_at IS NULL GROUP BY kind ORDER BY kind
            """,
        ),
        "dead_letters": _mappings(
            connection,
            "SELECT reason, state, count(*) AS count FROM feed_dead_letters GROUP BY 1, 2 ORDER BY 1, 2",
        ),
        "gaps": _mappings(
            connection,
            """
            SELECT source, source_partition, from_offset, to_offset, reason, since_ts, resolved_by FROM feed_gaps
            ORDER BY source, source_partition, from_offset
            """,
        ),
    }
