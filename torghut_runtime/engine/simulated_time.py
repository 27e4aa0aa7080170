"""The clock of a process whose broker is the simulator: the simulator's time, as far as it has been heard.

Between two times that were heard it goes on at the simulator's pace, if it has one. It never goes back. Until the first
time is heard it is the machine's.
"""

import logging
import threading
import time
from datetime import datetime
from typing import Any, Final

import requests

from torghut_runtime.clock import NANOSECONDS, moment_of, nanoseconds_of
from torghut_runtime.engine.heartbeat import Heartbeat

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.1
_DEADLINE_SECONDS: Final = 5.0


class FollowingClock:
    """See the module; safe to ask and to tell from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard_ns: int | None = None
        self._heard_at = 0.0
        self._pace = 0.0
        self._last_ns = 0

    @property
    def is_set(self) -> bool:
        """Whether a time has been heard."""
        return self._heard_ns is not None

    def hear(self, ns: int, pace: float | None = None) -> None:
        """The simulator's time was ``ns`` just now; ``pace`` are its seconds per second, 0 when it stands still."""
        with self._lock:
            if self._heard_ns is None or ns >= self._heard_ns:
                self._heard_ns, self._heard_at = ns, time.monotonic()
            if pace is not None:
                self._pace = pace

    def hear_moment(self, moment: datetime) -> None:
        """Something of this time has happened: it is not earlier than that."""
        ns = nanoseconds_of(moment)
        if ns > self.now_ns():
            self.hear(ns)

    def now_ns(self) -> int:
        """Nanoseconds since 1970 (UTC)."""
        with self._lock:
            if self._heard_ns is None:
                return time.time_ns()
            gone = (time.monotonic() - self._heard_at) * self._pace
            self._last_ns = max(self._last_ns, self._heard_ns + int(gone * NANOSECONDS))
            return self._last_ns

    def now(self) -> datetime:
        """The time in UTC, to the microsecond."""
        return moment_of(self.now_ns())


class SimulatorTime:
    """Asks a simulator for its time, many times a second, and tells the clock."""

    def __init__(self, url: str, clock: FollowingClock) -> None:
        self._url = url
        self._clock = clock
        self._session = requests.Session()

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Ask until told to stop; a simulator that does not answer is asked again."""
        while not stop.is_set():
            beat.beat(_DEADLINE_SECONDS)
            try:
                self.ask()
            except (requests.RequestException, ValueError, KeyError) as error:
                log.debug("the simulator does not tell its time: %s", type(error).__name__)
            beat.beat()
            stop.wait(_POLL_SECONDS)

    def ask(self) -> None:
        """Ask once.

        Raises:
            requests.RequestException, ValueError, KeyError: no such answer.
        """
        answer = self._session.get(f"{self._url}/sim/status", timeout=_DEADLINE_SECONDS)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        pace = str(told["pace"])
        passes = pace not in ("lockstep", "max") and not told["done"]
        now = nanoseconds_of(datetime.fromisoformat(told["now"]))
        self._clock.hear(now, float(pace) if passes else 0.0)
