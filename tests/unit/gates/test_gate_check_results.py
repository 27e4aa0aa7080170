"""The checks of the gates: red or green for the asked target, a warning for the next one, with the reasons."""

import dagster as dg
import pytest
from promotion_world import World, policy, waiver

from torghut_assets.gates.checks import gate_passes, gate_result
from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.gates.rule import EVIDENCE, REPORT, Target


def result(evaluation: GateEvaluation, number: int) -> dg.AssetCheckResult:
    return gate_result(evaluation, evaluation.gates[number], "tearsheet.html")


@pytest.mark.parametrize(
    ("target", "severities"),
    [("shadow", "EEEWWWWW"), ("paper", "EEEEEWEE"), ("live", "EEEEEEEE")],
)
def test_severity_is_error_for_what_the_asked_target_requires(target: Target, severities: str) -> None:
    evaluation = World(target=target).evaluation
    assert "".join(result(evaluation, number).severity.name[0] for number in range(8)) == severities
    assert all(result(evaluation, number).passed for number in range(8))


def test_a_failed_check_explains_itself() -> None:
    world = World().with_(REPORT, "/performance/cost_bps", 99).with_(REPORT, "/fragility/score", None)
    failed = result(world.evaluation, 2)
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert failed.description is not None
    for text in ("2.cost_bps: cost_bps_exceeds_maximum", "2.fragility_score: fragility_score_missing"):
        assert text in failed.description
    table = str(failed.metadata["rules"].value)
    assert "2.cost_bps" in table
    assert failed.metadata["policy_sha256"].value == world.policy.digest


@pytest.mark.parametrize(
    ("target", "number", "passed"),
    [("shadow", 3, True), ("paper", 3, True), ("live", 3, False), ("shadow", 4, False), ("paper", 4, False)],
)
def test_a_gate_that_the_asked_target_does_not_need_answers_for_the_next_that_does(
    target: Target, number: int, passed: bool
) -> None:
    world = World(target=target).with_(EVIDENCE, "/paper_days/days", 3).with_(EVIDENCE, "/drills/kill_switch", None)
    assert gate_passes(world.evaluation, world.evaluation.gates[number]) == passed
    assert result(world.evaluation, number).passed == passed


def test_a_waived_rule_is_named_in_a_check_that_passes() -> None:
    world = World(policy(waivers=[waiver("2.cost_bps")])).with_(REPORT, "/performance/cost_bps", 99)
    waived = result(world.evaluation, 2)
    assert waived.passed
    assert waived.metadata["waived_or_warned"].value == "2.cost_bps"
