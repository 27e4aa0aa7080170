"""How history is cut: the known answers, the default cut, lengths in sessions and bars, too little data."""

from datetime import date, timedelta
from typing import Any

import pytest

from torghut_assets.research.folds import Fold, FoldSpan, bars_per_session, plan_folds, walk_forward_folds
from torghut_assets.research.settings import FoldSettings
from torghut_runtime.errors import InputError

FIRST = date(2024, 1, 1)


def days(count: int) -> list[date]:
    return [FIRST + timedelta(days=index) for index in range(count)]


def planned(
    count: int, horizons: tuple[tuple[str, int], ...] = (("1Day", 1),), *, clock: bool = False, **settings: Any
) -> list[Fold]:
    chosen = FoldSettings.model_validate(settings)
    return plan_folds(days(count), chosen, horizons=horizons, around_the_clock=clock)


def positions(fold: Fold) -> tuple[int, int, int, int]:
    """First and last session of training, then of test."""
    return tuple(  # type: ignore[return-value]
        (day - FIRST).days
        for day in (fold.train.first_session, fold.train.last_session, fold.test.first_session, fold.test.last_session)
    )


def spans(found: list[FoldSpan]) -> list[tuple[int, int, int, int]]:
    return [(each.train_start, each.train_end - 1, each.test_start, each.test_end - 1) for each in found]


def test_rolling_folds_have_the_known_answer():
    assert spans(walk_forward_folds(12, train=4, test=2, purge=1)) == [(0, 3, 5, 6), (2, 5, 7, 8), (4, 7, 9, 10)]


def test_anchored_folds_have_the_known_answer():
    found = walk_forward_folds(12, train=4, test=2, purge=1, mode="anchored")
    assert spans(found) == [(0, 3, 5, 6), (0, 5, 7, 8), (0, 7, 9, 10)]


def test_a_step_beyond_the_test_window_leaves_periods_out():
    assert spans(walk_forward_folds(12, train=4, test=2, step=3, purge=1)) == [(0, 3, 5, 6), (3, 6, 8, 9)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"train": 0, "test": 1}, "at least one period"),
        ({"train": 1, "test": 0}, "at least one period"),
        ({"train": 1, "test": 1, "purge": -1}, "at least one period"),
        ({"train": 1, "test": 2, "step": 1}, "test windows would overlap: step 1 is below test 2"),
    ],
)
def test_windows_that_make_no_sense_are_refused(given: dict[str, int], said: str):
    with pytest.raises(ValueError, match=said):
        walk_forward_folds(10, **given)


@pytest.mark.parametrize(("n", "count"), [(6, 0), (7, 1), (8, 1), (9, 2)])
def test_only_folds_that_fit_are_made(n: int, count: int):
    assert len(walk_forward_folds(n, train=4, test=2, purge=1)) == count


def test_the_default_cut_tests_on_the_last_60_percent_in_five_windows():
    found = planned(100)
    assert [positions(fold) for fold in found] == [
        (0, 38, 40, 51),
        (12, 50, 52, 63),
        (24, 62, 64, 75),
        (36, 74, 76, 87),
        (48, 86, 88, 99),
    ]
    assert {(fold.train_sessions, fold.test_sessions, fold.purge_sessions) for fold in found} == {(39, 12, 1)}


def test_60_percent_are_rounded_up_and_what_does_not_divide_goes_to_the_first_training_window():
    # 0.6 · 101 = 60.6 → 61 sessions = 5 · 12 + 1: the odd one trains
    assert positions(planned(101)[0]) == (0, 39, 41, 52)
    # 0.6 · 109 = 65.4 → 66 = 5 · 13 + 1
    assert positions(planned(109)[0]) == (0, 42, 44, 56)
    # 0.6 · 115 is 69 exactly, not 70 by a rounding error of floats
    assert planned(115)[0].test_sessions == 13
    assert planned(115)[-1].test.last_session == days(115)[-1]


