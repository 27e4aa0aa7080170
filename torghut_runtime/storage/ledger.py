"""The governance ledger: append-only, hash-chained, in PostgreSQL (contract ``lane.md`` 8).

A row's hash is ``sha256(prev_hash ‖ canonical JSON of {seq, kind, subject, at, actor, body})``, where ``prev_hash`` is
the previous row's hash as 64 hexadecimal digits, of the first row 64 zeros. The one-row head table holds the newest
row's number and hash: whoever appends locks it, and a ledger whose end was cut off does not agree with it. What a body
means is its writer's business.

The chain shows every change by someone who does not rewrite it from there to the end, head included. Against that a
promotion's provenance, outside the database, names number and hash of its row.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from torghut_runtime.canonical import canonical_value, compact_json, sha256_hex
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.tables import LEDGER_KINDS, LedgerKind, governance_ledger, governance_ledger_head

GENESIS: Final = "0" * 64
"""What the first row names as its predecessor's hash."""
_ROWS_AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class LedgerRow:
    """One fact of the ledger; ``at`` is in UTC."""

    seq: int
    kind: LedgerKind
    subject: str
    at: datetime
    actor: str
    body: Mapping[str, Any]
    prev_hash: str
    hash: str


@dataclass(frozen=True)
class Verification:
    """What recomputing the chain found; ``reason`` is ``None`` when it is intact."""

    rows: int
    first_broken_seq: int | None = None
    reason: str | None = None


def append(
    connection: sa.Connection,
    *,
    kind: LedgerKind,
    subject: str,
    actor: str,
    body: Mapping[str, Any],
    at: datetime | None = None,
) -> LedgerRow:
    """Add a row, in the caller's transaction where there is one; others wait until that ends.

    Args:
        connection: of the database ``torghut``.
        kind: what sort of fact it is.
        subject: name of the candidate, strategy or control it is about.
        actor: who did it.
        body: what has a canonical form (``torghut_runtime.canonical``).
        at: when it happened, with a time zone; the database's clock when left out.

    Raises:
        ValueError: an unknown kind, an empty subject or actor, a naive time, a NaN.
        StoreUnavailableError: the head could not be locked in time, or is missing.
    """
    if kind not in LEDGER_KINDS:
        raise ValueError(f"a ledger row's kind is one of {', '.join(LEDGER_KINDS)}, was {kind!r}")
    if not subject or not actor:
        raise ValueError("a ledger row needs a subject and an actor")
    if at is not None and at.tzinfo is None:
        raise ValueError(f"a ledger row's time needs a time zone, was {at.isoformat()}")
    text = compact_json(body).decode()
    with transaction(connection):
        seq, prev_hash = lock_head(connection)
        # what is hashed is what PostgreSQL gives back: jsonb normalises numbers such as 1e+22
        stored = connection.execute(
            sa.select(
                sa.cast(sa.cast(text, sa.Text), governance_ledger.c.body.type).label("body"),
                sa.func.coalesce(sa.cast(at, governance_ledger.c.at.type), sa.func.clock_timestamp()).label("at"),
            )
        ).one()
        values: tuple[Any, ...] = (seq + 1, kind, subject, stored.at, actor, stored.body)
        row = LedgerRow(*values, prev_hash=prev_hash, hash=_hash(prev_hash, *values))
        connection.execute(
            sa.insert(governance_ledger).values(
                seq=row.seq,
                kind=row.kind,
                subject=row.subject,
                at=row.at,
                actor=row.actor,
                body=row.body,
                prev_hash=row.prev_hash,
                hash=row.hash,
            )
        )
        connection.execute(sa.update(governance_ledger_head).values(seq=row.seq, hash=row.hash))
    return row


def lock_head(connection: sa.Connection) -> tuple[int, str]:
    """Be alone in changing what is recorded until the transaction ends; returns number and hash of the newest row.

    Raises:
        StoreUnavailableError: another transaction kept it for longer than the lock time limit, or the head is missing.
    """
    head = governance_ledger_head
    found = connection.execute(sa.select(head.c.seq, head.c.hash).with_for_update()).one_or_none()
    if found is None:
        raise StoreUnavailableError("the ledger's head row is missing; `torghut ledger verify` says more")
    return found.seq, found.hash


