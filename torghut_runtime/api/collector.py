"""What the service reads from the database for metrics and readiness: every 15 s, in a thread of its own.

A scrape reads memory only. Values that are older than 30 s are not shown at all: absent is true, zero would not be.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from torghut_runtime.api.halt_watch import HaltWatch
from torghut_runtime.api.orchestration_metrics import OrchestrationTally
from torghut_runtime.api.trading_rows import TradingRows
from torghut_runtime.api.webhook import Webhook, WebhookEvent
from torghut_runtime.engine.surface import EngineView
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.ingest import COUNTERS, PREFIX
from torghut_runtime.order_feed.status import FeedStatus, read_status
from torghut_runtime.settings import Settings
from torghut_runtime.storage.database import reading_engine
from torghut_runtime.storage.migrations import is_at_head

EVERY_S: Final = 15.0
SHOWN_S: Final = 30.0
NO_COMMIT_S: Final = 60.0
_TICK_S: Final = 1.0
_HELP: Final = {
    "messages": "Records consumed from Kafka.",
    "events_persisted": "New order events stored.",
    "duplicates": "Records whose event was stored already.",
    "missing_fields": "Records stored as dead letters.",
    "out_of_order": "Events older than what was known of their order.",
    "apply_updates": "Events that changed status, filled quantity or average price.",
    "consumer_errors": "Poll, broker and authentication errors.",
}


@dataclass(frozen=True)
class Snapshot:
    """What was read, and when (monotonic seconds)."""

    at: float
    feed: FeedStatus
    at_head: bool
    orchestration: tuple[Metric, ...]
    trading: tuple[Metric, ...]


class FeedCollector:
    """Keeps the newest snapshot and raises the webhook at the onset of trouble."""

    def __init__(self, settings: Settings, webhook: Webhook) -> None:
        self._settings = settings
        self._engine = reading_engine(settings.db_dsn)
        self._webhook = webhook
        self._orchestration = OrchestrationTally()
        self._trading = TradingRows(settings.account_label)
        self._snapshot: Snapshot | None = None
        self._trouble: frozenset[WebhookEvent] = frozenset()
        self._halts: HaltWatch | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.heartbeat = time.monotonic()
        self.db_up = False
        self.error: str | None = "nothing has been read yet"

    def watch(self, view: Callable[[], EngineView]) -> None:
        """Tell the webhook when this engine halts."""
        self._halts = HaltWatch(view, self._webhook, self._settings.account_label)

    def start(self) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self) -> None:
        due = 0.0
        while not self._stop.is_set():
            self.heartbeat = time.monotonic()
            if self.heartbeat >= due:
                self.read()
                due = time.monotonic() + EVERY_S
            if self._halts is not None:
                self._halts.look()
            self._stop.wait(_TICK_S)

    def read(self) -> None:
        """Read once; failures are kept, not raised."""
        try:
            with self._engine.connect() as connection:
                feed = read_status(connection, self._settings)
                self._orchestration.read(connection)
                self._trading.read(connection)
            snapshot = Snapshot(
                time.monotonic(),
                feed,
                is_at_head(self._engine),
                tuple(self._orchestration.families()),
                tuple(self._trading.families()),
            )
        except (StoreUnavailableError, SQLAlchemyError) as error:
            self.db_up = False
            self.error = str(error).splitlines()[0]
            return
        self._snapshot, self.db_up, self.error = snapshot, True, None
        self._raise_webhook(feed)

    def _raise_webhook(self, feed: FeedStatus) -> None:
        found: dict[WebhookEvent, list[str]] = {}
        open_letters = [row for row in feed.dead_letters if row["state"] == "open"]
        if open_letters:
            found["dead_letters_open"] = [f"{row['reason']}: {row['count']}" for row in open_letters]
        stuck = [
            f"{each.topic}-{each.partition}: lag {each.lag}"
            for each in feed.offsets
            if (each.lag or 0) > 0 and each.last_commit_age_seconds is not None
            and each.last_commit_age_seconds > NO_COMMIT_S
        ]  # fmt: skip
        if stuck:
            found["order_feed_stalled"] = stuck
        for event in found.keys() - self._trouble:
            self._webhook.send(event, "order-feed", found[event])
        self._trouble = frozenset(found)

    def snapshot(self) -> Snapshot | None:
        """What was read last, unless it is too old to be shown."""
        found = self._snapshot
        return None if found is None or time.monotonic() - found.at > SHOWN_S or not self.db_up else found

    def collect(self) -> Iterator[Metric]:
        """The families as Prometheus' client wants them."""
        yield GaugeMetricFamily("torghut_db_up", "Whether the database answered the last read.", int(self.db_up))
        found = self.snapshot()
        if found is not None:
            yield from feed_families(found.feed)
            yield from found.orchestration
            yield from found.trading


def feed_families(feed: FeedStatus) -> Iterator[Metric]:
    """The families of the order feed."""
    for name in COUNTERS:
        yield CounterMetricFamily(f"{PREFIX}_{name}", _HELP[name], feed.counters[name])
    lag = GaugeMetricFamily(f"{PREFIX}_lag", "Records behind the log's end.", labels=("topic", "partition"))
    ages = [each.last_poll_age_seconds for each in feed.offsets if each.last_poll_age_seconds is not None]
    for each in feed.offsets:
        if each.lag is not None:
            lag.add_metric((each.topic, str(each.partition)), each.lag)
    yield lag
    if ages:
        yield GaugeMetricFamily(f"{PREFIX}_last_poll_age_seconds", "Age of the oldest last poll.", max(ages))
    letters = GaugeMetricFamily(f"{PREFIX}_dead_letters_open", "Open dead letters.", labels=("reason",))
    for row in feed.dead_letters:
        if row["state"] == "open":
            letters.add_metric((row["reason"],), row["count"])
    yield letters
    gaps = GaugeMetricFamily(f"{PREFIX}_gap_offsets_open", "Offsets in unresolved gaps.", labels=("reason",))
    open_gaps: dict[str, int] = {}
    for row in feed.gaps:
        if row["resolved_at"] is None:
            open_gaps[row["reason"]] = open_gaps.get(row["reason"], 0) + row["to_offset"] - row["from_offset"]
    for reason, count in sorted(open_gaps.items()):
        gaps.add_metric((reason,), count)
    yield gaps
    yield GaugeMetricFamily(f"{PREFIX}_unlinked_orders", "Orders without an intent.", feed.unlinked_orders)
