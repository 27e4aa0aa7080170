"""The machine's clock is set by an hour: times to live go on, and entries wait until somebody has looked."""

import time
from typing import Any

import pytest

from torghut_runtime.clock import NANOSECONDS, SystemClock
from torghut_runtime.market_data.broker_facts import CalendarGuard

HOUR = 3600 * NANOSECONDS
WALL = time.time_ns


class Unasked:
    """A broker that nobody should ask."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_it_shows_the_machines_time() -> None:
    clock = SystemClock()
    before = WALL()
    assert before - NANOSECONDS < clock.now_ns() < before + 60 * NANOSECONDS
    assert abs(clock.jump.total_seconds()) < 1


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_of_the_machines_clock_neither_ends_nor_lengthens_a_time_to_live(
    monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    clock = SystemClock()
    due = clock.now_ns() + 30 * 60 * NANOSECONDS
    monkeypatch.setattr("torghut_runtime.clock.time.time_ns", lambda: WALL() + jump)
    assert 0 < due - clock.now_ns() <= 30 * 60 * NANOSECONDS
    assert round(clock.jump.total_seconds()) == jump // NANOSECONDS


@pytest.mark.parametrize(("seconds", "fault"), [(3600, True), (-3600, True), (61, True), (-61, True), (0, False)])
def test_entries_wait_after_a_jump_of_more_than_a_minute(
    monkeypatch: pytest.MonkeyPatch, seconds: int, fault: bool
) -> None:
    clock = SystemClock()
    monkeypatch.setattr("torghut_runtime.clock.time.time_ns", lambda: WALL() + seconds * NANOSECONDS)
    guard = CalendarGuard(Unasked(), clock)
    if not fault:
        with pytest.raises(AssertionError, match="clock"):
            guard.check()
        return
    told = guard.check()
    assert told is not None
    assert told.startswith("the machine's clock was set by ")
    assert not guard.agrees
