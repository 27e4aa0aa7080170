"""The database a command reads: that of DB_DSN, or the embedded one, started only while the command runs."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa


@contextmanager
def connection() -> "Generator[sa.Connection]":
    """An open connection to the database ``torghut``.

    Raises:
        StoreUnavailableError: PostgreSQL cannot be started or reached.
    """
    from torghut_runtime.settings import load_settings
    from torghut_runtime.storage.database import connect, create_engine
    from torghut_runtime.storage.embedded import ensure_database

    with ensure_database(load_settings()) as dsn, connect(create_engine(dsn)) as opened:
        yield opened
