"""The trading calendar against the exchange's own announcements."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from torghut_runtime.market.calendar import TIME, TradingCalendar

CALENDAR = TradingCalendar()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def moments(*texts: str) -> pl.Series:
    return pl.Series([at(text) for text in texts], dtype=TIME)


@pytest.mark.parametrize(("year", "sessions"), [(2024, 252), (2025, 250), (2026, 251)])
def test_a_year_has_as_many_sessions_as_the_exchange_says(year: int, sessions: int) -> None:
    assert len(CALENDAR.sessions(date(year, 1, 1), date(year, 12, 31))) == sessions


@pytest.mark.parametrize("day", [date(2024, 7, 3), date(2024, 11, 29), date(2024, 12, 24)])
def test_early_closes_end_at_13_in_new_york(day: date) -> None:
    closes = CALENDAR.session_close(day)
    assert closes is not None
    hour = 17 if day.month == 7 else 18
    assert closes == datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (date(2024, 3, 8), "2024-03-08T14:30", "2024-03-08T21:00"),
        (date(2024, 3, 11), "2024-03-11T13:30", "2024-03-11T20:00"),
        (date(2024, 11, 4), "2024-11-04T14:30", "2024-11-04T21:00"),
    ],
)
def test_hours_follow_daylight_saving_time(day: date, opens: str, closes: str) -> None:
    assert (CALENDAR.session_open(day), CALENDAR.session_close(day)) == (at(opens), at(closes))


@pytest.mark.parametrize("day", [date(2025, 1, 9), date(2024, 1, 1), date(2024, 6, 8), date(2024, 3, 29)])
def test_on_holidays_weekends_and_the_day_of_mourning_there_is_no_session(day: date) -> None:
    assert not CALENDAR.is_session(day)
    assert CALENDAR.session_open(day) is None
    assert CALENDAR.session_close(day) is None
    assert CALENDAR.sessions(day, day) == []


def test_both_ends_of_a_span_are_included() -> None:
    assert CALENDAR.sessions(date(2024, 7, 3), date(2024, 7, 5)) == [date(2024, 7, 3), date(2024, 7, 5)]
    assert CALENDAR.sessions(date(2024, 7, 5), date(2024, 7, 3)) == []


def test_a_moment_belongs_to_the_session_that_it_starts_or_ends_in() -> None:
    bells = moments("2024-07-03T13:29:59.999999", "2024-07-03T13:30", "2024-07-03T16:59:59.999999", "2024-07-03T17:00")
    day = date(2024, 7, 3)
    assert CALENDAR.session_starting(bells)["session"].to_list() == [None, day, day, None]
    assert CALENDAR.session_ending(bells)["session"].to_list() == [None, None, day, day]


def test_moments_and_days_beyond_the_calendar_lie_outside_every_session() -> None:
    far = moments("1960-01-04T15:00", "2055-01-04T15:00")
    assert CALENDAR.session_starting(far)["session"].to_list() == [None, None]
    assert CALENDAR.session_ending(far)["session"].to_list() == [None, None]
    days = pl.Series([date(1960, 1, 4), date(2055, 1, 4), date(2024, 1, 2), None])
    assert CALENDAR.session_on(days)["session"].to_list() == [None, None, date(2024, 1, 2), None]


def test_a_bar_belongs_to_a_session_only_as_a_whole() -> None:
    opened = moments("2024-07-03T16:55", "2024-07-03T16:58", "2024-07-03T13:25", "2024-07-03T16:58")
    closed = opened + timedelta(minutes=5)
    symbols = pl.Series(["AAPL", "AAPL", "AAPL", "BTC/USD"])
    day = date(2024, 7, 3)
    assert CALENDAR.session_of(opened, closed, symbols).to_list() == [day, None, None, day]


def test_pairs_trade_around_the_clock_by_utc_date() -> None:
    opened = moments("2024-07-04T23:59", "2024-07-06T00:00")
    sessions = CALENDAR.session_of(opened, opened + timedelta(minutes=1), pl.Series(["BTC/USD", "ETH/USD"]))
    assert sessions.to_list() == [date(2024, 7, 4), date(2024, 7, 6)]
    assert CALENDAR.is_exchange_traded("BRK.B")
    assert not CALENDAR.is_exchange_traded("BTC/USD")
