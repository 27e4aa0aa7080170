"""Incidents: opened when something went wrong, closed when it is settled; while one is open nothing is promoted."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from torghut_runtime.storage.guard_tables import incidents


@dataclass(frozen=True)
class Incident:
    """An open incident."""

    id: int
    opened_at: datetime
    opened_by: str
    reason: str


def open_incident(connection: sa.Connection, *, reason: str, actor: str) -> int:
    """Open an incident, in the caller's transaction where there is one; returns its id."""
    statement = sa.insert(incidents).values(reason=reason, opened_by=actor)
    return connection.execute(statement.returning(incidents.c.id)).scalar_one()


def close_incident(connection: sa.Connection, incident_id: int, *, actor: str) -> bool:
    """Close an incident; whether it was open."""
    statement = (
        sa.update(incidents)
        .where(incidents.c.id == incident_id, incidents.c.closed_at.is_(None))
        .values(closed_at=sa.func.clock_timestamp(), closed_by=actor)
    )
    return connection.execute(statement).rowcount == 1


def open_incidents(connection: sa.Connection) -> list[Incident]:
    """All open incidents, oldest first."""
    table = incidents
    columns = (table.c.id, table.c.opened_at, table.c.opened_by, table.c.reason)
    rows = connection.execute(sa.select(*columns).where(table.c.closed_at.is_(None)).order_by(table.c.id))
    return [Incident(row.id, row.opened_at, row.opened_by, row.reason) for row in rows]
