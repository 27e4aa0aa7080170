"""The rules of the built-in strategies, on both sides of every threshold."""

from typing import Any

import numpy as np
import pytest

from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import tag_names
from torghut_runtime.strategies.registry import BoundStrategy, resolve

FLAT = (0.0, 0.0, 0.0, 0.0, 0.0)


def strategy(strategy_type: str, timeframe: str = "1Min", **params: Any) -> BoundStrategy:
    entry = {"strategy_id": "s", "strategy_type": strategy_type, "base_timeframe": timeframe, "params": params}
    return resolve(StrategyEntry.model_validate(entry), None)


class Asked:
    """A strategy with its memory, asked bar by bar."""

    def __init__(self, strategy_type: str, timeframe: str = "1Min", **params: Any) -> None:
        self.bound = strategy(strategy_type, timeframe, **params)
        self.state = np.zeros(self.bound.state_size)

    def __call__(self, *features: float, pos: tuple[float, ...] = FLAT) -> tuple[float, float, float, tuple[str, ...]]:
        out = np.zeros(4)
        self.bound.step(
            np.array(features, dtype=np.float64), self.bound.parameter_vector, np.array(pos), self.state, out
        )
        return float(out[0]), float(out[1]), round(float(out[2]), 10), tag_names(self.bound.strategy_class.tags, out[3])


@pytest.mark.parametrize(
    ("macd", "signal", "rsi", "said"),
    [
        (1.2, 0.5, 20, 1.0),
        (1.2, 0.5, 34.999, 1.0),
        (1.2, 0.5, 35, 0.0),
        (0.5, 0.5, 20, 0.0),
        (0.4, 0.5, 20, 0.0),
        (-0.2, 0.1, 75, -1.0),
        (-0.2, 0.1, 65.001, -1.0),
        (-0.2, 0.1, 65, 0.0),
        (0.1, 0.1, 75, 0.0),
        (0.2, 0.1, 75, 0.0),
    ],
)
def test_legacy_macd_rsi_buys_below_35_and_sells_above_65(macd: float, signal: float, rsi: float, said: float) -> None:
    out = Asked("legacy_macd_rsi")(macd, signal, rsi)
    assert (
        out
        == {
            1.0: (1.0, 1.0, 0.65, ("macd_cross_up", "rsi_oversold")),
            -1.0: (-1.0, -1.0, 0.65, ("macd_cross_down", "rsi_overbought")),
            0.0: (0.0, 0.0, 0.0, ()),
        }[said]
    )


def test_thresholds_are_parameters_and_an_explicit_zero_is_zero() -> None:
    assert Asked("legacy_macd_rsi", buy_rsi_threshold=0)(1.0, 0.0, 0.0)[0] == 0.0
    assert Asked("legacy_macd_rsi", buy_rsi_threshold=40)(1.0, 0.0, 39.0)[0] == 1.0
    assert Asked("legacy_macd_rsi", sell_rsi_threshold=0)(0.0, 1.0, 0.5)[0] == -1.0


def test_on_a_level_the_condition_itself_is_the_signal() -> None:
    level = Asked("legacy_macd_rsi")
    assert [level(1, 0, 20)[0] for _ in range(3)] == [1.0, 1.0, 1.0]


def test_on_a_cross_only_the_first_bar_counts_and_the_very_first_never_does() -> None:
    cross = Asked("legacy_macd_rsi", entry="cross")
    buy, sell, neither = (1, 0, 20), (0, 1, 80), (1, 0, 50)
    asked = [buy, buy, neither, buy, buy, sell, sell, neither, sell, buy]
    assert [cross(*each)[0] for each in asked] == [0, 0, 0, 1, 0, -1, 0, 0, -1, 1]


def test_after_a_stop_a_fresh_cross_is_needed() -> None:
    cross = Asked("legacy_macd_rsi", entry="cross")
    held, stopped = (10.0, 100.0, 3.0, -0.1, 0.0), FLAT
    cross(1, 0, 50)
    assert cross(1, 0, 20)[0] == 1.0
    assert cross(1, 0, 20, pos=held)[0] == 0.0
    assert cross(1, 0, 20, pos=stopped)[0] == 0.0
    cross(1, 0, 50)
    assert cross(1, 0, 20)[0] == 1.0


BULL = {"ema12": 101.0, "ema26": 100.0, "macd": 0.05, "macd_signal": 0.0, "rsi": 55.0, "vol": 0.005}
BEAR = {"ema12": 99.0, "ema26": 100.0, "macd": -0.06, "macd_signal": 0.0, "rsi": 66.0, "vol": 0.005}


def tsmom(
    base: dict[str, float], change: dict[str, float], pos: tuple[float, ...] = FLAT, **params: Any
) -> tuple[float, float, float, tuple[str, ...]]:
    return Asked("intraday_tsmom_v1", **params)(*{**base, **change}.values(), pos=pos)


