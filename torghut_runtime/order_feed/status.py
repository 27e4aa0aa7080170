"""What the tables say about the order feed, and whether they agree with the events they were folded from.

Reading only. One snapshot per question, so that what is shown belongs together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa

from torghut_runtime.order_feed import statements
from torghut_runtime.order_feed.book import OrderBook, OrderRef, linked
from torghut_runtime.order_feed.ingest import COUNTERS, PREFIX, cursor_of
from torghut_runtime.order_feed.rows import EXECUTION_VALUES, FILL_COLUMNS, execution_values, fill_values
from torghut_runtime.settings import Settings

STALLED_S: Final = 60.0
_ORDERS_AT_ONCE: Final = 500
State = Literal["ok", "disabled", "paused", "misconfigured", "stalled"]


@dataclass(frozen=True)
class PartitionStatus:
    """One partition that is read."""

    source: str
    topic: str
    partition: int
    next_offset: int
    log_end_offset: int | None
    lag: int | None
    last_polled_at: datetime | None
    last_poll_age_seconds: float | None
    last_commit_age_seconds: float | None
    driver: str | None


@dataclass(frozen=True)
class FeedStatus:
    """The order feed in one snapshot."""

    enabled: bool
    driver: str
    state: State
    reason: str | None
    offsets: tuple[PartitionStatus, ...]
    counters: dict[str, int]
    last_event_seq: int
    dead_letters: tuple[dict[str, Any], ...]
    gaps: tuple[dict[str, Any], ...]
    discrepancies: tuple[dict[str, Any], ...]
    unlinked_orders: int


def read_status(connection: sa.Connection, settings: Settings, *, is_enabled: bool | None = None) -> FeedStatus:
    """Read everything that is shown.

    Args:
        connection: of the database ``torghut``.
        settings: whether and how the feed is driven.
        is_enabled: the flag, where there is one: off pauses a feed that is enabled.
    """
    offsets = tuple(_offsets(connection))
    state, reason = _state(settings, offsets, is_enabled=is_enabled)
    return FeedStatus(
        enabled=settings.order_feed_enabled,
        driver=settings.order_feed_driver,
        state=state,
        reason=reason,
        offsets=offsets,
        counters=read_counters(connection),
        last_event_seq=int(connection.execute(sa.text("SELECT last_event_seq FROM event_seq_head")).scalar_one()),
        dead_letters=_rows(
            connection,
            "SELECT reason, state, count(*) AS count, min(created_at) AS oldest FROM feed_dead_letters"
            " GROUP BY reason, state ORDER BY reason, state",
        ),
        gaps=_rows(
            connection,
            "SELECT id::text, source, source_partition AS partition, from_offset, to_offset, reason, since_ts,"
            " detected_at, resolved_at FROM feed_gaps ORDER BY detected_at, source, source_partition, from_offset",
        ),
        discrepancies=_rows(
            connection,
            "SELECT kind, count(*) AS count, min(first_seen_at) AS oldest FROM reconcile_discrepancies"
            " WHERE resolved_at IS NULL GROUP BY kind ORDER BY kind",
        ),
        unlinked_orders=int(
            connection.execute(sa.text("SELECT count(*) FROM executions WHERE intent_id IS NULL")).scalar_one()
        ),
    )


def _rows(connection: sa.Connection, statement: str) -> tuple[dict[str, Any], ...]:
    return tuple({str(key): row[key] for key in row} for row in connection.execute(sa.text(statement)).mappings())


def read_counters(connection: sa.Connection) -> dict[str, int]:
    """The seven counters by their short names."""
    found = {str(row.name): int(row.value) for row in connection.execute(sa.text("SELECT * FROM durable_counters"))}
    return {name: found.get(f"{PREFIX}_{name}_total", 0) for name in COUNTERS}


def _offsets(connection: sa.Connection) -> Iterator[PartitionStatus]:
    found = connection.execute(
        sa.text(
            "SELECT *, extract(epoch FROM clock_timestamp() - last_polled_at) AS poll_age,"
            " extract(epoch FROM clock_timestamp() - updated_at) AS commit_age"
            " FROM feed_offsets WHERE active ORDER BY topic, source_partition"
        )
    )
    for row in found:
        end = row.log_end_offset
        yield PartitionStatus(
            source=row.source,
            topic=row.topic,
            partition=row.source_partition,
            next_offset=row.next_offset,
            log_end_offset=end,
            lag=None if end is None else max(0, end - row.next_offset),
            last_polled_at=row.last_polled_at,
            last_poll_age_seconds=None if row.poll_age is None else float(row.poll_age),
            last_commit_age_seconds=float(row.commit_age),
            driver=row.driver,
        )


def _state(
    settings: Settings, offsets: tuple[PartitionStatus, ...], *, is_enabled: bool | None
) -> tuple[State, str | None]:
    configured = configuration(settings)
    if configured is not None:
        return configured
    if is_enabled is False:
        return "paused", None
    if not offsets:
        return "stalled", "nothing has been read yet"
    oldest = max((each.last_poll_age_seconds or 0.0) for each in offsets)
    if oldest > STALLED_S:
        return "stalled", f"last poll {oldest:.0f} s ago"
    return "ok", None


def configuration(settings: Settings) -> tuple[State, str] | None:
    """Why the feed cannot run at all, if so."""
    if not settings.order_feed_enabled:
        return "disabled", "order_feed_disabled"
    if settings.order_feed_bootstrap_servers is None:
        return "misconfigured", "order_feed_bootstrap_servers_missing"
    return None


@dataclass(frozen=True)
class Violation:
    """Something that the tables say and the events do not."""

    kind: str
    detail: str


def verify(connection: sa.Connection, *, limit: int = 100) -> list[Violation]:
    """Check accounting, ``event_seq`` and every order against its events, in bounded memory.

    Args:
        connection: of the database ``torghut``; no transaction may be open. Reads one snapshot.
        limit: how many violations are told.
    """
    found = list[Violation]()
    with connection.begin():
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        found.extend(_accounting(connection))
        found.extend(_sequence(connection))
        for violation in _orders(connection):
            if len(found) >= limit:
                break
            found.append(violation)
    return found[:limit]


def _accounting(connection: sa.Connection) -> Iterator[Violation]:
    count = read_counters(connection)
    counted = count["events_persisted"] + count["duplicates"] + count["missing_fields"]
    if count["messages"] != counted:
        yield Violation("accounting_identity", f"{count['messages']} messages, {counted} accounted for")


def _sequence(connection: sa.Connection) -> Iterator[Violation]:
    row = connection.execute(
        sa.text(
            "SELECT h.last_event_seq AS head, count(e.event_seq) AS events, coalesce(min(e.event_seq), 1) AS first,"
            " coalesce(max(e.event_seq), 0) AS last"
            " FROM event_seq_head h LEFT JOIN execution_order_events e ON true GROUP BY h.last_event_seq"
        )
    ).one()
    if (row.events, row.first, row.last) != (row.head, 1, row.head):
        yield Violation("event_seq", f"head {row.head}, but {row.events} events numbered {row.first} to {row.last}")


def _orders(connection: sa.Connection) -> Iterator[Violation]:
    """Orders of the events, a few hundred at a time, each group with all orders connected with it."""
    after: tuple[str, str] = ("", "")
    while True:
        keys = [
            (str(row[0]), None if row[1] is None else str(row[1]), None if row[2] is None else str(row[2]))
            for row in connection.execute(
                sa.text(
                    "SELECT DISTINCT alpaca_account_label, alpaca_order_id,"
                    " CASE WHEN alpaca_order_id IS NULL THEN client_order_id END,"
                    " coalesce(alpaca_order_id, 'c:' || client_order_id) AS shown FROM execution_order_events"
                    " WHERE (alpaca_account_label, coalesce(alpaca_order_id, 'c:' || client_order_id))"
                    " > (:account, :shown) ORDER BY 1, 4 LIMIT :many"
                ),
                {"account": after[0], "shown": after[1], "many": _ORDERS_AT_ONCE},
            )
        ]
        if not keys:
            return
        yield from _group(connection, keys)
        account, order, client = keys[-1]
        after = (account, order if order is not None else f"c:{client}")


def _group(connection: sa.Connection, keys: list[tuple[str, str | None, str | None]]) -> Iterator[Violation]:
    cursor = cursor_of(connection)
    events = statements.related_events(cursor, [(a, order, client, None, None) for a, order, client in keys])
    seqs = {event.fingerprint: seq for event, seq in events}
    book = OrderBook()
    book.load(event for event, _ in events)
    orders = {ref: book.order(ref) for ref in book.refs()}
    clients = [(ref[0], o.client_order_id) for ref, o in orders.items() if o.client_order_id is not None]
    links = linked(orders, statements.read_intents(cursor, clients))
    stored = _stored_executions(cursor, list(orders))
    fills = _stored_fills(cursor, [(ref[0], fill.execution_id) for ref, o in orders.items() for fill in o.state.fills])
    for ref, order in orders.items():
        yield from _compare(ref, stored.get(ref), execution_values(order, links.get(ref)))
        for fill in order.state.fills:
            expected = fill_values(order, fill, seqs)
            found = fills.get((ref[0], fill.execution_id))
            if found != expected and not (found is not None and found[10] < fill.fingerprint):
                yield Violation("fill", f"{fill.execution_id} of {_shown(ref)} is not what its events say")


_TEXTUAL: Final = {"intent_id": "::text", "trade_decision_id": "::text"}


def _stored_executions(cursor: Any, refs: list[OrderRef]) -> dict[OrderRef, tuple[Any, ...]]:
    columns = ", ".join(f"e.{name}{_TEXTUAL.get(name, '')}" for name in EXECUTION_VALUES)
    cursor.execute(
        f"SELECT {columns} FROM unnest(%s::text[], %s::text[], %s::text[]) r(account, id, client) JOIN executions e"  # noqa: S608
        " ON e.alpaca_account_label = r.account AND (e.alpaca_order_id = r.id"
        " OR (r.id IS NULL AND e.alpaca_order_id IS NULL AND e.client_order_id = r.client))",
        ([ref[0] for ref in refs], [ref[1] for ref in refs], [ref[2] for ref in refs]),
    )
    return {(row[0], row[1], None if row[1] is not None else row[2]): row for row in cursor}


def _stored_fills(cursor: Any, keys: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[Any, ...]]:
    columns = ", ".join(f"f.{name}" for name in FILL_COLUMNS)
    cursor.execute(
        f"SELECT {columns} FROM unnest(%s::text[], %s::text[]) k(account, id) JOIN order_fills f"  # noqa: S608
        " ON f.alpaca_account_label = k.account AND f.broker_execution_id = k.id",
        ([key[0] for key in keys], [key[1] for key in keys]),
    )
    return {(row[0], row[1]): row for row in cursor}


def _compare(ref: OrderRef, stored: tuple[Any, ...] | None, expected: tuple[Any, ...]) -> Iterator[Violation]:
    if stored is None:
        yield Violation("order", f"{_shown(ref)} has events but no row")
    elif stored != expected:
        different = [
            name for name, ours, theirs in zip(EXECUTION_VALUES, stored, expected, strict=True) if ours != theirs
        ]
        yield Violation("order", f"{_shown(ref)} differs from its events in {', '.join(different)}")


def _shown(ref: OrderRef) -> str:
    return f"{ref[0]}/{ref[1] or f'c:{ref[2]}'}"