def verify(connection: sa.Connection) -> Verification:
    """Recompute the chain from its first row to its head, row by row, in one snapshot."""
    head, table = governance_ledger_head, governance_ledger
    query = (
        sa.select(
            head.c.seq.label("head_seq"),
            head.c.hash.label("head_hash"),
            *(column for column in table.c if column is not table.c.body),
            sa.cast(table.c.body, sa.Text).label("body_text"),
        )
        .select_from(head.outerjoin(table, sa.true()))
        .order_by(table.c.seq)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    last_seq, last_hash = 0, GENESIS
    head_seq, head_hash = None, ""
    with connection.execute(query) as found:
        for item in found:
            head_seq, head_hash = item.head_seq, item.head_hash
            if item.seq is None:
                continue
            reason = _fault(item, last_seq, last_hash)
            if reason is not None:
                return Verification(last_seq, last_seq + 1, reason)
            last_seq, last_hash = item.seq, item.hash
    return _against_head(last_seq, last_hash, head_seq, head_hash)


def _fault(row: sa.Row[Any], last_seq: int, last_hash: str) -> str | None:
    if row.seq != last_seq + 1:
        return f"the row is missing; row {row.seq} follows"
    if row.prev_hash != last_hash:
        return "the row does not name the hash of the row before it"
    try:
        body = json.loads(row.body_text, parse_float=_exact_float)
        given = _hash(row.prev_hash, row.seq, row.kind, row.subject, row.at, row.actor, body)
    except ValueError:
        given = None
    if row.hash != given:
        return "the row's content does not give its hash"
    return None


def _exact_float(text: str) -> float:
    """The float that ``text`` is, when no digit of it is lost in the canonical form: what hashing would not see.

    Raises:
        ValueError: one is, so :func:`append` has not written it.
    """
    value = float(text)
    if Decimal(text) != Decimal(repr(canonical_value(value))):
        raise ValueError(f"{text} is no canonical number")
    return value


def _against_head(last_seq: int, last_hash: str, head_seq: int | None, head_hash: str) -> Verification:
    if head_seq is None:
        return Verification(last_seq, None, "the head row is missing")
    if head_seq > last_seq:
        return Verification(last_seq, last_seq + 1, f"rows are missing at the end; the head names row {head_seq}")
    if head_seq < last_seq:
        return Verification(last_seq, head_seq + 1, f"the row is newer than the head, which names row {head_seq}")
    if head_hash != last_hash:
        return Verification(last_seq, last_seq or None, "the head names another hash")
    return Verification(last_seq)


def history(connection: sa.Connection, subject: str) -> list[LedgerRow]:
    """All rows about ``subject``, oldest first."""
    table = governance_ledger
    query = sa.select(table).where(table.c.subject == subject).order_by(table.c.seq)
    return [_row(item) for item in connection.execute(query)]


def rows_about(connection: sa.Connection, subject: str, kind: LedgerKind) -> list[LedgerRow]:
    """All rows of one kind about ``subject``, oldest first."""
    table = governance_ledger
    query = sa.select(table).where(table.c.subject == subject, table.c.kind == kind).order_by(table.c.seq)
    return [_row(item) for item in connection.execute(query)]


def is_untouched(row: LedgerRow) -> bool:
    """Whether a row's content gives its hash; whether the chain holds is :func:`verify`'s question."""
    return row.hash == _hash(row.prev_hash, row.seq, row.kind, row.subject, row.at, row.actor, row.body)


def _row(item: sa.Row[Any]) -> LedgerRow:
    return LedgerRow(item.seq, item.kind, item.subject, item.at, item.actor, item.body, item.prev_hash, item.hash)


def _hash(prev_hash: str, seq: int, kind: str, subject: str, at: datetime, actor: str, body: Mapping[str, Any]) -> str:
    content = {"seq": seq, "kind": kind, "subject": subject, "at": at, "actor": actor, "body": body}
    return sha256_hex(prev_hash.encode() + compact_json(content))
