"""What the ingest transaction reads, locks and updates; one statement per purpose, however many rows.

Locks are taken in the order that all writers keep: ``event_seq_head``, ``executions``, ``order_intents``,
``trade_decisions``. Bulk rows are written by :mod:`rows`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed import arrays
from torghut_runtime.order_feed.book import ClientRef, Link, Order, OrderRef, newest
from torghut_runtime.order_feed.event import RANKS, TERMINAL, OrderEvent
from torghut_runtime.order_feed.state import OrderState
from torghut_runtime.order_feed.values import instant_text
from torghut_runtime.orders import tca

if TYPE_CHECKING:
    from torghut_runtime.order_feed.rows import OrderRow

Cursor = psycopg.Cursor[Any]
OrderKeys = tuple[str, str | None, str | None, str | None, str | None]
"""Account, order, client's id, and the orders that an event says it replaces and is replaced by."""

EVENT_COLUMNS: Final = (
    "event_fingerprint",
    "content_sha256",
    "alpaca_account_label",
    "alpaca_order_id",
    "client_order_id",
    "symbol",
    "event_type",
    "status",
    "broker_execution_id",
    "previous_execution_id",
    "event_ts_ns",
    "fill_price",
    "fill_qty",
    "position_qty",
    "filled_qty",
    "avg_fill_price",
    "qty",
    "notional",
    "side",
    "order_type",
    "time_in_force",
    "limit_price",
    "stop_price",
    "extended_hours",
    "replaces_order_id",
    "replaced_by_order_id",
    "submitted_ts_ns",
)
"""Columns in the order of the fields of :class:`OrderEvent`."""
NOT_RECEIVED: Final = "submit_not_received"
"""Why the runtime gave an intent up that the broker never showed; an order that turns up later is adopted."""
_FIELDS: Final = OrderEvent.__struct_fields__[: len(EVENT_COLUMNS)]


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """A stored event that has an arrival's identity."""

    event_seq: int
    content_sha256: bytes
    alpaca_order_id: str | None
    client_order_id: str | None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """What the ingest needs of a stored execution."""

    id: str
    alpaca_order_id: str | None
    symbol: str | None
    side: str | None
    status: str


def lock_head(cursor: Cursor) -> int:
    """Be alone in giving out ``event_seq`` until the transaction ends; returns the newest."""
    row = cursor.execute("SELECT last_event_seq FROM event_seq_head FOR UPDATE").fetchone()
    if row is None:
        raise StoreUnavailableError("event_seq_head has no row; was it migrated?")
    return int(row[0])


def advance_head(cursor: Cursor, seq: int) -> None:
    """Make ``seq`` the newest."""
    cursor.execute("UPDATE event_seq_head SET last_event_seq = %s, updated_at = now()", (seq,))


def known_events(cursor: Cursor, fingerprints: Collection[bytes]) -> dict[bytes, KnownEvent]:
    """Which identities are stored."""
    cursor.execute(
        "SELECT event_fingerprint, event_seq, content_sha256, alpaca_order_id, client_order_id"
        " FROM execution_order_events WHERE event_fingerprint = ANY(%s::bytea[])",
        (arrays.digests(fingerprints),),
        binary=True,
    )
    return {row[0]: KnownEvent(*row[1:]) for row in cursor}


def _looked_up(table: str, columns: str, keys: str, column: str, condition: str = "") -> str:
    """Rows of ``table`` for each (account, id) of ``keys``, found by the index whose first column is ``column``.

    ``OFFSET 0`` keeps the planner from turning the join round, and no other index serves these conditions: which plan
    is made must not depend on what is known about a table that was empty a minute ago.
    """
    return (
        f"SELECT found.* FROM unnest({keys}) k(account, id) CROSS JOIN LATERAL (SELECT {columns} FROM {table} t"  # noqa: S608
        f" WHERE t.{column} = k.id AND t.alpaca_account_label IS NOT DISTINCT FROM k.account{condition} OFFSET 0) found"
    )


_ORDERS: Final = "%(order_accounts)s::text[], %(orders)s::text[]"
_CLIENTS: Final = "%(client_accounts)s::text[], %(clients)s::text[]"
_FOUND: Final = " UNION ALL ".join(
    _looked_up("execution_order_events", "t.event_fingerprint", keys, column)
    for keys, column in (
        (_ORDERS, "alpaca_order_id"),
        (_CLIENTS, "client_order_id"),
        (_ORDERS, "replaces_order_id"),
        (_ORDERS, "replaced_by_order_id"),
    )
)
_RELATED: Final = (
    f"SELECT event_seq, {', '.join(EVENT_COLUMNS)} FROM execution_order_events"  # noqa: S608 - the names are ours
    f" WHERE event_fingerprint IN ({_FOUND})"
).encode()


