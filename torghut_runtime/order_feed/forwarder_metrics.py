"""The forwarder's metrics."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily

from torghut_runtime.order_feed.outbox import Outbox

_PREFIX = "torghut_forwarder_"


class ForwarderMetrics:
    """Metric families ``torghut_forwarder_*``; what the outbox holds is read when it is asked for."""

    def __init__(self, outbox: Outbox, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._outbox = outbox
        self.connected = Gauge(f"{_PREFIX}connected", "1 while the stream listens", registry=self.registry)
        self.events = Counter(f"{_PREFIX}events_total", "Events appended", ["source"], registry=self.registry)
        self.reconnects = Counter(f"{_PREFIX}reconnects_total", "Connections after the first", registry=self.registry)
        self.backfill_events = Counter(
            f"{_PREFIX}backfill_events_total", "Events that back-fills appended", registry=self.registry
        )
        self.delivery_errors = Counter(
            f"{_PREFIX}delivery_errors_total", "Deliveries that Kafka refused", registry=self.registry
        )
        for source in ("ws", "rest"):
            self.events.labels(source)
        self.registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The outbox as it is now."""
        outbox = self._outbox
        yield GaugeMetricFamily(f"{_PREFIX}outbox_rows", "Events in the outbox", value=outbox.rows)
        yield GaugeMetricFamily(f"{_PREFIX}outbox_bytes", "Bytes in the outbox", value=outbox.size)
        yield GaugeMetricFamily(
            f"{_PREFIX}oldest_outbox_age_seconds", "Age of the oldest event", value=outbox.oldest_age_seconds()
        )
