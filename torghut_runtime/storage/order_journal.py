"""The durable journal: decisions and intents in PostgreSQL, each call one small transaction under the lease's token.

What a call writes is one statement, its own transaction, or few that go to the server together: one round trip.

It writes ``trade_decisions`` and ``order_intents``; executions and fills are written by the order feed's ingest
transaction alone, for whose rows it never waits. What is stored is read back by
:mod:`torghut_runtime.storage.stored_orders`.
"""

import json
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, cast

import psycopg
import sqlalchemy as sa

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.event import OrderEvent
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.orders.journal import DecisionStatus, IntentState
from torghut_runtime.orders.model import Decision, Intent
from torghut_runtime.storage.database import driver_errors
from torghut_runtime.storage.decision_inputs import INSERT_STEP, step_values
from torghut_runtime.storage.lease import HELD_LEASE, Lease, LeaseLostError
from torghut_runtime.storage.order_tables import order_intents, trade_decisions
from torghut_runtime.storage.stored_orders import recalled

_ENDS: Final = ("rejected", "expired", "canceled")
"""States of an intent that ends without having become an order, or with its end."""
_OURS: Final = ("initialised", "submitting", "unknown")
"""States in which no event of the broker speaks for an intent yet."""


def _insertion(table: sa.Table, columns: Sequence[str], **named: str) -> str:
    """SQL that inserts one row, unless it is there, and tells the id of a new one.

    Parameters have the names of their columns, or those in ``named``: what rows of one order share has one name in all
    of them. The driver reads a statement of more than 50 parameters or 4,096 characters anew each time.
    """
    values = ", ".join(f"%({named.get(column, column)})s" for column in columns)
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - the names are ours
        " ON CONFLICT DO NOTHING RETURNING id"
    )


def _whole(**parts: str) -> str:
    """One statement of several, of which none sees what another writes: the id of the last one's row, if any.

    All of it is one transaction, with the lease's row held until its end.
    """
    listed = ", ".join(f"{name} AS ({text})" for name, text in {"held": HELD_LEASE, **parts}.items())
    return f"WITH {listed} SELECT (SELECT id FROM {[*parts][-1]}) FROM held"  # noqa: S608 - the names are ours


