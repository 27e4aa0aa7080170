"""Lists by pages, newest first: an opaque cursor is the key of the last row that was looked at.

Rows that arrive meanwhile are newer than the cursor, or belong behind it; no row is shown twice. A page looks at no
more than :data:`LOOK` rows: one that is filtered by what no index knows may be short, or empty, and go on.
"""

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

LIMIT: Final = 200
MOST: Final = 500
LOOK: Final = 20_000


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next page begins: behind this row."""

    at: datetime
    id: uuid.UUID

    def text(self) -> str:
        """The cursor as the client sees it."""
        plain = json.dumps([self.at.astimezone(UTC).isoformat(), str(self.id)], separators=(",", ":"))
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def cursor_of(text: str) -> Cursor:
    """The cursor that a client gave back.

    Raises:
        ValueError: it is none of ours.
    """
    try:
        at, row = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        found = Cursor(datetime.fromisoformat(at), uuid.UUID(row))
        if found.text() != text:
            raise ValueError
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
        raise ValueError("is no cursor that an earlier page gave") from None
    return found


@dataclass(frozen=True)
class Keys:
    """A page of a table: its rows, and where the next one begins."""

    rows: Sequence[sa.RowMapping]
    cursor: Cursor | None


def page_of(
    connection: sa.Connection,
    table: sa.Table,
    *,
    limit: int,
    cursor: Cursor | None,
    indexed: Sequence[sa.ColumnElement[bool]] = (),
    filtered: Sequence[Callable[[sa.FromClause], sa.ColumnElement[bool]]] = (),
) -> Keys:
    """A page of ``table`` by ``created_at`` and ``id``, in the caller's snapshot.

    Args:
        connection: in one REPEATABLE READ transaction.
        table: with both columns and an index on them.
        limit: how many rows.
        cursor: where to begin; at the newest without one.
        indexed: conditions that an index together with ``created_at`` serves.
        filtered: conditions on the rows that were looked at.
    """
    scan = sa.select(table).where(*indexed).order_by(table.c.created_at.desc(), table.c.id.desc())
    if cursor is not None:
        scan = scan.where(sa.tuple_(table.c.created_at, table.c.id) < (cursor.at, cursor.id))
    if not filtered:
        rows = connection.execute(scan.limit(limit + 1)).mappings().all()
        return Keys(rows[:limit], _key(rows[limit - 1]) if len(rows) > limit else None)
    looked = scan.limit(LOOK).subquery(table.name)
    query = (
        sa.select(looked)
        .where(*(each(looked) for each in filtered))
        .order_by(looked.c.created_at.desc(), looked.c.id.desc())
    )
    rows = connection.execute(query.limit(limit + 1)).mappings().all()
    if len(rows) > limit:
        return Keys(rows[:limit], _key(rows[limit - 1]))
    last = connection.execute(scan.with_only_columns(table.c.created_at, table.c.id).offset(LOOK - 1).limit(1))
    found = last.mappings().first()
    return Keys(rows, None if found is None else _key(found))


def _key(row: sa.RowMapping) -> Cursor:
    return Cursor(row["created_at"], row["id"])
