"""Metrics of the process that trades: its queues and its supervised parts."""

from collections.abc import Iterable

from torghut_runtime.engine.metric_families import Families


class ProcessMetrics:
    """Told by supervisor and engine."""

    def __init__(self, families: Families) -> None:
        self._depth = families.gauge("queue_depth", "Items that wait.", "queue")
        self._dropped = families.counter("queue_dropped", "Items that a full queue has lost.", "queue")
        self._events_age = families.gauge("order_events_age_seconds", "How long events of orders wait to be stored.")
        self._restarts = families.counter("component_restarts", "Restarts of a supervised part.", "component")

    def parts_are(self, components: Iterable[str], queues: Iterable[str]) -> None:
        """The process has these: their counters begin at 0, so that the first event is an increase."""
        for component in components:
            self._restarts.labels(component)
        for queue in queues:
            self._dropped.labels(queue)
            self._depth.labels(queue)

    def queue_depth(self, queue: str, items: int) -> None:
        """How many items wait in a queue."""
        self._depth.labels(queue).set(items)

    def queue_dropped(self, queue: str, items: int = 1) -> None:
        """A full queue has lost items."""
        self._dropped.labels(queue).inc(items)

    def oldest_event(self, seconds: float) -> None:
        """How long the oldest event of an order waits to be stored; 0 when none waits."""
        self._events_age.set(seconds)

    def restarted(self, component: str) -> None:
        """A supervised part was started again."""
        self._restarts.labels(component).inc()
