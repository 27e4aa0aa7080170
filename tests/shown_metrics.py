"""What a registry of metrics shows, as plain values."""

from typing import Any

from prometheus_client import CollectorRegistry

from torghut_runtime.engine.metric_families import PREFIX


def shown_metrics(registry: CollectorRegistry) -> dict[str, Any]:
    """Families are named as in Prometheus without ``torghut_trading_``.

    Labelled ones are mappings from label value to value, nested in the order of the labels; a histogram is its count
    and sum.
    """
    found: dict[str, Any] = {}
    for family in registry.collect():
        name = family.name.removeprefix(PREFIX)
        for sample in family.samples:
            suffix = sample.name.removeprefix(family.name)
            if suffix in ("_bucket", "_created"):
                continue
            path = [f"{name}_total" if suffix == "_total" else name, *sample.labels.values()]
            if suffix in ("_count", "_sum"):
                path.append(suffix[1:])
            into = found
            for step in path[:-1]:
                into = into.setdefault(step, {})
            into[path[-1]] = sample.value
    return found
