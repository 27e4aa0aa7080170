"""``GET /v2/account/portfolio/history`` from the broker's equity curve."""

import re
from bisect import bisect_right
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.instants import SECOND, in_new_york
from torghut_runtime.broker.simulator.refusals import unprocessable
from torghut_runtime.broker.simulator.server.query import Query

_TIMEFRAMES: Final = {"1Min": 60, "5Min": 300, "15Min": 900, "1H": 3600, "1D": 0}
_PERIOD: Final = re.compile(r"(\d{1,3})([DWMA])")
_DAYS: Final = {"D": 1, "W": 7, "M": 31, "A": 366}


def portfolio_history(broker: SimulatedBroker, query: Query) -> dict[str, Any]:
    """Equity over time: a point per session for ``1D``, else one per interval in which there was a bar.

    Raises:
        Refusal: unknown timeframe or period.
    """
    timeframe = query.text("timeframe") or "1D"
    if timeframe not in _TIMEFRAMES:
        raise unprocessable(f"invalid timeframe: {timeframe}")
    start = _start(broker, query)
    end = query.moment("end") or query.moment("date_end") or broker.now
    times, values = _points(broker, timeframe)
    first, last = bisect_right(times, start - 1), bisect_right(times, end)
    base = values[first - 1] if first else broker.equity_curve[0].equity
    kept_times, kept = times[first:last], values[first:last]
    return {
        "timestamp": [at // SECOND for at in kept_times],
        "equity": [float(value) for value in kept],
        "profit_loss": [float(value - base) for value in kept],
        "profit_loss_pct": [float(round((value - base) / base, 10)) if base else 0.0 for value in kept],
        "base_value": float(base),
        "timeframe": timeframe,
    }


def _start(broker: SimulatedBroker, query: Query) -> int:
    explicit = query.moment("start")
    if explicit is not None:
        return explicit
    text = query.text("period") or "1M"
    period = _PERIOD.fullmatch(text)
    if period is None:
        raise unprocessable(f"invalid period: {text}")
    return broker.now - int(period[1]) * _DAYS[period[2]] * 86_400 * SECOND


def _points(broker: SimulatedBroker, timeframe: str) -> tuple[list[int], list[Decimal]]:
    """The last value of each interval, keyed by the interval's start."""
    seconds = _TIMEFRAMES[timeframe]
    found: dict[int, Decimal] = {}
    for point in broker.equity_curve:
        if seconds:
            key = (point.at - 1) // (seconds * SECOND) * seconds * SECOND
        else:
            key = in_new_york(broker.sessions.date_of(point.at), 0, 0)
        found[key] = point.equity
    return list(found), list(found.values())
