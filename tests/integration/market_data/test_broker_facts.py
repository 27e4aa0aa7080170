"""Clock, assets and corporate actions over HTTP with alpaca-py's clients, against the simulator."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from alpaca_streams import until
from engine_world import minute_tape, settings_of
from feed_world import MINUTES, FeedWorld, feeding
from simulator_fixtures import StartSimulator, control

from torghut_runtime.broker.alpaca import AlpacaReader
from torghut_runtime.broker.simulator.engine import BrokerSettings
from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.broker.simulator.tape import synthetic_tape
from torghut_runtime.clock import SimulatedClock, nanoseconds_of
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market_data.announcements import AnnouncementWatch
from torghut_runtime.market_data.broker_facts import UNKNOWN_ASSET, AssetBook, CalendarGuard, calendar_fault, facts_of
from torghut_runtime.market_data.continuity import SignalContinuity
from torghut_runtime.market_data.signal_watch import SignalWatch
from torghut_runtime.market_data.universe import Universe
from torghut_runtime.market_data.warm_up import average_volumes
from torghut_runtime.orders.increments import US_SHARES, Increments


def reader(simulator: RunningSimulator) -> AlpacaReader:
    return AlpacaReader(settings_of(SIMULATOR_URL=simulator.url).broker, simulator.url)


@pytest.mark.parametrize(("skew_ms", "agrees"), [(0, True), (59_000, True), (61_000, False), (-61_000, False)])
def test_entries_wait_while_the_brokers_clock_is_more_than_a_minute_apart(
    simulator: RunningSimulator, skew_ms: int, agrees: bool
) -> None:
    clock = SimulatedClock(simulator.call(lambda broker: broker.now) + 3600 * 10**9)
    simulator.call(lambda broker: broker.advance_to(clock.now_ns()))
    control(simulator, clock_skew_ms=skew_ms)
    guard = CalendarGuard(reader(simulator), clock)
    assert not guard.agrees  # nothing was asked yet
    guard.check()
    assert guard.agrees == agrees
    clock.advance_to(clock.now_ns() + 3600 * 10**9)  # our own clock jumps
    assert guard.check() is not None
    control(simulator, clock_skew_ms=3_600_000)
    assert guard.check() is None


@pytest.mark.parametrize(("told_after", "agrees"), [(-61, False), (-60, True), (0, True), (300, True), (361, False)])
def test_the_time_that_a_call_takes_is_no_difference(
    simulator: RunningSimulator, told_after: int, agrees: bool
) -> None:
    clock = SimulatedClock(simulator.call(lambda broker: broker.now) + 3600 * 10**9)
    simulator.call(lambda broker: broker.advance_to(clock.now_ns()))
    control(simulator, clock_skew_ms=told_after * 1_000)

    class Slow(AlpacaReader):
        def clock(self) -> Any:
            told = super().clock()
            clock.advance_to(clock.now_ns() + 300 * 10**9)
            return told

    guard = CalendarGuard(Slow(settings_of(SIMULATOR_URL=simulator.url).broker, simulator.url), clock)
    guard.check()
    assert guard.agrees == agrees


def _close_at(world: FeedWorld, moment: datetime) -> float | None:
    return next((bar.close for bar in world.warmed_up("AAPL") if bar.event_ts == moment), None)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_broker_that_keeps_other_hours_is_told_apart() -> None:
    hours = SessionHours()
    now = _at("2026-11-27T19:00:00")  # an hour after an early close
    told = {
        "timestamp": now.isoformat(),
        "is_open": False,
        "next_open": "2026-11-30T09:30:00-05:00",
        "next_close": "2026-11-30T16:00:00-05:00",
    }
    assert calendar_fault(told, now, hours) is None
    assert calendar_fault({**told, "is_open": True}, now, hours) is not None
    assert calendar_fault({**told, "next_open": "2026-12-01T09:30:00-05:00"}, now, hours) is not None
    assert calendar_fault({"timestamp": "soon"}, now, hours) == "the broker's clock cannot be read"
    morning = _at("2026-11-27T15:00:00")
    open_ = {**told, "timestamp": morning.isoformat(), "is_open": True, "next_close": "2026-11-27T13:00:00-05:00"}
    assert calendar_fault(open_, morning, hours) is None
    assert calendar_fault({**open_, "next_close": "2026-11-27T16:00:00-05:00"}, morning, hours) is not None


def test_what_the_broker_allows_with_an_asset(simulator: RunningSimulator) -> None:
    book = AssetBook(reader(simulator))
    assert book.of("AAPL") == UNKNOWN_ASSET
    control(simulator, assets={"AAPL": {"tradable": False, "shortable": False}})
    book.refresh(["AAPL", "MSFT", "NONE"])
    assert (book.of("AAPL").tradable, book.of("AAPL").shortable) == (False, False)
    assert (book.of("MSFT").tradable, book.of("MSFT").shortable) == (True, True)
    assert book.of("NONE") == UNKNOWN_ASSET
    book.refresh([f"S{number}" for number in range(30)] + ["MSFT"])
    assert book.of("MSFT").tradable


def test_the_steps_that_the_broker_names_are_the_assets_own(simulator: RunningSimulator) -> None:
    steps = {"price_increment": "0.05", "min_trade_increment": "0.001", "min_order_size": "0.01"}
    control(simulator, assets={"AAPL": steps})
    book = AssetBook(reader(simulator))
    book.refresh(["AAPL", "MSFT"])
    assert book.of("AAPL").increments == Increments(Decimal("0.05"), Decimal("0.001"), Decimal("0.01"))
    assert book.of("MSFT").increments == US_SHARES
    control(simulator, assets={"AAPL": {"fractionable": False}})
    book.refresh(["AAPL", "MSFT"])
    assert book.of("AAPL").increments == Increments(qty=Decimal(1))


@pytest.mark.parametrize("step", [None, "", "0", "-0.01", "NaN", "Infinity", "many", True, "1e-10"])
def test_a_step_that_cannot_be_one_is_none(step: object) -> None:
    document = {"status": "active", "tradable": True, "fractionable": True, "price_increment": step}
    assert facts_of({**document, "min_trade_increment": step, "min_order_size": step}).increments == US_SHARES


def test_history_is_fetched_anew_in_the_new_units_when_a_session_begins_with_a_split(
    start_simulator: StartSimulator,
) -> None:
    tape = synthetic_tape(["AAPL", "MSFT"], seed=1, first=date(2026, 1, 5), sessions=2)
    second = next(bar for bar in tape.bars if bar.opens_at > tape.bars[0].opens_at + 12 * 3600 * 10**9)
    simulator = start_simulator(tape, BrokerSettings(start=second.opens_at - 3600 * 10**9))
    control(simulator, split=[{"symbol": "AAPL", "ratio": 4, "effective": "2026-01-06"}])
    world = FeedWorld(simulator, tape, {"AAPL": MINUTES, "MSFT": MINUTES}, history=10)
    with feeding(world):
        until(lambda: len(world.warmed_up("MSFT")) >= 10)
        last = world.warmed_up("AAPL")[-1]
        watch = AnnouncementWatch(world.feed, world.clock)
        assert watch.check() == ()
        world.pass_to(second.opens_at - 1800 * 10**9)
        assert watch.check() == ["AAPL"]
        assert watch.check() == ()
        world.play(1)
        assert watch.check() == ["AAPL"]
        until(lambda: _close_at(world, last.event_ts) == pytest.approx(last.close / 4))
        world.play(1)
        world.await_bars("AAPL", 2)
        assert world.bars("AAPL")[-1].close < last.close / 2
    warm_ups = [group for group in world.received if group.kind == "warm_up" and group.bars[0].symbol == "MSFT"]
    assert len(warm_ups) == 1


def test_the_poll_judges_feed_and_universe(start_simulator: StartSimulator) -> None:
    tape = minute_tape({"AAPL": [100.0] * 30})
    world = FeedWorld(start_simulator(tape), tape, {"AAPL": MINUTES})
    settings = settings_of(ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT="5", STATIC_SYMBOLS="AAPL")
    with feeding(world):
        continuity = SignalContinuity(settings.data, settings.stops)
        watch = SignalWatch(world.feed, Universe(settings.universe, world.clock), continuity, world.clock)
        world.play(2)
        world.await_bars("AAPL", 2)
        assert watch.poll().triggers == ()
        control(world.simulator, mute=[{"stream": "data", "seconds": 3600}])
        control(world.simulator, http_errors=[{"method": "GET", "path": "/v2/stocks/bars", "status": 500, "count": 99}])
        world.wait(60 + 7)
        assert watch.poll().triggers == ("signal_lag_exceeded:7",)
        control(world.simulator, disconnect=[{"stream": "data", "seconds": 3600}])
        until(lambda: not world.feed.snapshot().connected)
        assert watch.poll().reasons == ("market_data_disconnected",)
        world.pass_to(nanoseconds_of(datetime(2026, 1, 5, 21, 0, tzinfo=UTC)))
        assert watch.poll().triggers == ()


def test_average_daily_volumes_need_twenty_sessions(start_simulator: StartSimulator) -> None:
    days = synthetic_tape(["AAPL"], seed=3, first=date(2026, 1, 5), sessions=25, timeframe="1Day")
    simulator = start_simulator(days, BrokerSettings(start=days.bars[19].closes_at))
    world = FeedWorld(simulator, days, {})
    own = [bar.volume for bar in days.bars]
    history = world.feed.history
    at = world.clock.now()
    assert average_volumes(history, ["AAPL"], at) == {"AAPL": pytest.approx(sum(own[:20]) / 20)}
    assert average_volumes(history, ["AAPL"], at - timedelta(seconds=1)) == {}
