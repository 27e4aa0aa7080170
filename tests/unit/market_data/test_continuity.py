"""Continuity of signals: every threshold from both sides, and silence while the exchange is closed."""

from dataclasses import replace

import pytest
from engine_world import settings_of

from torghut_runtime.market_data.continuity import LAG_ALERT, Evaluation, Observation, SignalContinuity

OPEN = Observation(session_open=True)
ERROR = replace(OPEN, universe_status="error", universe_source="file", universe_reason="file_missing")


def continuity(**environment: str) -> SignalContinuity:
    settings = settings_of(**environment)
    return SignalContinuity(settings.data, settings.stops)


def test_a_lag_of_7_against_5_triggers_in_the_session_and_not_while_it_is_closed() -> None:
    judge = continuity(ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT="5")
    assert judge.evaluate(replace(OPEN, lag_seconds=4.9)).triggers == ()
    assert judge.evaluate(replace(OPEN, lag_seconds=5.0)).triggers == ("signal_lag_exceeded:5",)
    found = judge.evaluate(replace(OPEN, lag_seconds=7.0))
    assert found.triggers == ("signal_lag_exceeded:7",)
    assert not found.breached
    closed = replace(ERROR, session_open=False, lag_seconds=7.0, connected=False, cursor_ahead=True)
    for _ in range(10):
        assert judge.evaluate(closed) == Evaluation()
    assert judge.evaluate(replace(OPEN, lag_seconds=7.0)).breached
    assert judge.counts.breaches == 2


def test_a_lag_alert_is_raised_once_per_episode() -> None:
    judge = continuity(SIGNAL_STALE_LAG_ALERT_SECONDS="300")
    alerts = [judge.evaluate(replace(OPEN, lag_seconds=lag)).alerts for lag in (299, 300, 301, 0, 300)]
    assert alerts == [(), (LAG_ALERT,), (), (), (LAG_ALERT,)]


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (replace(OPEN, cursor_ahead=True), "cursor_ahead_of_stream"),
        (replace(OPEN, lag_seconds=900.0), "no_signals_in_window"),
        (ERROR, "universe_source_unavailable"),
    ],
)
def test_a_streak_of_a_critical_reason_triggers_at_its_limit(seen: Observation, reason: str) -> None:
    judge = continuity(ROLLBACK_SIGNAL_STALENESS_ALERT_STREAK_LIMIT="3", ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT="9000")
    code = f"signal_staleness_streak_exceeded:{reason}"
    assert [judge.evaluate(seen).triggers for _ in range(2)] == [(), ()]
    assert f"{code}:3" in judge.evaluate(seen).triggers
    assert f"{code}:4" in judge.evaluate(seen).triggers
    assert judge.evaluate(OPEN).triggers == ()
    assert judge.counts.streaks[reason] == 0
    assert judge.counts.by_reason[reason] == 4


def test_a_lost_connection_is_told_and_stops_nothing_unless_it_is_said_to_be_critical() -> None:
    gone = replace(OPEN, connected=False)
    judge = continuity()
    for _ in range(5):
        found = judge.evaluate(gone)
        assert found.reasons == ("market_data_disconnected",)
        assert found.triggers == ()
    strict = continuity(SIGNAL_STALENESS_ALERT_CRITICAL_REASONS="market_data_disconnected")
    found = [strict.evaluate(gone).triggers for _ in range(3)]
    assert found[2] == ("signal_staleness_streak_exceeded:market_data_disconnected:3",)


def test_the_window_is_the_lookback() -> None:
    judge = continuity(SIGNAL_LOOKBACK_MINUTES="2")
    assert judge.evaluate(replace(OPEN, lag_seconds=119.9)).reasons == ()
    assert judge.evaluate(replace(OPEN, lag_seconds=120.0)).reasons == ("no_signals_in_window",)


def test_a_streak_becomes_an_alert_when_it_reaches_its_threshold() -> None:
    judge = continuity(SIGNAL_NO_SIGNAL_STREAK_ALERT_THRESHOLD="2")
    gone = replace(OPEN, connected=False)
    assert [judge.evaluate(gone).alerts for _ in range(3)] == [(), ("market_data_disconnected",), ()]
    assert judge.counts.streak == 3
    assert judge.counts.no_signal_windows == 3


def test_one_failed_read_of_the_universe_is_no_stop_and_three_are() -> None:
    judge = continuity(ROLLBACK_SIGNAL_STALENESS_ALERT_STREAK_LIMIT="100")
    found = [judge.evaluate(ERROR).triggers for _ in range(3)]
    assert found == [(), (), ("universe_source_unavailable:file:file_missing",)]
    judge.evaluate(OPEN)
    assert judge.evaluate(ERROR).triggers == ()
