"""Feature rows for whoever joins later: the newest ones, bit by bit, in memory that is taken at once."""

import tracemalloc

import numpy as np
import pytest

from torghut_runtime.engine.kept_rows import KEPT_ROWS, KeptRows
from torghut_runtime.market.features import FEATURES


def row(number: int) -> np.ndarray:
    return np.full(len(FEATURES), 1.0 / (number + 3))


@pytest.mark.parametrize("count", [0, 1, KEPT_ROWS - 1, KEPT_ROWS, KEPT_ROWS + 1, 2 * KEPT_ROWS + 5])
def test_the_newest_rows_are_told_oldest_first(count: int) -> None:
    kept = KeptRows()
    for number in range(count):
        kept.append(row(number), float(number))
    told = list(kept.oldest_first())
    first = max(count - KEPT_ROWS, 0)
    assert len(kept) == len(told) == count - first
    assert [seconds for _, seconds in told] == [float(number) for number in range(first, count)]
    assert all(each.tobytes() == row(first + index).tobytes() for index, (each, _) in enumerate(told))


def test_what_was_told_stays_as_it_was() -> None:
    kept = KeptRows()
    kept.append(row(0), float("nan"))
    (told, seconds) = next(kept.oldest_first())
    for number in range(KEPT_ROWS):
        kept.append(row(number + 1), 0.0)
    assert np.isnan(seconds)
    assert told.tobytes() == row(0).tobytes()


def test_rows_take_no_memory_of_their_own() -> None:
    kept = KeptRows()
    given = row(0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(KEPT_ROWS):
            kept.append(given, float(number))
        assert tracemalloc.get_traced_memory()[0] - before < 4_096
    finally:
        tracemalloc.stop()
