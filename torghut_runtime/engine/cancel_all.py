"""Ends every open order: the broker's one call for it, again and again until no order is open.

From a thread of its own, at once, whatever the rest of the process does; a standby does it too. Who wants it, and why,
is the callers' business.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from torghut_runtime.broker.protocol import BrokerError, BrokerReader
from torghut_runtime.orders.firewall import Firewall

AGAIN_SECONDS: Final = 0.25
"""Between two passes while orders are still open."""
_REDIRECT: Final = 300
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CancelReport:
    """What came of it: orders that were asked to end and have ended, and requests that failed on the way."""

    cancelled: int
    failed: int


class CancelAll:
    """Cancels on demand; any thread may ask."""

    def __init__(
        self, firewall: Firewall, reader: BrokerReader, *, told: Callable[[CancelReport], None] = lambda _: None
    ) -> None:
        self._firewall = firewall
        self._reader = reader
        self._told = told
        self._wake = threading.Condition()
        self._waiting: list[Future[CancelReport]] = []
        self._stopping = False
        self.took: Callable[[float], None] = lambda _: None
        """Hears how long (s) a demand took until no order was open."""
        self._thread = threading.Thread(target=self._run, name="cancel-all", daemon=True)

    def start(self) -> None:
        """Be ready."""
        self._thread.start()

    def stop(self, seconds: float = 6.0) -> None:
        """End, even with orders still open."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._thread.join(seconds)

    @property
    def at_work(self) -> bool:
        """Whether orders may still be open that somebody wants ended."""
        with self._wake:
            return bool(self._waiting)

    def demand(self) -> "Future[CancelReport]":
        """Have every order ended that is open now; done when none is open."""
        future: Future[CancelReport] = Future()
        began = time.monotonic()
        future.add_done_callback(lambda done: None if done.cancelled() else self.took(time.monotonic() - began))
        with self._wake:
            self._waiting.append(future)
            self._wake.notify_all()
        return future

    def withdraw(self) -> None:
        """Nobody wants it any more: trading goes on, and new orders are not to be cancelled."""
        with self._wake:
            for future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._wake.notify_all()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
            try:
                self._until_none_is_open()
            except Exception:  # noqa: BLE001 - this thread must not end while orders are open
                _LOG.exception("cancelling everything failed; it begins again")
                self._pause()

    def _until_none_is_open(self) -> None:
        asked: set[str] = set()
        failed = 0
        while True:
            if not self.at_work or self._stopping:
                return
            try:
                for each in self._firewall.cancel_all():
                    if int(each.get("status", 0)) < _REDIRECT:
                        asked.add(str(each["id"]))
                    else:
                        failed += 1
                # Whoever asked before this look is served by it.
                with self._wake:
                    served = list(self._waiting)
                if not self._reader.open_orders():
                    break
            except BrokerError as error:
                failed += 1
                _LOG.warning("orders could not be cancelled yet: %s", error)
            self._pause()
        report = CancelReport(len(asked), failed)
        with self._wake:
            self._waiting = [future for future in self._waiting if future not in served]
        self._told(report)
        for future in served:
            if future.set_running_or_notify_cancel():
                future.set_result(report)

    def _pause(self) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or not self._waiting, AGAIN_SECONDS)
