"""``daily_momentum``: time-series momentum on daily bars, long or flat, sized by volatility, with a trailing stop.

Sources: time-series momentum by Moskowitz, Ooi & Pedersen (2012), with the last month skipped after Jegadeesh (1990);
exponentially weighted variance around zero as in RiskMetrics (1996).
"""

import math
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from torghut_runtime.compiled import Vector, float64, int64, kernel, vector
from torghut_runtime.strategies.contract import Strategy, StrategyParams

_LOOKBACK, _SKIP, _TARGET_VOL, _HALFLIFE, _MAX_WEIGHT, _REBALANCE, _BAND, _STOP = range(8)
_TREND_UP, _TREND_DOWN, _REBALANCED, _STOPPED = (1.0, 2.0, 4.0, 8.0)
_BARS_PER_YEAR = 252.0
_HALFLIVES = 5.0

# state: bars seen, place of the newest bar, bars since the trend turned up; then three rings of equal length
_SEEN, _NEWEST, _TREND_AGE, _RINGS = range(4)
_PRICES, _SQUARES, _WEIGHTS = range(3)


@kernel(float64(vector, int64, int64))
def _past(state: Vector, ring: int, back: int) -> float:
    """The value that a ring had ``back`` bars ago."""
    n = (len(state) - _RINGS) // 3
    place = (int(state[_NEWEST]) - back) % n
    return state[_RINGS + ring * n + place]


@kernel(float64(vector, float64))
def _daily_volatility(state: Vector, halflife: float) -> float:
    """Root of the exponentially weighted mean of the squared log returns in the rings, newest first."""
    n = (len(state) - _RINGS) // 3
    decay = 0.5 ** (1.0 / halflife)
    weight = 1.0
    total = 0.0
    squares = 0.0
    for back in range(n - 1):
        squares += weight * _past(state, _SQUARES, back)
        total += weight
        weight *= decay
    return np.sqrt(squares / total)


@kernel(float64(vector, int64))
def _highest(state: Vector, bars: int) -> float:
    """Highest close of the newest ``bars`` bars, as far back as the ring goes."""
    n = (len(state) - _RINGS) // 3
    highest = _past(state, _PRICES, 0)
    for back in range(1, min(bars, n)):
        highest = max(highest, _past(state, _PRICES, back))
    return highest


@kernel(float64(vector, int64, int64, float64))
def _weight_in_force(state: Vector, held: int, every: int, band: float) -> float:
    """The weight last asked for by a position that is ``held`` bars old, a multiple of ``every``.

    It began with the weight of the bar before it was opened, and changed wherever a rebalancing bar lay outside the
    band; where the ring does not reach back so far, the oldest rebalancing bar in it stands for the beginning.
    """
    n = (len(state) - _RINGS) // 3
    known = min(int(state[_SEEN]) - n, n - 1)
    back = held
    if back > known:
        back = known - known % every
    weight = _past(state, _WEIGHTS, back)
    while back > every:
        back -= every
        then = _past(state, _WEIGHTS, back)
        if abs(then - weight) > band:
            weight = then
    return weight


