"""Whether this process may trade for its account: the lease as it is held, by our own monotonic clock.

A thread acquires the lease when the engine wants it, and renews it. Submitting ends before the lease does, counted from
before the request that renewed it, so that a process that was paused finds its time over when it wakes. The token that
fences its transactions is :mod:`torghut_runtime.storage.lease`'s business.
"""

import logging
import threading
import time
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from torghut_runtime.engine.heartbeat import Heartbeat, Monotonic
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.storage.lease import TTL, Lease, LeaseLostError, acquire, release, renew

log = logging.getLogger(__name__)

RENEW_SECONDS: Final = 3.0
MARGIN_SECONDS: Final = 2.0
"""So long before the lease expires nothing is submitted any more."""
_STANDBY_SECONDS: Final = 0.5
_SQL_SECONDS: Final = 10.0


class Leadership:
    """Holds the lease of one account as long as the engine wants it."""

    def __init__(
        self,
        engine: sa.Engine,
        name: str,
        holder: str,
        *,
        ttl: timedelta = TTL,
        renew_seconds: float = RENEW_SECONDS,
        margin_seconds: float = MARGIN_SECONDS,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._engine = engine
        self._name = name
        self._holder = holder
        self._ttl = ttl
        self._renew_seconds = renew_seconds
        self._margin = margin_seconds
        self._monotonic = monotonic
        self._lease: Lease | None = None
        self._submit_until = 0.0
        self._wanted = threading.Event()
        self._wake = threading.Event()
        self._connection: sa.Connection | None = None
        self.error: str | None = None

    # Asked from any thread --------------------------------------------------------------------------------------------

    @property
    def lease(self) -> Lease | None:
        """The lease that nobody is known to have taken; it may have expired."""
        return self._lease

    @property
    def may_submit(self) -> bool:
        """Whether the lease is held, and for long enough."""
        return self._lease is not None and self._monotonic() < self._submit_until

    def want(self) -> None:
        """Take the lease as soon as it is free."""
        self._wanted.set()
        self._wake.set()

    def forget(self, lease: Lease) -> None:
        """A transaction has found the token of this lease too old."""
        if self._lease is not None and self._lease.fencing_token == lease.fencing_token:
            self._lease, self._submit_until = None, 0.0

    # The thread -------------------------------------------------------------------------------------------------------

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Acquire and renew until told to stop, then release."""
        while not stop.is_set():
            beat.beat(_SQL_SECONDS)
            if self._wanted.is_set():
                self.refresh()
            beat.beat()
            self._wake.wait(self._renew_seconds if self._lease is not None else _STANDBY_SECONDS)
            self._wake.clear()
        self.let_go()

    def wake(self) -> None:
        """Look at once whether there is something to do."""
        self._wake.set()

    def refresh(self) -> None:
        """One attempt to take or to keep the lease."""
        asked = self._monotonic()
        try:
            connection = self._connected()
            lease = self._lease
            if lease is None:
                lease = acquire(connection, self._name, self._holder, self._ttl)
            else:
                lease = renew(connection, lease, self._ttl)
        except StoreUnavailableError as error:
            self.error = str(error)
            self._disconnect()
            return
        except LeaseLostError as error:
            log.warning("%s", error)
            self._lease, self._submit_until = None, 0.0
            return
        self.error = None
        if lease is not None:
            self._submit_until = asked + self._ttl.total_seconds() - self._margin
        self._lease = lease

    def let_go(self) -> None:
        """Release the lease; what cannot be released expires."""
        lease, self._lease, self._submit_until = self._lease, None, 0.0
        try:
            if lease is not None:
                release(self._connected(), lease)
        except StoreUnavailableError as error:
            log.warning("the lease was not released and expires: %s", error)
        finally:
            self._disconnect()

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()
