"""Minutes for tests of market data: made-up ones of a session, and the ordered truth that they must lead to."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from torghut_runtime.market.aggregation import Minute
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.market.features import Bar
from torghut_runtime.market_data.assembler import Assembler
from torghut_runtime.market_data.closed_bars import ClosedBars, FillRequest

DAY = date(2026, 1, 5)
OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LOOKBACK = timedelta(minutes=15)
EVERY = frozenset({"1Min", "5Min", "15Min", "1Hour", "1Day"})


def minute(symbol: str, number: int, *, start: datetime = OPEN, volume: float = 100.0) -> Minute:
    """The minute of a number after a start; its prices tell the number."""
    price = 100.0 + number
    return Minute(symbol, start + number * MINUTE, price, price + 0.5, price - 0.5, price + 0.25, volume)


def session_minutes(symbol: str, day: date = DAY) -> list[Minute]:
    """Every minute of a session."""
    calendar = TradingCalendar()
    opens_at, closes_at = calendar.session_open(day), calendar.session_close(day)
    assert opens_at is not None
    assert closes_at is not None
    return [minute(symbol, number, start=opens_at) for number in range((closes_at - opens_at) // MINUTE)]


def told(groups: Iterable[ClosedBars], symbol: str) -> list[tuple[str, datetime, float, float, float, float]]:
    """What was handed on for a symbol, in order, without its marks."""
    bars = [bar for group in groups for bar in group.bars if bar.symbol == symbol]
    return [_plain(bar) for bar in bars]


def _plain(bar: Bar) -> tuple[str, datetime, float, float, float, float]:
    return bar.timeframe, bar.event_ts, bar.high, bar.low, bar.close, bar.volume


def answer_all(assembler: Assembler, truth: Sequence[Minute], now: datetime) -> list[ClosedBars]:
    """Answer every question from the truth until none is left."""
    groups: list[ClosedBars] = []
    while requests := assembler.missing(now):
        for request in requests:
            groups += assembler.answer(request, held(truth, request), now)
    return groups


def held(truth: Sequence[Minute], request: FillRequest) -> list[Minute]:
    """What a history that knows the truth answers."""
    return [each for each in truth if each.symbol == request.symbol and request.start <= each.opens_at < request.end]
