"""The live gate is open only when nothing at all is missing, and it is shipped closed."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import patch

import pytest
from engine_world import settings_of
from hypothesis import given
from hypothesis import strategies as st

from torghut_runtime.clock import SystemClock
from torghut_runtime.engine.flag_source import EnvironmentFlags
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.risk.limits import Gate
from torghut_runtime.risk.live_gate import (
    APPROVAL,
    CODES,
    EMERGENCY_STOP,
    EXPIRED,
    FLAG,
    LIMITS,
    POLICY,
    PROVENANCE,
    SETTINGS,
    LiveApproval,
    LiveFlags,
    LivePolicy,
    live_gate,
    live_gate_reason,
)
from torghut_runtime.storage.database import create_engine
from torghut_runtime.trading_settings import TradingSettings, load_trading_settings

NOW = datetime(2026, 2, 20, 15, tzinfo=UTC)
LIVE = {"MODE": "live", "LIVE_ENABLED": "true", "EXECUTION_ADAPTER": "alpaca"}
CAPS = {"MAX_NOTIONAL_PER_TRADE": "1000", "PORTFOLIO_MAX_GROSS_EXPOSURE": "5000", "MAX_DAILY_LOSS": "100"}


def settings(**environment: str) -> TradingSettings:
    names = {f"TRADING_{name}": value for name, value in environment.items()}
    with patch.dict(os.environ, {"APCA_API_KEY_ID": "k", "APCA_API_SECRET_KEY": "s", **names}):
        return load_trading_settings()


def approval(seconds: float = 1.0) -> LiveApproval:
    return LiveApproval(expires_at=NOW + timedelta(seconds=seconds), judged_at=NOW)


ALL: dict[str, Any] = {
    "policy": LivePolicy(gate5_live_enabled=True, promoted=True),
    "approval": approval(),
    "provenance": {"s1": True, "s2": True},
    "flags": LiveFlags(live_enabled=True, emergency_stop=True),
}
OPEN = settings(**LIVE, **CAPS)
FAULTS: dict[str, dict[str, Any]] = {
    SETTINGS: {"settings": settings(**CAPS)},
    FLAG: {"flags": LiveFlags(live_enabled=False, emergency_stop=True)},
    POLICY: {"policy": LivePolicy(gate5_live_enabled=False, promoted=True)},
    APPROVAL: {"approval": None},
    EXPIRED: {"approval": approval(0)},
    PROVENANCE: {"provenance": {"s1": True, "s2": False}},
    LIMITS: {"settings": settings(**LIVE, **{k: v for k, v in CAPS.items() if k != "MAX_NOTIONAL_PER_TRADE"})},
    EMERGENCY_STOP: {"flags": LiveFlags(live_enabled=True, emergency_stop=False)},
}


def gate(**changes: Any) -> list[str]:
    return live_gate(**{"settings": OPEN, **ALL, **changes})


def test_with_everything_in_place_nothing_is_missing() -> None:
    assert gate() == []


@pytest.mark.parametrize("code", CODES)
def test_each_missing_thing_alone_closes_the_gate_with_its_code(code: str) -> None:
    assert gate(**FAULTS[code]) == [code]


def test_a_policy_that_allows_live_and_has_promoted_nobody_is_no_permission() -> None:
    assert gate(policy=LivePolicy(gate5_live_enabled=True, promoted=False)) == [POLICY]


@given(st.sets(st.sampled_from(CODES)))
def test_every_missing_thing_is_told(codes: set[str]) -> None:
    changes: dict[str, Any] = {}
    flags = LiveFlags(live_enabled=FLAG not in codes, emergency_stop=EMERGENCY_STOP not in codes)
    for code in codes - {FLAG, EMERGENCY_STOP, SETTINGS, LIMITS}:
        changes.update(FAULTS[code])
    if codes & {FLAG, EMERGENCY_STOP}:
        changes["flags"] = flags
    if {SETTINGS, LIMITS} <= codes:
        changes["settings"] = settings()
    else:
        for code in codes & {SETTINGS, LIMITS}:
            changes.update(FAULTS[code])
    told = set(gate(**changes))
    # an approval is missing or expired, never both
    assert told | {APPROVAL, EXPIRED} == codes | {APPROVAL, EXPIRED}
    assert bool(told & {APPROVAL, EXPIRED}) == bool(codes & {APPROVAL, EXPIRED})


@pytest.mark.parametrize(
    ("unknown", "codes"),
    [
        ("policy", [POLICY]),
        ("approval", [APPROVAL]),
        ("provenance", [PROVENANCE]),
        ("flags", [FLAG, EMERGENCY_STOP]),
    ],
)
def test_what_is_not_known_is_missing(unknown: str, codes: list[str]) -> None:
    assert gate(**{unknown: None}) == codes


@pytest.mark.parametrize("name", ["MAX_NOTIONAL_PER_TRADE", "PORTFOLIO_MAX_GROSS_EXPOSURE"])
def test_each_cap_is_wanted(name: str) -> None:
    assert gate(settings=settings(**LIVE, **{key: value for key, value in CAPS.items() if key != name})) == [LIMITS]


def test_a_share_of_the_equity_is_a_cap_too() -> None:
    caps = {"MAX_NOTIONAL_PER_TRADE": "1", "PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY": "1"}
    assert gate(settings=settings(**LIVE, **caps)) == []


def test_as_shipped_everything_is_missing() -> None:
    shipped = settings_of()
    assert live_gate(shipped, None, None, None, None) == [code for code in CODES if code != EXPIRED]


def test_paper_never_halts_for_the_gate_and_live_names_what_is_missing() -> None:
    assert live_gate_reason(settings(), [APPROVAL]) is None
    assert live_gate_reason(OPEN, []) is None
    assert live_gate_reason(OPEN, [APPROVAL, LIMITS]) == f"live_gate_closed:{APPROVAL},{LIMITS}"


def test_live_mode_with_a_closed_gate_is_halted_with_the_list_and_never_becomes_paper() -> None:
    stance, nobody = Stance(Gate()), cast("Any", None)
    live = settings(**LIVE, **CAPS)
    stops = StopSystem(
        settings=live,
        base_url="https://api.alpaca.markets",
        database=create_engine("postgresql://torghut:torghut@127.0.0.1:9/torghut"),
        stance=stance,
        firewall=nobody,
        reader=nobody,
        flags=EnvironmentFlags(live),
        clock=SystemClock(),
        lease=lambda: None,
    )
    assert stops.check_live_gate(ALL["policy"], ALL["approval"], ALL["provenance"]) == []
    assert stance.trading_state.state == "ACTIVE"
    assert stops.check_live_gate(ALL["policy"], None, None) == [APPROVAL, PROVENANCE]
    assert stance.trading_state.codes == (f"live_gate_closed:{APPROVAL},{PROVENANCE}",)
    assert stance.trading_state.state == "HALTED"
