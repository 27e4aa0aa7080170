"""Notes how far bars have been processed, after their decisions were committed; written by a thread of its own.

Hundreds of rows and their commit twice a second would hold up the bars behind them.
"""

import threading
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
_END_SECONDS: Final = 2.0

_Cursors = dict[tuple[str, str], datetime]


class CursorKeeper:
    """The cursors of one term; what is not written when a process dies is back-filled, and still decided once."""

    def __init__(self, database: sa.Engine, source: str, lease: Lease) -> None:
        self._database = database
        self._source = source
        self._lease = lease
        self._known: _Cursors = {}
        self._moved: _Cursors = {}
        self._write_at = 0.0
        self._waiting: _Cursors = {}
        self._changed = threading.Condition()
        self._busy = self._ended = False
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def read(self) -> None:
        """What an earlier process has processed.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        with connect(self._database) as connection:
            self._known = read_cursors(connection, self._source)

    def now(self) -> _Cursors:
        """Start of the last processed bar by symbol and timeframe."""
        return {**self._known, **self._moved}

    def processed(self, bars: Iterable[Bar]) -> None:
        """The decisions of these bars are committed."""
        for bar in bars:
            self._moved[bar.symbol, bar.timeframe] = bar.open_ts

    def write(self, *, due: bool = False) -> None:
        """Have written what has moved, if the last time is long enough ago; ``due``: at once, and wait for it.

        Raises:
            StoreUnavailableError: the database did not take what was handed over before.
        """
        if self._error is not None:
            raise self._error
        now = time.monotonic()
        if self._moved and (due or now >= self._write_at):
            self._hand_over()
            self._write_at = now + WRITE_SECONDS
        if due:
            with self._changed:
                self._changed.wait_for(lambda: not (self._waiting or self._busy) or self._error, _END_SECONDS)

    def close(self) -> None:
        """End the thread; what is not written is lost."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    # The thread -------------------------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        self._known.update(self._moved)
        with self._changed:
            self._waiting.update(self._moved)
            self._changed.notify_all()
        self._moved.clear()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cursors", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            with self._database.connect() as connection:
                while self._next():
                    with self._changed:
                        moved, self._waiting = self._waiting, {}
                    with transaction(connection):
                        move_cursors(connection, self._source, moved, self._lease.fencing_token)
        except Exception as error:  # noqa: BLE001 - told to the trading thread, which the term belongs to
            self._error = error
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next(self) -> bool:
        """Wait for something to write; False at the end."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._ended)
            self._busy = bool(self._waiting) and not self._ended
            return self._busy
