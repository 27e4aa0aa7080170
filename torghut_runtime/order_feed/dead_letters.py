"""Dead letters: tried again one by one, or put aside with a note. Their bytes are never changed or removed."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy as sa

from torghut_runtime.order_feed.envelope import Rejected, decode
from torghut_runtime.order_feed.ingest import Arrival, cursor_of, ingest_batch
from torghut_runtime.order_feed.session import kind_of
from torghut_runtime.order_feed.values import nanoseconds_of
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.ledger import append
from torghut_runtime.storage.order_tables import feed_dead_letters as letters


@dataclass(frozen=True)
class Selection:
    """Which letters; no condition selects all open ones."""

    reasons: tuple[str, ...] = ()
    ids: tuple[uuid.UUID, ...] = ()
    since: datetime | None = None
    limit: int | None = None


@dataclass
class Outcome:
    """What became of the selected letters."""

    selected: int = 0
    replayed: int = 0
    duplicate: int = 0
    failed: int = 0
    discarded: int = 0
    letters: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def select(connection: sa.Connection, selection: Selection) -> list[sa.Row[Any]]:
    """The letters that match, oldest first: open ones, and what was replayed before where ids are given."""
    states = ("open", "replayed", "duplicate") if selection.ids else ("open",)
    query = sa.select(letters).where(letters.c.state.in_(states))
    if selection.reasons:
        query = query.where(letters.c.reason.in_(selection.reasons))
    if selection.ids:
        query = query.where(letters.c.id.in_(selection.ids))
    if selection.since is not None:
        query = query.where(letters.c.created_at >= selection.since)
    query = query.order_by(letters.c.created_at, letters.c.source, letters.c.source_partition, letters.c.source_offset)
    with transaction(connection):
        return list(connection.execute(query.limit(selection.limit)).all())


def replay(
    connection: sa.Connection,
    selected: Sequence[sa.Row[Any]],
    account_label: str,
    *,
    listen: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Try letters again, each in its own transaction; the event keeps the letter's coordinates."""
    outcome = Outcome(selected=len(selected))
    for number, letter in enumerate(selected, start=1):
        state, reason, detail, seq = _try(connection, letter, account_label)
        if state == "open":
            _note_failure(connection, letter.id, reason, detail)
        outcome.replayed += state == "replayed"
        outcome.duplicate += state == "duplicate"
        outcome.failed += state == "open"
        outcome.letters.append({"id": str(letter.id), "state": state, "reason": reason, "event_seq": seq})
        if listen is not None:
            listen(number, len(selected))
    return outcome


def _note_failure(connection: sa.Connection, letter: uuid.UUID, reason: str, detail: str) -> None:
    with transaction(connection):
        connection.execute(
            sa.update(letters)
            .where(letters.c.id == letter, letters.c.state == "open")
            .values(
                reason=reason,
                error_detail=detail,
                attempts=letters.c.attempts + 1,
                last_attempt_at=sa.func.now(),
                updated_at=sa.func.now(),
            )
        )


def _try(connection: sa.Connection, letter: sa.Row[Any], account_label: str) -> tuple[str, str, str, int | None]:
    """State, reason, detail and ``event_seq`` of one more attempt."""
    value = None if letter.record_value is None else bytes(letter.record_value)
    record_ns = None if letter.record_ts is None else nanoseconds_of(letter.record_ts)
    event = decode(value, account_label=account_label, record_ns=record_ns)
    if isinstance(event, Rejected):
        return "open", event.reason, event.detail[:2000], None
    arrival = Arrival(event, value or b"", letter.source, letter.source_partition, letter.source_offset, record_ns)
    try:
        with transaction(connection):
            done = ingest_batch(cursor_of(connection), [arrival])
            state = "replayed" if done.persisted else "duplicate"
            seq = done.seqs[event.fingerprint]
            connection.execute(
                sa.update(letters)
                .where(letters.c.id == letter.id)
                .values(
                    state=state,
                    attempts=letters.c.attempts + 1,
                    last_attempt_at=sa.func.now(),
                    replayed_event_seq=seq,
                    updated_at=sa.func.now(),
                )
            )
        return state, letter.reason, letter.error_detail, seq
    except psycopg.Error as error:
        if kind_of(error) not in {"content", "other"}:
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        return "open", "database_rejected", f"{error.sqlstate}: {lines[0]}"[:2000], None


def discard(connection: sa.Connection, selected: Sequence[sa.Row[Any]], note: str, actor: str) -> Outcome:
    """Put letters aside; who did it and why is a record of the governance ledger."""
    ids = [letter.id for letter in selected]
    with transaction(connection):
        connection.execute(
            sa.update(letters)
            .where(letters.c.id.in_(ids), letters.c.state == "open")
            .values(state="discarded", note=note, updated_at=sa.func.now())
        )
        if ids:
            append(
                connection,
                kind="operator_action",
                subject="order-feed",
                actor=actor,
                body={"action": "discard_dead_letters", "note": note, "letters": [str(each) for each in ids]},
            )
    return Outcome(
        selected=len(ids),
        discarded=len(ids),
        letters=[{"id": str(letter.id), "state": "discarded", "reason": letter.reason} for letter in selected],
    )
