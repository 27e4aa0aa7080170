"""The last look before a patch: a decision that no longer follows from what is stored publishes nothing."""

from dataclasses import replace
from typing import Any

import pytest
from promotion_world import ABSENT, CODE, World, policy

from torghut_assets.gates.rule import EVIDENCE, GATE_EVALUATION, REPORT, SPEC
from torghut_assets.promotion.decision import PromotionDecision
from torghut_assets.promotion.publication import publication_refusals


def refusals(world: World, **changes: Any) -> tuple[str, ...]:
    parts: dict[str, Any] = {
        "policy": world.policy,
        "documents": world.documents,
        "evaluation": world.evaluation,
        "prerequisites": world.prerequisites,
        "readiness": world.readiness,
        "decision": world.decision,
        "code_version": CODE,
        **changes,
    }
    return publication_refusals(**parts)


def forged(decision: PromotionDecision) -> PromotionDecision:
    """The decision somebody would like to have."""
    return decision.model_copy(
        update={"action": "promote", "eligible": True, "promotion_allowed": True, "reasons": (), "waivers": ()}
    )


def test_a_promotion_that_still_follows_is_published() -> None:
    assert refusals(World()) == ()
    assert refusals(World(target="live")) == ()


def test_a_held_candidate_has_no_patch() -> None:
    assert refusals(World(target="shadow")) == ("promotion_not_decided",)


@pytest.mark.parametrize(
    ("artifact", "pointer", "value", "reason"),
    [
        (REPORT, "/performance/net_pnl", -1, "net_pnl_below_minimum"),
        (EVIDENCE, "/candidate_state/paused", True, "candidate_paused_for_review"),
        (EVIDENCE, "/rollback_target", None, "rollback_target_missing"),
    ],
)
def test_a_denied_candidate_is_refused_with_its_reasons_even_under_a_forged_decision(
    artifact: str, pointer: str, value: object, reason: str
) -> None:
    world = World().with_(artifact, pointer, value)
    assert refusals(world) == (reason,)
    assert refusals(world, decision=forged(world.decision)) == (reason,)


def test_gates_pass_and_prerequisites_fail_publishes_nothing() -> None:
    world = replace(World(), artifacts={SPEC: ABSENT})
    assert world.decision.gates_passed
    assert refusals(world) == ("required_artifacts_missing",)
    assert refusals(world, decision=forged(world.decision)) == ("required_artifacts_missing",)


@pytest.mark.parametrize("path", [SPEC, REPORT, EVIDENCE])
def test_an_edited_artifact_is_refused(path: str) -> None:
    world = World()
    edited = [
        replace(each, content={**each.content, "note": "edited"}) if each.path == path else each
        for each in world.documents
    ]
    assert "required_artifact_digest_mismatch" in refusals(world, documents=edited)


def test_better_evidence_slipped_in_afterwards_is_refused() -> None:
    denied = World().with_(REPORT, "/performance/net_pnl", -1)
    assert refusals(denied, documents=World().documents) == (
        "gate_evaluation_not_reproduced",
        "net_pnl_below_minimum",
        "required_artifact_digest_mismatch",
    )


def test_worse_evidence_is_refused_with_what_it_says() -> None:
    documents = World().with_(REPORT, "/performance/net_pnl", -1).documents
    assert refusals(World(), documents=documents) == (
        "gate_evaluation_not_reproduced",
        "net_pnl_below_minimum",
        "required_artifact_digest_mismatch",
    )


@pytest.mark.parametrize("path", [SPEC, REPORT, EVIDENCE])
def test_a_missing_artifact_is_refused(path: str) -> None:
    world = World()
    assert {"required_artifact_digest_mismatch", "gate_evaluation_not_reproduced"} <= set(
        refusals(world, documents=world.without(path).documents)
    )


def test_an_edited_evaluation_is_refused() -> None:
    denied = World().with_(REPORT, "/performance/net_pnl", -1)
    passes = {
        each: summary.model_copy(update={"open": (), "passes": True})
        for each, summary in (denied.evaluation.targets.items())
    }
    edited = denied.evaluation.model_copy(update={"targets": passes})
    found = refusals(denied, evaluation=edited, decision=forged(denied.decision))
    assert found == (
        "gate_evaluation_not_reproduced",
        "net_pnl_below_minimum",
        "required_artifact_digest_mismatch",
    )


def test_reports_swapped_after_the_decision_are_refused() -> None:
    world, other = World(), World().with_(EVIDENCE, "/paper_days/days", 31)
    for part in ("prerequisites", "readiness"):
        assert refusals(world, **{part: getattr(other, part)}) == ("required_artifact_digest_mismatch",)


def test_another_policy_or_other_code_is_refused() -> None:
    assert refusals(World(), policy=policy(gate1_max_pbo=0.4)) == (
        "gate_evaluation_not_reproduced",
        "gate_policy_changed",
    )
    assert refusals(World(), code_version="another") == ("gate_evaluation_not_reproduced",)


def test_the_decision_names_the_evaluation_by_its_bytes() -> None:
    world = World()
    inputs = {**world.decision.inputs, GATE_EVALUATION: "0" * 64}
    decision = world.decision.model_copy(update={"inputs": inputs})
    assert refusals(world, decision=decision) == ("required_artifact_digest_mismatch",)
