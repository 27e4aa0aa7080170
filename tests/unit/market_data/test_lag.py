"""How long the next bar is overdue, by the calendar."""

from datetime import UTC, datetime, timedelta

import pytest

from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market_data.lag import DAILY_GRACE, lag_seconds
from torghut_runtime.market_data.mute import MUTE_AFTER, MuteWatch

HOURS = SessionHours()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "timeframe", "now", "seconds"),
    [
        ("2026-01-05T15:00", "1Min", "2026-01-05T15:01:00", 0.0),
        ("2026-01-05T15:00", "1Min", "2026-01-05T15:01:07", 7.0),
        ("2026-01-05T15:00", "5Min", "2026-01-05T15:05:00", 0.0),
        ("2026-01-05T15:00", "5Min", "2026-01-05T15:05:01", 1.0),
        ("2026-01-05T20:30", "1Hour", "2026-01-05T21:00:00", 0.0),  # the last hour of a session is half an hour
        ("2026-01-09T21:00", "1Min", "2026-01-11T18:00:00", 0.0),  # Sunday after a complete Friday
        ("2026-01-09T20:59", "1Min", "2026-01-11T18:00:00", 0.0),  # Friday's last minute had no trade
        ("2026-01-09T20:59", "1Min", "2026-01-12T14:30:05", 5.0),  # counted again from Monday's bell on
        ("2026-11-27T18:00", "1Min", "2026-11-27T20:00:00", 0.0),  # early close
        ("2026-01-09T21:00", "1Day", "2026-01-12T20:59:00", 0.0),  # no weekend lag
        ("2026-01-16T21:00", "1Day", "2026-01-19T22:00:00", 0.0),  # a holiday
        ("2026-01-09T21:00", "1Day", "2026-01-12T21:05:00", 0.0),  # the close and its grace
        ("2026-01-09T21:00", "1Day", "2026-01-12T21:05:09", 9.0),
    ],
)
def test_lag_counts_from_when_the_next_bar_is_due(last: str, timeframe: str, now: str, seconds: float) -> None:
    assert timedelta(minutes=5) == DAILY_GRACE
    assert lag_seconds(at(last), timeframe, at(now), HOURS) == seconds


def test_a_pair_that_trades_around_the_clock_lags_on_sundays() -> None:
    hours = SessionHours(exchange=False)
    assert lag_seconds(at("2026-01-11T15:00"), "1Min", at("2026-01-11T15:02:00"), hours) == 60.0


def test_a_socket_is_mute_when_a_minute_brought_nothing_and_each_time_gets_twice_as_long() -> None:
    watch = MuteWatch(HOURS)
    connected = at("2026-01-05T15:00:30")
    due = at("2026-01-05T15:01:00")
    assert not watch.is_mute(due + MUTE_AFTER - timedelta(seconds=1), connected, None)
    assert watch.is_mute(due + MUTE_AFTER, connected, None)
    again = at("2026-01-05T15:01:16")
    assert not watch.is_mute(at("2026-01-05T15:02:29"), again, None)
    assert watch.is_mute(at("2026-01-05T15:02:30"), again, None)
    watch.heard()
    assert watch.is_mute(at("2026-01-05T15:03:15"), again, at("2026-01-05T15:02:40"))


def test_silence_outside_the_session_or_before_its_first_minute_is_over_is_no_muteness() -> None:
    watch = MuteWatch(HOURS)
    friday = at("2026-01-09T20:00")
    assert not watch.is_mute(at("2026-01-11T15:00"), friday, friday)
    assert not watch.is_mute(at("2026-01-12T14:31:14"), friday, friday)
    assert watch.is_mute(at("2026-01-12T14:31:15"), friday, friday)
    assert not watch.is_mute(at("2026-01-12T15:00"), None, None)