_INSERT_DECISION: Final = _insertion(
    trade_decisions,
    ("id", "decision_hash", "strategy_id", "alpaca_account_label", "symbol", "timeframe", "bar_ts", "decided_at",
     "status", "decision_json", "rationale", "trace_id"),
    id="decision_id",
    alpaca_account_label="account_label",
    decided_at="decision_at",
)  # fmt: skip
_INSERT_INTENT: Final = _insertion(
    order_intents,
    ("id", "trade_decision_id", "intent_seq", "alpaca_account_label", "client_order_id", "strategy_id", "adapter",
     "symbol", "side", "order_type", "time_in_force", "qty", "limit_price", "extended_hours", "arrival_price",
     "arrival_mid", "submit_payload", "is_exit", "worst_price", "state", "sent_at"),
    id="intent_id",
    trade_decision_id="decision_id",
    alpaca_account_label="account_label",
)  # fmt: skip
_NOTE: Final = _whole(decided=_INSERT_DECISION)
_COMMIT: Final = _whole(decided=_INSERT_DECISION, intended=_INSERT_INTENT)
_COMMIT_WITH_STEP: Final = _whole(decided=_INSERT_DECISION, stepped=INSERT_STEP, intended=_INSERT_INTENT)
_SEND: Final = _whole(
    moved="""
    UPDATE order_intents SET state = %(state)s, sent_at = %(sent_at)s, updated_at = now()
    WHERE id = %(id)s AND state = ANY(%(ours)s) RETURNING trade_decision_id
    """,
    sent="""
    UPDATE trade_decisions SET status = %(status)s, updated_at = now()
    WHERE id IN (SELECT trade_decision_id FROM moved) RETURNING id
    """,
)
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
        self._held = {"name": lease.name, "token": lease.fencing_token}
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
        values = self._decision_values(decision, "planned" if sent_at is None else "submitted")
        values |= self._intent_values(decision, intent, sent_at)
        if decision.step is None:
            return self._written(_COMMIT, values)
        return self._written(_COMMIT_WITH_STEP, values | step_values(decision.step))

    def note(self, decision: Decision, status: DecisionStatus) -> bool:
        """Write a decision that sends no order of its own; False when it is known. Raises as :meth:`commit`."""
        return self._written(_NOTE, self._decision_values(decision, status))

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
            self._written(_SEND, values)
            return
        moved, held, _ = self._settled(values, _LEAVE if leaves else _MOVE, _HOLD, _SETTLE)
        if moved is not None and held is None:
            self._unsettled[intent.id] = values
        else:
            self._settle()

    def _settle(self) -> None:
        """Give decisions that were held their status; those that still are wait on."""
        for key, values in [*self._unsettled.items()]:
            held, _ = self._settled(values, _HOLD, _SETTLE)
            if held is not None:
                del self._unsettled[key]

    def recall(self, order_id: str, client_order_id: str | None) -> tuple[Intent | None, list[OrderEvent]]:
        """What is stored of an order, for a tracker that has forgotten it. Raises ``StoreUnavailableError``."""
        with self._open() as connection:
            return recalled(connection, self._account, order_id, client_order_id)

    # Within -----------------------------------------------------------------------------------------------------------

    def _written(self, statement: str, values: Mapping[str, Any]) -> bool:
        """Execute one of :func:`_whole`; whether its last part wrote a row. Raises as :meth:`commit`."""
        with self._driver() as driver:
            row = driver.execute(statement.encode(), {**values, **self._held}, prepare=True).fetchone()
        return row is not None and row[0] is not None

    def _settled(self, values: Mapping[str, Any], *statements: str) -> list[tuple[Any, ...] | None]:
        """Execute statements of which each sees what those before it wrote, in one transaction while the lease is ours;
        the first row of each. Raises as :meth:`commit`.
        """
        with self._driver() as driver:
            with driver.pipeline(), driver.transaction():
                driver.execute(HELD_LEASE.encode(), self._held)
                cursors = [driver.execute(text.encode(), values) for text in statements]
            return [cursor.fetchone() for cursor in cursors]

    @contextmanager
    def _driver(self) -> Generator[psycopg.Connection[Any]]:
        """The driver's connection; a lease that is another's is told as that."""
        with self._open() as connection:
            try:
                yield cast("psycopg.Connection[Any]", connection.connection.driver_connection)
            except psycopg.errors.DivisionByZero:
                lease = self._lease
                raise LeaseLostError(f"the lease of {lease.name} is not held with {lease.fencing_token}") from None

    @contextmanager
    def _open(self) -> Generator[sa.Connection]:
        try:
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            with driver_errors(self._engine.url):
                yield self._connection
        except StoreUnavailableError:
            if self._connection is not None:
                self._connection.invalidate()
            self.close()
            raise

    def _intent_values(self, decision: Decision, intent: Intent, sent_at: datetime | None) -> dict[str, Any]:
        terms = intent.terms
        return {
            "intent_id": intent.id,
            "decision_id": decision.id,
            "intent_seq": intent.seq,
            "account_label": self._account,
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

    def _decision_values(self, decision: Decision, status: str) -> dict[str, Any]:
        return {
            "decision_id": decision.id,
            "decision_hash": decision.decision_hash,
            "strategy_id": decision.strategy_id,
            "account_label": self._account,
            "symbol": decision.symbol,
            "timeframe": decision.timeframe,
            "bar_ts": decision.bar_ts,
            "decision_at": decision.decided_at,
            "status": status,
            "decision_json": json.dumps(dict(decision.detail)),
            "rationale": decision.rationale,
            "trace_id": decision.trace_id,
        }
