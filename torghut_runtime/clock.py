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
    """The machine's clock as it was when this was made, and what has passed since; it does not follow its jumps.

    A clock that somebody sets an hour back would otherwise keep look-ups, evaluations and reconciliation waiting for
    that hour, and one that is set forward would end every time to live at once.
    """

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - _passed_ns()

    def now_ns(self) -> int:
        """Nanoseconds since 1970 (UTC)."""
        return _passed_ns() + self._offset_ns

    def now(self) -> datetime:
        """The time in UTC, to the microsecond."""
        return moment_of(self.now_ns())

    @property
    def jump(self) -> timedelta:
        """How far the machine's clock has been set forward since, back where it is negative."""
        return timedelta(microseconds=(time.time_ns() - self.now_ns()) // 1_000)


def _passed_ns() -> int:
    """A count that nobody sets; where the machine has such a clock it goes on while the machine sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if boot is None else time.clock_gettime_ns(boot)


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
