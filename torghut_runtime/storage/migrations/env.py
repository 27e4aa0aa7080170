"""What Alembic runs to migrate: the connection, and its transaction, come from the caller."""

from alembic import context

from torghut_runtime.storage import guard_tables, order_tables
from torghut_runtime.storage.tables import metadata

REGISTERED = (guard_tables, order_tables)
"""Modules whose import adds their tables to the metadata."""

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, compare_type=True, compare_server_default=True)
context.run_migrations()
