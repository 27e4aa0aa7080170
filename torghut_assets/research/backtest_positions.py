"""What strategies held in a backtest at any moment, from its fills: positions as their steps saw them, and the account.

The simulation itself keeps no history of positions; its fills and marks say the same. Nothing is decided here.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from torghut_assets.research.simulation import SimulationResult

Slot = tuple[str, str]
"""Strategy and symbol."""
PositionVector = tuple[float, float, float, float, float]
"""See :data:`~torghut_runtime.strategies.contract.POSITION`."""


@dataclass(slots=True)
class _Held:
    times: list[datetime] = field(default_factory=list[datetime])
    states: list[tuple[float, float, datetime]] = field(default_factory=list[tuple[float, float, datetime]])
    """Quantity, average entry and time of opening from each of the times on."""
    orders: list[tuple[datetime, datetime, float]] = field(default_factory=list[tuple[datetime, datetime, float]])
    """Fills: when it was decided, when it was filled, signed quantity."""

    def book(self, decided_at: datetime, filled_at: datetime, qty: float, price: float) -> None:
        before, average, opened = self.states[-1] if self.states else (0.0, 0.0, filled_at)
        after = before + qty
        if before == 0.0 or before * after < 0.0:
            average, opened = price, filled_at
        elif before * qty > 0.0:
            average = (abs(before) * average + abs(qty) * price) / abs(after)
        self.times.append(filled_at)
        self.states.append((after, average, opened))
        self.orders.append((decided_at, filled_at, qty))


class BacktestPositions:
    """Positions of every strategy in every symbol, and equity and gross exposure of the account."""

    def __init__(self, result: SimulationResult, closes: Mapping[str, Sequence[datetime]]) -> None:
        """Read a result; ``closes``: times at which the bars of each symbol closed, in order."""
        self._closes = closes
        self._held: dict[Slot, _Held] = defaultdict(_Held)
        names = ("strategy_id", "symbol", "decided_at", "filled_at", "side", "qty", "price")
        for strategy, symbol, decided_at, filled_at, side, qty, price in (
            result.fills.sort("filled_at", maintain_order=True).select(names).iter_rows()
        ):
            self._held[strategy, symbol].book(decided_at, filled_at, qty if side == "buy" else -qty, price)
        marks = result.equity.select(pl.col("ts", "equity", "gross_exposure"))
        self._marked_at: list[datetime] = marks["ts"].to_list()
        self._marks = [(equity, gross) for _, equity, gross in marks.iter_rows()]
        self._opening = result.opening_cash

    def at(self, slot: Slot, moment: datetime, price: float) -> PositionVector:
        """What the step saw at the close of a bar at ``price``; what fills at an open of this time fills after it."""
        held = self._held.get(slot)
        if held is None:
            return 0.0, 0.0, 0.0, 0.0, 0.0
        pending = sum(qty for decided, filled, qty in held.orders if decided < moment <= filled)
        index = bisect_left(held.times, moment) - 1
        qty, average, opened = held.states[index] if index >= 0 else (0.0, 0.0, moment)
        if qty == 0.0:
            return 0.0, 0.0, 0.0, 0.0, pending
        closes = self._closes[slot[1]]
        bars = bisect_right(closes, moment) - bisect_right(closes, opened)
        return qty, average, float(bars), (price / average - 1.0) * (1.0 if qty > 0.0 else -1.0), pending

    def account(self, moment: datetime) -> tuple[float, float]:
        """Equity and gross exposure after the bars that closed before ``moment``."""
        index = bisect_left(self._marked_at, moment) - 1
        return self._marks[index] if index >= 0 else (self._opening, 0.0)
