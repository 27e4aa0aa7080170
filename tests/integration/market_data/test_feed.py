"""The feed over websockets and HTTP, with alpaca-py's clients, against the simulator and its faults."""

from datetime import date, timedelta

import pytest
from alpaca_streams import until
from engine_world import minute_tape
from feed_world import MINUTES, FeedWorld, feeding
from simulator_fixtures import StartSimulator, control

from torghut_runtime.broker.simulator.engine import BrokerSettings
from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape
from torghut_runtime.clock import moment_of, nanoseconds_of
from torghut_runtime.market.aggregation import BACKFILL, LATE, OK
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.market_data.subscriptions import Subscriptions

DAY = date(2026, 1, 5)
BOTH = {"AAPL": MINUTES, "MSFT": MINUTES}


@pytest.fixture(scope="module")
def tape() -> Tape:
    return synthetic_tape(["AAPL", "MSFT"], seed=1, first=DAY, sessions=2)


@pytest.fixture
def world(start_simulator: StartSimulator, tape: Tape) -> FeedWorld:
    return FeedWorld(start_simulator(tape), tape, BOTH)


def _closes(tape: Tape, symbol: str, count: int) -> list[float]:
    return [bar.close for bar in tape.bars if bar.symbol == symbol][:count]


def test_bars_come_in_order_with_quote_volatility_and_age(world: FeedWorld, tape: Tape) -> None:
    with feeding(world):
        world.play(5)
        bars = world.await_bars("AAPL", 5)
        world.await_bars("MSFT", 5)
    own = [bar for bar in tape.bars if bar.symbol == "AAPL"][:5]
    assert [(bar.close, bar.bid, bar.ask) for bar in bars] == [(bar.close, bar.bid, bar.ask) for bar in own]
    assert {bar.signal_quality_flag for bar in bars} == {OK}
    assert all(bar.session == DAY for bar in bars)
    assert all(bar.staleness_ms >= 0.0 for bar in bars)
    for group in world.received:
        assert len({bar.event_ts for bar in group.bars}) == 1


def test_five_missing_bars_are_back_filled_in_order(world: FeedWorld, tape: Tape) -> None:
    with feeding(world):
        world.play(2)
        world.await_bars("AAPL", 2)
        control(world.simulator, drop_bars=[{"symbol": "AAPL", "count": 5}])
        world.play(5)
        world.await_bars("MSFT", 7)
        world.play(1)
        world.wait(31)  # what was asked for too early is asked for again
        bars = world.await_bars("AAPL", 8)
    assert [bar.close for bar in bars] == _closes(tape, "AAPL", 8)
    assert [bar.signal_quality_flag for bar in bars] == [OK] * 2 + [BACKFILL] * 5 + [OK]
    assert world.feed.snapshot().counts.backfilled == 5
    assert len(world.bars("MSFT")) == 8


def test_a_bar_that_nobody_sent_is_asked_for_when_it_is_overdue(world: FeedWorld, tape: Tape) -> None:
    with feeding(world):
        control(world.simulator, drop_bars=[{"symbol": "AAPL", "count": 1}])
        world.play(1)
        world.await_bars("MSFT", 1)
        world.wait(5)
        bars = world.await_bars("AAPL", 1)
    assert [(bar.close, bar.signal_quality_flag) for bar in bars] == [(_closes(tape, "AAPL", 1)[0], BACKFILL)]


def test_a_doubled_bar_is_handed_on_once(world: FeedWorld, tape: Tape) -> None:
    with feeding(world):
        control(world.simulator, duplicate_bars=[{"symbol": "AAPL", "count": 3}])
        world.play(4)
        world.await_bars("AAPL", 4)
        until(lambda: world.feed.snapshot().counts.duplicates == 3)
    assert [bar.close for bar in world.bars("AAPL")] == _closes(tape, "AAPL", 4)


def test_a_late_bar_is_handed_on_in_its_place_and_once(world: FeedWorld, tape: Tape) -> None:
    with feeding(world):
        control(world.simulator, late_bars=[{"symbol": "AAPL", "count": 2, "delay_ms": 150_000}])
        world.play(7)
        world.wait(31)  # what was asked for too early is asked for again
        bars = world.await_bars("AAPL", 7)
        until(lambda: world.feed.snapshot().counts.duplicates == 2)
    assert [bar.close for bar in bars] == _closes(tape, "AAPL", 7)
    assert {bar.signal_quality_flag for bar in bars[:2]} <= {BACKFILL, LATE}
    assert len(world.bars("AAPL")) == 7


