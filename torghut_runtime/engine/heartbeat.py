"""Signs of life: when a part of the process was last seen to go on, by real monotonic time."""

import time
from collections.abc import Callable

Monotonic = Callable[[], float]


class Heartbeat:
    """Beaten by the part itself, read by anybody."""

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen = monotonic()

    def beat(self, allow: float = 0.0) -> None:
        """Going on; ``allow`` are the seconds that a call which has a deadline of its own may take from here."""
        self._seen = self._monotonic() + allow

    @property
    def age(self) -> float:
        """Seconds since it should have been seen at the latest."""
        return max(self._monotonic() - self._seen, 0.0)
