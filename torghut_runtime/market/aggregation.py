"""Longer bars from minutes, within sessions: 5Min, 15Min, 1Hour and 1Day.

The one implementation: the live stream, the warm-up and whoever has minutes in a file add them up here. A longer bar
is complete when its last minute is there, or when it is settled that no more of its minutes will come. Minutes outside
every session belong to no longer bar. Order, gaps and sources of minutes are the caller's business.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from torghut_runtime.market.features import Bar
from torghut_runtime.market.hours import Session, SessionHours, Span
from torghut_runtime.market.timeframe import DAILY, TIMEFRAMES

MINUTES: Final = "1Min"
BUILT: Final = ("5Min", "15Min", "1Hour", "1Day")
"""What is built from minutes, shortest first."""

OK, BACKFILL, LATE = 0.0, 1.0, 2.0
"""Ordinals of ``signal_quality_flag``."""


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute as a source tells it; prices per share, ``opens_at`` UTC, ``mark`` an ordinal of the quality flag."""

    symbol: str
    opens_at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    mark: float = OK


@dataclass(slots=True)
class _Growing:
    span: Span
    high: float
    low: float
    close: float
    volume: float
    mark: float


class Aggregator:
    """Adds up the minutes of one symbol, which must come in order of time."""

    def __init__(self, symbol: str, timeframes: Collection[str], hours: SessionHours | None = None) -> None:
        self.symbol = symbol
        self.hours = hours or SessionHours.of(symbol)
        self.timeframes = tuple(name for name in BUILT if name in timeframes)
        """What is built, shortest first."""
        self._growing: dict[str, _Growing] = {}

    def add(self, minute: Minute, span: Span) -> list[Bar]:
        """Take a minute; the bars that end with it, shortest first."""
        done = self.settle(minute.opens_at)
        if span.session is None:
            return done
        for timeframe in self.timeframes:
            growing = self._growing.get(timeframe)
            if growing is None:
                whole = self.hours.span(minute.opens_at, timeframe)
                assert whole is not None
                self._growing[timeframe] = _Growing(
                    whole, minute.high, minute.low, minute.close, minute.volume, minute.mark
                )
            else:
                growing.high = max(growing.high, minute.high)
                growing.low = min(growing.low, minute.low)
                growing.close = minute.close
                growing.volume += minute.volume
                growing.mark = max(growing.mark, minute.mark)
        return done + self.settle(span.closes_at)

    def settle(self, moment: datetime) -> list[Bar]:
        """The bars that end at or before ``moment``, by end and length; nothing more will come for them."""
        ended = [name for name, growing in self._growing.items() if growing.span.closes_at <= moment]
        if not ended:
            return []
        bars = [_bar(self.symbol, name, self._growing.pop(name)) for name in ended]
        return sorted(bars, key=bar_order)


def _bar(symbol: str, timeframe: str, grown: _Growing) -> Bar:
    return Bar(
        symbol=symbol,
        timeframe=timeframe,
        open_ts=grown.span.opens_at,
        event_ts=grown.span.closes_at,
        session=grown.span.session,
        high=grown.high,
        low=grown.low,
        close=grown.close,
        volume=grown.volume,
        signal_quality_flag=grown.mark,
    )


def minute_bar(minute: Minute, span: Span) -> Bar:
    """A minute as strategies see it."""
    return _as_told(minute, MINUTES, span.opens_at, span.closes_at, span.session)


def daily_bar(day: Minute, session: Session) -> Bar:
    """A day as the source tells it, as strategies see it."""
    return _as_told(day, DAILY, session.opens_at, session.closes_at, session.day)


def _as_told(told: Minute, timeframe: str, opens_at: datetime, closes_at: datetime, session: date | None) -> Bar:
    return Bar(
        symbol=told.symbol,
        timeframe=timeframe,
        open_ts=opens_at,
        event_ts=closes_at,
        session=session,
        high=told.high,
        low=told.low,
        close=told.close,
        volume=told.volume,
        signal_quality_flag=told.mark,
    )


def bar_order(bar: Bar) -> tuple[datetime, str, int]:
    """Order in which bars are handed on: by close, symbol and length."""
    return bar.event_ts, bar.symbol, TIMEFRAMES[bar.timeframe]


def built_bars(symbol: str, minutes: Iterable[Minute], timeframes: Collection[str], until: datetime) -> list[Bar]:
    """Every bar of the timeframes (minutes among them where wanted) that ended by ``until``, from minutes in order."""
    aggregator = Aggregator(symbol, timeframes)
    bars: list[Bar] = []
    for minute in minutes:
        span = aggregator.hours.minute(minute.opens_at)
        if span.closes_at > until:
            break
        ended = aggregator.add(minute, span)
        if MINUTES in timeframes:
            ended.append(minute_bar(minute, span))
        bars += sorted(ended, key=bar_order)
    return bars + aggregator.settle(until)
