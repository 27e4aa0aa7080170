"""What each stage concludes from its report, and the lane's way under a guard in memory."""

from typing import Any

import pytest
from guard_world import POLICY, evaluation_bytes

from torghut_assets.gates.engine import EvidenceReference, RuleRecord
from torghut_assets.guard import stages
from torghut_assets.guard.memory import MemoryBlobs, MemorySessions
from torghut_assets.guard.session import Failure
from torghut_assets.guard.stages import Conclusion, PublicationRefusedError, StageGuard
from torghut_assets.guard.store import Guard
from torghut_assets.promotion.readiness import RollbackReadiness

NAME, CANDIDATE, RUN = "momentum", "cand-0426c28f7b82", "run-000001"


@pytest.fixture
def own() -> StageGuard:
    return StageGuard(Guard(POLICY, MemorySessions(), MemoryBlobs()), NAME, "ada")


def lead(own: StageGuard, run: str = RUN, candidate: str = CANDIDATE) -> Any:
    signals = own.guard.artifacts.put(b"signals")
    return own.lead_to_gates(candidate, run, signals=signals, spec=b"spec", report=b"report")


def passed(stage: str) -> Conclusion:
    return Conclusion(stage, "passed", (), evaluation_bytes(label=stage))


def to_dry_run(own: StageGuard, run: str = RUN) -> None:
    lead(own, run)
    own.conclude(run, passed(stages.GATES))
    for stage in (stages.PREREQUISITES, stages.READINESS, stages.DRY_RUN):
        assert own.enter_and_conclude(run, passed(stage)).accepted


def readiness(*reasons: str, missing: tuple[str, ...] = (), failed: tuple[str, ...] = ()) -> RollbackReadiness:
    records = tuple(
        RuleRecord(
            rule_id=f"r.{reason}",
            gate_id="rollback_readiness",
            metric=reason,
            observed=None,
            comparator="empty",
            threshold=None,
            unit="drills",
            status="fail",
            severity="error",
            reason_code=reason,
            evidence=EvidenceReference(artifact="gates/evidence.json", sha256=None, pointer=""),
            note="",
        )
        for reason in reasons
    )
    return RollbackReadiness(
        schema="torghut.rollback-readiness.v1",
        name=NAME,
        candidate_id=CANDIDATE,
        run_id=RUN,
        promotion_target="paper",
        passed=not reasons,
        missing_checks=missing,
        failed_checks=failed,
        records=records,
    )


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (readiness(), "passed"),
        (readiness("rollback_checks_missing_or_failed", missing=("killSwitchDryRunPassed",)), "waiting"),
        (readiness("rollback_checks_missing_or_failed", failed=("killSwitchDryRunPassed",)), "failed"),
        (readiness("rollback_checks_missing_or_failed", missing=("a",), failed=("b",)), "failed"),
        (readiness("rollback_target_missing"), "failed"),
        (readiness("rollback_checks_missing_or_failed", "rollback_target_missing", missing=("a",)), "failed"),
    ],
)
def test_readiness_waits_only_for_drills_that_were_never_run(report: RollbackReadiness, verdict: str) -> None:
    concluded = stages.readiness_concluded(report)
    assert (concluded.verdict, concluded.stage) == (verdict, "rollback-readiness")
    assert list(concluded.reasons) == sorted({record.reason_code for record in report.records})


def test_the_lane_leads_a_run_to_shadow_paper_and_repeats_without_effect(own: StageGuard) -> None:
    to_dry_run(own)
    assert own.promotion_answer(RUN).model_dump() == {"allowed": True, "reason": "transition_allowed"}
    own.publish(RUN, b"patch")
    rows = len(own.guard.sessions.session.ledger)  # type: ignore[attr-defined]
    to_dry_run(own)
    own.publish(RUN, b"patch")
    assert own.promotion_answer(RUN).model_dump() == {"allowed": True, "reason": "transition_allowed"}
    assert len(own.guard.sessions.session.ledger) == rows  # type: ignore[attr-defined]


def test_another_run_returns_from_stages_2_to_5_and_starts_anew(own: StageGuard) -> None:
    lead(own)
    assert own.guard.resolve(NAME).active_stage == "gate-evaluation"
    decision = lead(own, "run-000002", "cand-000000000002")
    assert (decision.allowed, decision.to_stage) == (True, "gate-evaluation")
    assert own.guard.resolve(NAME).run_id == "run-000002"


def test_another_run_is_refused_in_the_dry_run_and_nothing_moves(own: StageGuard) -> None:
    to_dry_run(own)
    decision = lead(own, "run-000002")
    assert decision.reason == "run_start_not_allowed:policy-dry-run"
    own.conclude("run-000002", passed(stages.GATES))
    assert own.enter_and_conclude("run-000002", passed(stages.PREREQUISITES)).reason == f"run_mismatch:{RUN}"
    assert own.promotion_answer("run-000002").reason == f"run_mismatch:{RUN}"
    state = own.guard.resolve(NAME)
    assert (state.run_id, state.active_stage) == (RUN, "policy-dry-run")


def test_without_signals_the_lane_stops_at_the_intake(own: StageGuard) -> None:
    decision = own.lead_to_gates(CANDIDATE, RUN, signals=None, spec=b"spec", report=b"report")
    assert (decision.allowed, decision.reason) == (False, "missing_previous_artifact")
    assert own.guard.resolve(NAME).active_stage == "research-intake"


def test_a_patch_is_refused_where_the_run_may_not_enter(own: StageGuard) -> None:
    lead(own)
    with pytest.raises(PublicationRefusedError, match="illegal_transition:gate-evaluation->shadow-paper"):
        own.publish(RUN, b"patch")


def test_failures_count_in_memory_as_on_record(own: StageGuard) -> None:
    lead(own)
    answers = [
        own.guard.evaluate_failure(
            Failure(NAME, own.bound_run("gate-evaluation"), "gate-evaluation", "transient", f"n{number}", "x", None),
            actor="ada",
            apply=True,
        ).answer.action
        for number in (0, 1, 1, 2, 3, 4)
    ]
    assert answers == ["retry", "retry", "retry", "retry", "retry", "pause_for_review"]
    assert own.bound_run("shadow-paper") is None
