"""Rows that the ingest transaction writes in bulk: events, executions, fills and dead letters.

Rows come in by COPY; those that may exist already go through a temporary table of the session and one
``INSERT ... SELECT ... ON CONFLICT``.
"""

import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg

from torghut_runtime.order_feed.book import Link, Order
from torghut_runtime.order_feed.state import Fill
from torghut_runtime.order_feed.statements import EVENT_COLUMNS
from torghut_runtime.order_feed.values import instant, instant_text, number_text, utc_date

if TYPE_CHECKING:
    from torghut_runtime.order_feed.ingest import Arrival, Letter

Cursor = psycopg.Cursor[Any]
DETAIL_LENGTH: Final = 2000


@dataclass(slots=True)
class OrderRow:
    """An order on its way into ``executions``."""

    id: str
    order: Order
    link: Link | None
    last_event_seq: int
    was: str | None
    """The stored status; ``None`` for an order that has no row yet."""
    fills: Sequence[Fill]
    """The fills whose rows may differ."""

    @property
    def is_new(self) -> bool:
        """Whether nothing is stored of the order."""
        return self.was is None


@contextmanager
def _copying(cursor: Cursor, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Generator[None]:
    """Rows on their way into ``table``: the server stores them while the block goes on, which waits for it at its end.

    The block must not use the cursor.
    """
    with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)
        yield


def _copy(cursor: Cursor, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with _copying(cursor, table, columns, rows):
        pass


_EVENT_COLUMNS: Final = (
    *EVENT_COLUMNS,
    "event_seq",
    "trading_date",
    "source",
    "source_partition",
    "source_offset",
    "record_ts",
    "event_ts",
    "raw_event",
)


_NUMBERS: Final = (
    slice(EVENT_COLUMNS.index("fill_price"), EVENT_COLUMNS.index("notional") + 1),
    slice(EVENT_COLUMNS.index("limit_price"), EVENT_COLUMNS.index("stop_price") + 1),
)
"""Where an event's numbers are; as text they are copied faster."""


def _event_row(arrival: "Arrival", seq: int) -> list[Any]:
    event = arrival.event
    shown_ns = event.time_ns
    if shown_ns is None:
        shown_ns = event.fallback_ns if event.fallback_ns is not None else arrival.record_ns
    said = list(msgspec.structs.astuple(event)[: len(EVENT_COLUMNS)])
    for numbers in _NUMBERS:
        said[numbers] = map(number_text, said[numbers])
    return [
        *said,
        seq,
        utc_date(shown_ns if shown_ns is not None else time.time_ns()).isoformat(),
        arrival.source,
        arrival.partition,
        arrival.offset,
        instant_text(arrival.record_ns),
        instant_text(event.time_ns),
        arrival.raw.decode(),
    ]


def adding_events(cursor: Cursor, arrivals: "Sequence[tuple[Arrival, int]]") -> AbstractContextManager[None]:
    """Add new events, meanwhile doing the block; their order of insertion is that of ``event_seq``."""
    if not arrivals:
        return nullcontext()
    return _copying(cursor, "execution_order_events", _EVENT_COLUMNS, (_event_row(*each) for each in arrivals))


def replace_events(cursor: Cursor, arrivals: "Sequence[Arrival]") -> None:
    """Give stored identities the content of these arrivals; coordinates and ``event_seq`` stay."""
    content = [name for name in _EVENT_COLUMNS if name not in {"event_fingerprint", "event_seq"}]
    content = [name for name in content if not name.startswith("source")]
    cursor.execute(_stage("execution_order_events", _EVENT_COLUMNS))
    _copy(cursor, "feed_stage_execution_order_events", _EVENT_COLUMNS, (_event_row(arrival, 0) for arrival in arrivals))
    update = (
        f"UPDATE execution_order_events e SET {', '.join(f'{name} = s.{name}' for name in content)}"  # noqa: S608
        " FROM feed_stage_execution_order_events s WHERE e.event_fingerprint = s.event_fingerprint"
    )
    cursor.execute(update.encode())


EXECUTION_VALUES: Final = (
    "alpaca_account_label",
    "alpaca_order_id",
    "client_order_id",
    "intent_id",
    "trade_decision_id",
    "strategy_id",
    "symbol",
    "side",
    "order_type",
    "time_in_force",
    "submitted_qty",
    "notional",
    "limit_price",
    "stop_price",
    "extended_hours",
    "status",
    "filled_qty",
    "avg_fill_price",
    "fills_complete",
    "pending_cancel",
    "pending_replace",
    "replaces_order_id",
    "replaced_by_order_id",
    "submitted_at",
    "acked_at",
    "first_fill_at",
    "last_fill_at",
    "terminal_at",
    "last_update_at",
)
"""Columns of an execution that its events determine."""
_EXECUTION_COLUMNS: Final = ("id", *EXECUTION_VALUES, "last_event_seq")


Moment = Callable[[int | None], datetime | str | None]
Number = Callable[[Decimal | None], Decimal | str | None]


def _itself(number: Decimal | None) -> Decimal | None:
    return number


def execution_values(
    order: Order, link: Link | None, moment: Moment = instant, number: Number = _itself
) -> tuple[Any, ...]:
    """The values of ``EXECUTION_VALUES``, times and numbers as these functions make them."""
    state = order.state
    return (
        order.ref[0],
        order.ref[1],
        order.client_order_id,
        None if link is None else link.intent_id,
        None if link is None else link.trade_decision_id,
        None if link is None else link.strategy_id,
        state.symbol,
        state.side,
        state.order_type,
        state.time_in_force,
        number(state.qty),
        number(state.notional),
        number(state.limit_price),
        number(state.stop_price),
        state.extended_hours,
        state.status,
        number(state.filled_qty),
        number(state.avg_fill_price),
        state.fills_complete,
        state.pending_cancel,
        state.pending_replace,
        state.replaces,
        state.replaced_by,
        moment(state.submitted_ns),
        moment(state.acked_ns),
        moment(state.first_fill_ns),
        moment(state.last_fill_ns),
        moment(state.terminal_ns),
        moment(state.last_update_ns),
    )


def _upsert(table: str, columns: Sequence[str], key: Sequence[str], guard: str = "", *, answer: str = "") -> bytes:
    changing = [name for name in columns if name not in key]
    ours, theirs = (", ".join(f"{side}.{name}" for name in changing) for side in ("t", "excluded"))
    return (
        f"INSERT INTO {table} AS t ({', '.join(columns)}) SELECT {', '.join(columns)} FROM feed_stage_{table}"  # noqa: S608
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in changing)},"
        f" updated_at = now() WHERE ({ours}) IS DISTINCT FROM ({theirs}){guard}{answer}"
    ).encode()


