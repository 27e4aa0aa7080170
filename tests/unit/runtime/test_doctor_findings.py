"""Doctor's judgement: each blocker alone is named with its remedy, none blocks without one."""

from dataclasses import replace
from typing import Any

import pytest

from torghut_runtime.doctor.findings import CHECKS, Facts, Limit, Strategy, examine, is_blocked
from torghut_runtime.doctor.runtime import facts_of_documents

HEALTHY = Facts(
    asked="http://127.0.0.1:8181",
    enabled=True,
    engine_runs=True,
    kill_switch={"env": False, "flag": False, "operator": False},
    state="ACTIVE",
    flags="version 9f2c, 1.8 s old",
    strategies=(Strategy("momentum"),),
    is_open=True,
    calendar_agrees=True,
    data_faults={},
    data="5 symbols, lag 0 s",
    limits=(),
)
BLOCKERS: list[tuple[str, str, dict[str, Any]]] = [
    ("enabled", "trading_disabled", {"enabled": False}),
    ("enabled", "no_engine", {"engine_runs": False}),
    *(
        ("kill_switch", "kill_switch_enabled", {"kill_switch": {**HEALTHY.kill_switch, source: True}})
        for source in ("env", "flag", "operator")
    ),
    ("state", "state_reducing", {"state": "REDUCING", "reasons": ("signal_lag_exceeded:7",)}),
    ("state", "state_halted", {"state": "HALTED", "reasons": ("account_mismatch",)}),
    ("state", "state_halted", {"state": "SLEEPING"}),
    *(
        ("state", code, {"standing": {code: "found"}})
        for code in (
            "not_reconciled",
            "lease_not_held",
            "account_mismatch",
            "database_unavailable",
            "migrations_behind",
            "broker_unavailable",
            "backpressure",
            "component_failed",
        )
    ),
    *(("flags", code, {"degraded": (code,)}) for code in ("trading_flag_off", "flags_stale")),
    *(
        (check, code, {"mode": "live", "live_missing": (code,)})
        for check, code in (
            ("flags", "live_flag_off"),
            ("flags", "live_emergency_stop_off"),
            ("provenance", "live_provenance_unverified"),
            ("limits", "live_limits_missing"),
            ("state", "live_settings_missing"),
            ("state", "live_gate_policy_denied"),
            ("state", "live_approval_missing"),
            ("state", "live_approval_expired"),
        )
    ),
    ("provenance", "catalog_error", {"catalog_fault": "strategies.yaml: row 3: unknown key"}),
    ("provenance", "no_strategy", {"strategies": ()}),
    *(
        ("provenance", code, {"strategies": (Strategy("momentum"), Strategy("other", code, "why"))})
        for code in (
            "provenance_missing",
            "provenance_candidate_unknown",
            "provenance_hash_mismatch",
            "provenance_mode_insufficient",
            "provenance_signature_invalid",
            "provenance_ledger_broken",
            "strategy_disabled",
            "strategy_degraded",
        )
    ),
    ("calendar", "market_closed", {"is_open": False, "next_open": "2026-01-05T14:30:00Z"}),
    ("calendar", "calendar_broker_mismatch", {"calendar_agrees": False}),
    *(
        ("data", code, {"data_faults": {code: "found"}})
        for code in (
            "market_data_disconnected",
            "signal_stale",
            "universe_source_unavailable",
            "no_signals_in_window",
            "cursor_ahead_of_stream",
        )
    ),
    *(
        ("limits", code, {"limits": (Limit(code, "0"),)})
        for code in ("daily_loss_limit_reached", "max_drawdown_exceeded", "gross_exposure_exceeded")
    ),
]


def test_nothing_blocks_a_healthy_runtime() -> None:
    lines = examine(HEALTHY)
    assert not is_blocked(lines)
    assert [line.check for line in lines] == list(CHECKS)
    assert {line.verdict for line in lines} == {"ok"}


@pytest.mark.parametrize(("check", "code", "change"), BLOCKERS, ids=lambda value: str(value)[:60])
def test_each_blocker_alone_is_named_with_its_remedy(check: str, code: str, change: dict[str, Any]) -> None:
    lines = examine(replace(HEALTHY, **change))
    blocked = [(line.check, line.code) for line in lines if line.verdict == "blocked"]
    assert blocked == [(check, code)]
    assert is_blocked(lines)
    assert [line.check for line in lines] == list(CHECKS)
    (line,) = [line for line in lines if line.verdict == "blocked"]
    assert line.remedy or code == "component_failed"


def test_what_is_not_known_is_said_and_blocks_nothing() -> None:
    lines = examine(Facts(asked="nobody", enabled=True))
    assert not is_blocked(lines)
    unknown = {line.check for line in lines if line.verdict == "unknown"}
    assert unknown == {"state", "flags", "provenance", "calendar", "data", "limits"}


