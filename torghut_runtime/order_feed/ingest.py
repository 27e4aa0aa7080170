"""The one write path of order events: identity, fold, fills, intents, cost analysis and counters in one transaction.

Set-based: the number of statements does not grow with the rows of a batch. All writers take the head of ``event_seq``
first, so that what one reads about an order is still true when it writes. Where events come from, and when to try
again, is not this module's business.
"""

import gc
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec
import psycopg
import sqlalchemy as sa

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed import discrepancies, rows, statements
from torghut_runtime.order_feed.book import ClientRef, Effect, Link, Order, OrderBook, OrderRef, linked, stale_first
from torghut_runtime.order_feed.envelope import Reason, decode
from torghut_runtime.order_feed.event import OrderEvent, Source
from torghut_runtime.storage.database import transaction

Cursor = psycopg.Cursor[Any]
PREFIX: Final = "torghut_trading_order_feed"
COUNTERS: Final = (
    "messages",
    "events_persisted",
    "duplicates",
    "missing_fields",
    "out_of_order",
    "apply_updates",
    "consumer_errors",
)


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """An event and the way it came; ``raw`` is the JSON text it was read from."""

    event: OrderEvent
    raw: bytes
    source: str
    partition: int | None = None
    offset: int | None = None
    record_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that cannot be an event, with everything needed to try again."""

    source: str
    partition: int | None
    offset: int | None
    record_ns: int | None
    key: bytes | None
    value: bytes | None
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a transaction did; ``first_seq`` is 0 when it stored no event."""

    persisted: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    out_of_order: int = 0
    apply_updates: int = 0
    orders_changed: int = 0
    first_seq: int = 0
    last_seq: int = 0
    seqs: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """``event_seq`` of every arrival that is stored now, by fingerprint."""


def ingest_events(connection: sa.Connection, events: Sequence[Arrival], source: Source) -> Ingested:
    """Store events that did not come from Kafka; idempotent, and the counters of the feed stay as they are.

    Raises:
        StoreUnavailableError: the database does not answer, or a lock was not granted; nothing is stored.
    """
    arrivals = [arrival if arrival.source == source else _from(arrival, source) for arrival in events]
    try:
        with transaction(connection):
            return ingest_batch(cursor_of(connection), arrivals)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailableError(f"PostgreSQL: {' '.join(str(error).split())[:200]}") from error


def decoded(values: Iterable[tuple[bytes, Source]], account_label: str) -> tuple[list[Arrival], list[Letter]]:
    """The events among messages that did not come from Kafka, and letters for those that cannot be read."""
    arrivals, letters = list[Arrival](), list[Letter]()
    for value, source in values:
        event = decode(value, account_label=account_label, record_ns=time.time_ns())
        if isinstance(event, OrderEvent):
            arrivals.append(Arrival(event, value, source))
        else:
            letters.append(Letter(source, None, None, None, None, value, event.reason, event.detail))
    return arrivals, letters


def ingest_values(connection: sa.Connection, values: Iterable[bytes], source: Source, account_label: str) -> Ingested:
    """Decode and store messages that did not come from Kafka; those that cannot be read become dead letters.

    Raises:
        StoreUnavailableError: as :func:`ingest_events`.
    """
    arrivals, letters = decoded(((value, source) for value in values), account_label)
    try:
        with transaction(connection):
            return ingest_batch(cursor_of(connection), arrivals, letters)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailableError(f"PostgreSQL: {' '.join(str(error).split())[:200]}") from error


def _from(arrival: Arrival, source: str) -> Arrival:
    return Arrival(arrival.event, arrival.raw, source, None, None, arrival.record_ns)


def cursor_of(connection: sa.Connection) -> Cursor:
    """A driver's cursor in the transaction of ``connection``: COPY has no SQLAlchemy form."""
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    return driver.cursor()


