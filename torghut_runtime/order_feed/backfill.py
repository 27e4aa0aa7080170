"""Repairing a gap: what the broker says about a span of time, stored as events; idempotent, offsets do not move."""

import uuid
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from torghut_runtime.errors import InputError
from torghut_runtime.order_feed.broker_answers import (
    BrokerHistory,
    activity_update,
    asked_since,
    snapshot_update,
    value_of,
)
from torghut_runtime.order_feed.ingest import ingest_values
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.order_tables import executions, feed_gaps

_AT_ONCE = 500


@dataclass
class Backfilled:
    """What a back-fill read and stored."""

    orders_read: int = 0
    activities_read: int = 0
    new_events: int = 0
    duplicates: int = 0
    orders_changed: int = 0


def span_of_gap(connection: sa.Connection, gap: uuid.UUID) -> tuple[datetime, datetime]:
    """The time that a gap may have cost.

    Raises:
        InputError: there is no such gap.
    """
    with transaction(connection):
        row = connection.execute(sa.select(feed_gaps).where(feed_gaps.c.id == gap)).one_or_none()
    if row is None:
        raise InputError(f"there is no gap {gap}; `torghut-runtime order-feed status` lists them", field="--gap")
    return asked_since(row.since_ts, row.detected_at), row.detected_at


def backfill(
    connection: sa.Connection,
    history: BrokerHistory,
    since: datetime,
    until: datetime,
    account_label: str,
    *,
    gap: uuid.UUID | None = None,
    dry_run: bool = False,
) -> Backfilled:
    """Read orders and fills of a span of time, and all orders that are not known to have ended; store what is new.

    Everything is read before anything is stored; ``gap`` is then resolved.

    Raises:
        UpstreamError: a page failed; nothing was stored or resolved.
        StoreUnavailableError: the database does not answer.
    """
    orders = {str(order["id"]): order for order in history.orders(since, until)}
    orders.update((str(order["id"]), order) for order in history.open_orders())
    with transaction(connection):
        working = connection.execute(
            sa.select(executions.c.alpaca_order_id).where(
                executions.c.alpaca_account_label == account_label,
                executions.c.terminal_at.is_(None),
                executions.c.alpaca_order_id.is_not(None),
            )
        ).scalars()
        missing = [str(each) for each in working if str(each) not in orders]
    orders.update((order_id, history.order(order_id)) for order_id in missing)
    activities = list(history.fills(since, until))
    values = [value_of(snapshot_update(order)) for order in orders.values()]
    values.extend(value_of(activity_update(activity)) for activity in activities)
    done = Backfilled(len(orders), len(activities))
    with connection.begin() as open_transaction:
        for start in range(0, len(values), _AT_ONCE):
            stored = ingest_values(connection, values[start : start + _AT_ONCE], "backfill", account_label)
            done.new_events += stored.persisted
            done.duplicates += stored.duplicates
            done.orders_changed += stored.orders_changed
        if gap is not None:
            connection.execute(
                sa.update(feed_gaps)
                .where(feed_gaps.c.id == gap, feed_gaps.c.resolved_at.is_(None))
                .values(resolved_at=sa.func.now(), resolved_by="backfill", updated_at=sa.func.now())
            )
        if dry_run:
            open_transaction.rollback()
    return done