@pytest.mark.parametrize(
    ("change", "buys"),
    [
        ({}, True),
        ({"ema12": 100.0}, False),
        ({"macd": 0.04}, True),
        ({"macd": 0.0399}, False),
        ({"macd": 0.34, "macd_signal": 0.30}, True),
        ({"rsi": 52}, True),
        ({"rsi": 51.999}, False),
        ({"rsi": 62}, True),
        ({"rsi": 62.001}, False),
        ({"vol": 0.001}, True),
        ({"vol": 0.000999}, False),
        ({"vol": 0.012}, True),
        ({"vol": 0.012001}, False),
        ({"vol": np.nan}, True),
    ],
)
def test_intraday_tsmom_buys_within_its_thresholds(change: dict[str, float], buys: bool) -> None:
    assert (tsmom(BULL, change)[0] == 1.0) is buys


@pytest.mark.parametrize(
    ("change", "sells"),
    [
        ({}, True),
        ({"ema12": 100.0}, False),
        ({"macd": -0.05}, True),
        ({"macd": -0.0499}, False),
        ({"macd": -0.12}, True),
        ({"macd": -0.1201}, False),
        ({"rsi": 65.999}, False),
        ({"rsi": 90}, True),
        ({"vol": np.nan}, True),
        ({"vol": 5.0}, True),
    ],
)
def test_intraday_tsmom_sells_within_its_thresholds(change: dict[str, float], sells: bool) -> None:
    assert (tsmom(BEAR, change)[0] == -1.0) is sells


@pytest.mark.parametrize(("above", "says"), [(0.0, 0.0), (1e-9, 1.0)])
def test_an_explicit_zero_as_least_width_still_wants_macd_and_its_signal_apart(above: float, says: float) -> None:
    assert tsmom(BULL, {"macd": above}, bullish_hist_min=0)[0] == says
    assert tsmom(BEAR, {"macd": -above}, bearish_hist_min=0)[0] == -says


@pytest.mark.parametrize(
    ("base", "change", "confidence", "tags"),
    [
        (BULL, {"vol": 0.009}, 0.64, 3),
        (BULL, {"vol": 0.008}, 0.67, 3),
        (BULL, {"vol": np.nan}, 0.64, 2),
        (BULL, {"vol": np.nan, "macd": 0.08}, 0.69, 2),
        (BULL, {"vol": np.nan, "macd": 0.0799}, 0.64, 2),
        (BULL, {"vol": np.nan, "rsi": 62}, 0.66, 2),
        (BULL, {"macd": 0.2, "rsi": 62}, 0.74, 3),
        (BEAR, {}, 0.62, 2),
        (BEAR, {"rsi": 71.999}, 0.62, 2),
        (BEAR, {"rsi": 72}, 0.65, 2),
    ],
)
def test_intraday_tsmom_says_how_sure_it_is(
    base: dict[str, float], change: dict[str, float], confidence: float, tags: int
) -> None:
    out = tsmom(base, change)
    assert out[2] == confidence
    names = ("tsmom_trend_up", "momentum_confirmed", "volatility_within_budget")
    assert out[3] == (names[:tags] if base is BULL else ("tsmom_trend_down", "momentum_reversal_exit"))


def test_a_missing_volatility_forbids_to_enter_only_where_it_is_required() -> None:
    missing = {"vol": np.nan}
    held = (10.0, 100.0, 3.0, 0.0, 0.0)
    assert tsmom(BULL, missing, require_volatility=True)[0] == 0.0
    assert tsmom(BEAR, missing, require_volatility=True)[0] == 0.0
    assert tsmom(BEAR, missing, pos=held, require_volatility=True)[0] == -1.0
    assert tsmom(BULL, {}, require_volatility=True)[0] == 1.0


def test_buy_and_hold_asks_until_it_holds() -> None:
    ask = Asked("buy_and_hold")
    assert ask(100.0) == (3.0, 1.0, 1.0, ("baseline",))
    assert ask(100.0, pos=(0.0, 0.0, 0.0, 0.0, 5.0))[0] == 0.0
    assert ask(100.0, pos=(5.0, 100.0, 1.0, 0.0, 0.0))[0] == 0.0


MOMENTUM: dict[str, Any] = {
    "lookback_bars": 10,
    "skip_bars": 2,
    "vol_halflife": 2.0,
    "rebalance_bars": 3,
    "trailing_stop_vol": 4.0,
}


def momentum(closes: list[float], pos: tuple[float, ...] = FLAT, **params: Any) -> tuple[Any, ...]:
    """What it says to the last of the closes; the others were seen before."""
    ask = Asked("daily_momentum", "1Day", **{**MOMENTUM, **params})
    return [ask(close, pos=pos) for close in closes][-1]


def rising(n: int, last: float | None = None) -> list[float]:
    closes = [100.0 * 1.01**index * (1 + 0.003 * (-1) ** index) for index in range(n)]
    return closes if last is None else [*closes[:-1], last]


def test_daily_momentum_is_silent_until_it_knows_enough() -> None:
    assert momentum(rising(10))[0] == 0.0
    assert momentum(rising(11))[0] == 3.0


