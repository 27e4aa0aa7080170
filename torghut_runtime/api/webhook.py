"""The operator's webhook: one POST per onset of trouble, outside of every path that trades."""

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import httpx

from torghut_runtime.canonical import utc_text
from torghut_runtime.engine.metrics import TradingMetrics

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 5.0
TRIES: Final = 3
QUIET_S: Final = 900.0


class Webhook:
    """Posts events in a thread of its own; the same event about the same subject at most once in 15 minutes."""

    def __init__(self, url: str | None, version: str, metrics: TradingMetrics | None = None) -> None:
        self._url = url
        self._version = version
        self._metrics = metrics or TradingMetrics()
        self._sent: dict[tuple[str, str], float] = {}
        self.failures = 0

    def send(self, event: str, subject: str, reasons: Sequence[str]) -> threading.Thread | None:
        """Post unless it was said already; never waits, never raises."""
        now = time.monotonic()
        if self._url is None or now - self._sent.get((event, subject), -QUIET_S) < QUIET_S:
            return None
        self._sent[event, subject] = now
        body = {
            "event": event,
            "at": utc_text(datetime.now(UTC)),
            "subject": subject,
            "reasons": list(reasons),
            "version": self._version,
        }
        thread = threading.Thread(target=self._post, args=(self._url, body), name="webhook", daemon=True)
        thread.start()
        return thread

    def _post(self, url: str, body: dict[str, object]) -> None:
        for _ in range(TRIES):
            try:
                if httpx.post(url, json=body, timeout=DEADLINE_S).is_success:
                    self._metrics.webhook(str(body["event"]), "delivered")
                    return
            except (httpx.HTTPError, httpx.InvalidURL):
                continue
        self.failures += 1
        self._metrics.webhook(str(body["event"]), "failed")
        logger.warning("webhook %s was not delivered", body["event"])