def _stage(table: str, columns: Sequence[str]) -> bytes:
    return (
        f"CREATE TEMP TABLE IF NOT EXISTS feed_stage_{table} ON COMMIT DELETE ROWS AS"  # noqa: S608 - names are ours
        f" SELECT {', '.join(columns)} FROM {table} WITH NO DATA; DELETE FROM feed_stage_{table}"
    ).encode()


def execution_rows(staged: Iterable[OrderRow]) -> list[tuple[Any, ...]]:
    """Orders as :func:`add_executions` takes them."""
    return [_execution_row(row) for row in staged]


def add_executions(cursor: Cursor, new: Sequence[tuple[Any, ...]]) -> None:
    """Add orders that are new.

    A row that was looked for and not found is new: nobody else makes any while ``event_seq_head`` is locked.
    """
    if new:
        _copy(cursor, "executions", _EXECUTION_COLUMNS, new)


def update_executions(cursor: Cursor, staged: Sequence[OrderRow]) -> list[str]:
    """Write the orders that have a row; returns the ids of those that changed."""
    stored = [row for row in staged if not row.is_new]
    if not stored:
        return []
    cursor.execute(_stage("executions", _EXECUTION_COLUMNS))
    _copy(cursor, "feed_stage_executions", _EXECUTION_COLUMNS, map(_execution_row, stored))
    cursor.execute(_upsert("executions", _EXECUTION_COLUMNS, ("id",), answer=" RETURNING id::text"))
    return [row[0] for row in cursor]


def _execution_row(row: OrderRow) -> tuple[Any, ...]:
    return (row.id, *execution_values(row.order, row.link, instant_text, number_text), row.last_event_seq)


FILL_COLUMNS: Final = (
    "alpaca_account_label",
    "broker_execution_id",
    "alpaca_order_id",
    "symbol",
    "side",
    "price",
    "qty",
    "cum_qty",
    "event_ts",
    "state",
    "event_fingerprint",
    "event_seq",
)
_SAME_FILL: Final = (
    " AND (t.event_fingerprint >= excluded.event_fingerprint OR t.alpaca_order_id = excluded.alpaca_order_id)"
)


def fill_values(
    order: Order, fill: Fill, seqs: Mapping[bytes, int], moment: Moment = instant, number: Number = _itself
) -> tuple[Any, ...]:
    """The columns of a fill, times and numbers as these functions make them."""
    return (
        order.ref[0],
        fill.execution_id,
        order.ref[1],
        order.state.symbol,
        order.state.side,
        number(fill.price),
        number(fill.qty),
        number(fill.cum_qty),
        moment(fill.time_ns),
        fill.state,
        fill.fingerprint,
        seqs[fill.fingerprint],
    )


def fill_rows(staged: Sequence[OrderRow], seqs: Mapping[bytes, int]) -> list[tuple[Any, ...]]:
    """The executions of orders. One id in two orders of an account is one fill: the smaller fingerprint's."""
    rows: dict[tuple[str, str], tuple[bytes, tuple[Any, ...]]] = {}
    for row in staged:
        for fill in row.fills:
            key = (row.order.ref[0], fill.execution_id)
            if key not in rows or fill.fingerprint < rows[key][0]:
                rows[key] = (fill.fingerprint, fill_values(row.order, fill, seqs, instant_text, number_text))
    return [values for _, values in rows.values()]


def write_fills(cursor: Cursor, fills: Sequence[tuple[Any, ...]]) -> None:
    """Write what :func:`fill_rows` made."""
    if not fills:
        return
    cursor.execute(_stage("order_fills", FILL_COLUMNS))
    _copy(cursor, "feed_stage_order_fills", FILL_COLUMNS, fills)
    cursor.execute(_upsert("order_fills", FILL_COLUMNS, FILL_COLUMNS[:2], guard=_SAME_FILL))


_LETTER_COLUMNS: Final = (
    "id",
    "source",
    "source_partition",
    "source_offset",
    "record_ts",
    "record_key",
    "record_value",
    "reason",
    "error_detail",
)


def write_letters(cursor: Cursor, letters: "Sequence[Letter]") -> None:
    """Keep records that are no events, byte by byte."""
    _copy(
        cursor,
        "feed_dead_letters",
        _LETTER_COLUMNS,
        (
            (
                uuid.uuid4(),
                letter.source,
                letter.partition,
                letter.offset,
                instant(letter.record_ns),
                letter.key,
                letter.value,
                letter.reason,
                letter.detail.replace("\0", "\\0")[:DETAIL_LENGTH],
            )
            for letter in letters
        ),
    )