def test_daily_momentum_is_long_only_while_the_past_return_is_positive() -> None:
    out = momentum(rising(30))
    assert out[0] == 3.0
    assert out[3] == ("trend_up",)
    assert out[1] == pytest.approx(out[2])
    assert momentum([100.0] * 30)[0] == 0.0
    assert momentum(rising(30)[::-1])[0] == 0.0
    held = (10.0, 100.0, 2.0, 0.0, 0.0)
    leaving = momentum(rising(30)[::-1], pos=held)
    assert (leaving[0], leaving[3]) == (2.0, ("trend_down",))


def test_daily_momentum_ignores_the_newest_bars_that_are_skipped() -> None:
    closes = rising(30)
    assert momentum([*closes, 200.0, 300.0])[1] != momentum([*closes, *rising(32)[-2:]])[1]
    fallen = momentum([*closes, 50.0, 50.0], trailing_stop_vol=None)
    assert fallen[0] == 3.0  # the fall of the last two bars is not yet part of the trend
    assert momentum([*closes, 50.0, 50.0, 50.0], trailing_stop_vol=None)[0] == 0.0


def test_daily_momentum_weighs_by_volatility_up_to_the_most() -> None:
    closes = rising(30)
    returns = np.diff(np.log(closes))[-10:][::-1]
    decay = 0.5 ** (np.arange(10) / 2.0)
    volatility = np.sqrt(np.sum(decay * returns**2) / np.sum(decay))
    expected = 0.10 / (volatility * np.sqrt(252))
    assert expected < 1
    assert momentum(closes)[1] == pytest.approx(expected)
    assert momentum(closes, target_vol=5.0)[1] == 1.0
    assert momentum(closes, target_vol=5.0, max_weight=0.3)[1] == 0.3


def test_daily_momentum_leaves_below_its_trailing_stop_and_not_on_it() -> None:
    closes = rising(30)
    high = max(closes[-6:-1])
    held = (10.0, 100.0, 6.0, 0.0, 0.0)

    def said(last: float) -> tuple[Any, ...]:
        ask = Asked("daily_momentum", "1Day", **{**MOMENTUM, "trailing_stop_vol": 1.0, "rebalance_bars": 50})
        return [ask(close, pos=held) for close in [*closes[:-1], last]][-1]

    def line(last: float) -> float:
        """The stop on the bar of this close: one daily volatility, its own return included, below the high."""
        returns = np.diff(np.log([*closes[:-1], last]))[-10:][::-1]
        decay = 0.5 ** (np.arange(10) / 2.0)
        return float(high * (1 - np.sqrt(np.sum(decay * returns**2) / np.sum(decay))))

    above, below = high, high * 0.5  # where the close meets the line
    for _ in range(200):
        middle = (above + below) / 2
        above, below = (above, middle) if middle < line(middle) else (middle, below)
    assert above - below < 1e-9
    assert said(above + 1e-6)[0] == 0.0
    stopped = said(below - 1e-6)
    assert (stopped[0], stopped[3]) == (2.0, ("trailing_stop",))


def test_daily_momentum_is_weighed_anew_when_the_weight_has_left_the_band_and_not_within_it() -> None:
    closes = [100.0 * 1.004**index * (1 + 0.01 * (-1) ** index * (index > 24)) for index in range(40)]
    given = {**MOMENTUM, "trailing_stop_vol": None, "target_vol": 0.06, "skip_bars": 0}

    def asked(band: float) -> list[tuple[Any, ...]]:
        ask = Asked("daily_momentum", "1Day", **{**given, "rebalance_band": band})
        return [
            ask(close, pos=FLAT if index <= 22 else (10.0, 100.0, float(index - 22), 0.0, 0.0))
            for index, close in enumerate(closes)
        ]

    began, then = (asked(0.0)[index][1] for index in (22, 25))
    change = abs(then - began)
    assert change > 0.01
    assert asked(change - 1e-9)[25][3] == ("trend_up", "rebalance")
    assert asked(change + 1e-9)[25][0] == 0.0


def test_daily_momentum_weighs_anew_only_on_its_bars_and_outside_the_band() -> None:
    calm = [100.0 * 1.004**index for index in range(40)]
    wild = [*calm, *(calm[-1] * (1.08 if index % 2 else 1.0) for index in range(8))]
    ask = Asked("daily_momentum", "1Day", **{**MOMENTUM, "trailing_stop_vol": None, "target_vol": 0.06})
    said = []
    for index, close in enumerate(wild):
        held = max(index - 30, 0)
        said.append(ask(close, pos=(10.0, 100.0, float(held), 0.0, 0.0) if index > 30 else FLAT))
    acted = [index - 30 for index in range(31, len(wild)) if said[index][0] == 3.0]
    assert acted
    assert all(held % 3 == 0 for held in acted)
    assert all(said[30 + held][3] == ("trend_up", "rebalance") for held in acted)
    quiet = Asked("daily_momentum", "1Day", **{**MOMENTUM, "trailing_stop_vol": None, "rebalance_band": 1.0})
    assert all(
        quiet(close, pos=(10.0, 100.0, float(index), 0.0, 0.0))[0] in (0.0, 2.0) for index, close in enumerate(wild)
    )
