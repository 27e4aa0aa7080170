"""Parts of the engine: restarted when they fail, counted, and told when they fail too often."""

import threading

import pytest
from alpaca_streams import until

from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.supervisor import FAILURES, WINDOW_SECONDS, Supervisor

QUICK = {"first_pause": 0.001, "longest_pause": 0.001}


def test_a_part_that_fails_is_started_again_and_works() -> None:
    ran: list[int] = []

    def body(beat: Heartbeat, stop: threading.Event) -> None:
        ran.append(1)
        if len(ran) == 1:
            raise ValueError("once")
        beat.beat()
        stop.wait()

    told: list[str] = []
    supervisor = Supervisor(told.append, **QUICK)
    supervisor.add("part", body)
    supervisor.start()
    until(lambda: supervisor.restarts() == {"part": 1} and supervisor.components()["part"].state == "ok")
    assert supervisor.errors() == {"part": "ValueError: once"}
    assert told == []
    supervisor.ask_to_stop()
    assert supervisor.join("part", 30)
    assert supervisor.components()["part"].state == "stopped"


def test_an_exception_while_it_cleans_up_is_a_failure_like_any_other() -> None:
    ran: list[int] = []

    def body(beat: Heartbeat, stop: threading.Event) -> None:
        del beat
        try:
            ran.append(1)
            if len(ran) == 1:
                return
            stop.wait()
        finally:
            if len(ran) == 1:
                raise OSError("while closing")

    supervisor = Supervisor(lambda _: None, **QUICK)
    supervisor.add("part", body)
    supervisor.start()
    until(lambda: len(ran) == 2)
    assert supervisor.errors() == {"part": "OSError: while closing"}
    supervisor.ask_to_stop()
    assert supervisor.join("part", 30)


def test_a_part_that_ends_by_itself_has_failed() -> None:
    supervisor = Supervisor(lambda _: None, **QUICK)
    supervisor.add("part", lambda beat, stop: None)
    supervisor.start()
    until(lambda: supervisor.errors() == {"part": "RuntimeError: ended by itself"})
    supervisor.ask_to_stop()
    assert supervisor.join("part", 30)


@pytest.mark.parametrize(("apart", "told"), [(WINDOW_SECONDS / FAILURES, True), (WINDOW_SECONDS / 2, False)])
def test_failures_that_are_close_together_are_told(apart: float, told: bool) -> None:
    now = [0.0]
    heard: list[str] = []
    failed = threading.Semaphore(0)
    go = threading.Semaphore(0)

    def body(beat: Heartbeat, stop: threading.Event) -> None:
        del beat, stop
        failed.release()
        go.acquire()
        raise ValueError

    supervisor = Supervisor(heard.append, monotonic=lambda: now[0], **QUICK)
    supervisor.add("part", body)
    supervisor.start()
    for _ in range(FAILURES):
        assert failed.acquire(timeout=30)
        now[0] += apart
        go.release()
    assert failed.acquire(timeout=30)
    assert heard == (["part"] if told else [])
    supervisor.ask_to_stop()
    go.release()
    assert supervisor.join("part", 30)


def test_a_part_that_stays_down_is_seen_by_the_age_of_its_heart_beat() -> None:
    now = [0.0]
    supervisor = Supervisor(lambda _: None, monotonic=lambda: now[0], **QUICK)

    def body(beat: Heartbeat, stop: threading.Event) -> None:
        del beat, stop
        raise ValueError

    supervisor.add("part", body)
    supervisor.start()
    until(lambda: supervisor.restarts()["part"] > 2)
    now[0] = 16.0
    assert supervisor.components()["part"].age_seconds == 16.0
    supervisor.ask_to_stop()
    assert supervisor.join("part", 30)


def test_a_call_with_a_deadline_of_its_own_ages_from_there() -> None:
    now = [0.0]
    beat = Heartbeat(lambda: now[0])
    beat.beat(5.0)
    now[0] = 4.0
    assert beat.age == 0.0
    now[0] = 7.5
    assert beat.age == 2.5
    beat.beat()
    assert beat.age == 0.0
