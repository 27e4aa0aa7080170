"""The schema of the database ``torghut``, step by step; run from code, from the installed package, with one head.

``versions/NNNN_title.py`` holds the steps, ``env.py`` is what Alembic calls. Nothing here knows what the tables mean.
"""

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.storage.database import lock_for_transaction

_LOCK: Final = 0x746F7267687574  # "torghut"


def head() -> str:
    """The newest revision."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise AssertionError("there are no migrations")
    return found


def is_at_head(engine: sa.Engine) -> bool:
    """Whether the database has the newest schema.

    Raises:
        StoreUnavailableError: it does not answer.
    """
    with engine.connect() as connection:
        return _revision(connection) == head()


def migrate(engine: sa.Engine) -> None:
    """Bring the database to the newest schema, in one transaction; of several processes one does it, the others wait.

    Raises:
        StoreUnavailableError: it does not answer, refuses, or has a schema that this version does not know.
    """
    if is_at_head(engine):
        return
    with engine.begin() as connection:
        _prepare(connection)
        if _revision(connection) != head():
            command.upgrade(_config(connection), head())


def downgrade(engine: sa.Engine, revision: str) -> None:
    """Take the database back to ``revision`` (``base``: an empty one), in one transaction.

    Raises:
        StoreUnavailableError: it does not answer, refuses, or has a schema that this version does not know.
    """
    with engine.begin() as connection:
        _prepare(connection)
        command.downgrade(_config(connection), revision)


def _prepare(connection: sa.Connection) -> None:
    """Wait for our turn, without the time limits of ordinary work, and look at what is there."""
    connection.execute(sa.text("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '5min'"))
    lock_for_transaction(connection, _LOCK)
    found = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise StoreUnavailableError(f"the database has schema {found}, which this version of torghut does not know")


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
