"""What Alembic runs to migrate: the connection, and its transaction, come from the caller."""

from alembic import context

from torghut_runtime.storage.order_tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, compare_type=True, compare_server_default=True)
context.run_migrations()
