"""How simulated time moves in the server: at a multiple of real time, as fast as it can, or step by step."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from torghut_runtime.broker.simulator.engine import SimulatedBroker, Step
from torghut_runtime.broker.simulator.instants import SECOND

_LONGEST_WAIT: Final = 0.25
_MOMENTS_BETWEEN_BREATHS: Final = 200


@dataclass(frozen=True)
class Pace:
    """The pace of the simulation.

    Attributes:
        speed: simulated seconds per second; None means as fast as possible.
        lockstep: time stands still but for requested steps.
    """

    speed: float | None = 1.0
    lockstep: bool = False


class Pacing:
    """Moves the broker's time."""

    def __init__(self, broker: SimulatedBroker, pace: Pace, sent: Callable[[], Awaitable[None]]) -> None:
        self._broker = broker
        self._pace = pace
        self._sent = sent
        self._started_at = time.monotonic()
        self._start = broker.now

    @property
    def lockstep(self) -> bool:
        """Whether time stands still but for requested steps."""
        return self._pace.lockstep

    @property
    def mode(self) -> str:
        """The pace as text."""
        return "lockstep" if self._pace.lockstep else "max" if self._pace.speed is None else f"{self._pace.speed:g}"

    @property
    def passes(self) -> bool:
        """Whether simulated time passes with real time."""
        return not self._pace.lockstep and self._pace.speed is not None

    def catch_up(self) -> None:
        """Bring simulated time to where it should be by now."""
        if self._pace.lockstep or self._pace.speed is None:
            return
        elapsed = (time.monotonic() - self._started_at) * self._pace.speed
        self._broker.advance_to(max(self._broker.now, self._start + int(elapsed * SECOND)))

    async def step(self, events: int) -> Step:
        """Move on by so many bars and wait until every frame was sent."""
        done = self._broker.step(events)
        await self._sent()
        return done

    async def wait(self, nanoseconds: int) -> None:
        """Wait for a simulated while, where time passes by itself."""
        if nanoseconds and not self._pace.lockstep and self._pace.speed is not None:
            await asyncio.sleep(nanoseconds / SECOND / self._pace.speed)

    async def run(self) -> None:
        """Move time until cancelled."""
        if self._pace.lockstep:
            return
        self._started_at = time.monotonic()
        if self._pace.speed is None:
            while not self._broker.done:
                self._broker.step(_MOMENTS_BETWEEN_BREATHS)
                await self._sent()
                await asyncio.sleep(0)
            return
        while True:
            self.catch_up()
            await self._sent()
            upcoming = self._broker.next_event_at
            wait = _LONGEST_WAIT
            if upcoming is not None:
                wait = (upcoming - self._broker.now) / SECOND / self._pace.speed
            await asyncio.sleep(min(_LONGEST_WAIT, max(0.001, wait)))
