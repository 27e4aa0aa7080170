"""A driver as a process of its own, or for one tick of a sensor: the pieces put together, with signals and metrics."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from torghut_runtime.addresses import metrics_server
from torghut_runtime.order_feed.ingest import PREFIX
from torghut_runtime.order_feed.ingestor import OrderFeedIngestor
from torghut_runtime.order_feed.log import KafkaLog
from torghut_runtime.order_feed.report import IngestReport, Limits
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.order_feed.status import configuration
from torghut_runtime.settings import Settings


class DriverMetrics:
    """What a driver counts for itself; the seven counters are in the database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = Histogram(
            f"{PREFIX}_batch_rows",
            "Records per transaction.",
            buckets=(1, 10, 50, 100, 200, 500, 1000, 5000, 10_000),
            registry=registry,
        )
        self._delay = Histogram(
            f"{PREFIX}_event_to_commit_seconds",
            "From the record's time to its commit.",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300),
            registry=registry,
        )
        self._errors = Counter(
            f"{PREFIX}_db_errors_total", "Failed transactions.", labelnames=("kind",), registry=registry
        )

    def batch(self, rows: int, event_to_commit_s: Sequence[float]) -> None:
        """A batch was committed."""
        self._rows.observe(rows)
        for delay in event_to_commit_s:
            self._delay.observe(delay)

    def database_error(self, kind: str) -> None:
        """A transaction failed."""
        self._errors.labels(kind).inc()


IsEnabled = Callable[[], bool]
"""Whether the feed may consume now; asked before each batch, so it must be a memory access."""
_RESUME_S: Final = 1.0


def as_set(settings: Settings) -> IsEnabled:
    """The environment alone: a flag service that may switch the feed off is another function like this one's answer."""
    return lambda: settings.order_feed_enabled


def run_driver(
    settings: Settings, *, once: bool, metrics_port: int | None = None, is_enabled: IsEnabled | None = None
) -> IngestReport:
    """Drive until the end of the log (``once``) or until SIGTERM or SIGINT.

    A feed that ``is_enabled`` switches off pauses after the batch at hand and goes on at its offset when switched on
    again; with ``once`` the pause is the end.
    """
    stop = threading.Event()
    restore = _stop_on_signals(stop)
    registry = CollectorRegistry()
    metrics = DriverMetrics(registry)
    server = None if metrics_port is None else metrics_server(metrics_port, registry)
    try:
        if configuration(settings) is not None:
            stop.wait()  # nothing to do until somebody changes the settings and starts again
            return IngestReport(stopped_by="paused")
        ingestor = OrderFeedIngestor(
            settings,
            ingest_engine(settings.db_dsn),
            KafkaLog(settings, "runtime"),
            "runtime",
            is_enabled=is_enabled or as_set(settings),
            should_stop=stop.is_set,
            observer=metrics,
            sleep=lambda seconds: _sleep(stop, seconds),
        )
        try:
            report = ingestor.ingest(Limits(until_end=once))
            while report.stopped_by == "paused" and not once:
                stop.wait(_RESUME_S)
                report.add(ingestor.ingest())
            return report
        finally:
            ingestor.close()
    finally:
        if server is not None:
            server[0].shutdown()
            server[0].server_close()
            server[1].join()
        restore()


def _sleep(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)


def _stop_on_signals(stop: threading.Event) -> Callable[[], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def run_tick(
    settings: Settings,
    *,
    max_seconds: float = 20.0,
    max_rows: int = 100_000,
    is_enabled: IsEnabled | None = None,
) -> IngestReport:
    """One tick of a sensor, from a cold process: bounded in time and rows, with no batch half done."""
    started = time.monotonic()
    ingestor = OrderFeedIngestor(
        settings,
        ingest_engine(settings.db_dsn),
        KafkaLog(settings, "sensor"),
        "sensor",
        is_enabled=is_enabled or as_set(settings),
    )
    try:
        left = max(0.0, max_seconds - (time.monotonic() - started))
        return ingestor.ingest(Limits(seconds=left, rows=max_rows, until_end=True))
    finally:
        ingestor.close()
