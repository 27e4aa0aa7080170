"""Freezes of promotion (``guard_freezes``), and whether anything freezes it now.

A freeze is opened by the runtime when trading halts, or by a person, and lifted by a person only.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from torghut_runtime.storage.guard_tables import guard_freezes, incidents, trading_state

TRADING_HALTED: Final = "trading_halted"
TRADING_UNREADABLE: Final = "trading_state_unreadable"
INCIDENT_OPEN: Final = "incident_open"
_KNOWN_STATES: Final = ("ACTIVE", "REDUCING", "HALTED")
# built once: every decision about a promotion stage asks
_CAUSES: Final = sa.select(
    sa.exists().where(trading_state.c.state == "HALTED"),
    sa.exists().where(trading_state.c.state.not_in(_KNOWN_STATES)),
    sa.exists().where(incidents.c.closed_at.is_(None)),
    sa.select(guard_freezes.c.cause)
    .where(guard_freezes.c.lifted_at.is_(None))
    .order_by(guard_freezes.c.id)
    .limit(1)
    .scalar_subquery(),
)


@dataclass(frozen=True)
class Freeze:
    """An open freeze."""

    id: int
    cause: str
    reason: str
    opened_at: datetime
    opened_by: str


def open_freeze(connection: sa.Connection, *, cause: str, reason: str, actor: str) -> int:
    """Open a freeze, in the caller's transaction where there is one; returns its id."""
    statement = sa.insert(guard_freezes).values(cause=cause, reason=reason, opened_by=actor)
    return connection.execute(statement.returning(guard_freezes.c.id)).scalar_one()


def open_freezes(connection: sa.Connection) -> list[Freeze]:
    """All open freezes, oldest first."""
    table = guard_freezes
    columns = (table.c.id, table.c.cause, table.c.reason, table.c.opened_at, table.c.opened_by)
    rows = connection.execute(sa.select(*columns).where(table.c.lifted_at.is_(None)).order_by(table.c.id))
    return [Freeze(row.id, row.cause, row.reason, row.opened_at, row.opened_by) for row in rows]


def lift_freezes(connection: sa.Connection, *, actor: str, reason: str) -> list[int]:
    """Lift every open freeze; returns their ids. Whether that may be done is the caller's to know."""
    statement = (
        sa.update(guard_freezes)
        .where(guard_freezes.c.lifted_at.is_(None))
        .values(lifted_at=sa.func.clock_timestamp(), lifted_by=actor, lift_reason=reason)
        .returning(guard_freezes.c.id)
    )
    return sorted(connection.execute(statement).scalars())


def trading_halted(connection: sa.Connection) -> bool:
    """Whether trading is halted for any account."""
    return connection.execute(sa.select(sa.exists().where(trading_state.c.state == "HALTED"))).scalar_one()


def freeze_cause(connection: sa.Connection) -> str | None:
    """Why promotion is frozen: the first of halted trading, unreadable state, open incident, open freeze.

    ``None`` when it is not, also where no runtime ever ran.
    """
    halted, unreadable, incident, cause = connection.execute(_CAUSES).one()
    if halted:
        return TRADING_HALTED
    if unreadable:
        return TRADING_UNREADABLE
    return INCIDENT_OPEN if incident else cause
