"""The durable journal: decisions and intents in PostgreSQL, each call one small transaction under the lease's token.

The statements of a call and its commit go to the server together: one round trip.

It writes ``trade_decisions`` and ``order_intents``; executions and fills are written by the order feed's ingest
transaction alone, for whose rows it never waits. What an earlier process left is read back here too.
"""

import json
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.orders.journal import DecisionStatus, IntentState, StoredIntent
from torghut_runtime.orders.model import Decision, Intent, OrderTerms
from torghut_runtime.storage.database import driver_errors, transaction
from torghut_runtime.storage.decision_inputs import INSERT_STEP, step_values
from torghut_runtime.storage.lease import HELD_LEASE, Lease, LeaseLostError
from torghut_runtime.storage.order_tables import execution_order_events, order_intents, trade_decisions

_ENDS: Final = ("rejected", "expired", "canceled")
"""States of an intent that ends without having become an order, or with its end."""
_OURS: Final = ("initialised", "submitting", "unknown")
"""States in which no event of the broker speaks for an intent yet."""

_Statement = tuple[str, Mapping[str, Any]]


def _insertion(table: sa.Table, columns: Sequence[str]) -> str:
    """SQL that inserts one row, unless it is there, and tells the id of a new one."""
    statement = insert(table).on_conflict_do_nothing().returning(table.c.id)
    return str(statement.compile(dialect=PGDialect_psycopg(), column_keys=columns))


_INSERT_DECISION: Final = _insertion(
    trade_decisions,
    ("id", "decision_hash", "strategy_id", "alpaca_account_label", "symbol", "timeframe", "bar_ts", "decided_at",
     "status", "decision_json", "rationale", "trace_id"),
)  # fmt: skip
_INSERT_INTENT: Final = _insertion(
    order_intents,
    ("id", "trade_decision_id", "intent_seq", "alpaca_account_label", "client_order_id", "strategy_id", "adapter",
     "symbol", "side", "order_type", "time_in_force", "qty", "limit_price", "extended_hours", "arrival_price",
     "arrival_mid", "submit_payload", "is_exit", "worst_price", "state", "sent_at"),
)  # fmt: skip
_SEND: Final = """
WITH moved AS (
    UPDATE order_intents SET state = %(state)s, sent_at = %(sent_at)s, updated_at = now()
    WHERE id = %(id)s AND state = ANY(%(ours)s) RETURNING trade_decision_id
)
UPDATE trade_decisions SET status = %(status)s, updated_at = now()
WHERE id IN (SELECT trade_decision_id FROM moved) RETURNING id
"""
"""The first intent of a decision is about to leave: no event can speak for either, so nobody else holds their rows."""
_LEAVE: Final = """
UPDATE order_intents SET state = %(state)s, sent_at = %(sent_at)s, updated_at = now()
WHERE id = %(id)s AND state = ANY(%(ours)s) RETURNING id
"""
"""The same for a later one, whose decision may be held. Not to write it would be to lose that it leaves."""
_MOVE: Final = """
UPDATE order_intents SET state = %(state)s, reason = coalesce(%(reason)s, reason), updated_at = now()
WHERE id = (SELECT id FROM order_intents WHERE id = %(id)s AND state = ANY(%(ours)s) FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id
"""
"""An intent whose row an ingest holds has events of the broker: they speak for it."""
_HOLD: Final = """
SELECT id FROM trade_decisions WHERE id = (SELECT trade_decision_id FROM order_intents WHERE id = %(id)s)
FOR NO KEY UPDATE SKIP LOCKED
"""
_SETTLE: Final = """
UPDATE trade_decisions d SET status = coalesce(
    CASE WHEN %(seq)s > 0 AND %(state)s = ANY(%(ends)s) THEN (
        SELECT coalesce(e.status, CASE WHEN o.state = ANY(%(ours)s) THEN 'submitted' ELSE o.state END)
        FROM order_intents o LEFT JOIN executions e USING (client_order_id, alpaca_account_label)
        WHERE o.trade_decision_id = d.id AND o.intent_seq < %(seq)s AND o.state <> ALL(%(ends)s)
        ORDER BY o.intent_seq DESC LIMIT 1
    ) END, %(status)s), updated_at = now()
WHERE id = (
    SELECT h.id FROM trade_decisions h JOIN order_intents o ON o.trade_decision_id = h.id
    WHERE o.id = %(id)s AND o.state = %(state)s
        AND o.intent_seq = (SELECT max(n.intent_seq) FROM order_intents n WHERE n.trade_decision_id = h.id)
    FOR NO KEY UPDATE OF h SKIP LOCKED
) RETURNING id
"""
"""One that ends without an order (a new price for an order that was filled meanwhile) leaves its decision what the
intent before it has come to; what the ingest still has to store of that one speaks for itself. A statement after
:data:`_HOLD`: it sees what was stored before the row was had."""


