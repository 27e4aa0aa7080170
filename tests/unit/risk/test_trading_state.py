"""Latches accumulate, clear as the contract says, survive a restart, and never loosen by themselves."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torghut_runtime.risk.trading_state import KillSwitch, TradingState, from_stored, latch_of, stored_reasons

AT = datetime(2026, 2, 20, 15, 0, tzinfo=UTC)
STRICTNESS = {"ACTIVE": 0, "REDUCING": 1, "HALTED": 2}
CODES = [
    "signal_lag_exceeded:7", "signal_staleness_streak_exceeded:no_signals_in_window:3",
    "universe_source_unavailable:file:missing", "broker_failure_streak_exceeded:5", "daily_loss_limit_reached",
    "max_drawdown_exceeded:0.12", "order_unknown_unresolved:t1-a", "position_mismatch:AAPL", "database_unavailable",
    "component_failed:reconciler", "loop_stalled", "account_mismatch", "operator_halt", "operator_reduce",
    "kill_switch_enabled", "never_heard_of",
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "state", "clears"),
    [
        ("signal_lag_exceeded:7", "REDUCING", "auto"),
        ("signal_staleness_streak_exceeded:R:3", "REDUCING", "auto"),
        ("universe_source_unavailable:S:R", "REDUCING", "auto"),
        ("broker_failure_streak_exceeded:5", "REDUCING", "operator"),
        ("daily_loss_limit_reached", "REDUCING", "operator"),
        ("max_drawdown_exceeded:0.12", "REDUCING", "operator"),
        ("order_unknown_unresolved:ID", "REDUCING", "auto"),
        ("position_mismatch:AAPL", "REDUCING", "operator"),
        ("database_unavailable", "HALTED", "auto"),
        ("component_failed:NAME", "HALTED", "operator"),
        ("loop_stalled", "HALTED", "operator"),
        ("account_mismatch", "HALTED", "operator"),
        ("never_heard_of", "HALTED", "operator"),
    ],
)
def test_each_reason_has_the_state_and_the_way_out_of_the_contract(code: str, state: str, clears: str) -> None:
    latch = latch_of(code, AT)
    assert (latch.state, latch.clears) == (state, clears)
    assert TradingState().latched(code, AT).state == state


def test_the_same_measure_again_keeps_its_first_time_and_another_symbol_is_another_reason() -> None:
    state = TradingState().latched("signal_lag_exceeded:7", AT).latched("signal_lag_exceeded:9", AT)
    assert state.codes == ("signal_lag_exceeded:7",)
    state = state.latched("position_mismatch:AAPL", AT).latched("position_mismatch:MSFT", AT)
    assert state.codes[1:] == ("position_mismatch:AAPL", "position_mismatch:MSFT")


def test_automatic_reasons_clear_after_the_set_number_of_healthy_evaluations_in_a_row() -> None:
    state = TradingState().evaluated(["signal_lag_exceeded:7"], AT, 3)
    state = state.evaluated([], AT, 3).evaluated([], AT, 3)
    assert state.state == "REDUCING"
    state = state.evaluated(["signal_lag_exceeded:8"], AT, 3)
    assert state.healthy == 0
    for expected in ("REDUCING", "REDUCING", "ACTIVE"):
        state = state.evaluated([], AT, 3)
        assert state.state == expected


def test_one_reason_for_an_operator_holds_the_automatic_ones() -> None:
    state = TradingState().evaluated(["signal_lag_exceeded:7", "daily_loss_limit_reached"], AT, 1)
    for _ in range(5):
        state = state.evaluated([], AT, 1)
    assert state.codes == ("signal_lag_exceeded:7", "daily_loss_limit_reached")


def test_only_an_automatic_reason_is_resolved_by_its_cause_going_away() -> None:
    state = TradingState().latched("order_unknown_unresolved:t1-a", AT).latched("position_mismatch:AAPL", AT)
    assert state.resolved("order_unknown_unresolved:t1-a").codes == ("position_mismatch:AAPL",)
    assert state.resolved("position_mismatch:AAPL").codes == state.codes


@given(st.lists(st.sampled_from(CODES), max_size=8))
def test_a_restart_never_loosens_and_keeps_every_reason(codes: list[str]) -> None:
    state = TradingState()
    for second, code in enumerate(codes):
        state = state.latched(code, AT + timedelta(seconds=second))
    again = from_stored(state.state, stored_reasons(state.latches), AT)
    assert again.latches == state.latches


@pytest.mark.parametrize(("stored", "strict"), [("HALTED", "HALTED"), ("REDUCING", "HALTED"), ("new_one", "HALTED")])
def test_a_stored_state_that_its_reasons_do_not_explain_halts(stored: str, strict: str) -> None:
    restored = from_stored(stored, [], AT)
    assert restored.state == strict
    assert restored.codes == (f"stored_state:{stored}",)


def test_an_unreadable_reason_is_told() -> None:
    with pytest.raises(ValueError, match="no code or time"):
        from_stored("HALTED", [{"code": "x"}], AT)


@given(st.lists(st.sampled_from(CODES), max_size=10), st.sampled_from(CODES))
def test_one_more_reason_never_loosens(codes: list[str], more: str) -> None:
    state = TradingState()
    for code in codes:
        state = state.latched(code, AT)
    assert STRICTNESS[state.latched(more, AT).state] >= STRICTNESS[state.state]
    assert set(state.codes) <= set(state.latched(more, AT).codes)


@given(st.booleans(), st.booleans(), st.booleans())
def test_no_source_of_the_kill_switch_undoes_another(environment: bool, flag: bool, operator: bool) -> None:
    assert KillSwitch(environment, flag, operator).engaged == any((environment, flag, operator))
