"""Reading the database for HTTP: in threads of its own, under a deadline, and never changing anything.

A server that hangs holds these threads, not the event loop and not the caller, who gets a
:class:`StoreUnavailableError` when the deadline has passed.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from torghut_runtime.api.deadlines import Deadlines
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.settings import database_url
from torghut_runtime.storage.database import create_engine

_THREADS: Final = 8
_Result = TypeVar("_Result")


def bounded_engine(dsn: str, statement_ms: int) -> sa.Engine:
    """An engine whose sessions give up soon; connections are opened per use."""
    limits = {
        "options": f"-c statement_timeout={statement_ms} -c lock_timeout={statement_ms}",
        "connect_timeout": "2",
    }
    return create_engine(database_url(dsn).update_query_dict(limits).render_as_string(hide_password=False))


class Reader:
    """Runs reading work against the database."""

    def __init__(self, dsn: str, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        engine = bounded_engine(dsn, int(deadlines.answer * 1000) - 100)
        # one snapshot per answer, so that what is shown belongs together
        self._engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="http-read")

    async def run(self, work: Callable[[sa.Connection], _Result], deadline: float | None = None) -> _Result:
        """What ``work`` returns; it runs in a thread. Without a deadline that of a list holds.

        Raises:
            StoreUnavailableError: the database did not answer in time, or not at all.
        """
        limit = self.deadlines.answer if deadline is None else deadline
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, self.now, work)
            return await asyncio.wait_for(running, limit)
        except TimeoutError:
            raise StoreUnavailableError(f"PostgreSQL did not answer within {limit:g} s") from None

    def now(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """The same in the caller's thread, without a deadline beside the session's limits."""
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise StoreUnavailableError(f"PostgreSQL: {type(error).__name__}") from error

    async def answers(self) -> bool:
        """Whether the database answers a probe."""
        try:
            await self.run(lambda connection: connection.execute(sa.text("SELECT 1")).scalar(), self.deadlines.probe)
        except StoreUnavailableError:
            return False
        return True

    def close(self) -> None:
        """Give the threads back; what still hangs is left to its limits."""
        self._threads.shutdown(wait=False, cancel_futures=True)