class PostgresJournal:
    """See :class:`~torghut_runtime.orders.journal.Journal`; one connection, opened again after it was lost."""

    def __init__(self, dsn: str, account_label: str, adapter: str, lease: Lease) -> None:
        self._engine = ingest_engine(dsn)
        self._account = account_label
        self._adapter = adapter
        self._lease = lease
        self._connection: sa.Connection | None = None
        self._unsettled: dict[uuid.UUID, dict[str, Any]] = {}
        """Moves of intents whose decision an ingest held."""

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def commit(self, decision: Decision, intent: Intent, *, sent_at: datetime | None = None) -> bool:
        """Write an intent, with the first one its decision and recorded step; False when the key is known.

        ``sent_at``: it is about to leave, and is ``submitting`` at once.

        Raises:
            StoreUnavailableError: the database does not answer; nothing was written.
            LeaseLostError: another process trades for this account; nothing was written.
        """
        statements = [_decision_statement(self._account, decision, "planned" if sent_at is None else "submitted")]
        if decision.step is not None:
            statements.append((INSERT_STEP, step_values(decision.step)))
        statements.append((_INSERT_INTENT, self._intent_row(decision, intent, sent_at)))
        return self._written(statements)[-1] is not None

    def note(self, decision: Decision, status: DecisionStatus) -> bool:
        """Write a decision that sends no order of its own; False when it is known. Raises as :meth:`commit`."""
        return self._written([_decision_statement(self._account, decision, status)])[0] is not None

    def move(
        self, intent: Intent, state: IntentState, *, reason: str | None = None, sent_at: datetime | None = None
    ) -> None:
        """Note what became of an intent, unless the broker's events speak for it already. Raises as :meth:`commit`.

        Where an ingest holds the decision its status follows with a later move.
        """
        values = {
            "id": intent.id,
            "state": state,
            "reason": None if reason is None else reason[:128],
            "sent_at": sent_at,
            "ours": list(_OURS),
            "ends": list(_ENDS),
            "seq": intent.seq,
            "status": "submitted" if state in ("submitting", "unknown") else state,
        }
        leaves = state == "submitting"
        if leaves and intent.seq == 0:
            self._written([(_SEND, values)])
            return
        moved, held, _ = self._written([(_LEAVE if leaves else _MOVE, values), (_HOLD, values), (_SETTLE, values)])
        if moved is not None and held is None:
            self._unsettled[intent.id] = values
        else:
            self._settle()

    def _settle(self) -> None:
        """Give decisions that were held their status; those that still are wait on."""
        for key, values in [*self._unsettled.items()]:
            held, _ = self._written([(_HOLD, values), (_SETTLE, values)])
            if held is not None:
                del self._unsettled[key]

    def recall(self, order_id: str, client_order_id: str | None) -> tuple[Intent | None, list[bytes]]:
        """What is stored of an order, for a tracker that has forgotten it. Raises ``StoreUnavailableError``."""
        with self._transaction() as connection:
            return recalled(connection, self._account, order_id, client_order_id)

    # Within -----------------------------------------------------------------------------------------------------------

    def _written(self, statements: Sequence[_Statement]) -> list[tuple[Any, ...] | None]:
        """Execute statements in one transaction while the lease is ours; the first row of each.

        Raises:
            StoreUnavailableError: the database does not answer; nothing was written.
            LeaseLostError: another process trades for this account; nothing was written.
        """
        lease = self._lease
        with self._open() as connection:
            driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
            try:
                with driver.pipeline():
                    driver.execute(HELD_LEASE.encode(), {"name": lease.name, "token": lease.fencing_token})
                    cursors = [driver.execute(text.encode(), values) for text, values in statements]
                    driver.commit()
            except psycopg.errors.DivisionByZero:
                driver.rollback()
                raise LeaseLostError(f"the lease of {lease.name} is not held with {lease.fencing_token}") from None
            except BaseException:
                if not driver.closed:
                    driver.rollback()
                raise
            return [cursor.fetchone() for cursor in cursors]

    @contextmanager
    def _transaction(self) -> Generator[sa.Connection]:
        with self._open() as connection, transaction(connection):
            yield connection

    @contextmanager
    def _open(self) -> Generator[sa.Connection]:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            with driver_errors(self._engine.url):
                yield self._connection
        except StoreUnavailableError:
            if self._connection is not None:
                self._connection.invalidate()
            self.close()
            raise

    def _intent_row(self, decision: Decision, intent: Intent, sent_at: datetime | None) -> dict[str, Any]:
        terms = intent.terms
        return {
            "id": intent.id,
            "trade_decision_id": decision.id,
            "intent_seq": intent.seq,
            "alpaca_account_label": self._account,
            "client_order_id": intent.client_order_id,
            "strategy_id": intent.strategy_id,
            "adapter": self._adapter,
            "symbol": terms.symbol,
            "side": terms.side,
            "order_type": terms.order_type,
            "time_in_force": terms.time_in_force,
            "qty": terms.qty,
            "limit_price": terms.limit_price,
            "extended_hours": False,
            "arrival_price": intent.arrival_price,
            "arrival_mid": intent.arrival_mid,
            "submit_payload": json.dumps(terms.payload(intent.client_order_id)),
            "is_exit": intent.is_exit,
            "worst_price": intent.worst_price,
            "state": "initialised" if sent_at is None else "submitting",
            "sent_at": sent_at,
        }


