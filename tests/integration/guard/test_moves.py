"""Starting, entering and concluding stages on a real database: what moves, what is recorded, what stays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from guard_world import CANDIDATE, NAME, POLICY, RUN, WAY, World, evaluation_bytes
from stored_trading import HALT, latch_exactly, open_incidents

from torghut_assets.guard.errors import GuardInputError
from torghut_assets.guard.holds import freeze_promotion, lift_promotion_freezes, pause
from torghut_assets.guard.records import Claims
from torghut_runtime.storage.controls import record_control
from torghut_runtime.storage.guard_tables import guard_stage_results, trading_state
from torghut_runtime.storage.incidents import open_incident


def test_a_run_walks_the_whole_way_and_every_move_is_one_ledger_row(world: World) -> None:
    world.walk("continuous-monitoring")
    moves = [row for row in world.ledger() if row.kind == "guard_decision"]
    assert [row.body["toStage"] for row in moves] == list(WAY)
    assert [row.body["edge"] for row in moves] == ["start", *["forward"] * 9]
    assert all(row.body["policySha256"] == POLICY.sha256 for row in moves)
    assert world.state().active_stage == "continuous-monitoring"


def test_live_ramp_and_monitoring_are_entered_in_turn_under_one_run(world: World) -> None:
    world.walk("continuous-monitoring")
    for stage in ("live-ramp", "continuous-monitoring", "live-ramp"):
        assert world.result()
        assert world.enter(stage).applied
    with world.engine.connect() as connection:
        table = guard_stage_results
        entries = connection.execute(
            sa.select(table.c.entry).where(table.c.stage == "live-ramp").order_by(table.c.id)
        ).scalars()
        assert list(entries) == [1, 2, 3]


def test_a_stage_runs_once_under_a_run(world: World) -> None:
    world.walk("gate-evaluation")
    assert world.enter("research-intake").applied
    world.result()
    assert world.enter("candidate-build").reason == "stage_already_run:candidate-build"
    assert world.state().active_stage == "research-intake"


def test_entering_again_writes_nothing_and_returns_the_stored_decision(world: World) -> None:
    world.walk("gate-evaluation")
    first = world.enter("promotion-prerequisites") if world.result() else None
    assert first is not None
    before = world.footprint()
    again = world.enter("promotion-prerequisites")
    earlier = world.enter("candidate-build")
    assert world.footprint() == before
    assert (again.allowed, again.replayed, again.standing, again.applied) == (True, True, True, False)
    assert again.decision_seq == first.decision_seq
    assert (earlier.reason, earlier.to_stage, earlier.accepted) == ("transition_allowed", "candidate-build", True)


def test_checks_change_nothing(world: World) -> None:
    world.walk("gate-evaluation")
    before = world.footprint()
    assert world.check("promotion-prerequisites").reason == "missing_previous_artifact"
    assert world.check("incident-recovery").allowed
    assert world.check("gate-evaluation").standing
    assert world.check("shadow-paper").reason == "illegal_transition:gate-evaluation->shadow-paper"
    world.fail("gate-evaluation", occurrence="one", apply=False)
    assert world.footprint() == before


def test_a_denied_attempt_to_move_is_recorded_and_moves_nothing(world: World) -> None:
    world.walk("gate-evaluation")
    version = world.state().version
    decision = world.enter("promotion-prerequisites")
    assert (decision.reason, decision.next_action) == ("missing_previous_artifact", "halt")
    row = world.ledger()[-1]
    assert (row.seq, row.body["reason"], row.body["applied"]) == (decision.decision_seq, decision.reason, False)
    assert (world.state().active_stage, world.state().version) == ("gate-evaluation", version)


def test_a_failed_gate_sends_the_candidate_back_by_a_second_record(world: World) -> None:
    world.walk("gate-evaluation")
    world.result("failed")
    rows = len(world.ledger())
    decision = world.enter("promotion-prerequisites")
    assert (decision.allowed, decision.reason, decision.next_action) == (False, "previous_gate_failed", "rollback")
    assert decision.details["rollback"]["toStage"] == "research-intake"
    assert decision.details["rollback"]["reason"] == "transition_allowed"
    assert world.state().active_stage == "research-intake"
    assert decision.state_version == world.state().version
    denial, move = world.ledger()[rows:]
    assert (denial.body["applied"], move.body["applied"], move.body["edge"]) == (False, True, "return")


def test_waiting_holds_and_may_change_passed_and_failed_are_final(world: World) -> None:
    world.walk("rollback-readiness")
    assert world.result("waiting")
    held = world.enter("policy-dry-run")
    assert (held.reason, held.next_action) == ("previous_gate_unknown", "halt")
    assert world.state().active_stage == "rollback-readiness"
    assert world.result("failed")
    assert not world.result("passed")
    decision = world.enter("policy-dry-run")
    assert (decision.reason, decision.next_action) == ("previous_gate_failed", "rollback")
    assert world.state().active_stage == "incident-recovery"


def test_a_result_counts_for_the_bound_run_in_its_active_stage_only(world: World) -> None:
    world.walk("gate-evaluation")
    before = world.footprint()
    ignored = [
        world.guard.record_result(CANDIDATE, run, stage, "passed", actor="ada")
        for run, stage in (("run-000002", "gate-evaluation"), (RUN, "shadow-paper"))
    ]
    assert [outcome.reason for outcome in ignored] == [
        f"run_mismatch:{RUN}",
        "active_stage_mismatch:gate-evaluation",
    ]
    assert world.footprint() == before


@pytest.mark.parametrize("stage", ["research-intake", "shadow-paper", "continuous-monitoring"])
def test_a_new_run_starts_from_the_start_stages(world: World, stage: str) -> None:
    world.walk(stage)
    assert world.start(run="run-000002").applied
    state = world.state()
    assert (state.run_id, state.active_stage) == ("run-000002", "research-intake")
    assert world.enter("research-intake", run=RUN).reason == "run_mismatch:run-000002"


def test_new_evidence_leads_a_paper_candidate_through_all_stages_again(world: World) -> None:
    world.walk("shadow-paper")
    world.walk("shadow-paper", run="run-000002", candidate="cand-000000000002")
    state = world.state("cand-000000000002")
    assert (state.name, state.active_stage, state.run_id) == (NAME, "shadow-paper", "run-000002")


@pytest.mark.parametrize("stage", ["gate-evaluation", "policy-dry-run", "live-ramp", "incident-recovery"])
def test_elsewhere_a_new_run_is_refused_and_recorded(world: World, stage: str) -> None:
    world.walk(stage)
    decision = world.start(run="run-000002")
    assert (decision.reason, decision.next_action) == (f"run_start_not_allowed:{stage}", "halt")
    assert world.ledger()[-1].body["reason"] == decision.reason
    assert (world.state().run_id, world.state().active_stage) == (RUN, stage)


def test_the_bound_run_started_again_changes_nothing(world: World) -> None:
    first = world.start()
    world.result()
    world.enter("candidate-build")
    before = world.footprint()
    again = world.start()
    assert world.footprint() == before
    assert (again.allowed, again.replayed, again.decision_seq) == (True, True, first.decision_seq)


def test_an_id_belongs_to_one_name(world: World) -> None:
    world.start()
    decision = world.start(name="reversion", run="run-000002")
    assert (decision.reason, decision.next_action) == (f"candidate_id_in_use:{NAME}", "halt")
    assert world.state("reversion").run_id is None


def test_pause_and_failure_counts_survive_a_new_run(world: World) -> None:
    world.walk("shadow-paper")
    world.fail("shadow-paper", occurrence="one")
    pause(world.engine, NAME, reason="look", actor="ada")
    world.start(run="run-000002")
    state = world.state()
    assert (state.paused, state.pause_reason) == (True, "look")


@pytest.mark.parametrize("stage", [name for name in POLICY.stage_names if name != "incident-recovery"])
def test_containment_is_open_from_every_stage_when_everything_else_is_closed(world: World, stage: str) -> None:
    world.walk(stage)
    world.controls(risk="fail", execution="fail")
    pause(world.engine, CANDIDATE, reason="look", actor="ada")
    freeze_promotion(world.engine, reason="stop", actor="ada")
    with world.engine.begin() as connection:
        latch_exactly(connection, {HALT})
    for path in world.artifacts.root.rglob("*"):
        if path.is_file():
            path.unlink()
    decision = world.enter("incident-recovery")
    assert (decision.applied, decision.reason) == (True, "transition_allowed")
    again = world.enter("incident-recovery")
    assert (again.allowed, again.applied, again.reason) == (True, False, "already_in_containment")


def test_paused_holds_forward_edges_and_lets_the_candidate_go_back(world: World) -> None:
    world.walk("gate-evaluation")
    world.result()
    pause(world.engine, CANDIDATE, reason="look", actor="ada")
    decision = world.enter("promotion-prerequisites")
    assert (decision.reason, decision.next_action) == ("candidate_paused_for_review", "human_review")
    assert world.enter("research-intake").applied
    assert world.state().paused, "the pause stays set on arrival"


def test_halted_trading_freezes_promotion_until_an_approved_resume(world: World) -> None:
    world.walk("gate-evaluation")
    world.result()
    with world.engine.begin() as connection:
        assert latch_exactly(connection, {HALT})
    assert world.check("promotion-prerequisites").reason == "promotion_frozen:trading_halted"
    refused = lift_promotion_freezes(world.engine, reason="go on", approver="grace", actor="ada")
    assert (refused.allowed, refused.reason) == (False, "trading_halted")
    with world.engine.begin() as connection:
        latch_exactly(connection, (), token=2)
        assert open_incidents(connection) == []
    assert world.check("promotion-prerequisites").reason == "promotion_frozen:trading_halted"
    assert lift_promotion_freezes(world.engine, reason="go on", approver="grace", actor="ada").reason == "lifted"
    assert world.enter("promotion-prerequisites").applied


def test_a_freeze_or_incident_does_not_hold_the_stages_before_promotion(world: World) -> None:
    world.walk("candidate-build")
    world.result()
    with world.engine.begin() as connection:
        open_incident(connection, reason="odd fills", actor="ada")
    assert world.enter("backtest-robustness").applied


def test_a_trading_state_that_nobody_knows_freezes_promotion_and_not_containment(world: World) -> None:
    world.walk("gate-evaluation")
    world.result()
    with world.engine.begin() as connection:
        now = sa.func.now()
        connection.execute(
            sa.insert(trading_state).values(account_label="paper", state="??", actor="x", since=now, updated_at=now)
        )
    decision = world.check("promotion-prerequisites")
    assert (decision.reason, decision.next_action) == ("promotion_frozen:trading_state_unreadable", "human_review")
    assert world.enter("incident-recovery").applied


def test_live_ramp_without_a_risk_record_halts_and_with_a_failing_one_rolls_back(world: World) -> None:
    world.walk("shadow-paper")
    world.result()
    decision = world.enter("live-ramp")
    assert (decision.reason, decision.next_action) == ("risk_controls_unknown", "halt")
    assert world.state().active_stage == "shadow-paper"
    world.controls(risk="fail")
    decision = world.enter("live-ramp")
    assert (decision.reason, decision.next_action) == ("risk_controls_not_passed", "rollback")
    assert world.state().active_stage == "incident-recovery"


@pytest.mark.parametrize("kind", ["execution", "reconciliation"])
def test_live_ramp_wants_fresh_passing_execution_and_reconciliation(world: World, kind: str) -> None:
    world.walk("shadow-paper")
    world.result()
    world.controls(**{kind: "fail"})
    assert world.check("live-ramp").reason == "execution_controls_not_passed"
    world.controls()
    assert world.check("live-ramp").allowed


@pytest.mark.parametrize(("age", "allowed"), [(880, True), (920, False)])
def test_a_control_record_older_than_900_seconds_counts_as_unknown(world: World, age: int, allowed: bool) -> None:
    world.walk("shadow-paper")
    world.result()
    at = datetime.now(UTC) - timedelta(seconds=age)
    with world.engine.begin() as connection:
        for kind in ("risk", "execution", "reconciliation"):
            record_control(connection, kind, "pass", {}, at=at)
    decision = world.check("live-ramp")
    assert decision.allowed is allowed
    assert decision.reason == ("transition_allowed" if allowed else "risk_controls_unknown")
    assert set(decision.details["records"]["controlRecords"]) == {"risk", "execution", "reconciliation"}


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ("gate0_data_integrity", "risk_controls_not_passed"),
        ("gate2_risk_capacity", "risk_controls_not_passed"),
        ("gate3_shadow_paper_quality", "execution_controls_not_passed"),
    ],
)
def test_promotion_stages_read_their_controls_from_the_gate_evaluation(world: World, failing: str, reason: str) -> None:
    world.walk("gate-evaluation")
    world.result(data=evaluation_bytes(failing=failing))
    assert world.check("promotion-prerequisites").reason == reason


@pytest.mark.parametrize(
    "data", [b"not json", b"[]", b'{"gates": 1}', b'{"gates": [{"gate_id": "gate0_data_integrity"}]}']
)
def test_an_evaluation_that_cannot_be_read_is_unknown_not_passed(world: World, data: bytes) -> None:
    world.walk("gate-evaluation")
    world.result(data=data)
    decision = world.check("promotion-prerequisites")
    assert (decision.reason, decision.next_action) == ("risk_controls_unknown", "halt")


def test_the_previous_artifact_must_be_in_the_store_unchanged(world: World) -> None:
    world.walk("research-intake")
    data = b"signals"
    world.result(data=data)
    blob = world.artifacts.root / "blobs" / "sha256"
    path = next(path for path in blob.rglob("*") if path.is_file())
    path.write_bytes(b"forgery")
    assert world.check("candidate-build").reason == "previous_artifact_hash_mismatch"
    path.unlink()
    assert world.check("candidate-build").reason == "missing_previous_artifact"


def test_a_presented_artifact_must_be_the_recorded_one(world: World, tmp_path: object) -> None:
    world.walk("research-intake")
    world.result(data=b"signals")
    folder = world.artifacts.root.parent
    (folder / "good").write_bytes(b"signals")
    (folder / "bad").write_bytes(b"other")
    request = world.request("candidate-build")

    def reason(name: str) -> str:
        return world.guard.check(request, Claims(previous_artifact=folder / name)).reason

    assert reason("good") == "transition_allowed"
    assert reason("bad") == "previous_artifact_hash_mismatch"
    assert reason("absent") == reason("") == "missing_previous_artifact"


@pytest.mark.parametrize("fact", ["previous_gate_passed", "risk_controls_passed", "execution_controls_passed"])
def test_a_claim_that_the_records_do_not_bear_out_is_an_error(world: World, fact: str) -> None:
    world.walk("shadow-paper")
    world.result("failed")
    claims = replace(Claims(), **{fact: True})
    for act in (world.guard.check, world.guard.enter):
        with pytest.raises(GuardInputError) as raised:
            act(world.request("live-ramp"), claims)
        assert raised.value.code == f"asserted_fact_contradicts_record:{fact}"
    assert world.guard.check(world.request("incident-recovery"), claims).allowed


def test_an_emergency_is_on_record_with_ticket_and_approver(world: World) -> None:
    world.walk("policy-dry-run")
    world.result()
    emergency = {"mode": "emergency", "emergency_ticket": "OPS-7"}
    denied = world.enter("shadow-paper", **emergency, emergency_approver="ADA")
    assert denied.reason == "emergency_second_approval_missing"
    assert world.enter("shadow-paper", **emergency, emergency_approver="grace").applied
    row = world.ledger()[-1]
    assert (row.actor, row.body["mode"]) == ("ada", "emergency")
    assert (row.body["emergencyTicket"], row.body["emergencyApprovedBy"]) == ("OPS-7", "grace")


def test_the_name_is_as_good_as_the_id_and_an_unknown_candidate_is_an_error(world: World) -> None:
    world.walk("research-intake")
    assert world.check("incident-recovery", candidate=NAME).allowed
    for act in (world.check, world.enter):
        with pytest.raises(GuardInputError) as raised:
            act("incident-recovery", candidate="cand-000000000000")
        assert raised.value.code == "unknown_candidate"


def test_versions_are_expected_and_grow_by_one_per_change(world: World) -> None:
    world.walk("research-intake")
    version = world.state().version or 0
    stale = world.enter("incident-recovery", expected_version=version - 1)
    assert stale.reason == f"state_version_conflict:{version}"
    moved = world.enter("incident-recovery", expected_version=version)
    assert moved.state_version == world.state().version == version + 1
