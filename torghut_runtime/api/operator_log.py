"""What operators did, on record: ledger rows of kind ``operator_action``, and answers by request id.

With the database down records wait in memory and are written when it is back; what was asked has taken effect before.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from torghut_runtime.api.deadlines import Deadlines
from torghut_runtime.api.reading import bounded_engine
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.ledger import append
from torghut_runtime.storage.runtime_tables import operator_requests

logger = logging.getLogger(__name__)

KEPT: Final = timedelta(hours=24)
ABANDONED: Final = timedelta(seconds=60)
"""After this long a call that was begun and never answered may be made again: its process is gone."""
_PENDING: Final = 10_000
_AGAIN_S: Final = 1.0
_BEGUN: Final = 0
"""Status of a call that is being made."""


@dataclass(frozen=True)
class Record:
    """One row to be."""

    subject: str
    actor: str
    body: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True)
class Claim:
    """Whether a request id is ours to act on, and if not, what was answered."""

    state: Literal["ours", "answered", "begun", "reused", "unavailable"]
    status: int = 0
    answer: Mapping[str, Any] | None = None


class OperatorLog:
    """Writes records and answers; every method may be called from any thread and none raises for the database."""

    def __init__(self, dsn: str, deadlines: Deadlines) -> None:
        self._engine = bounded_engine(dsn, int(deadlines.record * 1000))
        self._pending: deque[Record] = deque(maxlen=_PENDING)
        self._wake = threading.Event()
        self._stopped = False
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="operator-log")
        self._writer: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write what waits."""
        self._writer = threading.Thread(target=self._write_pending, name="operator-records", daemon=True)
        self._writer.start()

    def stop(self) -> None:
        """Try once more to write what waits, then end."""
        self._stopped = True
        self._wake.set()
        if self._writer is not None:
            self._writer.join(5)
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def pending(self) -> int:
        """Records that wait for the database."""
        return len(self._pending)

    def record(self, record: Record, deadline: float) -> int | None:
        """Write a record; its number in the ledger, or ``None`` when it is written later."""
        writing: Future[int | None] = self._threads.submit(self._append, record)
        try:
            seq = writing.result(deadline)
        except FutureTimeoutError:
            # still under way: it queues the record itself when it fails
            return None
        return seq

    def queue(self, record: Record) -> None:
        """Write a record soon."""
        self._pending.append(record)
        self._wake.set()

    def _append(self, record: Record) -> int | None:
        try:
            return self._written(record)
        except StoreUnavailableError:
            self.queue(record)
        except SQLAlchemyError:
            logger.exception("a record of %s cannot be written", record.actor)
        return None

    def _written(self, record: Record) -> int:
        with connect(self._engine) as connection:
            row = append(
                connection,
                kind="operator_action",
                subject=record.subject,
                actor=record.actor,
                body=record.body,
                at=record.at,
            )
        return row.seq

    def _write_pending(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._pending:
                try:
                    self._written(self._pending[0])
                except StoreUnavailableError as error:
                    if self._stopped:
                        logger.warning("%d operator records were not written: %s", len(self._pending), error)
                        return
                    self._wake.wait(_AGAIN_S)
                    self._wake.clear()
                    continue
                except SQLAlchemyError:
                    logger.exception("a record of %s cannot be written", self._pending[0].actor)
                self._pending.popleft()
            if self._stopped:
                return

    # Request ids ------------------------------------------------------------------------------------------------------

    def claim(self, request_id: str, actor: str, action: str, deadline: float) -> Claim:
        """Be the one who acts on a request id."""
        asking = self._threads.submit(self._claim, request_id, actor, action)
        try:
            return asking.result(deadline)
        except (FutureTimeoutError, StoreUnavailableError, SQLAlchemyError):
            return Claim("unavailable")

    def _claim(self, request_id: str, actor: str, action: str) -> Claim:
        table, now = operator_requests, sa.func.clock_timestamp()
        values: dict[str, Any] = {"actor": actor, "action": action, "status_code": _BEGUN, "answer": {}, "at": now}
        free = (table.c.at < now - KEPT) | ((table.c.status_code == _BEGUN) & (table.c.at < now - ABANDONED))
        statement = insert(table).values(request_id=request_id, **values)
        statement = statement.on_conflict_do_update(index_elements=["request_id"], set_=values, where=free)
        with connect(self._engine) as connection:
            if connection.execute(statement.returning(table.c.request_id)).first() is not None:
                return Claim("ours")
            row = connection.execute(sa.select(table).where(table.c.request_id == request_id)).one()
        if (row.actor, row.action) != (actor, action):
            return Claim("reused")
        return Claim("begun") if row.status_code == _BEGUN else Claim("answered", row.status_code, row.answer)

    def remember(self, request_id: str, actor: str, action: str, status: int, answer: Mapping[str, Any]) -> None:
        """Keep the answer of a call for whoever repeats it; the first one stays."""
        self._threads.submit(self._remember, request_id, actor, action, status, answer)

    def _remember(self, request_id: str, actor: str, action: str, status: int, answer: Mapping[str, Any]) -> None:
        table = operator_requests
        values = {"status_code": status, "answer": answer}
        statement = insert(table).values(request_id=request_id, actor=actor, action=action, **values)
        statement = statement.on_conflict_do_update(
            index_elements=["request_id"], set_=values, where=table.c.status_code == _BEGUN
        )
        try:
            with connect(self._engine) as connection:
                connection.execute(statement)
        except (StoreUnavailableError, SQLAlchemyError) as error:
            logger.warning("an operator's answer was not kept: %s", error)

    def forget(self, request_id: str) -> None:
        """Let a call be made again that had no effect."""
        self._threads.submit(self._forget, request_id)

    def _forget(self, request_id: str) -> None:
        table = operator_requests
        try:
            with connect(self._engine) as connection:
                connection.execute(
                    sa.delete(table).where(table.c.request_id == request_id, table.c.status_code == _BEGUN)
                )
        except (StoreUnavailableError, SQLAlchemyError) as error:
            logger.warning("an operator's request was not taken back: %s", error)


def record_of(subject: str, actor: str, body: Mapping[str, Any]) -> Record:
    """A record of now."""
    return Record(subject, actor, body, datetime.now(UTC))