def related_events(cursor: Cursor, keys: Sequence[OrderKeys]) -> list[tuple[OrderEvent, int]]:
    """All stored events, with their ``event_seq``, of these orders and of all orders connected with them.

    Connected are orders that share a client's id and orders that replace each other. One statement, and one more per
    step along a chain of replacements that was not known before.
    """
    found: dict[bytes, tuple[OrderEvent, int]] = {}
    asked: tuple[set[tuple[str, str]], set[tuple[str, str]]] = (set(), set())
    orders, clients = _keys(keys)
    while orders or clients:
        asked[0].update(orders)
        asked[1].update(clients)
        cursor.execute(_RELATED, _lookup(orders, clients), binary=True)
        new: list[OrderKeys] = []
        for row in cursor:
            event = OrderEvent(**dict(zip(_FIELDS, row[1:], strict=True)))
            if event.fingerprint not in found:
                found[event.fingerprint] = (event, int(row[0]))
                new.append((event.account, event.order_id, event.client_order_id, event.replaces, event.replaced_by))
        orders, clients = _keys(new)
        orders -= asked[0]
        clients -= asked[1]
    return list(found.values())


def _keys(keys: Sequence[OrderKeys]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    orders, clients = set[tuple[str, str]](), set[tuple[str, str]]()
    for account, order, client, replaces, replaced_by in keys:
        for each in (order, replaces, replaced_by):
            if each is not None:
                orders.add((account, each))
        if client is not None:
            clients.add((account, client))
    return orders, clients


def _lookup(orders: Collection[tuple[str, str]], clients: Collection[tuple[str, str]]) -> dict[str, str]:
    """The parameters of a look-up by orders and by client's ids."""
    order_accounts, order_ids = _columns(orders)
    client_accounts, client_ids = _columns(clients)
    return {
        "order_accounts": order_accounts,
        "orders": order_ids,
        "client_accounts": client_accounts,
        "clients": client_ids,
    }


def _columns(pairs: Collection[tuple[str, str]]) -> tuple[str, str]:
    ordered = sorted(pairs)
    return arrays.texts([pair[0] for pair in ordered]), arrays.texts([pair[1] for pair in ordered])


_EXECUTIONS: Final = f"""
SELECT id::text, alpaca_account_label, alpaca_order_id, client_order_id, symbol, side, status FROM executions
WHERE id IN (
    {_looked_up("executions", "t.id", _ORDERS, "alpaca_order_id")}
    UNION ALL
    {_looked_up("executions", "t.id", _CLIENTS, "client_order_id", " AND t.alpaca_order_id IS NULL")}
) ORDER BY executions.id FOR UPDATE
""".encode()  # noqa: S608 - the names of columns are ours


_INTENTS: Final = f"""
SELECT alpaca_account_label, client_order_id, id::text, trade_decision_id::text, strategy_id, intent_seq, state, reason,
    alpaca_order_id
FROM order_intents WHERE id IN (
    SELECT found.id FROM unnest({_CLIENTS}) k(account, id) CROSS JOIN LATERAL (SELECT t.id FROM order_intents t
        WHERE t.alpaca_account_label = k.account AND t.client_order_id = k.id OFFSET 0) found
) ORDER BY order_intents.id
""".encode()  # noqa: S608 - the names of columns are ours


def _links(cursor: Cursor) -> dict[ClientRef, Link]:
    return {(row[0], row[1]): Link(*row[2:]) for row in cursor}


def read_intents(cursor: Cursor, clients: Collection[ClientRef]) -> dict[ClientRef, Link]:
    """The intents that bear these client's ids."""
    return _links(cursor.execute(_INTENTS, _lookup((), clients)))


def lock_orders(
    cursor: Cursor, events: Iterable[OrderEvent], meanwhile: Callable[[], None]
) -> tuple[dict[OrderRef, StoredRow], dict[ClientRef, Link]]:
    """Lock the stored rows of the orders that these events name, then the intents behind them, each by id.

    The keys of intents stay free: a further intent of a decision can be committed meanwhile.

    Args:
        cursor: in the transaction that holds the head.
        events: all events of these orders, stored ones and new ones.
        meanwhile: called once while the server looks; must leave the connection alone.
    """
    orders, clients = set[tuple[str, str]](), set[ClientRef]()
    for event in events:
        if event.order_id is not None:
            orders.add((event.account, event.order_id))
        if event.client_order_id is not None:
            clients.add((event.account, event.client_order_id))
    wanted = _lookup(orders, clients)
    with cursor.connection.cursor() as other:
        with cursor.connection.pipeline():
            cursor.execute(_EXECUTIONS, wanted)
            other.execute(_INTENTS + b"FOR NO KEY UPDATE", wanted)
            meanwhile()
        found = {
            (row[1], row[2], None if row[2] is not None else row[3]): StoredRow(row[0], row[2], *row[4:])
            for row in cursor
        }
        return found, _links(other)


def drop_executions(cursor: Cursor, ids: Sequence[str]) -> None:
    """Remove rows whose events another order's row has taken over."""
    if ids:
        cursor.execute("DELETE FROM executions WHERE id = ANY(%s::uuid[])", (arrays.texts(ids),))


def _intent_state(status: str) -> str:
    if status in TERMINAL:
        return status
    return "partially_filled" if RANKS.get(status) == RANKS["partially_filled"] else "accepted"


def intent_moves(staged: "Sequence[OrderRow]") -> tuple[list[tuple[Link, Order]], set[OrderRef]]:
    """Which intents follow which order, the newest behind each; and the orders that theirs must not follow."""
    behind: dict[str, tuple[Link, list[Order]]] = {}
    was: dict[OrderRef, str | None] = {}
    for row in staged:
        if row.link is not None:
            behind.setdefault(row.link.intent_id, (row.link, []))[1].append(row.order)
            was[row.order.ref] = row.was
    moves, illegal = list[tuple[Link, Order]](), set[OrderRef]()
    for link, orders in behind.values():
        order = newest(orders)
        if _is_legal(link, order, was[order.ref]):
            moves.append((link, order))
        else:
            illegal.add(order.ref)
    return moves, illegal


def _is_legal(link: Link, order: Order, was: str | None) -> bool:
    """Whether an intent may follow an order: not when the runtime ended it for good before any order was known.

    What the fold itself wrote, it may write otherwise: an order's state depends on its events, not on their order.
    """
    if link.state not in TERMINAL or link.order_id is not None or link.reason == NOT_RECEIVED:
        return True
    return link.state == _intent_state(order.state.status) or (was is not None and link.state == _intent_state(was))


_LOCK_DECISIONS: Final = b"""
SELECT count(*) FROM (SELECT 1 FROM trade_decisions WHERE id = ANY(%s::uuid[]) ORDER BY id FOR NO KEY UPDATE) locked
"""


def move_intents(cursor: Cursor, leading: Sequence[tuple[Link, Order]]) -> None:
    """Intents and decisions follow the newest order behind them; an intent that became no order has none.

    Decisions are locked by id before it is looked which intent speaks for them: the runtime may be ending a later one.
    """
    if not leading:
        return
    cursor.execute(
        """
        UPDATE order_intents i SET state = n.state, alpaca_order_id = n.order_id, updated_at = now()
        FROM unnest(%s::uuid[], %s::text[], %s::text[]) n(id, state, order_id)
        WHERE i.id = n.id AND (i.state, i.alpaca_order_id) IS DISTINCT FROM (n.state, n.order_id)
        """,
        (
            arrays.texts([link.intent_id for link, _ in leading]),
            arrays.texts([_intent_state(order.state.status) for _, order in leading]),
            arrays.texts([order.ref[1] for _, order in leading]),
        ),
    )
    deciding = [(link, order.state) for link, order in leading if link.trade_decision_id is not None]
    deciding.sort(key=lambda each: each[0].trade_decision_id or "")
    if not deciding:
        return
    decisions = arrays.texts([link.trade_decision_id for link, _ in deciding])
    cursor.execute(_LOCK_DECISIONS, (decisions,))
    cursor.execute(
        """
        UPDATE trade_decisions d SET status = n.status, executed_at = n.executed_at, updated_at = now()
        FROM unnest(%s::uuid[], %s::integer[], %s::text[], %s::timestamptz[]) n(id, intent_seq, status, executed_at)
        WHERE d.id = n.id AND (d.status, d.executed_at) IS DISTINCT FROM (n.status, n.executed_at)
            AND n.intent_seq = (
                SELECT max(o.intent_seq) FROM order_intents o
                WHERE o.trade_decision_id = n.id AND (o.intent_seq = n.intent_seq OR NOT (
                    o.state = 'rejected' OR o.state IN ('canceled', 'expired') AND o.alpaca_order_id IS NULL))
            )
        """,
        (
            decisions,
            arrays.texts([str(link.intent_seq) for link, _ in deciding]),
            arrays.texts([state.status for _, state in deciding]),
            arrays.texts([_executed_at(state) for _, state in deciding]),
        ),
    )


def _executed_at(state: OrderState) -> str | None:
    return instant_text(state.last_fill_ns) if state.status == "filled" else None


def refresh_costs(cursor: Cursor, executions: Sequence[str]) -> None:
    """Compute the cost analysis of these executions again."""
    if executions:
        cursor.execute(tca.REFRESH, (arrays.texts(executions),))


def count(cursor: Cursor, deltas: Mapping[str, int]) -> None:
    """Add to durable counters."""
    cursor.execute(
        "UPDATE durable_counters c SET value = c.value + d.value, updated_at = now()"
        " FROM unnest(%s::text[], %s::bigint[]) d(name, value) WHERE c.name = d.name",
        (list(deltas), list(deltas.values())),
    )
