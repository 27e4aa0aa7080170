"""Laws of the assembler: order, duplication and holes of the minutes do not change what is handed on."""

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from minute_bars import EVERY, LOOKBACK, MINUTE, OPEN, answer_all, minute, session_minutes, told

from torghut_runtime.market.aggregation import Minute, built_bars
from torghut_runtime.market_data.assembler import SETTLE_AFTER, Assembler
from torghut_runtime.market_data.closed_bars import ClosedBars

SYMBOLS = ("AAA", "BBB")


def _ordered(truth: list[Minute], symbol: str, until: datetime) -> list[tuple[object, ...]]:
    """What an ordered file gives."""
    own = [each for each in truth if each.symbol == symbol]
    bars = built_bars(symbol, own, EVERY, until)
    return [(bar.timeframe, bar.event_ts, bar.high, bar.low, bar.close, bar.volume) for bar in bars]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_order_duplication_and_gap_with_back_fill_gives_the_bars_of_the_ordered_file(data: st.DataObject) -> None:
    length = data.draw(st.integers(6, 75), label="minutes")
    truth = [
        minute(symbol, number)
        for symbol in SYMBOLS
        for number in range(length)
        if not data.draw(st.booleans() if number % 7 == 3 else st.just(False), label="without a trade")
    ]
    sent = [each for each in truth if data.draw(st.integers(0, 5)) > 0]
    sent += [each for each in truth if data.draw(st.integers(0, 5)) == 0]
    shift = {id(each): data.draw(st.integers(-6, 6)) for each in sent}
    sent.sort(key=lambda each: each.opens_at + shift[id(each)] * MINUTE)
    assembler = Assembler(lookback=timedelta(hours=3))
    for symbol in SYMBOLS:
        assembler.follow(symbol, EVERY, OPEN)
    groups: list[ClosedBars] = []
    now = OPEN
    at = 0
    while at < len(sent):
        count = data.draw(st.integers(1, 5), label="in a frame")
        frame = sent[at : at + count]
        at += count
        now = max(now, *(each.opens_at + MINUTE for each in frame))
        groups += assembler.hear(frame, now)
        if data.draw(st.booleans(), label="asked now"):
            known = [each for each in truth if each.opens_at + MINUTE <= now]
            groups += answer_all(assembler, known, now)
    end = OPEN + length * MINUTE
    groups += answer_all(assembler, truth, end + SETTLE_AFTER)
    for symbol in SYMBOLS:
        assert told(groups, symbol) == _ordered(truth, symbol, end)


@given(st.sets(st.integers(0, 389), max_size=300), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_longer_bars_are_the_minutes_of_their_span_added_up(missing: set[int], step: int) -> None:
    minutes = [each for number, each in enumerate(session_minutes("AAA")) if number not in missing]
    end = OPEN + 390 * MINUTE
    for timeframe, length in (("5Min", 5), ("15Min", 15), ("1Hour", 60), ("1Day", 390)):
        bars = built_bars("AAA", minutes, {timeframe}, end)
        for bar in bars:
            inside = [each for each in minutes if bar.open_ts <= each.opens_at < bar.event_ts]
            assert inside
            assert (bar.high, bar.low) == (max(m.high for m in inside), min(m.low for m in inside))
            assert (bar.close, bar.volume) == (inside[-1].close, sum(m.volume for m in inside))
            assert bar.open_ts == OPEN + (bar.open_ts - OPEN) // (length * MINUTE) * length * MINUTE
            assert bar.event_ts == min(bar.open_ts + length * MINUTE, end)
        assert sum(len([m for m in minutes if b.open_ts <= m.opens_at < b.event_ts]) for b in bars) == len(minutes)
        until = OPEN + step * MINUTE
        assert built_bars("AAA", minutes, {timeframe}, until) == [bar for bar in bars if bar.event_ts <= until]


def test_the_lookback_bounds_what_is_asked_for() -> None:
    assembler = Assembler(lookback=LOOKBACK)
    assembler.follow("AAA", {"1Min"}, OPEN)
    now = OPEN + 101 * MINUTE
    assembler.hear([minute("AAA", 0), minute("AAA", 100)], now)
    request = assembler.missing(now)[0]
    assert (request.start, request.end) == (now - LOOKBACK, OPEN + 100 * MINUTE)
