"""Notes how far bars have been processed, after their decisions were committed; written in groups."""

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from torghut_runtime.market.features import Bar
from torghut_runtime.storage.database import connect, transaction
from torghut_runtime.storage.lease import Lease
from torghut_runtime.storage.trade_cursor import move_cursors, read_cursors

WRITE_SECONDS: Final = 0.5


class CursorKeeper:
    """The cursors of one term; what is not written when a process dies is back-filled, and still decided once."""

    def __init__(self, database: sa.Engine, source: str, lease: Lease) -> None:
        self._database = database
        self._source = source
        self._lease = lease
        self._stored: dict[tuple[str, str], datetime] = {}
        self._moved: dict[tuple[str, str], datetime] = {}
        self._connection: sa.Connection | None = None
        self._write_at = 0.0

    def read(self) -> None:
        """What an earlier process has processed.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        with connect(self._database) as connection:
            self._stored = read_cursors(connection, self._source)

    def now(self) -> dict[tuple[str, str], datetime]:
        """Start of the last processed bar by symbol and timeframe."""
        return {**self._stored, **self._moved}

    def processed(self, bars: Iterable[Bar]) -> None:
        """The decisions of these bars are committed."""
        for bar in bars:
            self._moved[bar.symbol, bar.timeframe] = bar.open_ts

    def write(self, *, due: bool = False) -> None:
        """Write what has moved, if the last time is long enough ago or it is ``due`` anyway.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        now = time.monotonic()
        if not self._moved or (now < self._write_at and not due):
            return
        if self._connection is None:
            self._connection = self._database.connect()
        with transaction(self._connection):
            move_cursors(self._connection, self._source, self._moved, self._lease.fencing_token)
        self._stored.update(self._moved)
        self._moved.clear()
        self._write_at = now + WRITE_SECONDS

    def close(self) -> None:
        """Give the connection back; what is not written is lost."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()
