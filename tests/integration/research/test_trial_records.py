"""Trials on record: what counts together, what is a new trial, and the variance that deflates a Sharpe ratio."""

import statistics
from dataclasses import replace
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from torghut_assets.research.trial_records import TrialKey, TrialRecord, TrialsOnRecord, record_trials, trials_on_record
from torghut_runtime.canonical import digest

FIRST, LAST = date(2025, 1, 1), date(2025, 4, 10)  # 100 days, both ends counted
KEY = TrialKey("daily_momentum", "1Day", ("AAPL", "MSFT"), FIRST, LAST)


def trial(lookback: int = 20, sharpe: float | None = 0.1, **changed: object) -> TrialRecord:
    record = TrialRecord("daily_momentum", "1Day", ("AAPL", "MSFT"), {"lookback": lookback}, FIRST, LAST, sharpe, 60)
    return replace(record, **changed)  # type: ignore[arg-type]


def count(connection: sa.Connection, key: TrialKey = KEY) -> int:
    return trials_on_record(connection, key).count


def test_without_trials_there_are_none(connection: sa.Connection) -> None:
    assert record_trials(connection, []) == 0
    assert trials_on_record(connection, KEY) == TrialsOnRecord(0, None)


def test_a_grid_is_counted_by_its_points(connection: sa.Connection) -> None:
    sharpes = [0.1, -0.05, 0.3]
    assert record_trials(connection, [trial(20 * n, sharpe) for n, sharpe in enumerate(sharpes)]) == 3
    found = trials_on_record(connection, KEY)
    assert found.count == 3
    assert found.sharpe_variance == statistics.variance(sharpes)


def test_one_more_grid_point_is_one_more_trial(connection: sa.Connection) -> None:
    record_trials(connection, [trial(20), trial(40)])
    assert record_trials(connection, [trial(20), trial(40), trial(60)]) == 1
    assert count(connection) == 3


def test_evaluating_again_with_other_code_is_no_new_trial_and_keeps_the_first_result(connection: sa.Connection) -> None:
    record_trials(connection, [trial(20, 0.1), trial(40, 0.3)])
    assert record_trials(connection, [trial(20, 0.9), trial(40, 0.9)]) == 0
    assert trials_on_record(connection, KEY) == TrialsOnRecord(2, statistics.variance([0.1, 0.3]))


def test_one_more_bar_is_no_new_trial(connection: sa.Connection) -> None:
    record_trials(connection, [trial(20, 0.1), trial(40, 0.3)])
    longer = LAST + timedelta(days=1)
    assert record_trials(connection, [trial(20, 0.5, span_end=longer), trial(40, 0.5, span_end=longer)]) == 2
    found = trials_on_record(connection, replace(KEY, span_end=longer))
    assert found == TrialsOnRecord(2, statistics.variance([0.1, 0.3]))


def test_the_first_sharpe_ratio_that_exists_counts(connection: sa.Connection) -> None:
    record_trials(connection, [trial(20, None), trial(40, 0.3)])
    assert trials_on_record(connection, KEY) == TrialsOnRecord(2, None)
    record_trials(connection, [trial(20, 0.7, span_end=LAST + timedelta(days=1))])
    assert trials_on_record(connection, KEY) == TrialsOnRecord(2, statistics.variance([0.3, 0.7]))


def test_one_sharpe_ratio_has_no_variance(connection: sa.Connection) -> None:
    record_trials(connection, [trial()])
    assert trials_on_record(connection, KEY) == TrialsOnRecord(1, None)


def test_the_order_of_parameters_and_symbols_makes_no_difference(connection: sa.Connection) -> None:
    one = trial(parameters={"a": 1, "b": 2.0}, symbols=("MSFT", "AAPL", "AAPL"))
    two = trial(parameters={"b": 2.0, "a": 1})
    assert record_trials(connection, [one, two]) == 1
    assert one.parameters_sha256 == two.parameters_sha256 == digest({"a": 1, "b": 2.0})
    assert count(connection, replace(KEY, symbols=("MSFT", "AAPL"))) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"family": "legacy_macd_rsi"},
        {"timeframe": "1Hour"},
        {"symbols": ("AAPL",)},
        {"symbols": ("AAPL", "MSFT", "NVDA")},
    ],
)
def test_another_family_timeframe_or_universe_counts_apart(connection: sa.Connection, other: dict[str, object]) -> None:
    record_trials(connection, [trial()])
    assert count(connection, replace(KEY, **other)) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "days", "counts"),
    [
        (50, 100, True),  # shares 50 of 100 days
        (51, 100, False),
        (-50, 100, True),
        (-51, 100, False),
        (0, 200, True),  # shares 100 of 200 days
        (0, 201, False),
        (0, 50, True),  # shares 50 of 100 days
        (0, 49, False),
        (25, 50, True),
        (100, 100, False),
        (1000, 100, False),
    ],
)
def test_spans_count_together_that_share_half_of_the_longer(
    connection: sa.Connection, start: int, days: int, counts: bool
) -> None:
    other_start = FIRST + timedelta(days=start)
    other = replace(KEY, span_start=other_start, span_end=other_start + timedelta(days=days - 1))
    record_trials(connection, [trial(20)])
    assert count(connection, other) == int(counts)
    record_trials(connection, [trial(40, span_start=other.span_start, span_end=other.span_end)])
    assert count(connection) == 1 + int(counts)


def test_a_span_of_one_day_counts_with_itself(connection: sa.Connection) -> None:
    record_trials(connection, [trial(span_end=FIRST)])
    assert count(connection, replace(KEY, span_end=FIRST)) == 1


def test_a_span_that_ends_before_it_begins_is_refused(connection: sa.Connection) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="ck_research_trials_span"):
        record_trials(connection, [trial(span_end=FIRST - timedelta(days=1))])


def test_a_large_grid_is_recorded_whole(connection: sa.Connection) -> None:
    grid = [trial(n, n / 1000) for n in range(2_500)]
    assert record_trials(connection, grid) == 2_500
    assert record_trials(connection, [*grid, trial(9_999)]) == 1
    assert count(connection) == 2_501


def test_the_variance_does_not_depend_on_the_order_of_recording(engine: sa.Engine) -> None:
    grid = [trial(n, (n * 7919 % 101) / 997) for n in range(40)]
    found: list[TrialsOnRecord] = []
    for order in (grid, grid[::-1]):
        with engine.connect() as connection, connection.begin() as undone:
            record_trials(connection, order)
            found.append(trials_on_record(connection, KEY))
            undone.rollback()
    assert found[0] == found[1]
