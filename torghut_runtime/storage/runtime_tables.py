"""Tables of the trading runtime beside those of orders and of the guard: who may trade for an account now."""

import sqlalchemy as sa

from torghut_runtime.storage.tables import MOMENT, metadata

__all__ = ["metadata", "runtime_lease"]

runtime_lease = sa.Table(
    "runtime_lease",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(128), nullable=False),
    sa.Column("fencing_token", sa.BigInteger, nullable=False),
    sa.Column("expires_at", MOMENT, nullable=False),
    sa.CheckConstraint("fencing_token > 0", name="fencing_token"),
)
"""One row per account label; the token grows with every holder and never falls."""
