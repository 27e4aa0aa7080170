"""Signal files for tests of the lane: one row per session and symbol, with trades at places that are easy to count."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from torghut_assets.lane import LaneResult
from torghut_runtime.market.calendar import TradingCalendar

Row = dict[str, Any]
Judge = Callable[..., LaneResult]
NEUTRAL: Mapping[str, Any] = {"macd": {"macd": 0, "signal": 0}, "rsi14": 50}
BUY: Mapping[str, Any] = {"macd": {"macd": 1, "signal": 0}, "rsi14": 20}
SELL: Mapping[str, Any] = {"macd": {"macd": -1, "signal": 0}, "rsi14": 80}


@cache
def sessions(count: int) -> list[date]:
    """The first sessions of the exchange from 2020 on."""
    return TradingCalendar().sessions(date(2020, 1, 2), date(2031, 1, 1))[:count]


def wave(index: int) -> float:
    """A price that goes up and down by a few per cent."""
    return round(100 + 8 * math.sin(index / 3) + index / 50, 4)


def daily_rows(
    count: int = 200,
    *,
    symbols: Sequence[str] = ("AAA",),
    price: Callable[[int], float] = wave,
    **payload: Any,
) -> list[Row]:
    """Rows of the legacy rule: it buys at every tenth session and sells five sessions later."""
    calendar = TradingCalendar()
    rows: list[Row] = []
    for index, session in enumerate(sessions(count)):
        what = {2: BUY, 7: SELL}.get(index % 10, NEUTRAL)
        closes_at = calendar.session_close(session).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows += [
            {
                "event_ts": closes_at,
                "symbol": symbol,
                "timeframe": "1Day",
                "payload": {"price": price(index), "volume": 1e9, **what, **payload},
            }
            for symbol in symbols
        ]
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """A JSON list."""
    path.write_text(json.dumps(list(rows)))
    return path


def legacy_entry(**changes: Any) -> dict[str, Any]:
    """The legacy rule on daily signals."""
    return {
        "strategy_id": "legacy-daily",
        "strategy_type": "legacy_macd_rsi",
        "version": "1.0.0",
        "base_timeframe": "1Day",
        "max_position_pct_equity": 1.0,
        **changes,
    }


def write_entries(path: Path, *entries: Mapping[str, Any]) -> Path:
    """A strategy configuration."""
    path.write_text(yaml.safe_dump({"strategies": [dict(entry) for entry in entries]}))
    return path
