"""The operator's webhook: one POST per onset of trouble, outside of every path that trades.

Who sends what: the runtime ``trading_halted``, ``dead_letters_open`` and ``order_feed_stalled``, the lane
``champion_denied``. What is said again within 15 minutes about the same subject is not sent.
"""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal

import httpx

from torghut_runtime.canonical import utc_text
from torghut_runtime.engine.metrics import TradingMetrics

logger = logging.getLogger(__name__)

WebhookEvent = Literal["trading_halted", "champion_denied", "dead_letters_open", "order_feed_stalled"]
DEADLINE_S: Final = 5.0
TRIES: Final = 3
QUIET_S: Final = 900.0
_SUBJECTS: Final = 10_000


class Webhook:
    """Posts events in a thread of its own; the same event about the same subject at most once in 15 minutes."""

    def __init__(self, url: str | None, version: str, metrics: TradingMetrics | None = None) -> None:
        self._url = url
        self._version = version
        self._metrics = metrics or TradingMetrics()
        self._lock = threading.Lock()
        self._sent: dict[tuple[str, str], float] = {}
        self.failures = 0

    def send(self, event: WebhookEvent, subject: str, reasons: Sequence[str]) -> threading.Thread | None:
        """Post unless it was said already; never waits, never raises."""
        if self._url is None or not self._first(event, subject):
            return None
        body = {
            "event": event,
            "at": utc_text(datetime.now(UTC)),
            "subject": subject,
            "reasons": list(reasons),
            "version": self._version,
        }
        thread = threading.Thread(target=self._deliver, args=(self._url, event, body), name="webhook", daemon=True)
        thread.start()
        return thread

    def _first(self, event: str, subject: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._sent.get((event, subject), -QUIET_S) < QUIET_S:
                return False
            if len(self._sent) >= _SUBJECTS:
                self._sent = {key: at for key, at in self._sent.items() if now - at < QUIET_S}
            self._sent[event, subject] = now
            return True

    def _deliver(self, url: str, event: str, body: dict[str, object]) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            is_delivered = any(runner.run(_posted(url, body)) for _ in range(TRIES))
        self._metrics.webhook(event, "delivered" if is_delivered else "failed")
        if not is_delivered:
            self.failures += 1
            logger.warning("webhook %s was not delivered", event)


class _Loop(asyncio.SelectorEventLoop):
    """Looks names up in threads that nobody waits for.

    A look-up cannot be interrupted. In the pool that a loop has for it, one that hangs holds up the loop's end, so that
    a call would outlive its deadline, and the process's, too.
    """

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> list[Any]:
        """As :func:`socket.getaddrinfo`."""
        found: asyncio.Future[list[Any]] = self.create_future()

        def tell(addresses: list[Any] | OSError) -> None:
            if found.done():
                return
            if isinstance(addresses, OSError):
                found.set_exception(addresses)
            else:
                found.set_result(addresses)

        def look_up() -> None:
            try:
                addresses: list[Any] | OSError = socket.getaddrinfo(host, port, **how)
            except OSError as error:
                addresses = error
            with suppress(RuntimeError):  # the loop is closed: whoever asked waits no more
                self.call_soon_threadsafe(tell, addresses)

        threading.Thread(target=look_up, name="webhook-name", daemon=True).start()
        return await found


async def _posted(url: str, body: dict[str, object]) -> bool:
    """Whether the target took it within the deadline; what it says beyond the status is not read."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            async with httpx.AsyncClient(timeout=DEADLINE_S) as client, client.stream("POST", url, json=body) as answer:
                return answer.is_success
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return False