@contextmanager
def _collection_paused() -> Generator[None]:
    """No cycle collection while a batch is folded: it makes many small containers, none of them in a cycle.

    Half of the fold's time went into looking for cycles.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass(slots=True)
class _Batch:
    """A batch while its events are placed one by one."""

    book: OrderBook
    seqs: dict[bytes, int]
    next_seq: int
    fresh: dict[bytes, Arrival] = field(default_factory=dict[bytes, Arrival])
    """New events, in the order in which they came."""
    replaced: dict[bytes, Arrival] = field(default_factory=dict[bytes, Arrival])
    """Stored events whose content gives way to a smaller one."""
    conflicts: list[tuple[OrderEvent, OrderEvent]] = field(default_factory=list[tuple[OrderEvent, OrderEvent]])
    effects: list[Effect] = field(default_factory=list[Effect])
    duplicates: int = 0


def _nothing() -> None:
    pass


def ingest_batch(
    cursor: Cursor,
    arrivals: Sequence[Arrival],
    letters: Sequence[Letter] = (),
    *,
    counted: bool = False,
    consumer_errors: int = 0,
    meanwhile: Callable[[], None] = _nothing,
) -> Ingested:
    """Store a batch in the caller's transaction.

    Args:
        cursor: in an open transaction.
        arrivals: decoded events in the order in which they came.
        letters: records that could not be decoded.
        counted: whether the batch counts as consumed from Kafka.
        consumer_errors: errors of the consumer since the last transaction.
        meanwhile: called now and then while the server is busy; must leave the connection alone.

    Raises:
        psycopg.Error: the caller rolls back.
    """
    head = statements.lock_head(cursor)
    with _collection_paused():
        done = _store(cursor, arrivals, head, meanwhile) if arrivals else Ingested()
    if letters:
        rows.write_letters(cursor, letters)
    if counted or consumer_errors:
        messages = len(arrivals) + len(letters) if counted else 0
        persisted, duplicates, missing = (done.persisted, done.duplicates, len(letters)) if counted else (0, 0, 0)
        behind, applied = (done.out_of_order, done.apply_updates) if counted else (0, 0)
        deltas = (messages, persisted, duplicates, missing, behind, applied, consumer_errors)
        statements.count(cursor, {f"{PREFIX}_{n}_total": d for n, d in zip(COUNTERS, deltas, strict=True) if d})
    return Ingested(
        done.persisted,
        done.duplicates,
        len(letters),
        done.out_of_order,
        done.apply_updates,
        done.orders_changed,
        done.first_seq,
        done.last_seq,
        done.seqs,
    )


def _store(cursor: Cursor, arrivals: Sequence[Arrival], head: int, meanwhile: Callable[[], None]) -> Ingested:
    known = statements.known_events(cursor, {arrival.event.fingerprint for arrival in arrivals})
    events = [arrival.event for arrival in arrivals]
    telling = _telling(events, known)
    stored = statements.related_events(cursor, _keys(telling, known))
    batch = _Batch(OrderBook(), {event.fingerprint: seq for event, seq in stored}, head)
    batch.seqs.update({fingerprint: row.event_seq for fingerprint, row in known.items()})
    batch.book.load(event for event, _ in stored)

    def place() -> None:
        for arrival in arrivals:
            _place(batch, arrival, known)

    if not telling:
        place()
        return Ingested(duplicates=batch.duplicates, seqs=_seqs(batch, events))
    involved = [event for event, _ in stored] + telling
    locked = statements.lock_orders(cursor, involved, place)
    if batch.fresh:
        statements.advance_head(cursor, batch.next_seq)
    with rows.adding_events(cursor, [(arrival, batch.seqs[f]) for f, arrival in batch.fresh.items()]):
        orders = {ref: batch.book.order(ref) for ref in batch.book.refs()}
    if batch.replaced:
        rows.replace_events(cursor, list(batch.replaced.values()))
    changed = _write_orders(cursor, batch, orders, locked, meanwhile) if batch.fresh or batch.replaced else 0
    if batch.conflicts:
        discrepancies.report_conflicts(cursor, batch.conflicts)
    return Ingested(
        persisted=len(batch.fresh),
        duplicates=batch.duplicates,
        out_of_order=sum(effect.out_of_order for effect in batch.effects),
        apply_updates=sum(effect.applied for effect in batch.effects),
        orders_changed=changed,
        first_seq=head + 1 if batch.fresh else 0,
        last_seq=batch.next_seq if batch.fresh else 0,
        seqs=_seqs(batch, events),
    )


def _seqs(batch: _Batch, events: Sequence[OrderEvent]) -> dict[bytes, int]:
    return {event.fingerprint: batch.seqs[event.fingerprint] for event in events}


def _telling(events: Sequence[OrderEvent], known: "dict[bytes, statements.KnownEvent]") -> list[OrderEvent]:
    """Events that may change an order: plain repetitions change nothing."""
    found = list[OrderEvent]()
    for event in events:
        before = known.get(event.fingerprint)
        if before is None or before.content_sha256 != event.content_sha256:
            found.append(event)
    return found


def _keys(telling: Sequence[OrderEvent], known: "dict[bytes, statements.KnownEvent]") -> list[statements.OrderKeys]:
    """Keys of the orders that may change, those included that the stored content of an event names."""
    keys = list[statements.OrderKeys]()
    for event in telling:
        keys.append((event.account, event.order_id, event.client_order_id, event.replaces, event.replaced_by))
        before = known.get(event.fingerprint)
        if before is not None:
            keys.append((event.account, before.alpaca_order_id, before.client_order_id, None, None))
    return keys


def _place(batch: _Batch, arrival: Arrival, known: "dict[bytes, statements.KnownEvent]") -> None:
    event = arrival.event
    fingerprint = event.fingerprint
    if fingerprint not in known and fingerprint not in batch.fresh:
        batch.next_seq += 1
        batch.seqs[fingerprint] = batch.next_seq
        batch.fresh[fingerprint] = arrival
        batch.effects.append(batch.book.add(event))
        return
    batch.duplicates += 1
    present = batch.book.event(fingerprint)
    if present is None or present.content_sha256 == event.content_sha256:
        return
    if (present.fill_price, present.fill_qty, present.status) != (event.fill_price, event.fill_qty, event.status):
        batch.conflicts.append((present, event))
    if stale_first(event) < stale_first(present):
        batch.book.replace(event)
        first = batch.fresh.get(fingerprint)
        if first is None:
            batch.replaced[fingerprint] = arrival
        else:
            batch.fresh[fingerprint] = Arrival(
                event, arrival.raw, first.source, first.partition, first.offset, first.record_ns
            )


def _write_orders(
    cursor: Cursor,
    batch: _Batch,
    orders: "dict[OrderRef, Order]",
    locked: "tuple[dict[OrderRef, statements.StoredRow], dict[ClientRef, Link]]",
    meanwhile: Callable[[], None],
) -> int:
    """Write every order of the book that is not stored as it is now; returns how many changed."""
    book = batch.book
    existing, intents = locked
    links = linked(orders, intents)
    new = set(batch.fresh) | set(batch.replaced)
    unused = iter(_new_ids(len(orders)))
    staged: list[rows.OrderRow] = []
    for ref, order in orders.items():
        row = existing.get(ref) or _adopted(order, existing)
        last_seq = max(map(batch.seqs.__getitem__, book.fingerprints(ref)))
        fills = order.state.fills if row is None or _moved(row, order) else book.new_fills(ref, new)
        identity = next(unused) if row is None else row.id
        staged.append(rows.OrderRow(identity, order, links.get(ref), last_seq, row and row.status, fills))
    used = {row.id for row in staged}
    statements.drop_executions(
        cursor, [row.id for ref, row in existing.items() if ref not in orders and row.id not in used]
    )
    moves, illegal = statements.intent_moves(staged)
    with cursor.connection.pipeline():
        statements.move_intents(cursor, moves)
        meanwhile()
        new = rows.execution_rows(row for row in staged if row.is_new)
        fills = rows.fill_rows(staged, batch.seqs)
        found = discrepancies.findings(staged, illegal)
    rows.add_executions(cursor, new)
    changed = [row.id for row in staged if row.is_new] + rows.update_executions(cursor, staged)
    rows.write_fills(cursor, fills)
    with cursor.connection.pipeline():
        statements.refresh_costs(cursor, changed)
        meanwhile()
    discrepancies.settle_discrepancies(cursor, found)
    return len(changed)


def _new_ids(count: int) -> list[str]:
    """Identifiers that sort by the time they were made (UUID version 7): new rows are neighbours in their index."""
    start = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | 0x2 << 62
    noise = os.urandom(10 * count)
    mask = ~(0xF << 76 | 0x3 << 62) & ((1 << 80) - 1)
    return [f"{start | int.from_bytes(noise[at : at + 10], 'big') & mask:032x}" for at in range(0, 10 * count, 10)]


def _adopted(order: Order, existing: "dict[OrderRef, statements.StoredRow]") -> "statements.StoredRow | None":
    """The row that bears the client's id of this order and has no broker's id yet."""
    for client_order_id in order.absorbed:
        row = existing.get((order.ref[0], None, client_order_id))
        if row is not None:
            return row
    return None


def _moved(row: "statements.StoredRow", order: Order) -> bool:
    """Whether what a fill's row says of its order has changed."""
    return (
        bool(order.absorbed)
        or row.alpaca_order_id != order.ref[1]
        or (row.symbol, row.side) != (order.state.symbol, order.state.side)
    )
