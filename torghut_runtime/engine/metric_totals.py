"""Parts that count for themselves, told to the metrics: totals since the start, of which only what is new is added."""

from dataclasses import dataclass, field

from torghut_runtime.engine.metrics import TradingMetrics


@dataclass
class MetricTotals:
    """What was seen of each total; used by one thread."""

    metrics: TradingMetrics
    _seen: dict[str, int] = field(default_factory=dict[str, int])

    def dropped(self, queue: str, total: int) -> None:
        """Items that a queue has lost."""
        new = self._new(f"dropped {queue}", total)
        if new:
            self.metrics.process.queue_dropped(queue, new)

    def catalog_errors(self, total: int) -> None:
        """Catalogs that could not be loaded."""
        for _ in range(self._new("catalog", total)):
            self.metrics.strategies.catalog_error()

    def inputs_recorded(self, total: int) -> None:
        """Steps whose inputs were written."""
        self.metrics.strategies.inputs_recorded(self._new("inputs", total))

    def features(self, rows: int, mismatches: int, rejections: int) -> None:
        """What the feature quality check has seen and refused."""
        self.metrics.market.features_checked(
            self._new("rows", rows),
            mismatches=self._new("mismatches", mismatches),
            rejections=self._new("rejections", rejections),
        )

    def backfilled(self, total: int) -> None:
        """Bars that back-fills have brought."""
        self.metrics.market.backfilled(self._new("backfilled", total))

    def _new(self, name: str, total: int) -> int:
        """What has come since the last look; a part that began anew counts from 0."""
        before = self._seen.get(name, 0)
        self._seen[name] = total
        return total - before if total >= before else total