def test_a_corrected_bar_is_recorded_and_not_handed_on_again(
    world: FeedWorld, tape: Tape, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "torghut_runtime.market_data")
    with feeding(world):
        world.play(2)
        world.await_bars("AAPL", 2)
        first = moment_of(tape.bars[0].opens_at).isoformat()
        control(world.simulator, correct_bars=[{"symbol": "AAPL", "ts": first, "fields": {"close": 1.0, "low": 1.0}}])
        until(lambda: world.feed.snapshot().counts.corrected == 1)
        until(lambda: "of AAPL was corrected" in caplog.text)
        world.play(1)
        bars = world.await_bars("AAPL", 3)
    assert [bar.close for bar in bars] == _closes(tape, "AAPL", 3)


def test_a_halt_and_its_end_are_seen(world: FeedWorld) -> None:
    with feeding(world):
        world.play(1)
        control(world.simulator, halt=["AAPL"])
        until(lambda: world.feed.snapshot().halted == ("AAPL",))
        assert world.feed.board.is_halted("AAPL")
        assert not world.feed.board.is_halted("MSFT")
        control(world.simulator, halt=[])
        until(lambda: world.feed.snapshot().halted == ())


def test_after_a_lost_connection_what_was_missed_is_back_filled(world: FeedWorld, tape: Tape) -> None:
    with feeding(world):
        world.play(2)
        world.await_bars("AAPL", 2)
        control(world.simulator, disconnect=[{"stream": "data", "seconds": 150}])
        until(lambda: not world.feed.snapshot().connected)
        world.play(3, heard=False)
        until(lambda: world.feed.snapshot().connected)
        world.play(1, heard=False)
        for symbol in BOTH:
            bars = world.await_bars(symbol, 6)
            assert [bar.close for bar in bars] == _closes(tape, symbol, 6)
    assert world.feed.snapshot().connections == 2


def test_a_gap_beyond_the_look_back_is_warmed_up_anew(start_simulator: StartSimulator, tape: Tape) -> None:
    begin = TradingCalendar().session_open(date(2026, 1, 6))
    assert begin is not None
    simulator = start_simulator(tape, BrokerSettings(start=nanoseconds_of(begin)))
    world = FeedWorld(simulator, tape, {"AAPL": frozenset({"1Min", "5Min"})}, history=30, lookback=5)
    refused = {"method": "GET", "path": "/v2/stocks*", "status": 500, "count": 1_000}
    with feeding(world):
        world.play(2)
        world.await_bars("AAPL", 2)
        control(simulator, disconnect=[{"stream": "data", "seconds": 600}], http_errors=[refused])
        until(lambda: not world.feed.snapshot().connected)
        world.play(10, heard=False)
        until(lambda: world.feed.snapshot().gaps == ("AAPL",))
        control(simulator, http_errors=[])
        until(lambda: world.feed.snapshot().connected)
        world.play(1, heard=False)
        world.wait(20)
        until(lambda: world.feed.snapshot().gaps == () and world.feed.snapshot().counts.gaps == 1)
        world.play(1)
        last = begin + timedelta(minutes=13)
        until(lambda: world.bars("AAPL")[-1].open_ts == last)
    own = [bar for bar in tape.bars if bar.symbol == "AAPL"]
    past = world.warmed_up("AAPL")
    assert [bar.close for bar in past] == [bar.close for bar in own if moment_of(bar.opens_at) < last]
    fives = world.warmed_up("AAPL", "5Min")
    assert fives[-1].volume == sum(bar.volume for bar in past if fives[-1].open_ts <= bar.open_ts < fives[-1].event_ts)
    handed = [group for group in world.received if group.kind != "warm_up"]
    assert [bool(group.after_gap) for group in handed] == [False] * 2 + [True] * (len(handed) - 3) + [False]


def test_a_mute_socket_makes_every_symbol_stale_is_back_filled_and_given_up(world: FeedWorld, tape: Tape) -> None:
    with feeding(world):
        world.play(2)
        world.await_bars("AAPL", 2)
        world.await_bars("MSFT", 2)
        assert world.feed.snapshot().staleness_seconds == {"AAPL": 0.0, "MSFT": 0.0}
        control(world.simulator, mute=[{"stream": "data", "seconds": 100}])
        world.play(1, heard=False)
        world.wait(4)
        assert world.feed.snapshot().staleness_seconds == {"AAPL": 4.0, "MSFT": 4.0}
        assert world.feed.snapshot().lag_seconds == {"1Min": 4.0}
        world.wait(11)
        until(lambda: world.feed.snapshot().mute_sockets == 1)
        until(lambda: world.feed.snapshot().connections == 2 and world.feed.snapshot().connected)
        world.await_bars("AAPL", 3)
        world.play(2)
        bars = world.await_bars("AAPL", 5)
    assert [bar.close for bar in bars] == _closes(tape, "AAPL", 5)


