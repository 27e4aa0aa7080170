"""A market feed against the simulator in lockstep, on a clock that the test moves with it."""

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from alpaca_streams import until
from engine_world import settings_of
from simulator_fixtures import step

from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.clock import SimulatedClock, nanoseconds_of
from torghut_runtime.market.features import Bar
from torghut_runtime.market_data.closed_bars import ClosedBars
from torghut_runtime.market_data.feed import MarketFeed
from torghut_runtime.market_data.subscriptions import Subscriptions

MINUTES = frozenset({"1Min"})
Received = list[ClosedBars]


class FeedWorld:
    """A feed, what it handed on, and the hands that move simulator and clock."""

    def __init__(
        self,
        simulator: RunningSimulator,
        tape: Tape,
        timeframes: Mapping[str, frozenset[str]],
        *,
        history: int = 0,
        cursors: Mapping[tuple[str, str], datetime] | None = None,
        lookback: int = 15,
    ) -> None:
        self.simulator = simulator
        self.tape = tape
        self.clock = SimulatedClock(simulator.call(lambda broker: broker.now))
        self.received: Received = []
        self.may_pass = threading.Event()
        self.may_pass.set()
        wanted = {(symbol, each): history for symbol in timeframes for each in timeframes[symbol]}
        self.feed = MarketFeed(
            settings_of(SIMULATOR_URL=simulator.url, SIGNAL_LOOKBACK_MINUTES=str(lookback)),
            Subscriptions(timeframes, wanted),
            self.clock,
            self._take,
            cursors=cursors,
            longest_pause=0.05,
        )

    def _take(self, group: ClosedBars) -> None:
        self.may_pass.wait(60)
        self.received.append(group)

    def bars(self, symbol: str, timeframe: str = "1Min") -> list[Bar]:
        """What was handed on to be decided."""
        return [
            bar
            for group in list(self.received)
            if group.kind != "warm_up"
            for bar in group.bars
            if (bar.symbol, bar.timeframe) == (symbol, timeframe)
        ]

    def warmed_up(self, symbol: str, timeframe: str = "1Min") -> list[Bar]:
        """The newest warm-up."""
        found = [
            [bar for bar in group.bars if (bar.symbol, bar.timeframe) == (symbol, timeframe)]
            for group in list(self.received)
            if group.kind == "warm_up"
        ]
        return next((bars for bars in reversed(found) if bars), list[Bar]())

    def await_bars(self, symbol: str, count: int, timeframe: str = "1Min") -> list[Bar]:
        """Wait for so many bars."""
        until(lambda: len(self.bars(symbol, timeframe)) >= count)
        return self.bars(symbol, timeframe)

    def await_connected(self) -> None:
        """Wait until it is subscribed and warm."""
        until(lambda: self.feed.snapshot().connected and self.feed.snapshot().warm)

    def play(self, minutes: int = 1, *, heard: bool = True) -> None:
        """Let so many minutes pass, the clock with them; each is ``heard`` before the next, where anything can be."""
        for _ in range(minutes):
            now = self.simulator.call(lambda broker: broker.now)
            closes_at = min(bar.closes_at for bar in self.tape.bars if bar.closes_at > now)
            self.pass_to(closes_at)
            step(self.simulator, sum(bar.closes_at == closes_at for bar in self.tape.bars))
            if heard:
                until(lambda at=closes_at: self._has_heard(at))

    def _has_heard(self, ns: int) -> bool:
        seen = self.feed.snapshot()
        return seen.heard_at is not None and nanoseconds_of(seen.heard_at) >= ns and not seen.waiting_frames

    def pass_to(self, ns: int) -> None:
        """Move the clock on."""
        self.clock.advance_to(max(ns, self.clock.now_ns()))

    def wait(self, seconds: float) -> None:
        """Let the clock move on while the market stands still."""
        self.pass_to(nanoseconds_of(self.clock.now() + timedelta(seconds=seconds)))


@contextmanager
def feeding(world: FeedWorld) -> Generator[FeedWorld]:
    """Run the feed of a world while the block runs."""
    world.feed.start()
    try:
        world.await_connected()
        yield world
    finally:
        world.may_pass.set()
        world.feed.stop()
