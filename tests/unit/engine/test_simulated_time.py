"""A clock that follows the simulator: its pace in between, never back."""

from datetime import UTC, datetime

import pytest

from torghut_runtime.clock import NANOSECONDS, nanoseconds_of
from torghut_runtime.engine import simulated_time
from torghut_runtime.engine.simulated_time import FollowingClock

BELL = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
BELL_NS = nanoseconds_of(BELL)


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(simulated_time.time, "monotonic", lambda: now[0])
    return now


def test_it_stands_where_the_simulator_stands_and_goes_on_at_its_pace(real: list[float]) -> None:
    clock = FollowingClock()
    assert not clock.is_set
    clock.hear(BELL_NS, 0.0)
    real[0] += 10
    assert clock.now() == BELL
    clock.hear(BELL_NS, 60.0)
    real[0] += 1
    assert clock.now_ns() == BELL_NS + 60 * NANOSECONDS


def test_it_never_goes_back(real: list[float]) -> None:
    clock = FollowingClock()
    clock.hear(BELL_NS, 60.0)
    real[0] += 2
    seen = clock.now_ns()
    clock.hear(BELL_NS + 60 * NANOSECONDS)
    assert clock.now_ns() == seen
    clock.hear(BELL_NS - NANOSECONDS)
    assert clock.now_ns() == seen


def test_what_has_happened_is_not_in_the_future(real: list[float]) -> None:
    clock = FollowingClock()
    clock.hear(BELL_NS, 0.0)
    later = datetime(2026, 1, 5, 14, 31, tzinfo=UTC)
    clock.hear_moment(later)
    assert clock.now() == later
    clock.hear_moment(BELL)
    assert clock.now() == later