class DailyMomentum(Strategy):
    """Long while the past return is positive, with a weight that aims at a constant volatility.

    * Momentum is the log return from ``lookback_bars`` to ``skip_bars`` ago. Long when positive, out when it is not.
    * Weight is ``target_vol`` over the annualised volatility (252 bars a year), at most ``max_weight``. The volatility
      is exponentially weighted over the look-back, or five half-lives if they are longer.
    * A position is weighted anew every ``rebalance_bars`` bars after it was opened, if the weight has left the band
      around the one in force.
    * Trailing stop: out at a close below the highest close since the position was opened, less ``trailing_stop_vol``
      daily volatilities. Afterwards the symbol is bought again once its close is not below the same line drawn from
      the highest close since the trend turned up.

    Nothing is remembered about orders: every decision is a function of the position and of a bounded number of past
    closes (``warmup_bars`` and the bar itself), so a restart after the warm-up changes no bit of it. Highs and weights
    that lie further back than the rings reach are forgotten.
    """

    type = "daily_momentum"
    version = "1.0.0"
    tags = ("trend_up", "trend_down", "rebalance", "trailing_stop")
    features = ("price",)
    timeframes = ("1Day",)

    class Params(StrategyParams):
        """Lengths in bars, volatilities as annual fractions."""

        lookback_bars: int = Field(default=252, ge=2, le=2520, description="bars back to where momentum begins")
        skip_bars: int = Field(default=21, ge=0, description="bars back to where momentum ends")
        target_vol: float = Field(default=0.10, gt=0, description="annual volatility that a position aims at")
        vol_halflife: float = Field(default=20.0, ge=1, le=504, description="half-life of the volatility, in bars")
        max_weight: float = Field(default=1.0, gt=0, le=1, description="most of the budget that is used")
        rebalance_bars: int = Field(default=5, ge=1, description="bars between two looks at the weight")
        rebalance_band: float = Field(default=0.10, ge=0, description="change of weight that is not acted on")
        trailing_stop_vol: float | None = Field(default=4.0, gt=0, description="daily volatilities below the high")

        @model_validator(mode="after")
        def _skip_is_shorter(self) -> "DailyMomentum.Params":
            if self.skip_bars >= self.lookback_bars:
                raise ValueError("skip_bars must be below lookback_bars")
            return self

    @staticmethod
    def warmup_bars(params: Any) -> int:
        """Bars on which the rings, and the weights in them, depend."""
        return 2 * _ring_length(params) - 2

    @staticmethod
    def state_size(params: Any) -> int:
        """Three counters and three rings."""
        return _RINGS + 3 * _ring_length(params)

    @staticmethod
    def step(f: Vector, p: Vector, pos: Vector, state: Vector, out: Vector) -> None:
        """Judge one bar."""
        n = (len(state) - _RINGS) // 3
        price = f[0]
        change = np.log(price / _past(state, _PRICES, 0)) if state[_SEEN] > 0.0 else 0.0
        newest = (int(state[_NEWEST]) + 1) % n
        state[_NEWEST] = newest
        state[_RINGS + newest] = price
        state[_RINGS + n + newest] = change * change
        state[_SEEN] = min(state[_SEEN] + 1.0, 2.0 * n)
        if state[_SEEN] < n:
            return
        volatility = _daily_volatility(state, p[_HALFLIFE])
        annual = volatility * np.sqrt(_BARS_PER_YEAR)
        weight = p[_MAX_WEIGHT]
        if annual * weight > p[_TARGET_VOL]:
            weight = p[_TARGET_VOL] / annual
        state[_RINGS + 2 * n + newest] = weight
        momentum = np.log(_past(state, _PRICES, int(p[_SKIP])) / _past(state, _PRICES, int(p[_LOOKBACK])))
        state[_TREND_AGE] = min(state[_TREND_AGE] + 1.0, float(n)) if momentum > 0.0 else 0.0
        kept = 1.0 - p[_STOP] * volatility

        if pos[0] != 0.0 or pos[4] != 0.0:
            held = int(pos[2])
            if not momentum > 0.0 or pos[0] < 0.0:
                out[0], out[2], out[3] = 2.0, weight, _TREND_DOWN
            elif pos[0] > 0.0 and price < _highest(state, max(held, 1)) * kept:
                out[0], out[2], out[3] = 2.0, weight, _STOPPED
            elif pos[0] > 0.0 and held > 0 and held % int(p[_REBALANCE]) == 0:
                in_force = _weight_in_force(state, held, int(p[_REBALANCE]), p[_BAND])
                if abs(weight - in_force) > p[_BAND]:
                    out[0], out[1], out[2], out[3] = 3.0, weight, weight, _TREND_UP + _REBALANCED
        elif momentum > 0.0 and not price < _highest(state, int(state[_TREND_AGE])) * kept:
            out[0], out[1], out[2], out[3] = 3.0, weight, weight, _TREND_UP


def _ring_length(params: Any) -> int:
    return max(int(params.lookback_bars), math.ceil(_HALFLIVES * params.vol_halflife)) + 1
