"""Where the broker's events go in tests: stored at once, or written by the engine's own writer in a thread."""

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from order_cases import ACCOUNT

from torghut_runtime.engine.event_writer import EventWriter
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.order_feed.event import Source
from torghut_runtime.order_feed.ingest import ingest_values
from torghut_runtime.storage.database import connect, create_engine


class StoredAtOnce:
    """An event sink that has stored what it has taken."""

    is_full = False

    def __init__(self, dsn: str) -> None:
        self.taken = self.stored = 0
        self._engine = create_engine(dsn)

    def take(self, values: Sequence[bytes], source: Source) -> None:
        """See :class:`~torghut_runtime.orders.journal.EventSink`."""
        with connect(self._engine) as connection:
            ingest_values(connection, values, source, ACCOUNT)
        self.taken += len(values)
        self.stored += len(values)


@contextmanager
def written_by(writer: EventWriter) -> Generator[EventWriter]:
    """The writer with its thread; what waits at the end is not stored."""
    stop = threading.Event()
    thread = threading.Thread(target=writer.run, args=(Heartbeat(), stop), daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        stop.set()
        thread.join(60)


@contextmanager
def event_writer(dsn: str, **given: Any) -> Generator[EventWriter]:
    """A writer of the tests' account that runs."""
    with written_by(EventWriter(dsn, ACCOUNT, **given)) as writer:
        yield writer
