"""The durable journal: decisions and intents in PostgreSQL, each call one small transaction under the lease's token.

It writes ``trade_decisions`` and ``order_intents``; executions and fills are written by the order feed's ingest
transaction alone, to which the broker's events go from here. What an earlier process left is read back here too.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.event import Source
from torghut_runtime.order_feed.ingest import ingest_values
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.orders.journal import DecisionStatus, IntentState, RefusedContentError, StoredIntent
from torghut_runtime.orders.model import Decision, Intent, OrderTerms
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.decision_inputs import insert_step
from torghut_runtime.storage.lease import Lease, check_token
from torghut_runtime.storage.order_tables import execution_order_events, executions, order_intents, trade_decisions

_ENDS: Final = ("rejected", "expired", "canceled")
"""States of an intent that ends without having become an order, or with its end."""
_OURS: Final = ("initialised", "submitting", "unknown")
"""States in which no event of the broker speaks for an intent yet."""


def _status(decision_id: object, seq: int, state: IntentState) -> Any:
    """Status of a decision when an intent of it has moved.

    One that ends without an order (a new price for an order that was filled meanwhile) leaves the decision what the
    intent before it has come to.
    """
    if state in ("submitting", "unknown"):
        return "submitted"
    if seq == 0 or state not in _ENDS:
        return state
    known = sa.case((order_intents.c.state.in_(_OURS), "submitted"), else_=order_intents.c.state)
    before = (
        sa.select(sa.func.coalesce(executions.c.status, known))
        .select_from(order_intents.outerjoin(executions, executions.c.intent_id == order_intents.c.id))
        .where(
            order_intents.c.trade_decision_id == decision_id,
            order_intents.c.intent_seq < seq,
            order_intents.c.state.not_in(_ENDS),
        )
        .order_by(order_intents.c.intent_seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    return sa.func.coalesce(before, state)


class PostgresJournal:
    """See :class:`~torghut_runtime.orders.journal.Journal`; one connection, opened again after it was lost."""

    def __init__(self, dsn: str, account_label: str, adapter: str, lease: Lease) -> None:
        self._engine = ingest_engine(dsn)
        self._account = account_label
        self._adapter = adapter
        self._lease = lease
        self._connection: sa.Connection | None = None

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def commit(self, decision: Decision, intent: Intent) -> bool:
        """Write an intent, with the first one its decision and recorded step; False when the key is known.

        Raises:
            StoreUnavailableError: the database does not answer; nothing was written.
            LeaseLostError: another process trades for this account; nothing was written.
        """
        with self._transaction() as connection:
            check_token(connection, self._lease)
            if self._insert_decision(connection, decision, "planned") and decision.step is not None:
                insert_step(connection, decision.step)
            statement = insert(order_intents).values(**self._intent_row(decision, intent))
            return _written(connection, statement.on_conflict_do_nothing().returning(order_intents.c.id))

    def note(self, decision: Decision, status: DecisionStatus) -> bool:
        """Write a decision that sends no order of its own; False when it is known. Raises as :meth:`commit`."""
        with self._transaction() as connection:
            check_token(connection, self._lease)
            return self._insert_decision(connection, decision, status)

    def move(
        self, intent: Intent, state: IntentState, *, reason: str | None = None, sent_at: datetime | None = None
    ) -> None:
        """Note what became of an intent, unless the broker's events speak for it already. Raises as :meth:`commit`."""
        values: dict[str, Any] = {"state": state, "updated_at": sa.func.now()}
        if reason is not None:
            values["reason"] = reason[:128]
        if sent_at is not None:
            values["sent_at"] = sent_at
        with self._transaction() as connection:
            check_token(connection, self._lease)
            moved = connection.execute(
                sa.update(order_intents)
                .where(order_intents.c.id == intent.id, order_intents.c.state.in_(_OURS))
                .values(**values)
                .returning(order_intents.c.trade_decision_id)
            ).first()
            if moved is not None and moved.trade_decision_id is not None:
                connection.execute(
                    sa.update(trade_decisions)
                    .where(trade_decisions.c.id == moved.trade_decision_id)
                    .values(status=_status(moved.trade_decision_id, intent.seq, state), updated_at=sa.func.now())
                )

    def record(self, events: Sequence[bytes], source: Source) -> None:
        """Hand events to the order feed's ingest.

        Raises:
            StoreUnavailableError: the database does not answer; nothing was written.
            RefusedContentError: it refuses one of them; nothing was written.
        """
        try:
            with self._transaction() as connection:
                ingest_values(connection, events, source, self._account)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise RefusedContentError(type(error).__name__) from error

    def recall(self, order_id: str, client_order_id: str | None) -> tuple[Intent | None, list[bytes]]:
        """What is stored of an order, for a tracker that has forgotten it. Raises ``StoreUnavailableError``."""
        with self._transaction() as connection:
            return recalled(connection, self._account, order_id, client_order_id)

    # Within -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Generator[sa.Connection]:
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            with transaction(self._connection):
                yield self._connection
        except StoreUnavailableError:
            self._connection.invalidate()
            self.close()
            raise

    def _insert_decision(self, connection: sa.Connection, decision: Decision, status: str) -> bool:
        statement = insert(trade_decisions).values(
            id=decision.id,
            decision_hash=decision.decision_hash,
            strategy_id=decision.strategy_id,
            alpaca_account_label=self._account,
            symbol=decision.symbol,
            timeframe=decision.timeframe,
            bar_ts=decision.bar_ts,
            decided_at=decision.decided_at,
            status=status,
            decision_json=dict(decision.detail),
            rationale=decision.rationale,
            trace_id=decision.trace_id,
        )
        return _written(connection, statement.on_conflict_do_nothing().returning(trade_decisions.c.id))

    def _intent_row(self, decision: Decision, intent: Intent) -> dict[str, Any]:
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
            "submit_payload": terms.payload(intent.client_order_id),
            "is_exit": intent.is_exit,
            "worst_price": intent.worst_price,
        }


def _written(connection: sa.Connection, statement: sa.Executable) -> bool:
    return connection.execute(statement).first() is not None


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
