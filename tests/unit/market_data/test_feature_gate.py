"""The quality gate: each reason from both sides of its threshold, per symbol and timeframe."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
from engine_world import settings_of, timed

from torghut_runtime.compiled import Vector
from torghut_runtime.market.features import FEATURES, Bar
from torghut_runtime.market_data.feature_gate import FeatureGate

START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
ROW = np.ones(len(FEATURES))
NULL = np.full(len(FEATURES), math.nan)


def bar(number: int, symbol: str = "AAPL", timeframe: str = "1Min") -> Bar:
    opens_at = START + number * timedelta(minutes=1)
    return Bar(symbol, timeframe, opens_at, opens_at + timedelta(minutes=1), date(2026, 1, 5), 101.0, 99.0, 100.0)


def gate(**environment: str) -> FeatureGate:
    return FeatureGate(settings_of(**environment).quality, [timed()])


def filled(nulls: int = 0, count: int = 120, symbol: str = "AAPL") -> FeatureGate:
    judge = gate()
    for number in range(count):
        judge.note(bar(number, symbol), NULL if number < nulls else ROW)
    return judge


def reasons(judge: FeatureGate, *, symbol: str = "AAPL", last: int = 119, age: float = 0.0, repeats: int = 0) -> object:
    return judge.reasons(symbol, "1Min", bar(last).event_ts + timedelta(seconds=age), repeats)


def test_the_share_of_rows_without_a_required_feature() -> None:
    assert reasons(filled(nulls=1)) == ()
    assert reasons(filled(nulls=2)) == ("required_feature_null_rate_exceeds_threshold",)


def test_rows_leave_the_window_and_a_good_symbol_is_not_touched_by_a_bad_one() -> None:
    judge = filled(nulls=2)
    judge.note(bar(0, "MSFT"), ROW)
    assert judge.reasons("MSFT", "1Min", bar(0).event_ts) == ()
    judge.note(bar(120), ROW)
    assert reasons(judge, last=120) == ()


def test_repeats_of_the_source_count_over_the_window() -> None:
    judge = filled()
    assert reasons(judge, repeats=2) == ()
    assert reasons(judge, repeats=3) == ("duplicate_ratio_exceeds_threshold",)


def test_a_step_back_in_time() -> None:
    judge = filled()
    judge.note(bar(5), ROW)
    assert reasons(judge) == ("non_monotonic_progression",)


def test_history_that_is_fed_anew_is_no_step_back() -> None:
    judge = filled()
    judge.forget("AAPL", "1Min")
    for number in range(120):
        judge.note(bar(number), ROW)
    assert reasons(judge) == ()


def test_a_row_or_bar_that_is_none() -> None:
    judge = filled()
    judge.note(replace(bar(120), close=math.nan), ROW)
    assert reasons(judge, last=120) == ("schema_mismatch",)
    short: Vector = np.ones(3)
    other = filled()
    other.note(bar(120), short)
    assert reasons(other, last=120) == ("schema_mismatch",)
    assert other.counts().schema_mismatches == 1


def test_age_against_the_clock() -> None:
    judge = filled()
    assert reasons(judge, age=120.0) == ()
    assert reasons(judge, age=120.001) == ("feature_staleness_exceeds_budget",)
    assert reasons(judge, symbol="TSLA") == ("feature_staleness_exceeds_budget",)
    assert judge.counts().rejections == 2


def test_a_daily_bar_is_old_when_the_next_one_is_overdue() -> None:
    judge = gate()
    closed = datetime(2026, 1, 5, 21, tzinfo=UTC)
    judge.note(replace(bar(0, timeframe="1Day"), event_ts=closed), ROW)
    assert judge.reasons("AAPL", "1Day", datetime(2026, 1, 6, 21, 7, tzinfo=UTC)) == ()
    late = judge.reasons("AAPL", "1Day", datetime(2026, 1, 6, 21, 7, 1, tzinfo=UTC))
    assert late == ("feature_staleness_exceeds_budget",)


def test_bars_outside_every_session_do_not_count() -> None:
    judge = filled()
    judge.note(replace(bar(0), session=None), NULL)
    assert reasons(judge) == ()
    assert judge.counts().rows == 120
