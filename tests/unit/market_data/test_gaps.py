"""Minutes that nobody brings: the bars behind them are told apart until the symbol's past was told anew."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from engine_world import timed
from market_world import MarketWorld, minute_bar
from minute_bars import LOOKBACK, MINUTE, OPEN, held, minute

from torghut_runtime.market.aggregation import built_bars
from torghut_runtime.market.features import Bar
from torghut_runtime.market_data.assembler import RENEWED_AT_ONCE, Assembler
from torghut_runtime.market_data.closed_bars import ClosedBars, Renewal

SECOND = timedelta(seconds=1)
TRUTH = [minute("AAA", number) for number in range(60)]
SENT_BEFORE = 5
"""Minutes that came before the outage."""


def behind(count: int, timeframes: Sequence[str] = ("1Min",)) -> tuple[Assembler, list[ClosedBars], datetime]:
    """After five minutes nothing came, until the minute of a number; what has been asked for is answered then."""
    assembler = Assembler(lookback=LOOKBACK)
    assembler.follow("AAA", timeframes, OPEN)
    assembler.hear(TRUTH[:SENT_BEFORE], OPEN + SENT_BEFORE * MINUTE)
    now = OPEN + (count + 1) * MINUTE
    groups = assembler.hear([TRUTH[count]], now)
    (request,) = assembler.missing(now)
    groups += assembler.answer(request, held(TRUTH, request), now)
    return assembler, groups, now


def test_what_the_look_back_reaches_is_filled_and_what_it_does_not_is_a_gap() -> None:
    for count, gaps in ((19, ()), (20, ("AAA",))):
        assembler, groups, _ = behind(count)
        assert assembler.gaps == gaps
        assert {group.after_gap for group in groups} == {frozenset(gaps)}
        assert assembler.counts.gaps == len(gaps)
        assert assembler.counts.backfilled == 14


def test_minutes_that_were_given_up_are_a_gap() -> None:
    assembler = Assembler(lookback=LOOKBACK)
    assembler.follow("AAA", ("1Min",), OPEN)
    now = OPEN + 3 * MINUTE
    assembler.hear([TRUTH[2]], now)
    (request,) = assembler.missing(now)
    assembler.fail(request, now)
    assert assembler.gaps == ()
    (group,) = assembler.pass_time(now + 30 * SECOND)
    assert (assembler.gaps, group.after_gap) == (("AAA",), {"AAA"})


def test_the_past_is_asked_for_when_the_gap_lies_behind_and_again_when_nobody_tells_it() -> None:
    assembler = Assembler(lookback=LOOKBACK)
    assembler.follow("AAA", ("1Min",), OPEN)
    assembler.hear(TRUTH[:1], OPEN + MINUTE)
    now = OPEN + 31 * MINUTE
    assembler.hear([TRUTH[30]], now)
    (request,) = assembler.missing(now)
    assert assembler.renewals(now) == []
    assembler.answer(request, held(TRUTH, request), now)
    (renewal,) = assembler.renewals(now)
    assert renewal == Renewal("AAA", now)
    assert assembler.renewals(now) == []
    for pause in (1, 2, 4, 8, 15, 15):
        assembler.put_off(renewal, now)
        assert assembler.renewals(now + (pause - 0.1) * SECOND) == []
        now += pause * SECOND
        (renewal,) = assembler.renewals(now)


@pytest.mark.parametrize("handed_on_meanwhile", [0, 3])
def test_the_past_is_that_of_the_ordered_file_and_longer_bars_go_on_whole(handed_on_meanwhile: int) -> None:
    timeframes = ("1Min", "5Min", "15Min")
    assembler, _, now = behind(32, timeframes)
    (renewal,) = assembler.renewals(now)
    past = [each for each in TRUTH if each.opens_at < renewal.until - MINUTE]  # history has not the newest yet
    live = TRUTH[33 : 33 + handed_on_meanwhile]
    for each in live:
        now = each.opens_at + MINUTE
        assert all(group.after_gap for group in assembler.hear([each], now))
    told = assembler.renew(renewal, past)
    assert assembler.gaps == ()
    ordered = built_bars("AAA", TRUTH, timeframes, now)
    assert plain(told) == plain(ordered)
    left = TRUTH[33 + handed_on_meanwhile :]
    groups = [group for each in left for group in assembler.hear([each], each.opens_at + MINUTE)]
    assert not any(group.after_gap for group in groups)
    rest = built_bars("AAA", TRUTH, timeframes, OPEN + 60 * MINUTE)[len(ordered) :]
    assert plain([bar for group in groups for bar in group.bars]) == plain(rest)
    assert assembler.renew(renewal, past) == []


def plain(bars: Sequence[Bar]) -> list[tuple[object, ...]]:
    names = ("timeframe", "event_ts", "high", "low", "close", "volume")
    return sorted(tuple(getattr(bar, name) for name in names) for bar in bars)


def test_a_second_gap_while_the_past_is_asked_for_has_it_asked_for_again() -> None:
    assembler, _, now = behind(30)
    (renewal,) = assembler.renewals(now)
    now = OPEN + 55 * MINUTE
    assembler.hear([TRUTH[54]], now)
    (request,) = assembler.missing(now)
    assembler.answer(request, held(TRUTH, request), now)
    assert assembler.renew(renewal, TRUTH[:31]) == []
    assert assembler.gaps == ("AAA",)
    (again,) = assembler.renewals(now)
    assert assembler.renew(again, TRUTH[:55])[-1].event_ts == now


def test_the_past_of_many_is_asked_for_a_few_at_a_time() -> None:
    assembler = Assembler(lookback=LOOKBACK)
    names = [f"S{number:02}" for number in range(RENEWED_AT_ONCE + 5)]
    for name in names:
        assembler.follow(name, ("1Min",), OPEN)
    assembler.hear([minute(name, 0) for name in names], OPEN + MINUTE)
    now = OPEN + 31 * MINUTE
    assembler.hear([minute(name, 30) for name in names], now)
    for request in assembler.missing(now):
        assembler.answer(request, [], now)
    assert len(assembler.renewals(now)) == RENEWED_AT_ONCE
    assert len(assembler.renewals(now)) == 5


def test_what_a_warm_up_left_open_is_filled_although_it_took_minutes() -> None:
    assembler = Assembler(lookback=LOOKBACK)
    assembler.follow("AAA", ("1Min",), OPEN)
    now = OPEN + LOOKBACK + 8 * MINUTE
    (request,) = assembler.missing(now)
    assert request.start == OPEN
    assert assembler.gaps == ()


def test_a_gap_over_a_weekend_is_one() -> None:
    assembler = Assembler(lookback=LOOKBACK)
    friday, monday = datetime.fromisoformat("2026-01-09T20:50Z"), datetime.fromisoformat("2026-01-12T14:30Z")
    assembler.follow("AAA", ("1Min",), friday)
    assembler.hear([minute("AAA", 0, start=friday)], friday + MINUTE)
    assembler.hear([minute("AAA", 0, start=monday)], monday + MINUTE)
    (request,) = assembler.missing(monday + MINUTE)
    assembler.answer(request, [], monday + MINUTE)
    assert assembler.gaps == ("AAA",)


def test_behind_a_gap_nothing_is_entered_exits_go_on_and_history_ends_that() -> None:
    world = MarketWorld(timed(enter_at=1, until=9, exit_at=3, pyramid=True))
    world.decide(minute_bar(0), minute_bar(0, "MSFT"))
    for number in (1, 2):
        closed = ClosedBars((minute_bar(number), minute_bar(number, "MSFT")), after_gap=frozenset({"AAPL"}))
        world.market.note_gaps(closed)
        world.decide(*closed.bars)
    stale = ["feature_quality:feature_staleness_exceeds_budget"]
    assert world.refusals == [[], [], stale, [], [], []]
    assert [(each.terms.symbol, each.is_exit) for each in world.intents][-2:] == [("AAPL", True), ("MSFT", True)]
    world.trader.warm_up([minute_bar(number) for number in range(3)])
    world.decide(minute_bar(3), minute_bar(3, "MSFT"))
    assert world.refusals[-2:] == [[], []]


def test_bars_that_were_never_brought_count_as_held_once_history_tells_them() -> None:
    world = MarketWorld(timed(exits={"max_bars": 7}))
    world.decide(minute_bar(0))
    world.decide(minute_bar(1))
    position = world.trader.portfolio.position(("timed", "AAPL"))
    assert position.bars_held == 1
    world.move_to(minute_bar(6).event_ts)
    for _ in "12":
        world.trader.warm_up([minute_bar(number) for number in range(7)])
        assert position.bars_held == 5  # it was bought at the end of minute 1
    world.decide(minute_bar(7))
    assert position.bars_held == 6
    world.decide(minute_bar(8))
    assert [each.is_exit for each in world.intents] == [False, True]
