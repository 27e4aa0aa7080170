"""The operator's webhook: one POST per onset of trouble, outside of every path that trades.

Who sends what: the runtime ``trading_halted``, ``dead_letters_open`` and ``order_feed_stalled``, the lane
``champion_denied``. What is said again within 15 minutes about the same subject is not sent.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, get_args

import httpx
from prometheus_client import CollectorRegistry, Counter

from torghut_runtime.canonical import utc_text

logger = logging.getLogger(__name__)

WebhookEvent = Literal["trading_halted", "champion_denied", "dead_letters_open", "order_feed_stalled"]
Outcome = Literal["delivered", "failed", "quiet"]
DEADLINE_S: Final = 5.0
TRIES: Final = 3
QUIET_S: Final = 900.0
_SUBJECTS: Final = 10_000


class Webhook:
    """Posts events in a thread of its own; the same event about the same subject at most once in 15 minutes."""

    def __init__(self, url: str | None, version: str, registry: CollectorRegistry | None = None) -> None:
        self._url = url
        self._version = version
        self._lock = threading.Lock()
        self._sent: dict[tuple[str, str], float] = {}
        self._total = Counter(
            "torghut_webhook", "Events for the webhook, by what became of them.", ["event", "outcome"],
            registry=registry,
        )  # fmt: skip
        for event in get_args(WebhookEvent):
            for outcome in get_args(Outcome):
                self._total.labels(event=event, outcome=outcome)
        self.failures = 0

    def send(self, event: WebhookEvent, subject: str, reasons: Sequence[str]) -> threading.Thread | None:
        """Post unless it was said already; never waits, never raises."""
        if self._url is None:
            return None
        if not self._first(event, subject):
            self._total.labels(event=event, outcome="quiet").inc()
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
        is_delivered = any(asyncio.run(_posted(url, body)) for _ in range(TRIES))
        self._total.labels(event=event, outcome="delivered" if is_delivered else "failed").inc()
        if not is_delivered:
            self.failures += 1
            logger.warning("webhook %s was not delivered", event)


async def _posted(url: str, body: dict[str, object]) -> bool:
    """Whether the target took it within the deadline; what it says beyond the status is not read."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            async with httpx.AsyncClient(timeout=DEADLINE_S) as client, client.stream("POST", url, json=body) as answer:
                return answer.is_success
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return False
