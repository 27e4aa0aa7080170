"""The lease of an account: one process at a time may trade for it, and the database refuses whoever held it before.

Time is the database's. A holder renews well before expiry and stops submitting before it by its own monotonic clock,
which is its business; here a token that is no longer the newest fails in the transaction that would have used it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.runtime_tables import runtime_lease

TTL: Final = timedelta(seconds=10)
HELD_LEASE: Final = """
SELECT 1 / count(*) FROM (
    SELECT 1 FROM runtime_lease WHERE name = %(name)s AND fencing_token = %(token)s FOR SHARE
) held
"""
"""What :func:`check_token` asks, for who sends it together with all that follows: a lease that is not held divides by
zero, and the server does nothing of the rest, the commit included."""


class LeaseLostError(Exception):
    """A transaction of a process whose lease somebody else has taken since; nothing of it was done."""


@dataclass(frozen=True)
class Lease:
    """A lease that is held; ``fencing_token`` goes into every record of its holder."""

    name: str
    holder: str
    fencing_token: int
    expires_at: datetime


def acquire(connection: sa.Connection, name: str, holder: str, ttl: timedelta = TTL) -> Lease | None:
    """Take the lease of an account with a new token, or ``None`` while somebody holds it.

    The same holder (a name that no other process has) takes it again at once.
    """
    table, now = runtime_lease, sa.func.clock_timestamp()
    statement = insert(table).values(name=name, holder=holder, fencing_token=1, expires_at=now + ttl)
    statement = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": holder, "fencing_token": table.c.fencing_token + 1, "expires_at": now + ttl},
        where=(table.c.expires_at <= now) | (table.c.holder == holder),
    ).returning(table.c.fencing_token, table.c.expires_at)
    with transaction(connection):
        row = connection.execute(statement).first()
    return None if row is None else Lease(name, holder, row.fencing_token, row.expires_at)


def renew(connection: sa.Connection, lease: Lease, ttl: timedelta = TTL) -> Lease:
    """Extend a lease that is still the newest, expired or not.

    Raises:
        LeaseLostError: somebody else has taken it.
    """
    table = runtime_lease
    statement = (
        sa.update(table)
        .where(table.c.name == lease.name, table.c.fencing_token == lease.fencing_token)
        .values(expires_at=sa.func.clock_timestamp() + ttl)
        .returning(table.c.expires_at)
    )
    with transaction(connection):
        expires_at = connection.execute(statement).scalar()
    if expires_at is None:
        raise LeaseLostError(f"the lease of {lease.name} has a newer token than {lease.fencing_token}")
    return Lease(lease.name, lease.holder, lease.fencing_token, expires_at)


def release(connection: sa.Connection, lease: Lease) -> None:
    """Let a lease expire now, if it is still ours; the token stays, so that the next one is larger."""
    table = runtime_lease
    with transaction(connection):
        connection.execute(
            sa.update(table)
            .where(table.c.name == lease.name, table.c.fencing_token == lease.fencing_token)
            .values(expires_at=sa.func.clock_timestamp())
        )


def check_token(connection: sa.Connection, lease: Lease) -> None:
    """Hold the lease's row until the caller's transaction ends, so that nobody takes it meanwhile.

    Raises:
        LeaseLostError: the token is no longer the newest.
    """
    table = runtime_lease
    statement = sa.select(table.c.fencing_token).where(table.c.name == lease.name).with_for_update(read=True)
    if connection.execute(statement).scalar() != lease.fencing_token:
        raise LeaseLostError(f"the lease of {lease.name} has a newer token than {lease.fencing_token}")
