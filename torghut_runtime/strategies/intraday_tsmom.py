"""``intraday_tsmom_v1``: intraday time-series momentum, trend by EMA and MACD, filtered by RSI and volatility."""

import numpy as np
from pydantic import Field, model_validator

from torghut_runtime.compiled import Vector
from torghut_runtime.strategies.contract import Strategy, StrategyParams

_BULL_HIST, _BEAR_HIST, _BEAR_CAP, _BULL_RSI_MIN, _BULL_RSI_MAX, _BEAR_RSI, _VOL_FLOOR, _VOL_CEIL, _REQUIRE_VOL = range(
    9
)
_EMA12, _EMA26, _MACD, _SIGNAL, _RSI, _VOL = range(6)
_UP, _MOMENTUM, _VOLATILITY, _DOWN, _REVERSAL = (1.0, 2.0, 4.0, 8.0, 16.0)
_CALM_VOLATILITY = 0.008
_STRETCHED_RSI = 72.0
_DECIMALS = 1e12


class IntradayTsmom(Strategy):
    """Follow a young trend: long while the histogram is wide enough and the RSI not yet high, sell the mirror of it.

    The histogram h is macd - signal, rounded to twelve decimals, so that a threshold written in decimals is met
    exactly. Thresholds are inclusive. The volatility filter belongs to the buy rule; where the realised volatility is
    missing it is skipped, or with ``require_volatility`` no position is opened in either direction.
    """

    type = "intraday_tsmom_v1"
    version = "1.1.0"
    tags = (
        "tsmom_trend_up",
        "momentum_confirmed",
        "volatility_within_budget",
        "tsmom_trend_down",
        "momentum_reversal_exit",
    )
    features = ("ema12", "ema26", "macd", "macd_signal", "rsi14")
    optional_features = ("vol_realized_w60s",)

    class Params(StrategyParams):
        """Thresholds on h (price units), the 14-bar RSI and the realised volatility over 60 seconds."""

        bullish_hist_min: float = Field(default=0.04, ge=0, description="least h of a buy")
        bearish_hist_min: float = Field(default=0.05, ge=0, description="least -h of a sell")
        bearish_hist_cap: float = Field(default=0.12, ge=0, description="most -h of a sell")
        min_bull_rsi: float = Field(default=52.0, ge=0, le=100, description="least RSI of a buy")
        max_bull_rsi: float = Field(default=62.0, ge=0, le=100, description="most RSI of a buy")
        min_bear_rsi: float = Field(default=66.0, ge=0, le=100, description="least RSI of a sell")
        vol_floor: float = Field(default=0.001, ge=0, description="least volatility of a buy")
        vol_ceil: float = Field(default=0.012, ge=0, description="most volatility of a buy")
        require_volatility: bool = Field(default=False, description="whether a missing volatility forbids to enter")

        @model_validator(mode="after")
        def _ranges_are_not_empty(self) -> "IntradayTsmom.Params":
            if self.min_bull_rsi > self.max_bull_rsi:
                raise ValueError("min_bull_rsi is above max_bull_rsi")
            if self.vol_floor > self.vol_ceil:
                raise ValueError("vol_floor is above vol_ceil")
            if self.bearish_hist_min > self.bearish_hist_cap:
                raise ValueError("bearish_hist_min is above bearish_hist_cap")
            return self

    @staticmethod
    def step(f: Vector, p: Vector, pos: Vector, _state: Vector, out: Vector) -> None:
        """Judge one bar."""
        h = np.rint((f[_MACD] - f[_SIGNAL]) * _DECIMALS) / _DECIMALS
        volatility = f[_VOL]
        unknown = np.isnan(volatility)
        may_enter = not unknown or p[_REQUIRE_VOL] == 0.0
        if f[_EMA12] > f[_EMA26] and f[_MACD] > f[_SIGNAL]:
            in_budget = unknown or p[_VOL_FLOOR] <= volatility <= p[_VOL_CEIL]
            in_trend = h >= p[_BULL_HIST] and p[_BULL_RSI_MIN] <= f[_RSI] <= p[_BULL_RSI_MAX]
            if in_trend and in_budget and may_enter:
                confidence = 0.64
                tags = _UP + _MOMENTUM
                if h >= 2.0 * p[_BULL_HIST]:
                    confidence += 0.05
                if not unknown:
                    tags += _VOLATILITY
                    if volatility <= _CALM_VOLATILITY:
                        confidence += 0.03
                if f[_RSI] >= p[_BULL_RSI_MAX]:
                    confidence += 0.02
                out[0], out[1], out[2], out[3] = 1.0, 1.0, min(confidence, 0.84), tags
        elif f[_EMA12] < f[_EMA26] and f[_MACD] < f[_SIGNAL]:
            reversal = p[_BEAR_HIST] <= -h <= p[_BEAR_CAP] and f[_RSI] >= p[_BEAR_RSI]
            if reversal and (may_enter or pos[0] > 0.0):
                confidence = 0.62
                if f[_RSI] >= _STRETCHED_RSI:
                    confidence += 0.03
                out[0], out[1], out[2], out[3] = -1.0, -1.0, min(confidence, 0.80), _DOWN + _REVERSAL
