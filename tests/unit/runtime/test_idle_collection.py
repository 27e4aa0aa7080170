"""Garbage in cycles is searched when a thread says that nothing waits, and by Python where none ever does."""

import gc
import threading
import weakref
from collections.abc import Generator
from contextlib import suppress
from unittest.mock import MagicMock, patch

import pytest

from torghut_runtime.collection import MOST_YOUNG, SEARCHES, WHOLE_EVERY_SECONDS, YOUNG, IdleCollector
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.trading_loop import TradingLoop


class Monotonic:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def a_cycle() -> "weakref.ref[Cycle]":
    return weakref.ref(Cycle())


@pytest.fixture
def time() -> Monotonic:
    return Monotonic()


@pytest.fixture
def collector(time: Monotonic) -> Generator[IdleCollector]:
    made = IdleCollector(time)
    yield made
    made.end()


def objects(count: int) -> list[list[int]]:
    return [[each] for each in range(count)]


def test_before_the_begin_nothing_is_searched(collector: IdleCollector) -> None:
    with_python = gc.get_threshold()
    gc.disable()
    try:
        gone, kept = a_cycle(), objects(YOUNG)
        collector.idle()
        assert gone() is not None
    finally:
        gc.enable()
    assert gc.get_threshold() == with_python
    del kept


def test_an_idle_moment_searches_once_enough_is_new(collector: IdleCollector) -> None:
    collector.begin()
    gone = a_cycle()
    collector.idle()
    assert gone() is not None, "too little is new to search for"

    kept = objects(YOUNG)
    collector.idle()
    assert gone() is None
    del kept


def test_within_work_nothing_is_searched_up_to_a_limit(collector: IdleCollector) -> None:
    collector.begin()
    gone = a_cycle()
    kept = objects(MOST_YOUNG - 1_000)
    assert gone() is not None
    kept += objects(2_000)
    assert gone() is None, "whoever is never idle is searched all the same"


def test_older_garbage_is_found_after_more_searches(collector: IdleCollector) -> None:
    collector.begin()
    held = Cycle()
    gone = weakref.ref(held)
    kept = objects(YOUNG)
    collector.idle()
    del held
    for _ in range(SEARCHES):
        kept += objects(YOUNG)
        collector.idle()
    assert gone() is None, "it had outlived the search of the young"


def test_what_outlives_a_search_of_all_waits_for_the_next_whole_one(collector: IdleCollector, time: Monotonic) -> None:
    held = Cycle()
    gone = weakref.ref(held)
    collector.begin()
    del held
    kept = list[list[int]]()
    for _ in range(SEARCHES**2 + 2 * SEARCHES):
        kept += objects(YOUNG)
        collector.idle()
    assert gone() is not None

    time.seconds += WHOLE_EVERY_SECONDS - 1.0
    kept += objects(YOUNG)
    collector.idle()
    assert gone() is not None
    time.seconds += 1.0
    kept += objects(YOUNG)
    collector.idle()
    assert gone() is None


def test_a_new_begin_searches_everything(collector: IdleCollector) -> None:
    held = Cycle()
    gone = weakref.ref(held)
    collector.begin()
    del held
    collector.begin()
    assert gone() is None


def test_the_end_leaves_it_to_python(collector: IdleCollector) -> None:
    with_python = gc.get_threshold()
    collector.begin()
    assert gc.get_threshold() == (MOST_YOUNG, *with_python[1:])
    collector.begin()
    collector.end()
    assert gc.get_threshold() == with_python
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("error", [None, RuntimeError], ids=["told to stop", "failed"])
def test_a_trading_thread_that_ends_leaves_it_to_python(error: type[Exception] | None) -> None:
    with_python = gc.get_threshold()
    loop = TradingLoop(MagicMock())
    stop = threading.Event()

    def begun(*_: object) -> None:
        loop._collector.begin()
        stop.set()
        if error is not None:
            raise error

    with patch.object(loop, "_term", begun), suppress(RuntimeError):
        loop.run(Heartbeat(), stop)
    assert stop.is_set()
    assert gc.get_threshold() == with_python
    assert gc.get_freeze_count() == 0
