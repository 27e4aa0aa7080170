"""A strategy that is restarted and warmed up decides with the same bits as one that never stopped."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BUILT_INS, BoundStrategy, resolve

FLAT = np.zeros(5)

_momentum = st.fixed_dictionaries(
    {
        "lookback_bars": st.integers(2, 20),
        "skip_bars": st.integers(0, 1),
        "vol_halflife": st.floats(1, 4),
        "rebalance_bars": st.integers(1, 7),
        "rebalance_band": st.sampled_from([0.0, 0.02, 0.1]),
        "trailing_stop_vol": st.sampled_from([None, 0.5, 2.0]),
    }
)
PARAMS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "legacy_macd_rsi": st.fixed_dictionaries(
        {"entry": st.sampled_from(["level", "cross"]), "buy_rsi_threshold": st.sampled_from([35, 60])}
    ),
    "intraday_tsmom_v1": st.fixed_dictionaries({"require_volatility": st.booleans()}),
    "daily_momentum": _momentum,
    "buy_and_hold": st.just({}),
}


def rows(bound: BoundStrategy, n: int, rng: np.random.Generator) -> np.ndarray:
    """Plausible features: a price that wanders, averages around it, an RSI between 20 and 80."""
    price = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
    columns = {
        "price": price,
        "ema12": price * (1 + rng.normal(0, 0.01, n)),
        "ema26": price,
        "macd": rng.normal(0, 0.1, n),
        "macd_signal": rng.normal(0, 0.1, n),
        "rsi14": rng.uniform(20, 80, n),
        "vol_realized_w60s": np.where(rng.random(n) < 0.3, np.nan, rng.uniform(0, 0.02, n)),
    }
    return np.ascontiguousarray(np.column_stack([columns[name] for name in bound.feature_columns]))


def outputs(bound: BoundStrategy, state: np.ndarray, features: np.ndarray, positions: np.ndarray) -> bytes:
    said = np.zeros((len(features), 4))
    for row, position, out in zip(features, positions, said, strict=True):
        bound.step(row, bound.parameter_vector, position.copy(), state, out)
    return said.tobytes()


@pytest.mark.parametrize("strategy", BUILT_INS, ids=lambda each: each.type)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_restart_after_the_warm_up_changes_no_bit(strategy: Any, data: st.DataObject) -> None:
    timeframe = strategy.timeframes[0] if strategy.timeframes else "1Min"
    params = data.draw(PARAMS[strategy.type])
    entry = {"strategy_id": "s", "strategy_type": strategy.type, "base_timeframe": timeframe, "params": params}
    bound = resolve(StrategyEntry.model_validate(entry), None)
    before = data.draw(st.integers(bound.warmup_bars, bound.warmup_bars + 40))
    after = 40
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    features = rows(bound, before + after, rng)
    held = rng.integers(0, 30, before + after)
    positions = np.zeros((before + after, 5))
    positions[:, 0] = rng.choice([0.0, 10.0], before + after)
    positions[:, 1] = np.where(positions[:, 0] > 0, 100.0, 0.0)
    positions[:, 2] = np.where(positions[:, 0] > 0, held, 0)
    through = np.zeros(bound.state_size)
    outputs(bound, through, features[:before], positions[:before])
    restarted = np.zeros(bound.state_size)
    begin = before - bound.warmup_bars
    outputs(bound, restarted, features[begin:before], np.tile(FLAT, (bound.warmup_bars, 1)))
    went_on = outputs(bound, through, features[before:], positions[before:])
    assert outputs(bound, restarted, features[before:], positions[before:]) == went_on
