"""``buy_and_hold``: bought once, at the first bar, and kept; the baseline every candidate is compared with."""

from torghut_runtime.compiled import Vector
from torghut_runtime.strategies.contract import Strategy


class BuyAndHold(Strategy):
    """The whole budget from the first bar on.

    It asks whenever it holds nothing and nothing is pending, so an order that found no volume is tried again. Equal
    weights over several symbols are made by the position cap of its entry.
    """

    type = "buy_and_hold"
    version = "1.0.0"
    tags = ("baseline",)
    features = ("price",)

    @staticmethod
    def step(_f: Vector, _p: Vector, pos: Vector, _state: Vector, out: Vector) -> None:
        """Judge one bar."""
        if pos[0] == 0.0 and pos[4] == 0.0:
            out[0], out[1], out[2], out[3] = 3.0, 1.0, 1.0, 1.0
