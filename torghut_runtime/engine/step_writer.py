"""Writes recorded steps to PostgreSQL within a second, from a thread of its own; the trading thread never waits for it.

Records that wait are bounded: from :data:`CAPACITY` rows on nothing may be entered until the writer has caught up. A
database that does not answer is tried again until it does; a clean stop writes what is left. Once a minute it deletes a
bounded number of records that are older than 90 days. What a record is, is told by
:mod:`torghut_runtime.orders.step_record`.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from itertools import islice
from typing import Final

import psycopg
import sqlalchemy as sa

from torghut_runtime.clock import Clock
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.orders.step_record import StepRecord
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.decision_inputs import RETENTION_DAYS, copy_steps, delete_before

CAPACITY: Final = 1_000
"""Waiting rows from which on nothing is entered (``backpressure``)."""
MOST: Final = 200_000
"""Waiting rows beyond which a record is dropped and counted: hours of a database that does not answer."""
BATCH: Final = 1_000
"""Rows of one transaction, at most."""
_LEAST: Final = 50
"""Rows of one transaction, at least, after attempts that failed."""
_GATHER_SECONDS: Final = 0.2
_GIVE_WAY_SECONDS: Final = 0.0005
_RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_PRUNE_EVERY_SECONDS: Final = 60.0
_PRUNE_ROWS: Final = 10_000

_log = logging.getLogger(__name__)


class StepWriter:
    """See :class:`~torghut_runtime.engine.recording.StepSink`; :meth:`start` before use, :meth:`stop` at the end."""

    def __init__(self, dsn: str, account_label: str, clock: Clock) -> None:
        self.lost = 0
        """Records that were dropped, or left unwritten by a stop that the database did not answer in time."""
        self.written = 0
        """Records that a transaction took, those among them that were stored already."""
        self._engine = ingest_engine(dsn)
        self._account = account_label
        self._clock = clock
        self._waiting: deque[StepRecord] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._failed = False
        self._give_up_at = float("inf")
        self._connection: sa.Connection | None = None
        self._pruned_at = -float("inf")
        self._thread = threading.Thread(target=self._run, name="step-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def take(self, steps: Sequence[StepRecord]) -> None:
        """See :class:`~torghut_runtime.engine.recording.StepSink`."""
        with self._changed:
            before = len(self._waiting)
            room = MOST - before
            self._waiting.extend(steps[:room])
            if len(steps) > room:
                self.lost += len(steps) - room
            # Whoever gathers needs not be woken by each: the thread that hands on would have to share with it.
            if not before or len(self._waiting) >= BATCH:
                self._changed.notify()

    @property
    def waiting(self) -> int:
        """Rows that are not stored yet."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """See :class:`~torghut_runtime.engine.recording.StepSink`."""
        return self._failed or len(self._waiting) >= CAPACITY

    def stop(self, timeout: float = 5.0) -> bool:
        """Write what waits and end; False when the database did not take all of it in time."""
        with self._changed:
            self._stopping = True
            self._give_up_at = time.monotonic() + timeout
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout + 10.0)
        self.lost += len(self._waiting)
        if self._waiting:
            _log.error("%d recorded steps were not stored", len(self._waiting))
        return not self._waiting

    # The thread -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._write_all()
        except Exception:  # noqa: BLE001 - a defect here must stop entries, not the process
            self._failed = True
            _log.exception("steps are no longer recorded, nothing is entered any more")
        finally:
            self._close()

    def _write_all(self) -> None:
        failures, most = 0, BATCH
        while True:
            batch = self._next_batch(most)
            if not batch:
                break
            try:
                self._write(batch)
            except StoreUnavailableError as error:
                if failures == 0:
                    _log.warning("recorded steps wait: %s", error)
                if time.monotonic() >= self._give_up_at:
                    break
                # What a slow server did not take in its time, it takes in smaller parts.
                most = max(most // 2, _LEAST)
                self._pause(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1
                continue
            failures, most = 0, min(2 * most, BATCH)
            with self._changed:
                for _ in batch:
                    self._waiting.popleft()
                self.written += len(batch)

    def _next_batch(self, most: int) -> list[StepRecord]:
        """Wait for records and give them a moment to gather; empty when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if not self._stopping and len(self._waiting) < BATCH:
                self._changed.wait_for(lambda: len(self._waiting) >= BATCH or self._stopping, _GATHER_SECONDS)
            return list(islice(self._waiting, most))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, seconds)
            stopping = self._stopping
        if stopping:
            time.sleep(_RETRY_SECONDS[0])

    def _write(self, batch: list[StepRecord]) -> None:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            with transaction(self._connection):
                copy_steps(self._connection, batch, self._give_way)
            self._prune(self._connection)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._close()
            raise StoreUnavailableError(f"PostgreSQL: {' '.join(str(error).split())[:200]}") from error
        except StoreUnavailableError:
            self._close()
            raise

    def _give_way(self) -> None:
        """Let the trading thread have the interpreter, and the database the processor, unless much waits."""
        if len(self._waiting) < CAPACITY // 2 and not self._stopping:
            time.sleep(_GIVE_WAY_SECONDS)

    def _prune(self, connection: sa.Connection) -> None:
        if time.monotonic() - self._pruned_at < _PRUNE_EVERY_SECONDS:
            return
        before = self._clock.now() - timedelta(days=RETENTION_DAYS)
        with transaction(connection):
            deleted = delete_before(connection, self._account, before, _PRUNE_ROWS)
        if deleted < _PRUNE_ROWS:
            self._pruned_at = time.monotonic()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
