"""Database sessions of the ingest: limits that let no frozen driver hold a lock for long, and what errors mean.

A connection here may be lost at any moment; :func:`kind_of` says whether trying again can help.
"""

from contextlib import suppress
from typing import Final, Literal

import psycopg
import sqlalchemy as sa

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.settings import database_url
from torghut_runtime.storage.database import create_engine

_LIMITS: Final = (
    "-c synchronous_commit=on -c lock_timeout=2s -c statement_timeout=10s -c idle_in_transaction_session_timeout=5s"
    " -c jit=off -c max_parallel_workers_per_gather=0"
    " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
)
_KEEP_ALIVE: Final = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_CONTENT_CLASSES: Final = frozenset({"22", "23", "54"})
_STATE_CLASSES: Final = frozenset({"08", "25", "40", "53", "55", "57", "58"})

ErrorKind = Literal["content", "connection", "lock", "timeout", "server", "other"]


def ingest_engine(dsn: str) -> sa.Engine:
    """An engine whose sessions commit durably, wait at most 2 s for a lock and 10 s for a statement.

    Rows are always found by index, one by one: a plan that was made while a table was empty must neither scan nor hash
    it when it is not.
    """
    url = database_url(dsn)
    own = url.query.get("options", "")
    options = f"{own if isinstance(own, str) else ' '.join(own)} {_LIMITS}".strip()
    return create_engine(
        url.update_query_dict({**_KEEP_ALIVE, "options": options}).render_as_string(hide_password=False)
    )


class Session:
    """The one connection of a driver, made when it is needed and again after it was lost."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None

    def connection(self) -> sa.Connection:
        """The connection, open.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        if self._connection is None or self._connection.closed or self._connection.invalidated:
            self._connection = self._engine.connect()
        return self._connection

    def roll_back(self) -> None:
        """Leave a transaction that failed."""
        if self._connection is not None and self._connection.in_transaction():
            with suppress(Exception):
                self._connection.rollback()

    def drop(self) -> None:
        """Leave the server, whatever state the connection is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.invalidate()
            with suppress(Exception):
                connection.close()


def kind_of(error: BaseException) -> ErrorKind:
    """What sort of failure an error of an ingest transaction is.

    ``content`` comes from the rows themselves, ``other`` from who knows what; the rest goes away by itself.
    """
    if isinstance(error, StoreUnavailableError):
        return "connection"
    if not isinstance(error, psycopg.Error):
        return "other"
    state = error.sqlstate
    if state is None:
        return "connection" if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else "other"
    if state[:2] in _CONTENT_CLASSES:
        return "content"
    if state in {"55P03", "40P01", "40001"}:
        return "lock"
    if state in {"57014", "25P03"}:
        return "timeout"
    if state[:2] == "08":
        return "connection"
    return "server" if state[:2] in _STATE_CLASSES else "other"
