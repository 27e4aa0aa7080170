"""Control records: what the runtime finds about its risk limits, executions and reconciliation. Append-only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa

from torghut_runtime.storage.guard_tables import control_records

ControlKind = Literal["risk", "execution", "reconciliation"]
CONTROL_KINDS: Final[tuple[ControlKind, ...]] = get_args(ControlKind)
ControlVerdict = Literal["pass", "fail"]


def _newest_of(kind: ControlKind) -> sa.Select[tuple[int, str, str, datetime, timedelta]]:
    table = control_records
    age = (sa.func.clock_timestamp() - table.c.at).label("age")
    newest = (
        sa.select(table.c.id, table.c.kind, table.c.verdict, table.c.at, age)
        .where(table.c.kind == kind)
        .order_by(table.c.at.desc(), table.c.id.desc())
        .limit(1)
        .subquery()
    )
    return sa.select(newest)


_NEWEST: Final = sa.union_all(*(_newest_of(kind) for kind in CONTROL_KINDS))


@dataclass(frozen=True)
class ControlRecord:
    """One finding; ``age`` is measured by the database's clock."""

    id: int
    kind: ControlKind
    verdict: ControlVerdict
    at: datetime
    age: timedelta


def record_control(
    connection: sa.Connection,
    kind: ControlKind,
    verdict: ControlVerdict,
    body: Mapping[str, Any],
    *,
    at: datetime | None = None,
) -> int:
    """Append a record, in the caller's transaction where there is one; returns its id. Without ``at``: now."""
    values = {"kind": kind, "verdict": verdict, "body": body, **({} if at is None else {"at": at})}
    statement = sa.insert(control_records).values(**values)
    return connection.execute(statement.returning(control_records.c.id)).scalar_one()


def newest_controls(connection: sa.Connection) -> dict[ControlKind, ControlRecord]:
    """The newest record of each kind."""
    rows = connection.execute(_NEWEST)
    return {row.kind: ControlRecord(row.id, row.kind, row.verdict, row.at, row.age) for row in rows}
