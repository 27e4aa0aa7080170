"""Minutes that are missing: when they are asked for, when they are known to be none, when others go on without them."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from minute_bars import EVERY, LOOKBACK, MINUTE, OPEN, minute, session_minutes, told

from torghut_runtime.market.aggregation import Minute, built_bars
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.market.frame import place_bars
from torghut_runtime.market_data.assembler import Assembler
from torghut_runtime.market_data.daily import DailyAssembler

SECOND = timedelta(seconds=1)


def following(*timeframes: str) -> Assembler:
    assembler = Assembler(lookback=LOOKBACK)
    assembler.follow("AAA", timeframes or ("1Min",), OPEN)
    return assembler


def test_an_overdue_minute_is_asked_for_five_seconds_after_its_end_and_once() -> None:
    assembler = following()
    assert assembler.missing(OPEN + MINUTE + 4.9 * SECOND) == []
    (request,) = assembler.missing(OPEN + MINUTE + 5 * SECOND)
    assert (request.start, request.end) == (OPEN, OPEN + MINUTE)
    assert assembler.missing(OPEN + MINUTE + 20 * SECOND) == []


def test_a_minute_is_known_to_have_no_trade_half_a_minute_after_its_end() -> None:
    assembler = following("5Min")
    assembler.hear([minute("AAA", number) for number in range(4)], OPEN + 4 * MINUTE)
    end = OPEN + 5 * MINUTE
    (request,) = assembler.missing(end + 5 * SECOND)
    assert assembler.answer(request, [], end + 5 * SECOND) == []
    (again,) = assembler.missing(end + 30 * SECOND)
    groups = assembler.answer(again, [], end + 30 * SECOND)
    assert [(bar.timeframe, bar.event_ts) for group in groups for bar in group.bars] == [("5Min", end)]


def test_a_clock_that_is_ahead_settles_nothing_that_the_source_has_not_reached() -> None:
    assembler = following()
    ahead = OPEN + 61 * MINUTE
    (request,) = assembler.missing(ahead)
    assert assembler.answer(request, [], ahead, source_time=OPEN + MINUTE) == []
    groups = assembler.hear([minute("AAA", 1)], OPEN + 2 * MINUTE)
    assert told(groups, "AAA") == []
    (request,) = assembler.missing(OPEN + 2 * MINUTE)
    groups = assembler.answer(request, [minute("AAA", 0)], OPEN + 2 * MINUTE, source_time=OPEN + 2 * MINUTE)
    assert len(told(groups, "AAA")) == 2


def test_what_waits_goes_on_after_half_a_minute_when_nobody_answers() -> None:
    assembler = following()
    now = OPEN + 3 * MINUTE
    assembler.hear([minute("AAA", 2)], now)
    (request,) = assembler.missing(now)
    assert assembler.fail(request, now + 5 * SECOND) == []
    assert assembler.missing(now + 5.9 * SECOND) == []
    (request,) = assembler.missing(now + 6 * SECOND)
    assert assembler.pass_time(now + 40 * SECOND) == []  # an answer is still to come
    assert assembler.fail(request, now + 29 * SECOND) == []
    groups = assembler.pass_time(now + 30 * SECOND)
    assert [bar.close for group in groups for bar in group.bars] == [minute("AAA", 2).close]
    assert assembler.counts.given_up == 1


def test_a_correction_of_a_minute_that_waits_replaces_it_and_of_one_that_is_gone_is_counted() -> None:
    assembler = following()
    assembler.hear([minute("AAA", 1)], OPEN + 2 * MINUTE)
    changed = minute("AAA", 1, volume=7.0)
    assert assembler.hear_correction(changed, OPEN + 2 * MINUTE) == []
    groups = assembler.hear([minute("AAA", 0)], OPEN + 2 * MINUTE)
    assert [bar.volume for group in groups for bar in group.bars] == [100.0, 7.0]
    assert assembler.hear_correction(minute("AAA", 0, volume=8.0), OPEN + 3 * MINUTE) == []
    assert assembler.counts.corrected == 2


def test_bars_outside_the_session_have_none_and_belong_to_no_longer_bar() -> None:
    assembler = following("1Min", "5Min")
    early = minute("AAA", -10)
    groups = assembler.hear([early], OPEN - 9 * MINUTE)
    assert [bar.session for group in groups for bar in group.bars] == []  # before what is followed
    late = Assembler(lookback=LOOKBACK)
    late.follow("AAA", {"1Min", "5Min"}, datetime(2026, 1, 9, 21, 0, tzinfo=UTC))
    sunday = Minute("AAA", datetime(2026, 1, 11, 15, 0, tzinfo=UTC), 1.0, 1.0, 1.0, 1.0, 1.0)
    (group,) = late.hear([sunday], sunday.opens_at + MINUTE)
    assert [(bar.timeframe, bar.session) for bar in group.bars] == [("1Min", None)]


@pytest.mark.parametrize("day", [date(2026, 1, 5), date(2026, 11, 27)])
def test_longer_bars_lie_where_research_places_them(day: date) -> None:
    minutes = session_minutes("AAA", day)
    end = TradingCalendar().session_close(day)
    assert end is not None
    bars = built_bars("AAA", minutes, EVERY, end)
    frame = pl.DataFrame(
        {
            "ts": [bar.open_ts.replace(hour=0, minute=0) if bar.timeframe == "1Day" else bar.open_ts for bar in bars],
            "timeframe": [bar.timeframe for bar in bars],
            "symbol": ["AAA"] * len(bars),
        },
        schema_overrides={"ts": pl.Datetime("us", "UTC")},
    )
    placed = place_bars(frame)
    assert placed["open_ts"].to_list() == [bar.open_ts for bar in bars]
    assert placed["event_ts"].to_list() == [bar.event_ts for bar in bars]
    assert placed["session"].to_list() == [bar.session for bar in bars]


def test_the_day_so_far_is_no_daily_bar_and_the_one_after_the_close_is() -> None:
    days = DailyAssembler()
    days.follow("AAA", OPEN - 60 * MINUTE)
    midnight = datetime(2026, 1, 5, 5, 0, tzinfo=UTC)
    day = Minute("AAA", midnight, 1.0, 2.0, 1.0, 2.0, 5.0)
    close = OPEN + 390 * MINUTE
    assert days.hear([day], close - SECOND) == []
    (group,) = days.hear([day], close)
    assert [(bar.open_ts, bar.event_ts, bar.close) for bar in group.bars] == [(OPEN, close, 2.0)]
    assert days.hear([day], close + MINUTE) == []


def test_a_day_from_history_counts_only_when_the_source_has_come_to_its_end() -> None:
    midnight = datetime(2026, 1, 5, 5, 0, tzinfo=UTC)
    day = Minute("AAA", midnight, 1.0, 2.0, 1.0, 2.0, 5.0)
    close = OPEN + 390 * MINUTE
    for source_time, asked_at, known in (
        (close - 30 * MINUTE, close + 30 * MINUTE, False),
        (close - 5 * MINUTE, close + 30 * SECOND, True),
        (close - 30 * MINUTE, close + 90 * MINUTE, True),
    ):
        days = DailyAssembler()
        days.follow("AAA", OPEN - 60 * MINUTE)
        (request,) = days.missing(asked_at)
        assert bool(days.answer(request, [day], asked_at, source_time)) == known
