"""The clock that trading waits, ages and stamps by; nothing else in the trading path asks the machine for the time.

:class:`SystemClock` is the machine's, :class:`SimulatedClock` stands until somebody moves it: a replay, a drill, a
test. Lease, heartbeat and watchdog are not this module's business; they need real monotonic time.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

NANOSECONDS: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment_of(ns: int) -> datetime:
    """Nanoseconds since 1970 as a time in UTC, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=ns // 1_000)


def nanoseconds_of(moment: datetime) -> int:
    """An aware time as nanoseconds since 1970."""
    elapsed = moment - _EPOCH
    return ((elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds) * 1_000


class Clock(Protocol):
    """Tells the time."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970 (UTC)."""
        ...

    def now(self) -> datetime:
        """The time in UTC, to the microsecond."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970 (UTC)."""
        return time.time_ns()

    def now(self) -> datetime:
        """The time in UTC, to the microsecond."""
        return moment_of(self.now_ns())


class SimulatedClock:
    """A clock that stands still until it is moved, and never goes back."""

    def __init__(self, ns: int) -> None:
        self._ns = ns

    def now_ns(self) -> int:
        """Nanoseconds since 1970 (UTC)."""
        return self._ns

    def now(self) -> datetime:
        """The time in UTC, to the microsecond."""
        return moment_of(self._ns)

    def advance_to(self, ns: int) -> None:
        """Move on to ``ns``.

        Raises:
            ValueError: ``ns`` is earlier than now.
        """
        if ns < self._ns:
            raise ValueError(f"a clock does not go back: from {self._ns} to {ns}")
        self._ns = ns