def test_bars_that_are_not_taken_wait_and_none_is_lost(world: FeedWorld, tape: Tape) -> None:
    with feeding(world):
        world.may_pass.clear()
        world.play(20, heard=False)
        assert world.received == []
        world.may_pass.set()
        for symbol in BOTH:
            assert [bar.close for bar in world.await_bars(symbol, 20)] == _closes(tape, symbol, 20)


def test_longer_bars_are_built_while_the_minutes_come(start_simulator: StartSimulator, tape: Tape) -> None:
    world = FeedWorld(start_simulator(tape), tape, {"AAPL": frozenset({"5Min", "15Min"})})
    with feeding(world):
        world.play(15)
        bars = world.await_bars("AAPL", 3, "5Min")
        whole = world.await_bars("AAPL", 1, "15Min")[0]
    own = [bar for bar in tape.bars if bar.symbol == "AAPL"]
    for number, bar in enumerate(bars):
        part = own[5 * number : 5 * number + 5]
        assert (bar.high, bar.low) == (max(each.high for each in part), min(each.low for each in part))
        assert (bar.close, bar.volume) == (part[-1].close, sum(each.volume for each in part))
    assert whole.volume == sum(bar.volume for bar in bars)
    assert world.bars("AAPL") == []


def test_history_comes_first_and_a_growing_bar_has_all_its_minutes(start_simulator: StartSimulator, tape: Tape) -> None:
    calendar = TradingCalendar()
    second = calendar.session_open(date(2026, 1, 6))
    assert second is not None
    begin = second + timedelta(minutes=3)
    simulator = start_simulator(tape, BrokerSettings(start=int(begin.timestamp()) * 10**9))
    world = FeedWorld(simulator, tape, {"AAPL": frozenset({"1Min", "5Min"})}, history=30)
    with feeding(world):
        world.play(2)
        bar = world.await_bars("AAPL", 1, "5Min")[0]
        assert len(world.await_bars("AAPL", 2)) == 2
    own = [each for each in tape.bars if each.symbol == "AAPL" and moment_of(each.opens_at) >= second][:5]
    assert bar.volume == sum(each.volume for each in own)
    assert bar.open_ts == second
    history = world.warmed_up("AAPL")
    assert len(history) >= 30
    assert history[-1].event_ts == begin
    assert [each.event_ts for each in history] == sorted(each.event_ts for each in history)
    assert world.received[0].kind == "warm_up"
    assert len(world.warmed_up("AAPL", "5Min")) >= 30


def test_after_a_restart_bars_go_on_behind_the_cursor(start_simulator: StartSimulator, tape: Tape) -> None:
    simulator = start_simulator(tape)
    world = FeedWorld(simulator, tape, BOTH)
    with feeding(world):
        world.play(3)
        last = world.await_bars("AAPL", 3)[-1]
        world.await_bars("MSFT", 3)
    world.play(4, heard=False)
    cursors = {(symbol, "1Min"): last.open_ts for symbol in BOTH}
    again = FeedWorld(simulator, tape, BOTH, cursors=cursors)
    with feeding(again):
        again.play(1)
        bars = again.await_bars("AAPL", 5)
        again.await_bars("MSFT", 5)
    assert [bar.close for bar in bars] == _closes(tape, "AAPL", 8)[3:]
    assert again.feed.snapshot().cursor_ahead == ()


def test_a_cursor_beyond_the_clock_is_told_and_nothing_is_handed_on(
    start_simulator: StartSimulator, tape: Tape
) -> None:
    cursors = {("AAPL", "1Min"): moment_of(tape.bars[-1].opens_at)}
    world = FeedWorld(start_simulator(tape), tape, BOTH, cursors=cursors)
    with feeding(world):
        world.play(2)
        world.await_bars("MSFT", 2)
        assert world.feed.snapshot().cursor_ahead == (("AAPL", "1Min"),)
    assert world.bars("AAPL") == []


