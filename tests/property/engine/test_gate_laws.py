"""Laws of the gate: what may stop an exit, what passes a halt, and that nothing loosens what another has tightened."""

from datetime import UTC, datetime
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from torghut_runtime.engine.flag_source import merged
from torghut_runtime.engine.stance import Cause, Stance
from torghut_runtime.engine.strategy_blocks import StrategyBlocks
from torghut_runtime.risk.limits import Flatten, Gate, MarketView, gate_reasons, market_reasons
from torghut_runtime.risk.trading_state import TradingState, latch_of

AT = datetime(2026, 2, 20, 15, tzinfo=UTC)
GATES = st.builds(
    Gate,
    trading_enabled=st.booleans(),
    kill_switch=st.booleans(),
    state=st.sampled_from(("ACTIVE", "REDUCING", "HALTED")),
    reconciled=st.booleans(),
    lease_held=st.booleans(),
    account_matches=st.booleans(),
    backpressure=st.booleans(),
    entry_refusals=st.sampled_from(((), ("trading_flag_off",), ("flags_stale", "live_flag_off"))),
)
PERMITS = st.sampled_from((None, Flatten(), Flatten(override_kill_switch=True)))
STOPS_AN_EXIT = {
    "trading_disabled", "kill_switch_enabled", "state_halted", "not_reconciled", "lease_not_held", "account_mismatch",
}  # fmt: skip
CODES = (
    "signal_lag_exceeded:7",
    "daily_loss_limit_reached",
    "operator_halt",
    "order_unknown_unresolved:t1",
    "loop_stalled",
)


@given(GATES)
def test_an_exit_is_stopped_by_stops_alone_and_never_by_more_than_an_entry(gate: Gate) -> None:
    exits, entries = gate_reasons(gate, is_exit=True), gate_reasons(gate, is_exit=False)
    assert set(exits) <= STOPS_AN_EXIT
    assert set(exits) <= set(entries)


@given(GATES)
def test_reducing_back_pressure_and_flags_stop_no_exit(gate: Gate) -> None:
    reducing = Gate(state="REDUCING", backpressure=gate.backpressure, entry_refusals=gate.entry_refusals)
    assert gate_reasons(reducing, is_exit=True) == []
    assert "state_reducing" in gate_reasons(reducing, is_exit=False)


@given(GATES, PERMITS, st.booleans())
def test_nothing_but_an_operators_flatten_passes_a_halt(gate: Gate, permit: Flatten | None, is_exit: bool) -> None:
    reasons = gate_reasons(gate, is_exit=is_exit, flatten=permit)
    if gate.state == "HALTED" and not (is_exit and permit):
        assert "state_halted" in reasons
    if gate.kill_switch and not (is_exit and permit and permit.override_kill_switch):
        assert "kill_switch_enabled" in reasons
    if not (gate.lease_held and gate.account_matches):
        assert reasons


@given(st.booleans(), st.booleans())
def test_of_a_market_only_halt_and_freeze_stop_an_exit(halted: bool, frozen: bool) -> None:
    market = MarketView(
        is_open=False,
        trades=False,
        bar_age=1e9,
        bar_max_age=0.0,
        reference_price=None,
        order_price=None,
        halted=halted,
        frozen=frozen,
    )
    wanted = [code for code, holds in (("symbol_halted", halted), ("symbol_frozen", frozen)) if holds]
    assert market_reasons(market, None, is_exit=True) == wanted  # pyright: ignore[reportArgumentType]


@given(st.lists(st.sampled_from(CODES), max_size=6), st.lists(st.sampled_from(CODES), max_size=6))
def test_merged_states_hold_the_reasons_of_both_in_any_order(left: list[str], right: list[str]) -> None:
    one, other = TradingState(), TradingState()
    for code in left:
        one = one.latched(code, AT)
    for code in right:
        other = other.latched(code, AT)
    both, again = one.merged(other.latches), other.merged(one.latches)
    assert set(both.codes) == set(again.codes) == {*left, *right}
    assert both.merged(other.latches) == both


@given(st.lists(st.sampled_from(CODES), max_size=6))
def test_every_change_of_reasons_is_told_to_observers(codes: list[str]) -> None:
    stance, told = Stance(Gate()), TradingState()

    def follow(before: TradingState, after: TradingState, cause: Cause) -> None:
        nonlocal told
        del cause
        assert before.latches == told.latches
        told = after

    stance.observers.append(follow)
    for code in codes:
        stance.latch(code, AT)
    assert told.latches == stance.trading_state.latches


def test_no_flag_loosens_what_the_environment_says() -> None:
    for environment, answer, usable, last in product(
        (True, False), (True, False, None), (True, False), (True, False, None)
    ):
        permission = merged("permission", environment, answer, usable=usable, last=last)
        stop = merged("stop", environment, answer, usable=usable, last=last)
        assert permission <= environment
        assert stop >= environment
        if not usable:
            assert not permission
            assert stop == (environment or last is not False)


def test_a_strategy_without_a_block_is_not_stopped() -> None:
    assert StrategyBlocks().reasons("s1", is_exit=False) == []


def test_a_latch_that_only_memory_may_keep_is_the_databases() -> None:
    assert [code for code in (*CODES, "database_unavailable") if not latch_of(code, AT).is_durable] == [
        "database_unavailable"
    ]
