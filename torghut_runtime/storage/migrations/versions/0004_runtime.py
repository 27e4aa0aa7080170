"""The trading runtime: its lease, and what an intent holds back."""

from alembic import op

revision = "0004_runtime"
down_revision = "0003_order_feed"


def upgrade() -> None:
    """Make the lease; intents remember whether they are exits and what a share is reserved at."""
    op.execute(
        """
CREATE TABLE runtime_lease (
    name VARCHAR(64) NOT NULL,
    holder VARCHAR(128) NOT NULL,
    fencing_token BIGINT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_runtime_lease PRIMARY KEY (name),
    CONSTRAINT ck_runtime_lease_fencing_token CHECK (fencing_token > 0)
)
"""
    )
    op.execute("ALTER TABLE order_intents ADD COLUMN is_exit BOOLEAN DEFAULT false NOT NULL")
    op.execute("ALTER TABLE order_intents ADD COLUMN worst_price NUMERIC(28, 10)")


def downgrade() -> None:
    """Remove them."""
    op.execute("ALTER TABLE order_intents DROP COLUMN worst_price")
    op.execute("ALTER TABLE order_intents DROP COLUMN is_exit")
    op.drop_table("runtime_lease")