def _decision_statement(account: str, decision: Decision, status: str) -> _Statement:
    values = {
        "id": decision.id,
        "decision_hash": decision.decision_hash,
        "strategy_id": decision.strategy_id,
        "alpaca_account_label": account,
        "symbol": decision.symbol,
        "timeframe": decision.timeframe,
        "bar_ts": decision.bar_ts,
        "decided_at": decision.decided_at,
        "status": status,
        "decision_json": json.dumps(dict(decision.detail)),
        "rationale": decision.rationale,
        "trace_id": decision.trace_id,
    }
    return _INSERT_DECISION, values


def stored_intents(connection: sa.Connection, account_label: str) -> list[StoredIntent]:
    """Every intent of an account, oldest first."""
    i, d = order_intents, trade_decisions
    query = (
        sa.select(i, *(d.c[name].label(f"d_{name}") for name in _DECISION))
        .select_from(i.outerjoin(d, d.c.id == i.c.trade_decision_id))
        .where(i.c.alpaca_account_label == account_label)
        .order_by(i.c.created_at, i.c.intent_seq)
    )
    return [_stored(row) for row in connection.execute(query).mappings()]


def stored_events(connection: sa.Connection, account_label: str) -> list[bytes]:
    """Every event of an account's orders, in the order in which they were stored."""
    table = execution_order_events
    query = (
        sa.select(sa.cast(table.c.raw_event, sa.Text))
        .where(table.c.alpaca_account_label == account_label)
        .order_by(table.c.event_seq)
    )
    return [text.encode() for text in connection.execute(query).scalars()]


def recalled(
    connection: sa.Connection, account_label: str, order_id: str, client_order_id: str | None
) -> tuple[Intent | None, list[bytes]]:
    """What is stored of one order: its intent where it is ours, and its events in the order of their storing."""
    i, d, e = order_intents, trade_decisions, execution_order_events
    query = (
        sa.select(i, *(d.c[name].label(f"d_{name}") for name in _DECISION))
        .select_from(i.outerjoin(d, d.c.id == i.c.trade_decision_id))
        .where(i.c.alpaca_account_label == account_label, i.c.client_order_id == client_order_id)
    )
    row = connection.execute(query).mappings().first()
    events = (
        sa.select(sa.cast(e.c.raw_event, sa.Text))
        .where(e.c.alpaca_account_label == account_label, e.c.alpaca_order_id == order_id)
        .order_by(e.c.event_seq)
    )
    texts = connection.execute(events).scalars()
    return None if row is None else _stored(row).intent, [text.encode() for text in texts]


def newest_event_at(connection: sa.Connection, account_label: str) -> datetime | None:
    """Broker time of the newest stored event of an account, None without one."""
    table = execution_order_events
    query = sa.select(sa.func.max(table.c.event_ts)).where(table.c.alpaca_account_label == account_label)
    return connection.execute(query).scalar()


_DECISION: Final = (
    "decision_hash", "strategy_id", "symbol", "timeframe", "bar_ts", "decided_at", "rationale", "decision_json",
)  # fmt: skip


def _stored(row: sa.RowMapping) -> StoredIntent:
    decision = None
    if row["d_decision_hash"] is not None:
        decision = Decision(
            decision_hash=row["d_decision_hash"],
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
        trace_id="" if decision is None else decision.trace_id,
    )
    return StoredIntent(intent, decision, row["state"], row["sent_at"])
