"""Small worlds for tests of the engine: tapes written as prices, strategies that act at given bars, replays."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch

from torghut_runtime.broker.simulator.instants import nanoseconds
from torghut_runtime.broker.simulator.market_event import MarketBar
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.engine.replay import Replay
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import Strategy, StrategyParams
from torghut_runtime.strategies.registry import BoundStrategy, bind
from torghut_runtime.trading_settings import TradingSettings, known_names, load_trading_settings

MONDAY = date(2026, 1, 5)
FRIDAY = date(2026, 1, 9)


class Timed(Strategy):
    """Acts at given bars, counted from 1: enters, exits, sets a target."""

    type = "timed"
    version = "1.0.0"
    features = ("price",)

    class Params(StrategyParams):
        """Numbers of bars; -1 never."""

        enter_at: int = 1
        until: int = 0
        exit_at: int = -1
        short: bool = False
        invalid_at: int = -1

    @staticmethod
    def state_size(params: Any) -> int:
        """One count."""
        return 1

    @staticmethod
    def step(f, p, pos, state, out):
        """By the count of bars."""
        state[0] += 1.0
        if p[0] <= state[0] <= max(p[1], p[0]):
            out[0] = -1.0 if p[3] != 0.0 else 1.0
            out[1] = 1.0
            out[2] = 1.0
        if state[0] == p[2]:
            out[0] = 2.0
            out[1] = 0.0
        if state[0] == p[4]:
            out[2] = 7.0


def timed(strategy_id: str = "timed", timeframe: str = "1Min", **params: Any) -> BoundStrategy:
    """A strategy that acts at given bars; ``qty`` 10 unless given, ``cap`` its notional cap."""
    entry: dict[str, Any] = {"strategy_id": strategy_id, "strategy_type": "timed", "base_timeframe": timeframe}
    for key, name in (("cap", "max_notional_per_trade"), ("priority", "priority"), ("symbols", "universe_symbols")):
        if key in params:
            entry[name] = params.pop(key)
    return bind(StrategyEntry.model_validate({**entry, "params": {"qty": 10.0, **params}}), Timed)


def settings_of(**environment: str) -> TradingSettings:
    """Settings under exactly these ``TRADING_`` variables, given without the prefix."""
    with patch.dict(os.environ, {f"TRADING_{name}": value for name, value in environment.items()}):
        for name in known_names():
            if name.removeprefix("TRADING_") not in environment:
                os.environ.pop(name, None)
        return load_trading_settings()


def minute_tape(prices: Mapping[str, Sequence[Any]], *, day: date = MONDAY, first_minute: int = 0) -> Tape:
    """One-minute bars from the bell; a price is the close of a flat bar, or (open, high, low, close)."""
    bell = TradingCalendar().session_open(day)
    assert bell is not None
    bars: list[MarketBar] = []
    for symbol, given in prices.items():
        for index, price in enumerate(given):
            opens_at = bell + timedelta(minutes=first_minute + index)
            bars.append(_bar(symbol, opens_at, opens_at + timedelta(minutes=1), price))
    return Tape(tuple(sorted(bars, key=lambda bar: (bar.closes_at, bar.symbol))), "1Min")


def daily_tape(prices: Mapping[str, Sequence[Any]], *, first: date = MONDAY) -> Tape:
    """Daily bars of consecutive sessions; prices as in :func:`minute_tape`."""
    calendar = TradingCalendar()
    bars: list[MarketBar] = []
    for symbol, given in prices.items():
        days = calendar.sessions(first, first + timedelta(days=3 * len(given) + 10))
        for day, price in zip(days, given, strict=False):
            opens_at, closes_at = calendar.session_open(day), calendar.session_close(day)
            assert opens_at is not None
            assert closes_at is not None
            bars.append(_bar(symbol, opens_at, closes_at, price))
    return Tape(tuple(sorted(bars, key=lambda bar: (bar.closes_at, bar.symbol))), "1Day")


def _bar(symbol: str, opens_at: datetime, closes_at: datetime, price: Any) -> MarketBar:
    values = price if isinstance(price, tuple) else (price, price, price, price)
    opened, high, low, close = (float(value) for value in values)
    span = nanoseconds(opens_at.astimezone(UTC)), nanoseconds(closes_at.astimezone(UTC))
    return MarketBar(symbol, *span, opened, high, low, close, 1_000_000.0)


def replay(tape: Tape, *strategies: BoundStrategy, seed: int = 0, **environment: str) -> Replay:
    """A replay that has not run yet."""
    return Replay(tape, strategies, settings_of(**environment), seed=seed)
