"""Orders are looked up by their own id first: with the account first, every such index fits every look-up a little.

Which index serves a look-up must not depend on statistics that a growing table does not have yet (ADR 0120).
"""

from collections.abc import Callable

from alembic import op

revision = "0007_order_lookups"
down_revision = "0006_http_lists"

_ACCOUNT = "alpaca_account_label"
_INDEXES = (
    ("execution_order_events", "alpaca_order_id", None, "", ""),
    ("execution_order_events", "client_order_id", None, "", ""),
    ("execution_order_events", "replaces_order_id", "replaces", "", " WHERE replaces_order_id IS NOT NULL"),
    ("execution_order_events", "replaced_by_order_id", "replaced_by", "", " WHERE replaced_by_order_id IS NOT NULL"),
    ("executions", "client_order_id", None, "", ""),
    ("executions", "client_order_id", "client_only", "UNIQUE ", " WHERE alpaca_order_id IS NULL"),
)
"""Table, its id, a name of its own, uniqueness and condition."""
_MOVING = ("trade_decisions", "order_intents")
"""Tables whose every row is written again as its order goes on."""


def upgrade() -> None:
    """Put the id before the account, and leave room for the next state of each intent and decision on its page."""
    _order(lambda name: (name, _ACCOUNT), lambda name: (_ACCOUNT, name))
    for table in _MOVING:
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")


def downgrade() -> None:
    """Put the account first again."""
    for table in _MOVING:
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
    _order(lambda name: (_ACCOUNT, name), lambda name: (name, _ACCOUNT))


def _order(new: Callable[[str], tuple[str, str]], old: Callable[[str], tuple[str, str]]) -> None:
    for table, column, own_name, unique, condition in _INDEXES:
        former = f"ix_{table}_{own_name or '_'.join(old(column))}"
        op.execute(f"DROP INDEX {former}")
        name = f"ix_{table}_{own_name or '_'.join(new(column))}"
        op.execute(f"CREATE {unique}INDEX {name} ON {table} ({', '.join(new(column))}){condition}")
    op.execute(f"ALTER TABLE executions DROP CONSTRAINT uq_executions_{'_'.join(old('alpaca_order_id'))}")
    columns = new("alpaca_order_id")
    op.execute(f"ALTER TABLE executions ADD CONSTRAINT uq_executions_{'_'.join(columns)} UNIQUE ({', '.join(columns)})")