def test_a_daily_bar_comes_after_the_close_and_a_dropped_one_is_asked_for(start_simulator: StartSimulator) -> None:
    days = synthetic_tape(["AAPL", "MSFT"], seed=2, first=DAY, sessions=40, timeframe="1Day")
    simulator = start_simulator(days, BrokerSettings(start=days.bars[60].opens_at))
    daily = frozenset({"1Day"})
    world = FeedWorld(simulator, days, {"AAPL": daily, "MSFT": daily}, history=20)
    with feeding(world):
        world.play(1)
        assert world.await_bars("AAPL", 1, "1Day")[0].signal_quality_flag == OK
        control(simulator, drop_bars=[{"symbol": "AAPL", "count": 1}])
        world.play(1)
        world.await_bars("MSFT", 2, "1Day")
        world.wait(30)
        bars = world.await_bars("AAPL", 2, "1Day")
        assert world.feed.snapshot().lag_seconds == {"1Day": 0.0}
    own = [bar for bar in days.bars if bar.symbol == "AAPL"]
    assert [bar.close for bar in world.warmed_up("AAPL", "1Day")] == [bar.close for bar in own[10:30]]
    assert [bar.close for bar in bars] == [bar.close for bar in own[30:32]]
    assert bars[1].signal_quality_flag == BACKFILL


def test_a_symbol_that_is_added_is_warmed_up_and_one_that_is_dropped_is_silent(
    start_simulator: StartSimulator, tape: Tape
) -> None:
    world = FeedWorld(start_simulator(tape), tape, {"AAPL": MINUTES})
    with feeding(world):
        world.play(3)
        world.await_bars("AAPL", 3)
        world.feed.subscribe(Subscriptions({"MSFT": MINUTES}, {("MSFT", "1Min"): 2}))
        until(lambda: len(world.warmed_up("MSFT")) >= 2)
        until(lambda: world.feed.snapshot().connections == 2 and world.feed.snapshot().connected)
        world.play(2)
        bars = world.await_bars("MSFT", 2)
    assert [bar.close for bar in bars] == _closes(tape, "MSFT", 5)[3:]
    assert len(world.bars("AAPL")) == 3


def test_while_history_is_down_a_symbol_that_is_added_keeps_no_other_waiting(
    start_simulator: StartSimulator, tape: Tape
) -> None:
    refused = {"method": "GET", "path": "/v2/stocks*", "status": 500, "count": 1_000}
    world = FeedWorld(start_simulator(tape), tape, {"AAPL": MINUTES})
    with feeding(world):
        world.play(3)
        world.await_bars("AAPL", 3)
        control(world.simulator, http_errors=[refused])
        world.feed.subscribe(Subscriptions(BOTH, {("AAPL", "1Min"): 2, ("MSFT", "1Min"): 2}))
        until(lambda: world.feed.snapshot().gaps == ("MSFT",))
        until(lambda: world.feed.snapshot().connections == 2 and world.feed.snapshot().connected)
        world.play(2)
        world.await_bars("AAPL", 5)
        world.await_bars("MSFT", 2)
        assert {name for group in world.received for name in group.after_gap} == {"MSFT"}
        control(world.simulator, http_errors=[])
        world.wait(16)
        until(lambda: world.feed.snapshot().gaps == ())
        world.play(1)
        world.await_bars("MSFT", 3)
    assert [bar.close for bar in world.warmed_up("MSFT")] == _closes(tape, "MSFT", 5)
    assert world.received[-1].after_gap == frozenset()


def test_eight_hundred_bars_of_one_time_over_several_frames_are_each_handed_on_once(
    start_simulator: StartSimulator,
) -> None:
    symbols = [f"S{number:03}" for number in range(800)]
    many = minute_tape({symbol: [100.0, 101.0] for symbol in symbols})
    world = FeedWorld(start_simulator(many), many, dict.fromkeys(symbols, MINUTES))
    with feeding(world):
        control(world.simulator, duplicate_bars=[{"symbol": symbol, "count": 1} for symbol in symbols[:50]])
        world.play(2)
        until(lambda: sum(len(group.bars) for group in list(world.received)) >= 1600)
        until(lambda: world.feed.snapshot().counts.duplicates == 50)
    handed = [(bar.symbol, bar.event_ts) for group in world.received for bar in group.bars]
    assert len(handed) == len(set(handed)) == 1600
    for symbol in symbols[::100]:
        assert [bar.close for bar in world.bars(symbol)] == [100.0, 101.0]
    assert world.feed.repeats("S000") == 1
    assert world.feed.repeats("S100") == 0
