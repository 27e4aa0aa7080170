"""Sessions around one moment, remembered: what a stream of bars asks the calendar for, bar after bar.

An exchange's symbol has the exchange's sessions, a pair such as ``BTC/USD`` the UTC days. Spans of longer bars are
counted from the session's opening: a 1Hour bar begins at 09:30, 10:30, … New York, and the last one ends with the
session. How bars are added up is told in :mod:`torghut_runtime.market.aggregation`.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.market.timeframe import DAILY, timeframe_seconds

MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Session:
    """Opening and close (UTC) of one day."""

    day: date
    opens_at: datetime
    closes_at: datetime


@dataclass(frozen=True, slots=True)
class Span:
    """Begin and end (UTC) of a bar; ``session`` is None outside every session."""

    opens_at: datetime
    closes_at: datetime
    session: date | None


class SessionHours:
    """Sessions of one kind of symbol; the newest answer is kept, the next question is about the same day."""

    def __init__(self, *, exchange: bool = True) -> None:
        self._exchange = exchange
        self._calendar = TradingCalendar()
        self._known: Session | None = None
        self._next: tuple[datetime, datetime, Session] | None = None

    @classmethod
    def of(cls, symbol: str) -> "SessionHours":
        """The hours that a symbol keeps."""
        return cls(exchange=is_exchange_traded(symbol))

    def at(self, moment: datetime) -> Session | None:
        """The session with open ≤ moment < close."""
        known = self._known
        if known is not None and known.opens_at <= moment < known.closes_at:
            return known
        if not self._exchange:
            found = _utc_day(moment.astimezone(UTC).date())
        else:
            day = self._calendar.session_at(moment)
            found = None if day is None else self.on(day)
        if found is not None:
            self._known = found
        return found

    def on(self, day: date) -> Session | None:
        """The session of a day."""
        if not self._exchange:
            return _utc_day(day)
        opens_at, closes_at = self._calendar.session_open(day), self._calendar.session_close(day)
        return None if opens_at is None or closes_at is None else Session(day, opens_at, closes_at)

    def after(self, moment: datetime) -> Session:
        """The first session that opens at or after ``moment``."""
        if not self._exchange:
            day = moment.astimezone(UTC).date()
            today = _utc_day(day)
            return today if moment <= today.opens_at else _utc_day(day + _DAY)
        following = self._next  # once: other threads may ask too
        if following is not None and following[0] <= moment <= following[1]:
            return following[2]
        day = self._calendar.next_session(moment - timedelta(microseconds=1))
        session = None if day is None else self.on(day)
        if session is None:
            raise ValueError(f"no session after {moment}")
        self._next = (moment, session.opens_at, session)
        return session

    def last_closed(self, moment: datetime) -> Session:
        """The newest session that was over at ``moment``."""
        if not self._exchange:
            return _utc_day(moment.astimezone(UTC).date() - _DAY)
        today = moment.astimezone(UTC).date()
        days = self._calendar.sessions(today - timedelta(days=14), today)
        for day in reversed(days):
            session = self.on(day)
            if session is not None and session.closes_at <= moment:
                return session
        raise ValueError(f"no session before {moment}")

    def minute_after(self, moment: datetime) -> Span:
        """The first session minute that closes after ``moment``."""
        session = self.at(moment) or self.after(moment)
        opens_at = session.opens_at
        if moment > opens_at:
            opens_at += MINUTE * ((moment - opens_at) // MINUTE)
        return Span(opens_at, min(opens_at + MINUTE, session.closes_at), session.day)

    def minute(self, opens_at: datetime) -> Span:
        """The minute that begins at a moment; without a session outside every one."""
        session = self.at(opens_at)
        if session is None:
            return Span(opens_at, opens_at + MINUTE, None)
        return Span(opens_at, min(opens_at + MINUTE, session.closes_at), session.day)

    def span(self, moment: datetime, timeframe: str) -> Span | None:
        """The bar of a timeframe that a moment lies in; None outside every session."""
        session = self.at(moment)
        if session is None:
            return None
        if timeframe == DAILY:
            return Span(session.opens_at, session.closes_at, session.day)
        length = timedelta(seconds=timeframe_seconds(timeframe))
        opens_at = session.opens_at + length * ((moment - session.opens_at) // length)
        return Span(opens_at, min(opens_at + length, session.closes_at), session.day)

    def next_close(self, moment: datetime, timeframe: str) -> datetime:
        """When the first bar of a timeframe that ends after ``moment`` ends."""
        session = self.at(moment) or self.after(moment)
        span = self.span(max(moment, session.opens_at), timeframe)
        assert span is not None
        return span.closes_at

    def open_seconds(self, start: datetime, end: datetime) -> float:
        """Seconds of sessions between two moments."""
        total, moment = 0.0, start
        while moment < end:
            session = self.at(moment) or self.after(moment)
            begin = max(moment, session.opens_at)
            if begin >= end:
                break
            total += (min(end, session.closes_at) - begin).total_seconds()
            moment = session.closes_at
        return total


def _utc_day(day: date) -> Session:
    opens_at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Session(day, opens_at, opens_at + _DAY)
