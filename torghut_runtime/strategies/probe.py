"""Trying a plugin's step before it is trusted: uncompiled, on arrays of exactly the declared sizes.

Compiled code does not check indices: a step that reads past the end of its features or writes past its memory would
decide on garbage. Run as plain Python on made-up bars, flat, long, short and waiting, the same mistake is an error with
a name. What a step decides is not judged here.
"""

import warnings
from collections.abc import Callable

import numpy as np

from torghut_runtime.compiled import Vector
from torghut_runtime.strategies.contract import StrategyError

_LEAST_BARS = 64
_MOST_BARS = 2048
_POSITIONS = (
    (0.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0, 10.0),
    (10.0, 100.0, 3.0, 0.05, 0.0),
    (10.0, 100.0, 40.0, -0.30, -10.0),
    (-10.0, 100.0, 5.0, 0.02, 0.0),
)


def probe_step(
    name: str,
    step: Callable[[Vector, Vector, Vector, Vector, Vector], None],
    parameters: Vector,
    required: int,
    optional: int,
    state_size: int,
    warmup_bars: int,
) -> None:
    """Feed a step its warm-up and a few bars more, per kind of position.

    Raises:
        StrategyError: reason ``step_failed``; the message holds what the step ran into.
    """
    bars = min(max(warmup_bars + _LEAST_BARS // 2, _LEAST_BARS), _MOST_BARS)
    for position in _POSITIONS:
        state = np.zeros(state_size)
        for bar in range(bars):
            features = np.full(required + optional, 50.0 + 40.0 * np.sin(0.7 * bar))
            features[1:] += np.arange(1, required + optional) * np.cos(1.3 * bar)
            if bar % 3 == 0:
                features[required:] = np.nan
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    step(features, parameters.copy(), np.array(position), state, np.zeros(4))
            except Exception as error:  # noqa: BLE001 - whatever a plugin does is its own error
                text = f"{name}: the step fails on bar {bar + 1}: {type(error).__name__}: {error}"
                raise StrategyError("step_failed", text, field="step") from None
