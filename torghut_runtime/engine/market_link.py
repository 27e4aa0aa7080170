"""The engine's side of market data: a feed runs while symbols are wanted, and what it emits goes to the inbox.

What a feed is, and how bars are made, is its own business; it is replaced when other symbols are wanted.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from torghut_runtime.engine.bar_source import Wanted
from torghut_runtime.engine.heartbeat import Heartbeat

_LOOK_SECONDS: Final = 0.05
_START_SECONDS: Final = 15.0
_MUTE_SECONDS: Final = 60.0
"""A feed may stand still so long while the trading thread has no room for bars."""


class BarFeed(Protocol):
    """Emits closed bars from a thread of its own."""

    @property
    def heartbeat(self) -> float:
        """When it last went on (monotonic seconds)."""
        ...

    @property
    def connected(self) -> bool:
        """Whether live bars would come."""
        ...

    @property
    def warm(self) -> bool:
        """Whether all history has been emitted."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether its thread works."""
        ...

    def start(self) -> None:
        """Begin: history first, then live bars."""
        ...

    def stop(self) -> None:
        """End."""
        ...


MakeFeed = Callable[[Wanted], BarFeed]


class MarketLink:
    """Keeps the feed that is wanted."""

    def __init__(self, make: MakeFeed) -> None:
        self._make = make
        self._wanted: Wanted | None = None
        self._changed = threading.Event()
        self._feed: BarFeed | None = None
        self._served: Wanted | None = None

    def want(self, wanted: Wanted | None) -> None:
        """Have a feed for these, or none; history comes anew for a new set."""
        if wanted != self._wanted:
            self._wanted = None if wanted is None else dict(wanted)
            self._changed.set()

    @property
    def connected(self) -> bool:
        """Whether live bars of everything that is wanted would come."""
        feed = self._feed
        return self._is_served() and (not self._wanted or (feed is not None and feed.connected))

    @property
    def warm(self) -> bool:
        """Whether all history of what is wanted has been emitted."""
        feed = self._feed
        return self._is_served() and feed is not None and feed.warm

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            beat.beat()
            self._changed.clear()
            wanted = self._wanted
            if wanted is not None:
                self._serve(wanted, beat, stop)
            else:
                self._changed.wait(_LOOK_SECONDS)

    def _serve(self, wanted: Wanted, beat: Heartbeat, stop: threading.Event) -> None:
        beat.beat(_START_SECONDS)
        feed = self._feed = self._make(wanted)
        feed.start()
        self._served = wanted
        try:
            while not (stop.is_set() or self._changed.is_set()):
                if not feed.is_alive:
                    raise RuntimeError("the feed of bars ended")
                if time.monotonic() - feed.heartbeat < _MUTE_SECONDS:
                    beat.beat()
                stop.wait(_LOOK_SECONDS)
        finally:
            self._feed = self._served = None
            beat.beat(_START_SECONDS)
            feed.stop()

    def _is_served(self) -> bool:
        return self._wanted is not None and self._served == self._wanted
