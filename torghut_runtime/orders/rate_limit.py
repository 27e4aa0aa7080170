"""The one budget of requests to the broker, of which a share is kept for cancels and another for exits."""

import threading
from typing import Final

from torghut_runtime.clock import NANOSECONDS

RESERVED_SHARE: Final = 0.2
"""Share of the bucket that only urgent requests may use."""
EXIT_SHARE: Final = 0.2
"""Share that entries cannot use: exits have a bucket of their own, and what entries leave besides."""
_MINUTE: Final = 60.0


class RequestBudget:
    """A token bucket for any thread: ``per_minute`` requests in a minute, at most all of them at once."""

    def __init__(self, per_minute: int, now_ns: int) -> None:
        self._capacity = float(per_minute)
        self._tokens = float(per_minute)
        self._at = now_ns
        self._closed_until = 0
        self._lock = threading.Lock()

    def take(self, now_ns: int, *, urgent: bool = False, is_exit: bool = False) -> float:
        """Take one request; 0 when it may go now, else the seconds after which to ask again (nothing is taken).

        Cancels are urgent: they use what is reserved, and go even where the broker has asked to wait. An exit goes
        while entries have to wait.
        """
        with self._lock:
            self._refill(now_ns)
            if not urgent and now_ns < self._closed_until:
                return (self._closed_until - now_ns) / NANOSECONDS
            kept = RESERVED_SHARE if is_exit else RESERVED_SHARE + EXIT_SHARE
            floor = 0.0 if urgent else self._capacity * kept
            if self._tokens - 1.0 >= floor:
                self._tokens -= 1.0
                return 0.0
            return (floor + 1.0 - self._tokens) * _MINUTE / self._capacity

    def close(self, now_ns: int, seconds: float) -> None:
        """The broker asked to wait (429, ``Retry-After``)."""
        with self._lock:
            self._closed_until = max(self._closed_until, now_ns + int(seconds * NANOSECONDS))

    def _refill(self, now_ns: int) -> None:
        elapsed = max(now_ns - self._at, 0) / NANOSECONDS
        self._tokens = min(self._capacity, self._tokens + elapsed * self._capacity / _MINUTE)
        self._at = max(self._at, now_ns)
