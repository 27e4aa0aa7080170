"""The outbox: events on disk between the broker's stream and Kafka, in the order in which they came.

A row goes only after Kafka has it, so a crash can repeat an event but not lose one. Beside the rows stands what a
back-fill needs after a restart: the newest broker time that was appended, and the orders that were seen open.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from torghut_runtime.errors import InputError, TorghutError

DATABASE: Final = "outbox.sqlite"
LOCK: Final = "outbox.lock"
SMALLEST_BOUND: Final = 1 << 20
DEFAULT_BOUND: Final = 268_435_456
_BUSY_SECONDS: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB NOT NULL, appended_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS state (
    id INTEGER PRIMARY KEY CHECK (id = 1), watermark_ns INTEGER, bytes INTEGER NOT NULL, last_seq INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS open_orders (order_id TEXT PRIMARY KEY);
INSERT OR IGNORE INTO state VALUES (1, NULL, 0, 0);
"""


class OutboxFullError(TorghutError):
    """The outbox is at its bound; nothing was stored or deleted."""


class OutboxBrokenError(TorghutError):
    """The disk or the database refused an append; nothing was stored."""


@dataclass(frozen=True)
class Entry:
    """An event that is to be stored.

    Attributes:
        key: of the Kafka record.
        value: of the Kafka record, given the row's number.
        broker_ns: the broker's time of the event, None when it has none.
        order_id: of the order; empty when it has none.
        ended: whether the order is at its end; None when the event does not say.
    """

    key: bytes
    value: Callable[[int], bytes]
    broker_ns: int | None
    order_id: str
    ended: bool | None


@dataclass(frozen=True)
class Row:
    """A stored event."""

    seq: int
    key: bytes
    value: bytes


class Outbox:
    """One directory, owned by one process.

    Safe to use from several threads. Every append is on disk when it returns.
    """

    def __init__(self, directory: Path, max_bytes: int = DEFAULT_BOUND) -> None:
        """Open or create the outbox.

        Raises:
            InputError: another process holds the directory, it cannot be used, or the bound is below 1 MiB.
        """
        if max_bytes < SMALLEST_BOUND:
            raise InputError(
                f"must be at least {SMALLEST_BOUND}, was {max_bytes}", field="TRADING_FORWARDER_OUTBOX_MAX_BYTES"
            )
        self.max_bytes = max_bytes
        self._mutex = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(directory / LOCK)
        except OSError as error:
            raise InputError(f"cannot be used as outbox: {error}", file=directory) from None
        try:
            self._connection = sqlite3.connect(
                directory / DATABASE, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._lock.close()
            raise InputError(f"cannot be used as outbox: {error}", file=directory) from None
        self._bytes, self._last_seq = self._connection.execute("SELECT bytes, last_seq FROM state").fetchone()

    def close(self) -> None:
        """Give the directory free."""
        with self._mutex:
            self._connection.close()
            self._lock.close()

    # Writing --------------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> list[int]:
        """Store events in one transaction; returns their row numbers.

        Raises:
            OutboxFullError: they would not fit below the bound; none is stored.
            OutboxBrokenError: the disk is full or fails; none is stored.
        """
        with self._mutex:
            now = time.time()
            first = self._last_seq + 1
            rows = [(seq, entry.key, entry.value(seq), now) for seq, entry in enumerate(entries, first)]
            size = sum(len(key) + len(value) for _, key, value, _ in rows)
            if self._bytes + size > self.max_bytes:
                raise OutboxFullError(f"outbox is full: {self._bytes} of {self.max_bytes} bytes")
            try:
                self._store(rows, entries, size)
            except sqlite3.Error as error:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise OutboxBrokenError(f"outbox: {error}") from None
            self._bytes += size
            self._last_seq += len(rows)
            return [seq for seq, *_ in rows]

    def _store(self, rows: Sequence[tuple[int, bytes, bytes, float]], entries: Sequence[Entry], size: int) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
        newest = max((entry.broker_ns for entry in entries if entry.broker_ns is not None), default=None)
        execute(
            "UPDATE state SET watermark_ns = MAX(COALESCE(watermark_ns, ?), COALESCE(?, watermark_ns)),"
            " bytes = bytes + ?, last_seq = last_seq + ?",
            (newest, newest, size, len(rows)),
        )
        for entry in entries:
            if entry.order_id and entry.ended is not None:
                statement = (
                    "DELETE FROM open_orders WHERE order_id = ?"
                    if entry.ended
                    else "INSERT OR IGNORE INTO open_orders VALUES (?)"
                )
                execute(statement, (entry.order_id,))
        execute("COMMIT")

    def remove(self, seqs: Iterable[int]) -> None:
        """Forget events that Kafka has.

        Raises:
            OutboxBrokenError: the disk fails; they stay and will be sent again.
        """
        wanted = [(seq,) for seq in seqs]
        if not wanted:
            return
        with self._mutex:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                freed = 0
                for seq in wanted:
                    row = self._connection.execute(
                        "DELETE FROM events WHERE seq = ? RETURNING length(key) + length(value)", seq
                    ).fetchone()
                    freed += 0 if row is None else row[0]
                self._connection.execute("UPDATE state SET bytes = bytes - ?", (freed,))
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise OutboxBrokenError(f"outbox: {error}") from None
            self._bytes -= freed

    # Reading --------------------------------------------------------------------------------------------------------

    def pending(self, after: int, limit: int) -> list[Row]:
        """Stored events with greater numbers than ``after``, in order."""
        with self._mutex:
            found = self._connection.execute(
                "SELECT seq, key, value FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            ).fetchall()
        return [Row(seq, key, value) for seq, key, value in found]

    @property
    def watermark_ns(self) -> int | None:
        """The newest broker time that was appended; None when there is none."""
        with self._mutex:
            return self._connection.execute("SELECT watermark_ns FROM state").fetchone()[0]

    @property
    def open_orders(self) -> list[str]:
        """Orders that were seen open and not at their end."""
        with self._mutex:
            found = self._connection.execute("SELECT order_id FROM open_orders ORDER BY order_id").fetchall()
        return [order_id for (order_id,) in found]

    def forget_order(self, order_id: str) -> None:
        """The broker does not know this order."""
        with self._mutex, suppress(sqlite3.Error):
            self._connection.execute("DELETE FROM open_orders WHERE order_id = ?", (order_id,))

    @property
    def size(self) -> int:
        """Bytes of keys and values stored."""
        return self._bytes

    @property
    def rows(self) -> int:
        """Events stored."""
        with self._mutex:
            return self._connection.execute("SELECT count(*) FROM events").fetchone()[0]

    def oldest_age_seconds(self) -> float:
        """Age of the oldest event stored; 0 when there is none."""
        with self._mutex:
            appended_at = self._connection.execute("SELECT min(appended_at) FROM events").fetchone()[0]
        return 0.0 if appended_at is None else max(0.0, time.time() - appended_at)


def _locked(path: Path) -> IO[str]:
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise InputError("is in use by another process", file=path.parent) from None
    handle.seek(0)
    handle.truncate()
    handle.write(str(os.getpid()))
    handle.flush()
    return handle
