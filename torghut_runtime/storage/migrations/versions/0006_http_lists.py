"""Indexes by which HTTP pages through decisions, intents and executions from the newest on."""

from alembic import op

revision = "0006_http_lists"
down_revision = "0005_engine"

_TABLES = ("trade_decisions", "order_intents", "executions")


def upgrade() -> None:
    """One index each; the identifier decides between rows of one transaction."""
    for table in _TABLES:
        op.execute(f"CREATE INDEX ix_{table}_created_at_id ON {table} (created_at, id)")


def downgrade() -> None:
    """Drop them."""
    for table in _TABLES:
        op.execute(f"DROP INDEX ix_{table}_created_at_id")
