"""How torghut talks to PostgreSQL: engine, connection, transaction, time limits, and what its errors become.

Tables stand in ``tables``; starting a server is ``embedded``'s business. A driver's error that a user can do something
about becomes a :class:`StoreUnavailableError` wherever it is raised, without statement, parameters or password; one
that only a defect can cause (a violated constraint, wrong SQL) stays what it is.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import psycopg.errors
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.pool import NullPool

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.settings import database_url

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 60_000
LOCK_TIMEOUT_MS: Final = 20_000

_TOLD: Final = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
_HINTS: Final[dict[type[psycopg.Error], str]] = {
    psycopg.errors.UndefinedTable: "bring the database to the newest schema with `torghut-runtime migrate`",
    psycopg.errors.InsufficientPrivilege: "the role needs to own the database torghut",
}


def create_engine(dsn: str) -> sa.Engine:
    """An engine for ``dsn``, a ``postgresql://`` URL; nothing connects yet.

    Connections are closed when they are given back, so an engine needs no disposal. Sessions run in UTC, and give up
    on a server that does not answer within 5 s, a lock not granted within 20 s and a statement that takes over 60 s.

    Raises:
        ValueError: ``dsn`` is no such URL.
    """
    url = database_url(dsn)
    limits = f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
    own = url.query.get("options", "")
    options = f"{limits} {own if isinstance(own, str) else ' '.join(own)}".rstrip()
    arguments: dict[str, Any] = {"options": options, "application_name": "torghut"}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT_S
    engine = sa.create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    event.listen(engine, "handle_error", _translate)
    return engine


def reading_engine(dsn: str) -> sa.Engine:
    """An engine whose sessions give up within two seconds."""
    limits = {"options": "-c statement_timeout=2s -c lock_timeout=2s", "connect_timeout": "2"}
    return create_engine(database_url(dsn).update_query_dict(limits).render_as_string(hide_password=False))


@contextmanager
def connect(engine: sa.Engine) -> Generator[sa.Connection]:
    """An open connection; what was not committed is committed at the end, or rolled back when the block raises.

    Raises:
        StoreUnavailableError: the server does not answer, or ends the connection.
    """
    with engine.connect() as connection:
        yield connection
        connection.commit()


@contextmanager
def transaction(connection: sa.Connection) -> Generator[sa.Connection]:
    """A block that takes effect as a whole or not at all.

    Committed at the end when nothing was open, a savepoint of the caller's transaction otherwise. Reading opens a
    transaction, too: ``connection.commit()`` ends it.
    """
    with connection.begin_nested() if connection.in_transaction() else connection.begin():
        yield connection


def lock_for_transaction(connection: sa.Connection, key: int) -> None:
    """Wait for the advisory lock ``key`` (64 bits) and hold it until the transaction ends.

    Raises:
        StoreUnavailableError: another process kept it for longer than the lock time limit.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.cast(key, sa.BigInteger))))


@contextmanager
def driver_errors(url: sa.URL) -> Generator[None]:
    """Errors of statements that go to the driver directly become what SQLAlchemy's become."""
    try:
        yield
    except psycopg.Error as error:
        told = _as_told(error, url)
        if told is None:
            raise
        raise told from None


def _translate(context: ExceptionContext) -> None:
    engine = context.engine
    told = _as_told(context.original_exception, None if engine is None else engine.url)
    if told is not None:
        raise told from None


def _as_told(error: BaseException, url: sa.URL | None) -> StoreUnavailableError | None:
    """The error that a user can do something about; None for one that only a defect can cause."""
    hint = next((text for kind, text in _HINTS.items() if isinstance(error, kind)), None)
    if hint is None and not isinstance(error, _TOLD):
        return None
    told = _told(error, url)
    return StoreUnavailableError(f"{told}; {hint}" if hint else told)


def _told(error: BaseException, url: sa.URL | None) -> str:
    """What the driver says in one line, with the server's address and without the password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if url is None:
        return f"PostgreSQL: {text}"
    if url.password:
        text = text.replace(str(url.password), "***")
    where = f"{url.host or 'local socket'}:{url.port or 5432}/{url.database}"
    return f"PostgreSQL at {where}: {text}"