def test_all_blockers_are_told_in_the_order_of_the_contract() -> None:
    changes: dict[str, Any] = {}
    for _, _, change in BLOCKERS:
        changes.update({name: value for name, value in change.items() if name not in changes})
    blocked = [line.check for line in examine(replace(HEALTHY, **changes)) if line.verdict == "blocked"]
    assert blocked == sorted(blocked, key=CHECKS.index)
    assert set(blocked) == set(CHECKS)


STATUS: dict[str, Any] = {
    "enabled": True, "mode": "paper", "running": True, "role": "leader", "last_run_at": "2026-01-05T15:00:00Z",
    "trading_state": {"state": "ACTIVE", "reasons": [], "actor": "runtime", "since": "2026-01-05T14:30:00Z"},
    "kill_switch": {"env": False, "flag": False, "operator": False},
    "live_gate": {"allowed": False, "missing": ["live_settings_missing"]},
    "signal_continuity": {"universe_source": "static", "universe_status": "ok", "universe_symbols_count": 5},
    "catalog": {"error": None, "strategies": [{"strategy_id": "momentum", "enabled": True}]},
    "limits": [{"code": "max_open_orders_exceeded", "source": "TRADING_MAX_OPEN_ORDERS", "value": "50", "room": "48"}],
    "metrics": {"signal_lag_seconds": 0},
}  # fmt: skip
READY = {"status": "ready", "role": "leader", "reasons": []}
FLAGS = {"enabled": True, "snapshot": {"version": "9f2c", "age_seconds": 1.8}, "degraded": []}


def codes(status: dict[str, Any], ready: dict[str, Any] = READY, flags: dict[str, Any] = FLAGS) -> list[str | None]:
    facts = facts_of_documents("http://r", {**STATUS, **status}, ready, flags)
    return [line.code for line in examine(facts) if line.verdict == "blocked"]


@pytest.mark.parametrize(
    ("status", "ready", "flags", "code"),
    [
        ({}, READY, FLAGS, None),
        ({"last_run_at": "2026-01-04T15:00:00Z"}, READY, FLAGS, "market_closed"),
        ({"calendar": {"open": False, "next_open": "2026-01-05T14:30:00Z"}}, READY, FLAGS, "market_closed"),
        ({"calendar": {"open": True, "agrees": False}}, READY, FLAGS, "calendar_broker_mismatch"),
        ({"role": "standby"}, READY, FLAGS, "lease_not_held"),
        ({"trading_state": {"state": "HALTED", "reasons": [{"code": "no_engine"}]}, "role": "standby"}, READY, FLAGS,
         "no_engine"),
        ({"running": False}, {**READY, "reasons": ["not_reconciled"]}, FLAGS, "not_reconciled"),
        ({"catalog": {"strategies": [{"strategy_id": "m", "entry_refusals": ["provenance_missing"]}]}}, READY, FLAGS,
         "provenance_missing"),
        ({"limits": [{**STATUS["limits"][0], "room": "0"}]}, READY, FLAGS, "max_open_orders_exceeded"),
        ({}, {**READY, "reasons": ["not_reconciled"]}, FLAGS, "not_reconciled"),
        ({}, {**READY, "reasons": ["market_data_disconnected"]}, FLAGS, "market_data_disconnected"),
        ({}, {**READY, "reasons": ["order_feed_stalled"]}, FLAGS, None),
        ({}, READY, {**FLAGS, "degraded": ["flags_stale"]}, "flags_stale"),
        ({}, READY, {}, None),
        ({"mode": "live"}, READY, FLAGS, "live_settings_missing"),
        ({"metrics": {"signal_lag_seconds": 300}}, READY, FLAGS, "signal_stale"),
        ({"metrics": {"signal_lag_seconds": 299.9}}, READY, FLAGS, None),
        ({"limits": [{"code": "gross_exposure_exceeded", "value": "10", "room": "0"}]}, READY, FLAGS,
         "gross_exposure_exceeded"),
        ({"limits": [{"code": "max_notional_exceeded", "source": "X", "value": "0", "room": None}]}, READY, FLAGS,
         "max_notional_exceeded"),
        ({"catalog": {"error": "bad", "strategies": [{"strategy_id": "momentum"}]}}, READY, FLAGS, "catalog_error"),
        ({"catalog": {"strategies": [{"strategy_id": "m", "enabled": False}]}}, READY, FLAGS, "no_strategy"),
        ({"catalog": {"strategies": [{"strategy_id": "m", "block": {"reason": "x"}}]}}, READY, FLAGS,
         "strategy_disabled"),
        ({"signal_continuity": {"universe_status": "error"}}, READY, FLAGS, "universe_source_unavailable"),
    ],
)  # fmt: skip
def test_a_runtimes_own_words_are_judged(
    status: dict[str, Any], ready: dict[str, Any], flags: dict[str, Any], code: str | None
) -> None:
    assert codes(status, ready, flags) == ([] if code is None else [code])