def test_anchored_training_begins_at_the_start_and_grows():
    found = planned(100, mode="anchored")
    assert [positions(fold)[:2] for fold in found] == [(0, 38), (0, 50), (0, 62), (0, 74), (0, 86)]


def test_the_purge_is_the_holding_horizon_and_the_embargo_in_whole_sessions():
    assert planned(100, (("1Day", 5),))[0].purge_sessions == 5
    assert planned(100, (("1Day", 5),), embargo_bars=3)[0].purge_sessions == 8
    assert planned(100, (("1Min", 390),))[0].purge_sessions == 1
    assert planned(100, (("1Min", 391),))[0].purge_sessions == 2
    assert planned(100, (("1Min", 390),), embargo_bars=1)[0].purge_sessions == 2
    assert planned(100, (("1Min", 1440),), clock=True)[0].purge_sessions == 1


def test_the_longest_horizon_in_time_is_the_purge():
    assert planned(100, (("1Day", 3), ("1Min", 700)))[0].purge_sessions == 3
    assert planned(100, (("1Min", 2000), ("1Day", 3)))[0].purge_sessions == 6


@pytest.mark.parametrize(
    ("timeframe", "clock", "bars"),
    [
        ("1Day", False, 1),
        ("1Day", True, 1),
        ("1Hour", False, 7),
        ("1Hour", True, 24),
        ("15Min", False, 26),
        ("5Min", False, 78),
        ("1Min", False, 390),
        ("1Min", True, 1440),
        ("1Sec", False, 23_400),
    ],
)
def test_a_full_session_has_its_nominal_number_of_bars(timeframe: str, clock: bool, bars: int):
    assert bars_per_session(timeframe, around_the_clock=clock) == bars


def test_explicit_lengths_in_sessions_override_the_default_cut():
    found = planned(30, train={"sessions": 10}, test={"sessions": 4}, step={"sessions": 5})
    assert [positions(fold) for fold in found] == [(0, 9, 11, 14), (5, 14, 16, 19), (10, 19, 21, 24), (15, 24, 26, 29)]


def test_explicit_lengths_in_bars_are_rounded_up_to_sessions():
    found = planned(30, (("1Min", 1),), train={"bars": 3_900}, test={"bars": 391})
    assert (found[0].train_sessions, found[0].test_sessions, found[0].purge_sessions) == (10, 2, 1)


def test_lengths_in_bars_count_the_shortest_timeframe():
    found = planned(30, (("1Day", 1), ("1Min", 1)), train={"bars": 3_900}, test={"bars": 390})
    assert (found[0].train_sessions, found[0].test_sessions) == (10, 1)


def test_an_explicit_test_window_keeps_the_default_test_region():
    found = planned(100, test={"sessions": 20})
    assert [positions(fold) for fold in found] == [(0, 38, 40, 59), (20, 58, 60, 79), (40, 78, 80, 99)]


def test_an_explicit_training_window_begins_with_the_data():
    found = planned(100, train={"sessions": 30})
    assert positions(found[0]) == (0, 29, 31, 42)
    assert len(found) == 5


def test_test_windows_that_would_overlap_are_bad_input():
    with pytest.raises(InputError, match="test windows would overlap: 3 sessions are below test's 4") as error:
        planned(30, test={"sessions": 4}, step={"sessions": 3})
    assert error.value.field == "folds.step"


@pytest.mark.parametrize("count", [0, 1, 4, 6])
def test_too_little_data_makes_no_fold_and_no_error(count: int):
    assert planned(count) == []


def test_the_smallest_history_that_makes_the_default_folds():
    assert planned(6) == []
    assert [positions(fold) for fold in planned(7)] == [
        (0, 0, 2, 2),
        (1, 1, 3, 3),
        (2, 2, 4, 4),
        (3, 3, 5, 5),
        (4, 4, 6, 6),
    ]


def test_a_purge_as_long_as_the_training_window_leaves_no_fold():
    assert len(planned(100, (("1Day", 39),))) == 5
    assert planned(100, (("1Day", 40),)) == []
