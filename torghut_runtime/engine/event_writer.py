"""Stores the broker's words about orders through the order feed's ingest, from a thread of its own.

The trading thread folds an event in memory, hands it on and goes on: it never waits for the ingest, its locks or the
database. What has gathered is stored in one transaction, in the order in which it was handed on, and tried again until
the database takes it. What the database refuses for its content becomes a dead letter, alone. Why nothing is lost with
what waits here when the process is killed is told by ``docs/adr/0170``; what events mean is the fold's business.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import psycopg

from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.event import Source
from torghut_runtime.order_feed.ingest import Arrival, Letter, cursor_of, decoded, ingest_batch
from torghut_runtime.order_feed.session import Session, ingest_engine, kind_of
from torghut_runtime.storage.database import transaction

CAPACITY: Final = 1_000
"""Waiting events from which on nothing is entered (``backpressure``)."""
MOST: Final = 50_000
"""Waiting events beyond which memory may not go further ahead of the store: trading ends until all are stored."""
BATCH: Final = 100
"""Events of one transaction."""
GATHER_SECONDS: Final = 0.1
"""So long what has come is left alone, for more to come and for the order path to have the interpreter to itself."""
_PAUSES: Final = (0.1, 5.0)
"""Shortest and longest time between two tries."""
_LOOK_SECONDS: Final = 0.5
_CALL_SECONDS: Final = 30.0
"""A transaction waits 2 s for a lock and 10 s for a statement."""

POINTS: Final = ("waiting", "storing")
"""Labelled points of the writer: before a batch, and in its transaction before the commit."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    value: bytes
    source: Source
    since: float
    """By ``time.monotonic``."""


class EventWriter:
    """The writer of one account's events; :meth:`run` is the body of its thread, everything else is for any thread."""

    def __init__(
        self,
        dsn: str,
        account_label: str,
        *,
        gather_seconds: float = GATHER_SECONDS,
        reached: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.taken = 0
        """Events that were handed on since the start."""
        self.stored = 0
        """Of these, the first so many are stored, or kept as dead letters."""
        self.refused = 0
        """Events that the database refused, kept as dead letters."""
        self._session = Session(ingest_engine(dsn))
        self._account = account_label
        self._gather_seconds = gather_seconds
        self._reached = reached
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._failures = 0

    def take(self, values: Sequence[bytes], source: Source) -> None:
        """Keep events that have been folded; does not wait.

        Raises:
            StoreUnavailableError: so much waits that trading is to end until it is stored; these events are kept, too.
        """
        now = time.monotonic()
        with self._changed:
            was_empty = not self._waiting
            self._waiting.extend(_Waiting(value, source, now) for value in values)
            self.taken += len(values)
            if was_empty:
                self._changed.notify_all()
        if len(self._waiting) > MOST:
            raise StoreUnavailableError(f"{len(self._waiting)} events of orders wait to be stored")

    @property
    def waiting(self) -> int:
        """Events that are not stored yet."""
        return len(self._waiting)

    @property
    def age_seconds(self) -> float:
        """How long the oldest of them has waited, in real seconds."""
        with self._changed:
            return time.monotonic() - self._waiting[0].since if self._waiting else 0.0

    @property
    def is_full(self) -> bool:
        """Whether so many events wait that nothing may be entered."""
        return len(self._waiting) >= CAPACITY

    def drain(self, seconds: float) -> bool:
        """Wait until everything is stored; False when it is not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    # The thread -------------------------------------------------------------------------------------------------------

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Store what comes until told to stop; what waits then stays."""
        try:
            while not stop.is_set():
                beat.beat()
                with self._changed:
                    self._changed.wait_for(lambda: bool(self._waiting), _LOOK_SECONDS)
                    is_idle = not self._waiting
                if is_idle:
                    continue
                if len(self._waiting) < BATCH:
                    stop.wait(self._gather_seconds)
                beat.beat(_CALL_SECONDS)
                try:
                    self._store_next()
                except (StoreUnavailableError, psycopg.Error) as error:
                    if kind_of(error) == "other":
                        raise
                    self._failed(error, stop)
        finally:
            self._session.drop()

    def _store_next(self) -> None:
        with self._changed:
            batch = list(islice(self._waiting, BATCH))
        self._reached("waiting")
        try:
            self._store(*decoded([(each.value, each.source) for each in batch], self._account))
        except Exception as error:
            if kind_of(error) not in ("content", "other"):
                raise
            self._session.roll_back()
            self._store_singly(batch)
            return
        self._done(len(batch))

    def _store_singly(self, batch: Sequence[_Waiting]) -> None:
        """One after the other, for one of them is refused; that one becomes a dead letter."""
        for each in batch:
            arrivals, letters = decoded([(each.value, each.source)], self._account)
            try:
                self._store(arrivals, letters)
            except Exception as error:
                if kind_of(error) not in ("content", "other"):
                    raise
                self._session.roll_back()
                detail = type(error).__name__
                self._store([], [Letter(each.source, None, None, None, None, each.value, "database_rejected", detail)])
                self.refused += 1
                logger.warning("an event of an order is refused by the database and kept as a dead letter: %s", detail)
            self._done(1)

    def _store(self, arrivals: Sequence[Arrival], letters: Sequence[Letter]) -> None:
        connection = self._session.connection()
        with transaction(connection):
            ingest_batch(cursor_of(connection), arrivals, letters)
            self._reached("storing")

    def _done(self, count: int) -> None:
        if self._failures:
            logger.info("events of orders are stored again, %d wait", len(self._waiting) - count)
        self._failures = 0
        with self._changed:
            for _ in range(count):
                self._waiting.popleft()
            self.stored += count
            self._changed.notify_all()

    def _failed(self, error: StoreUnavailableError | psycopg.Error, stop: threading.Event) -> None:
        """Begin anew with another connection after a while: full jitter."""
        self._session.drop()
        if self._failures == 0:
            logger.warning("%d events of orders wait: %s", len(self._waiting), " ".join(str(error).split())[:200])
        self._failures += 1
        shortest, longest = _PAUSES
        most = min(longest, shortest * 2 ** min(self._failures, 10))
        stop.wait(random.uniform(shortest, most))  # noqa: S311 - spreads tries, protects nothing
