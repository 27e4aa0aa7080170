"""Metrics of strategies and of their catalog: steps, verdicts, failures, recorded inputs."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge

from torghut_runtime.engine.metric_families import Families

_MS: Final = 1000.0


class StrategyMetrics:
    """Told by the driver at every bar, and of the catalog by the engine."""

    def __init__(self, families: Families) -> None:
        self._steps = families.counter("strategy_events", "Bars that a strategy was asked about.", "strategy_id")
        self._intents = families.counter("strategy_intents", "Its verdicts that were no hold.", "strategy_id")
        self._errors = families.counter("strategy_errors", "Its outputs that could not be used.", "strategy_id")
        self._latency = families.gauge("strategy_latency_ms", "Duration of its last step.", "strategy_id")
        self._shown_steps: dict[str, tuple[Counter, Gauge]] = {}
        """What is counted at every bar, looked up once per strategy."""
        self._isolated = families.counter(
            "strategy_runtime_isolated_failures", "Failures of one strategy that left the others running."
        )
        self._catalog_errors = families.counter("catalog_errors", "Catalogs, or entries, that could not be loaded.")
        self._inputs = families.counter("decision_inputs", "Steps whose inputs were recorded.")

    def stepped(self, strategy_id: str, seconds: float, *, acted: bool, failed: bool) -> None:
        """A strategy was asked about a bar."""
        shown = self._shown_steps.get(strategy_id)
        if shown is None:
            shown = self._shown_steps[strategy_id] = self._steps.labels(strategy_id), self._latency.labels(strategy_id)
        shown[0].inc()
        shown[1].set(seconds * _MS)
        if failed:
            self._errors.labels(strategy_id).inc()
            self._isolated.inc()
        elif acted:
            self._intents.labels(strategy_id).inc()

    def are(self, strategy_ids: Iterable[str]) -> None:
        """The catalog has these now: families of a strategy begin at 0; one that is gone is no longer shown."""
        kept = set(strategy_ids)
        self._shown_steps.clear()
        for family in (self._steps, self._intents, self._errors, self._latency):
            shown = {sample.labels["strategy_id"] for metric in family.collect() for sample in metric.samples}
            for gone in shown - kept:
                family.remove(gone)
            if family is not self._latency:
                for strategy_id in kept:
                    family.labels(strategy_id)

    def catalog_error(self) -> None:
        """A catalog, or an entry of it, could not be loaded."""
        self._catalog_errors.inc()

    def inputs_recorded(self, steps: int) -> None:
        """Inputs of steps were written."""
        self._inputs.inc(steps)
