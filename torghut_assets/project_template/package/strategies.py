"""A first strategy: buys what fell too fast, sells it once it has recovered."""

from typing import Any

from pydantic import Field

from torghut_runtime.compiled import Vector
from torghut_runtime.strategies.contract import Strategy, StrategyParams


class RsiReversion(Strategy):
    """Long below one RSI level, out above another."""

    type = "rsi_reversion"
    version = "1.0.0"
    tags = ("oversold", "recovered")
    features = ("rsi14",)

    class Params(StrategyParams):
        """Levels of the RSI, 0 to 100."""

        buy_below: float = Field(default=35.0, ge=0, le=100)
        sell_above: float = Field(default=55.0, ge=0, le=100)

    @staticmethod
    def warmup_bars(params: Any) -> int:
        """The features warm up by themselves; the rule remembers nothing."""
        del params
        return 0

    @staticmethod
    def step(f: Vector, p: Vector, pos: Vector, _state: Vector, out: Vector) -> None:
        """Judge one closed bar: f = features, p = parameters in field order, pos[0] = shares held."""
        if pos[0] == 0.0 and f[0] < p[0]:
            out[0], out[1], out[2], out[3] = 1.0, 1.0, 1.0, 1.0  # enter long with the whole budget
        elif pos[0] > 0.0 and f[0] > p[1]:
            out[0], out[2], out[3] = 2.0, 1.0, 2.0  # exit
