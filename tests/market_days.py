"""Days of minutes for a running engine: sessions, what lies between them, and the features that research gives them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from live_engine import REGISTRY, Desk

from torghut_runtime.broker.simulator.instants import moment_of, nanoseconds
from torghut_runtime.broker.simulator.market_event import MarketBar
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market.signals import signals_from_bars
from torghut_runtime.strategies.contract import Strategy, StrategyParams

MINUTE = timedelta(minutes=1)
COMPUTED = (
    "price", "ema12", "ema26", "macd", "macd_signal", "macd_hist", "rsi14", "boll_mid", "boll_upper", "boll_lower",
    "vwap_session", "vwap_w5m",
)  # fmt: skip
"""What is computed from bars alone, and so is the same whatever the clock was."""


class Reading(Strategy):
    """Is shown every computed feature, and holds."""

    type = "reading"
    version = "1.0.0"
    features = COMPUTED
    Params = StrategyParams

    @staticmethod
    def step(f, p, pos, state, out):
        """Nothing."""


READERS = REGISTRY.extended(Reading)


def reading(*symbols: str) -> dict[str, Any]:
    """The entry of a strategy that leaves every feature in its records."""
    return {"strategy_id": "reading", "strategy_type": "reading", "universe_symbols": list(symbols or ("AAPL",))}


def bounds(day: date) -> tuple[datetime, datetime]:
    """Opening and close of a session, UTC."""
    calendar = TradingCalendar()
    opens_at, closes_at = calendar.session_open(day), calendar.session_close(day)
    assert opens_at is not None
    assert closes_at is not None
    return opens_at, closes_at


def minutes_from(first: datetime, count: int) -> list[datetime]:
    """Consecutive minutes."""
    return [first + number * MINUTE for number in range(count)]


def walk(moments: Mapping[str, Sequence[datetime]], seed: int = 1) -> Tape:
    """Minutes that open at these moments, prices in cents that wander."""
    generator, hours = np.random.default_rng(seed), SessionHours()
    bars: list[MarketBar] = []
    for symbol, opens in moments.items():
        cents = 10_000 + np.cumsum(generator.integers(-20, 21, len(opens)))
        for opens_at, close in zip(opens, cents.tolist(), strict=True):
            high, low = close + int(generator.integers(0, 15)), close - int(generator.integers(0, 15))
            span = nanoseconds(opens_at), nanoseconds(opens_at + MINUTE)
            prices = close / 100, high / 100, low / 100, close / 100
            volume = float(generator.integers(1, 50)) * 10_000
            traded = hours.at(opens_at) is not None
            bars.append(MarketBar(symbol, *span, *prices, volume, in_session=traded))
    return Tape(tuple(sorted(bars, key=lambda bar: (bar.closes_at, bar.symbol))), "1Min")


def research_features(tape: Tape, symbol: str = "AAPL") -> dict[datetime, tuple[float, ...]]:
    """The computed features of each minute, as research computes them over the whole file."""
    table = pl.DataFrame(
        [
            {
                "symbol": bar.symbol, "ts": moment_of(bar.opens_at), "open": bar.open, "high": bar.high,
                "low": bar.low, "close": bar.close, "volume": bar.volume,
            }
            for bar in tape.bars
            if bar.symbol == symbol
        ]
    ).with_columns(pl.col("ts").dt.cast_time_unit("us"))  # fmt: skip
    frame = signals_from_bars(bars_from_frame(table, "1Min")).frame
    return {row[0].astimezone(UTC): row[1:] for row in frame.select("open_ts", *COMPUTED).iter_rows()}


def recorded_features(desk: Desk, symbol: str = "AAPL") -> dict[datetime, tuple[float, ...]]:
    """The features that the reading strategy was shown, by minute."""
    rows = desk.rows(
        "SELECT bar_ts, features FROM decision_inputs WHERE strategy_id = 'reading'"
        f" AND symbol = '{symbol}' ORDER BY bar_ts"
    )
    return {row.bar_ts.astimezone(UTC): tuple(float(value) for value in row.features) for row in rows}
