"""How families of trading's metrics are made: their prefix, their registry, the buckets of durations."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from torghut_runtime.engine.metric_labels import OTHER

PREFIX: Final = "torghut_trading_"
FAST: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
"""Buckets (s) of what happens at every bar or event."""
SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)
"""Buckets (s) of what waits for a broker."""


class Families:
    """Makes families on one registry, which shows them in the order in which they were made."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str, prefix: str = PREFIX) -> Counter:
        """A counter; its samples end in ``_total``."""
        return Counter(f"{prefix}{name}", text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge."""
        return Gauge(f"{PREFIX}{name}", text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = SLOW) -> Histogram:
        """A histogram of seconds."""
        return Histogram(f"{PREFIX}{name}", text, labels, buckets=buckets, registry=self._registry)


def show_one(gauge: Gauge, values: Iterable[str], current: str | None) -> None:
    """1 for the value that holds, 0 for the others; one that nobody knows is shown as ``other``."""
    known = tuple(values)
    for value in (*known, OTHER):
        gauge.labels(value).set(value == current or (value == OTHER and current is not None and current not in known))
