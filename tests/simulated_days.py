"""Small days for the broker simulator: tapes written out by hand, brokers over them, and frames read back."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.instants import SECOND, nanoseconds
from torghut_runtime.broker.simulator.market_event import MarketBar
from torghut_runtime.broker.simulator.tape import Tape

DAY = date(2026, 1, 5)
OPEN = nanoseconds(datetime(2026, 1, 5, 14, 30, tzinfo=UTC))
"""The opening bell of that Monday."""
MINUTE = 60 * SECOND

Candle = tuple[float, float, float, float] | tuple[float, float, float, float, float]


def minute_bars(
    candles: Sequence[Candle], *, symbol: str = "AAPL", start: int = OPEN, spread: float | None = None
) -> list[MarketBar]:
    """Consecutive minutes of (open, high, low, close[, volume]); 100,000 shares unless told."""
    bars: list[MarketBar] = []
    for index, candle in enumerate(candles):
        open_, high, low, close = candle[:4]
        volume = candle[4] if len(candle) > 4 else 100_000.0
        half = math.nan if spread is None else spread / 2
        at = start + index * MINUTE
        bars.append(MarketBar(symbol, at, at + MINUTE, open_, high, low, close, volume, close - half, close + half))
    return bars


def tape_of(*bars: MarketBar, timeframe: str = "1Min") -> Tape:
    """A tape of these bars, in order."""
    return Tape(tuple(sorted(bars, key=lambda bar: (bar.closes_at, bar.symbol))), timeframe)


def flat(price: float, minutes: int, volume: float = 100_000) -> list[Candle]:
    """Minutes in which nothing moves."""
    return [(price, price, price, price, volume)] * minutes


class Watched:
    """A broker over candles of one symbol whose frames are kept."""

    def __init__(self, candles: Sequence[Candle] | Tape, **settings: Any) -> None:
        tape = candles if isinstance(candles, Tape) else tape_of(*minute_bars(candles))
        self.broker = SimulatedBroker(tape, BrokerSettings(**settings))
        self.raw: list[bytes] = []
        self.broker.on_trade_update(self.raw.append)

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The data of every frame so far."""
        return [json.loads(frame)["data"] for frame in self.raw]

    @property
    def events(self) -> list[str]:
        """The names of the events so far."""
        return [frame["event"] for frame in self.frames]

    def order(self, side: str = "buy", qty: object = "10", type: str = "market", **fields: Any) -> dict[str, Any]:  # noqa: A002
        """Submit an order."""
        body = {"symbol": "AAPL", "side": side, "qty": qty, "type": type, "time_in_force": "day", **fields}
        return self.broker.submit({name: value for name, value in body.items() if value is not None})

    def fills(self) -> list[tuple[Decimal, Decimal]]:
        """(quantity, price) of every fill so far."""
        return [
            (Decimal(frame["qty"]), Decimal(frame["price"]))
            for frame in self.frames
            if frame["event"] in {"fill", "partial_fill"}
        ]

    def position(self, symbol: str = "AAPL") -> Decimal:
        """Signed shares held."""
        return self.broker.desk.account.position(symbol)
