"""Which trials count together: what PostgreSQL computes is the definition, counted day by day, and it is symmetric."""

from collections.abc import Generator
from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres import new_database

from torghut_assets.research.trial_records import TrialKey, TrialRecord, record_trials, trials_on_record
from torghut_runtime.storage.database import create_engine

START = date(2024, 2, 1)
Span = tuple[int, int]
spans = st.tuples(st.integers(0, 60), st.integers(1, 60)).map(lambda pair: (pair[0], pair[0] + pair[1] - 1))


@pytest.fixture(scope="module")
def trials_engine(postgres_port: int) -> Generator[sa.Engine]:
    with new_database(postgres_port) as dsn:
        yield create_engine(dsn)


def dates(span: Span) -> tuple[date, date]:
    return START + timedelta(days=span[0]), START + timedelta(days=span[1])


def counted(engine: sa.Engine, recorded: list[Span], asked: Span) -> int:
    """How many of the recorded spans, each with parameters of its own, count for the asked one."""
    trials = [
        TrialRecord(
            "momentum", "1Day", ("AAPL",), {"number": number}, *dates(span), sharpe_per_period=None, n_observations=1
        )
        for number, span in enumerate(recorded)
    ]
    with engine.connect() as connection, connection.begin() as undone:
        record_trials(connection, trials)
        found = trials_on_record(connection, TrialKey("momentum", "1Day", ("AAPL",), *dates(asked))).count
        undone.rollback()
    return found


def shares_half(one: Span, two: Span) -> bool:
    days_of_one, days_of_two = set(range(one[0], one[1] + 1)), set(range(two[0], two[1] + 1))
    return 2 * len(days_of_one & days_of_two) >= max(len(days_of_one), len(days_of_two))


@given(recorded=st.lists(spans, max_size=6), asked=spans)
@settings(max_examples=60, deadline=None)
def test_a_trial_counts_when_half_of_the_longer_span_is_shared(
    trials_engine: sa.Engine, recorded: list[Span], asked: Span
) -> None:
    assert counted(trials_engine, recorded, asked) == sum(shares_half(span, asked) for span in recorded)


@given(one=spans, two=spans)
@settings(max_examples=40, deadline=None)
def test_either_span_sees_the_other_the_same(trials_engine: sa.Engine, one: Span, two: Span) -> None:
    assert counted(trials_engine, [one], two) == counted(trials_engine, [two], one)
