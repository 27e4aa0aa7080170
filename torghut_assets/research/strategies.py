"""The strategies of a candidate: its strategy configuration, bound to compiled code and checked against its data."""

from pathlib import Path

from torghut_runtime.errors import InputError
from torghut_runtime.market.signals import SignalSet
from torghut_runtime.strategies.catalog import load_catalog
from torghut_runtime.strategies.registry import BoundStrategy, StrategyRegistry, resolve_all


def load_strategies(
    path: Path, signals: SignalSet, registry: StrategyRegistry | None = None
) -> tuple[BoundStrategy, ...]:
    """Bind every enabled entry of a strategy configuration.

    Whether the data really have a required feature is gate 0's question; here only bars, from which features are
    computed, can rule one out.

    Args:
        path: YAML or JSON.
        signals: the candidate's data.
        registry: the installed strategies when left out.

    Raises:
        InputError: the file cannot be used, or no entry is enabled.
    """
    available = signals.available_features if signals.source == "bars" else None
    bound = resolve_all(load_catalog(path), available, registry, file=path)
    if not bound:
        raise InputError("no strategy is enabled", file=path, field="enabled")
    return tuple(bound)
