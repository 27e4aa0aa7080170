"""``legacy_macd_rsi``: the predecessor's rule, MACD against its signal line, confirmed by a low or high RSI."""

from typing import Any, Literal

from pydantic import Field

from torghut_runtime.compiled import Vector
from torghut_runtime.strategies.contract import Strategy, StrategyParams

_BUY_RSI, _SELL_RSI, _ENTRY = range(3)
_MACD, _SIGNAL, _RSI = range(3)
_SEEN, _BUY, _SELL = range(3)
_CROSS = 1.0
_CONFIDENCE = 0.65
_TAGS_UP, _TAGS_DOWN = 0b0011, 0b1100


class LegacyMacdRsi(Strategy):
    """Buy when macd > signal while the RSI is low, sell when macd < signal while it is high.

    With ``entry: level`` the condition itself is the signal; with ``entry: cross`` only a bar at which it holds and
    did not hold on the previous valid bar. The first valid bar is no cross.
    """

    type = "legacy_macd_rsi"
    version = "1.0.0"
    tags = ("macd_cross_up", "rsi_oversold", "macd_cross_down", "rsi_overbought")
    features = ("macd", "macd_signal", "rsi14")

    class Params(StrategyParams):
        """Thresholds on the 14-bar RSI, and when a condition counts."""

        buy_rsi_threshold: float = Field(default=35.0, ge=0, le=100, description="buy below it")
        sell_rsi_threshold: float = Field(default=65.0, ge=0, le=100, description="sell above it")
        entry: Literal["level", "cross"] = Field(default="level", description="while it holds, or when it begins")

    @staticmethod
    def warmup_bars(params: Any) -> int:
        """The previous bar, where crossing needs it."""
        return 1 if params.entry == "cross" else 0

    @staticmethod
    def state_size(params: Any) -> int:
        """Whether a bar was seen, and what held there."""
        return 3 if params.entry == "cross" else 0

    @staticmethod
    def step(f: Vector, p: Vector, _pos: Vector, state: Vector, out: Vector) -> None:
        """Judge one bar."""
        buy = f[_MACD] > f[_SIGNAL] and f[_RSI] < p[_BUY_RSI]
        sell = f[_MACD] < f[_SIGNAL] and f[_RSI] > p[_SELL_RSI]
        buy_now, sell_now = buy, sell
        if p[_ENTRY] == _CROSS:
            buy_now = buy and state[_SEEN] == 1.0 and state[_BUY] == 0.0
            sell_now = sell and state[_SEEN] == 1.0 and state[_SELL] == 0.0
            state[_SEEN] = 1.0
            state[_BUY] = 1.0 if buy else 0.0
            state[_SELL] = 1.0 if sell else 0.0
        if buy_now:
            out[0], out[1], out[2], out[3] = 1.0, 1.0, _CONFIDENCE, _TAGS_UP
        elif sell_now:
            out[0], out[1], out[2], out[3] = -1.0, -1.0, _CONFIDENCE, _TAGS_DOWN
