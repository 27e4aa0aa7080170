"""Incidents: opened when something went wrong, closed when it is settled; while one is open nothing is promoted.

Those of the runtime name their account in ``detail`` and are closed by the runtime alone, when trading is ACTIVE again.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from torghut_runtime.storage.guard_tables import incidents

ACCOUNT: Final = "account_label"


def open_incident(
    connection: sa.Connection, *, reason: str, actor: str, detail: Mapping[str, Any] | None = None
) -> int:
    """Open an incident, in the caller's transaction where there is one; returns its id."""
    statement = sa.insert(incidents).values(reason=reason, opened_by=actor, detail=dict(detail or {}))
    return connection.execute(statement.returning(incidents.c.id)).scalar_one()


# Of one account ------------------------------------------------------------------------------------------------------


def extend_incidents(connection: sa.Connection, account_label: str, detail: Mapping[str, Any]) -> int:
    """Add to the detail of an account's open incidents, newer values in place of older ones; returns how many."""
    statement = _open_of(account_label).values(detail=incidents.c.detail.op("||")(sa.cast(dict(detail), _JSON)))
    return connection.execute(statement).rowcount


def close_incidents(connection: sa.Connection, account_label: str, *, actor: str) -> list[int]:
    """Close an account's open incidents; returns their ids."""
    statement = _open_of(account_label).values(closed_at=sa.func.clock_timestamp(), closed_by=actor)
    return sorted(connection.execute(statement.returning(incidents.c.id)).scalars())


def _open_of(account_label: str) -> sa.Update:
    return sa.update(incidents).where(
        incidents.c.closed_at.is_(None), incidents.c.detail[ACCOUNT].astext == account_label
    )


_JSON: Final = incidents.c.detail.type
