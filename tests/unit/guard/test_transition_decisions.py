"""`decide()`: every row of the contract's order of evaluation, and what each row comes before."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from torghut_assets.guard.errors import GuardInputError
from torghut_assets.guard.policy import POLICY_PATH, load_policy
from torghut_assets.guard.transitions import (
    CandidateState,
    Decision,
    Facts,
    TransitionRequest,
    as_repeat,
    decide,
    is_repeat,
)

POLICY = load_policy(Path(__file__).parents[3] / POLICY_PATH)
CANDIDATE, RUN = "cand-0426c28f7b82", "0426c28f7b829261e3424599"
GOOD = Facts(artifact_fault=None, gate="passed", risk="passed", execution="passed")
NOTHING = Facts(freeze="operator", gate="failed", risk="failed", execution="failed")


def at(stage: str | None, **changes: Any) -> CandidateState:
    state = CandidateState(
        name="momentum", candidate_id=CANDIDATE, run_id=RUN, active_stage=stage, paused=False, version=7
    )
    return replace(state, **changes)


def ask(to_stage: str, **changes: Any) -> TransitionRequest:
    return replace(TransitionRequest(candidate=CANDIDATE, run_id=RUN, to_stage=to_stage, actor="ada"), **changes)


def answer(request: TransitionRequest, state: CandidateState, facts: Facts = GOOD) -> tuple[bool, str, str]:
    decision = decide(POLICY, request, state, facts)
    return (decision.allowed, decision.reason, decision.next_action)


def halt(reason: str) -> tuple[bool, str, str]:
    return (False, reason, "halt")


ALLOWED = (True, "transition_allowed", "proceed")


@pytest.mark.parametrize("field", ["to_stage", "from_stage"])
def test_row_1_a_stage_that_the_policy_does_not_have_is_an_error(field: str) -> None:
    with pytest.raises(GuardInputError) as raised:
        decide(POLICY, replace(ask("candidate-build"), **{field: "moon"}), at("research-intake"), GOOD)
    assert raised.value.code == "unknown_stage"


@pytest.mark.parametrize("run_id", [None, "", " "])
def test_row_2_a_state_without_run_comes_before_everything(run_id: str | None) -> None:
    state = at(None, run_id=run_id, candidate_id=None)
    assert answer(ask("incident-recovery"), state, NOTHING) == halt("missing_run_id")


@pytest.mark.parametrize("stage", [None, "", " "])
def test_row_3_a_state_without_stage_is_not_filled_in_from_the_request(stage: str | None) -> None:
    state = at(stage, candidate_id=None)
    assert answer(ask("shadow-paper", from_stage="policy-dry-run"), state) == halt("missing_source_stage")


@pytest.mark.parametrize("candidate", [None, "cand-000000000000"])
def test_row_4_another_candidate(candidate: str | None) -> None:
    state = at("research-intake", candidate_id=candidate, name=None)
    assert answer(ask("candidate-build", run_id="another-run"), state) == halt("candidate_mismatch")


def test_row_4_the_name_is_as_good_as_the_id() -> None:
    assert answer(ask("candidate-build", candidate="momentum"), at("research-intake")) == ALLOWED


def test_row_5_another_run_comes_before_the_version() -> None:
    request = ask("candidate-build", run_id="another-run", expected_version=1)
    assert answer(request, at("research-intake")) == halt(f"run_mismatch:{RUN}")


def test_row_6_another_version_comes_before_the_place() -> None:
    assert answer(ask("gate-evaluation", expected_version=6), at("gate-evaluation")) == halt("state_version_conflict:7")
    assert answer(ask("candidate-build", expected_version=7), at("research-intake")) == ALLOWED


def test_row_7_already_there() -> None:
    request = ask("gate-evaluation", from_stage="backtest-robustness")
    assert answer(request, at("gate-evaluation")) == halt("transition_already_applied")
    request = ask("incident-recovery", from_stage="shadow-paper")
    assert answer(request, at("incident-recovery"), NOTHING) == (True, "already_in_containment", "proceed")


def test_row_8_the_callers_expectation_comes_before_the_edge() -> None:
    request = ask("live-ramp", from_stage="shadow-paper")
    assert answer(request, at("gate-evaluation")) == halt("active_stage_mismatch:gate-evaluation")


def test_row_9_no_such_edge_comes_before_the_pause() -> None:
    state = at("research-intake", paused=True)
    assert answer(ask("shadow-paper"), state) == halt("illegal_transition:research-intake->shadow-paper")


def test_row_10_a_stage_runs_once_under_a_run_unless_it_is_repeatable() -> None:
    facts = replace(GOOD, entered_forward=frozenset({"gate-evaluation", "live-ramp"}))
    request = ask("gate-evaluation")
    assert answer(request, at("backtest-robustness", paused=True), facts) == halt("stage_already_run:gate-evaluation")
    assert answer(ask("live-ramp"), at("continuous-monitoring"), facts) == ALLOWED


@pytest.mark.parametrize("stage", [name for name in POLICY.stage_names if name != "incident-recovery"])
def test_row_11_containment_is_open_from_every_stage_whatever_the_facts(stage: str) -> None:
    assert answer(ask("incident-recovery"), at(stage, paused=True), NOTHING) == ALLOWED


def test_row_12_a_pause_closes_forward_edges_before_the_freeze() -> None:
    paused = (False, "candidate_paused_for_review", "human_review")
    assert answer(ask("promotion-prerequisites"), at("gate-evaluation", paused=True), NOTHING) == paused
    assert answer(ask("research-intake"), at("gate-evaluation", paused=True), NOTHING) == ALLOWED
    closing = ask("audit-evidence")
    assert answer(closing, at("incident-recovery", paused=True), replace(NOTHING, artifact_fault=None)) == ALLOWED


def test_row_13_a_freeze_closes_the_way_into_promotion_stages_before_the_artifact() -> None:
    frozen = replace(NOTHING, freeze="incident_open")
    expected = (False, "promotion_frozen:incident_open", "human_review")
    assert answer(ask("promotion-prerequisites"), at("gate-evaluation"), frozen) == expected
    facts = replace(GOOD, freeze="incident_open")
    assert answer(ask("backtest-robustness"), at("candidate-build"), facts) == ALLOWED
    assert answer(ask("research-intake"), at("promotion-prerequisites"), facts) == ALLOWED


@pytest.mark.parametrize(
    "fault",
    [
        "missing_previous_artifact",
        "previous_artifact_unlisted",
        "previous_artifact_hash_mismatch",
        "previous_artifact_run_mismatch",
    ],
)
def test_rows_14_and_15_the_artifact_comes_before_the_gate(fault: Any) -> None:
    facts = replace(NOTHING, freeze=None, artifact_fault=fault)
    assert answer(ask("candidate-build"), at("research-intake"), facts) == halt(fault)
    assert answer(ask("audit-evidence"), at("incident-recovery"), facts) == halt(fault)
    assert answer(ask("research-intake"), at("gate-evaluation"), facts) == ALLOWED


def test_row_16_only_a_failed_gate_asks_for_rollback() -> None:
    failed = replace(GOOD, gate="failed", risk="failed")
    assert answer(ask("candidate-build"), at("research-intake"), failed) == (False, "previous_gate_failed", "rollback")
    unknown = replace(failed, gate="unknown")
    assert answer(ask("candidate-build"), at("research-intake"), unknown) == halt("previous_gate_unknown")
    closing = replace(NOTHING, artifact_fault=None)
    assert answer(ask("audit-evidence"), at("incident-recovery"), closing) == ALLOWED


@pytest.mark.parametrize("control", ["risk", "execution"])
def test_row_17_risk_before_execution_controls(control: str) -> None:
    def controls(value: str) -> Facts:
        both = {"risk": value, "execution": "failed"} if control == "risk" else {"execution": value}
        return replace(GOOD, **both)  # pyright: ignore[reportArgumentType]

    request = ask("shadow-paper", mode="emergency")
    failed = (False, f"{control}_controls_not_passed", "rollback")
    assert answer(request, at("policy-dry-run"), controls("failed")) == failed
    assert answer(request, at("policy-dry-run"), controls("unknown")) == halt(f"{control}_controls_unknown")


UNTICKETED = "mutable_action_requires_gitops_or_ticketed_emergency"
UNAPPROVED = "emergency_second_approval_missing"
EMERGENCIES = [
    (None, "grace", UNTICKETED),
    ("", "grace", UNTICKETED),
    (" ", "grace", UNTICKETED),
    ("OPS-1 ", "grace", UNTICKETED),
    ("ops-1", "grace", UNTICKETED),
    ("OPS-123456789", "grace", UNTICKETED),
    ("OPS-12345678", None, UNAPPROVED),
    ("OPS-1", " ", UNAPPROVED),
    ("OPS-1", "ada", UNAPPROVED),
    ("OPS-1", " ADA ", UNAPPROVED),
    ("OPS-1", "grace", None),
    ("OPS-12345678", "grace", None),
]


@pytest.mark.parametrize(("ticket", "approver", "fault"), EMERGENCIES)
def test_row_18_an_emergency_into_a_mutable_stage_needs_ticket_and_second_person(
    ticket: str | None, approver: str | None, fault: str | None
) -> None:
    request = ask("shadow-paper", mode="emergency", emergency_ticket=ticket, emergency_approver=approver)
    expected = ALLOWED if fault is None else halt(fault)
    assert answer(request, at("policy-dry-run")) == expected
    elsewhere = replace(request, to_stage="policy-dry-run")
    assert answer(elsewhere, at("rollback-readiness")) == ALLOWED


@pytest.mark.parametrize(("ticket", "approver", "fault"), EMERGENCIES)
def test_containment_with_a_faulty_emergency_is_allowed_as_gitops(
    ticket: str | None, approver: str | None, fault: str | None
) -> None:
    request = ask("incident-recovery", mode="emergency", emergency_ticket=ticket, emergency_approver=approver)
    decision = decide(POLICY, request, at("shadow-paper"), NOTHING)
    assert decision.allowed
    assert decision.mode == ("emergency" if fault is None else "gitops")
    assert decision.details.get("emergencyRejected") == fault


def test_an_emergency_replaces_no_gate_control_or_artifact() -> None:
    request = ask("shadow-paper", mode="emergency", emergency_ticket="OPS-1", emergency_approver="grace")
    assert answer(request, at("policy-dry-run"), replace(GOOD, gate="failed"))[1] == "previous_gate_failed"
    assert answer(request, at("policy-dry-run"), replace(GOOD, risk="failed"))[1] == "risk_controls_not_passed"
    frozen = replace(GOOD, freeze="trading_halted")
    assert answer(request, at("policy-dry-run"), frozen)[1] == "promotion_frozen:trading_halted"


def test_row_19_allowed_with_lane_version_and_policy() -> None:
    assert decide(POLICY, ask("shadow-paper", from_stage="policy-dry-run"), at("policy-dry-run"), GOOD) == Decision(
        allowed=True,
        reason="transition_allowed",
        next_action="proceed",
        from_stage="policy-dry-run",
        to_stage="shadow-paper",
        lane="lane-e",
        mode="gitops",
        policy_version=POLICY.version,
        policy_sha256=POLICY.sha256,
        state_version=7,
    )


@pytest.mark.parametrize(
    ("active", "stage", "standing"),
    [
        ("gate-evaluation", "gate-evaluation", True),
        ("shadow-paper", "gate-evaluation", True),
        ("continuous-monitoring", "gate-evaluation", True),
        ("backtest-robustness", "gate-evaluation", False),
        ("research-intake", "gate-evaluation", False),
        ("incident-recovery", "gate-evaluation", False),
        ("audit-evidence", "gate-evaluation", False),
    ],
)
def test_a_run_stands_while_the_candidate_is_there_or_further(active: str, stage: str, standing: bool) -> None:
    entered = replace(GOOD, entered=frozenset({stage}))
    assert decide(POLICY, ask(stage), at(active), entered).standing is standing
    assert decide(POLICY, ask(stage), at(active), GOOD).standing is False
    assert decide(POLICY, ask(stage, run_id="another-run"), at(active), entered).standing is False
    assert decide(POLICY, ask(stage, candidate="cand-000000000000"), at(active), entered).standing is False


def test_a_repeat_is_a_denied_request_of_a_standing_run() -> None:
    entered = replace(GOOD, entered=frozenset({"gate-evaluation", "live-ramp"}))
    there = decide(POLICY, ask("gate-evaluation"), at("gate-evaluation"), entered)
    further = decide(POLICY, ask("gate-evaluation"), at("shadow-paper"), entered)
    assert is_repeat(there)
    assert is_repeat(further)
    assert as_repeat(further).reason == "transition_already_applied"
    again = decide(POLICY, ask("live-ramp"), at("continuous-monitoring"), replace(entered, risk="unknown"))
    assert again.standing
    assert not is_repeat(again), "a repeatable stage is entered anew, so a denial is a denial"
    stale = decide(POLICY, ask("gate-evaluation", expected_version=1), at("gate-evaluation"), entered)
    assert not is_repeat(stale)
