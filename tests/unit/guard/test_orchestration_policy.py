"""The orchestration policy: what the shipped file says, and everything wrong with a file in one message."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from torghut_assets.guard.graph import mermaid
from torghut_assets.guard.policy import (
    FAILURE_CLASSES,
    POLICY_PATH,
    OrchestrationPolicy,
    PolicyError,
    default_policy_path,
    load_policy,
    parse_policy,
)
from torghut_runtime.canonical import sha256_hex

SHIPPED = Path(__file__).parents[3] / POLICY_PATH
STAGES = [
    "research-intake",
    "candidate-build",
    "backtest-robustness",
    "gate-evaluation",
    "promotion-prerequisites",
    "rollback-readiness",
    "policy-dry-run",
    "shadow-paper",
    "live-ramp",
    "continuous-monitoring",
    "incident-recovery",
    "audit-evidence",
]


def content() -> dict[str, Any]:
    return yaml.safe_load(SHIPPED.read_text())


def problems_of(content: object) -> list[str]:
    with pytest.raises(PolicyError) as raised:
        parse_policy(yaml.safe_dump(content, sort_keys=False), sha256="0" * 64)
    assert raised.value.code == "invalid_policy"
    return raised.value.problems


@pytest.fixture(scope="module")
def policy() -> OrchestrationPolicy:
    return load_policy(SHIPPED)


def test_the_shipped_policy_has_twelve_stages_27_edges_and_its_files_digest(policy: OrchestrationPolicy) -> None:
    assert policy.version == "torghut-v3-orchestration-policy-v2"
    assert list(policy.stage_names) == STAGES
    assert sum(len(targets) for targets in policy.graph.edges.values()) == 27
    assert policy.sha256 == sha256_hex(SHIPPED.read_bytes())


@pytest.mark.parametrize(
    ("attribute", "stages"),
    [
        ("mutable_action", {"candidate-build", "shadow-paper", "live-ramp", "incident-recovery"}),
        ("promotion_stage", set(STAGES[4:10])),
        ("repeatable", {"live-ramp", "continuous-monitoring"}),
        ("require_previous_artifact", set(STAGES[1:10]) | {"audit-evidence"}),
        ("require_previous_gate_pass", set(STAGES[1:10])),
        ("require_risk_controls", set(STAGES[1:10])),
        ("require_execution_controls", set(STAGES[1:10])),
    ],
)
def test_the_shipped_stages_have_the_contracts_columns(
    policy: OrchestrationPolicy, attribute: str, stages: set[str]
) -> None:
    assert {stage.stage for stage in policy.stages if getattr(stage, attribute)} == stages


def test_the_shipped_failure_classes_have_the_contracts_limits(policy: OrchestrationPolicy) -> None:
    limits = {name: policy.failure_policies.of(name) for name in FAILURE_CLASSES}
    assert {name: item.max_retries for name, item in limits.items()} == {
        "transient": 4,
        "deterministic": 0,
        "spec": 0,
        "policy": 0,
    }
    assert [limits[name].autopause_after_failures for name in FAILURE_CLASSES] == [5, 2, 2, 1]
    assert [limits[name].window_seconds for name in FAILURE_CLASSES] == [3600, 86400, 86400, 86400]
    transient = limits["transient"]
    assert (transient.initial_backoff_seconds, transient.backoff_multiplier, transient.max_backoff_seconds) == (
        15,
        2.0,
        300,
    )


def test_edges_have_a_kind_by_where_they_lead(policy: OrchestrationPolicy) -> None:
    assert policy.edge_kind("incident-recovery") == "containment"
    assert policy.edge_kind("research-intake") == "return"
    assert policy.edge_kind("audit-evidence") == "closing"
    assert policy.edge_kind("shadow-paper") == "forward"


def test_defaults_stand_where_the_file_is_silent() -> None:
    short = content()
    for stage in short["stages"]:
        if stage["stage"] == "candidate-build":
            for key in [key for key in stage if key.startswith("require")]:
                del stage[key]
    del short["description"]
    short["failurePolicies"]["spec"] = {}
    fixed = (
        "riskControlsAuthority",
        "executionControlsAuthority",
        "mutableActionMode",
        "emergencyOverrideRequiresTicket",
    )
    short["controls"] = {key: short["controls"][key] for key in fixed}
    policy = parse_policy(yaml.safe_dump(short), sha256="0" * 64)
    assert policy.stage("candidate-build").require_risk_controls is True
    spec = policy.failure_policies.spec
    assert (spec.max_retries, spec.initial_backoff_seconds, spec.max_backoff_seconds) == (0, 0, 0)
    assert (spec.backoff_multiplier, spec.autopause_after_failures, spec.window_seconds) == (1.0, 1, 3600)
    assert policy.controls.start_stages == ("research-intake", "shadow-paper", "continuous-monitoring")
    assert policy.controls.control_record_max_age_seconds == 900
    assert policy.controls.emergency_ticket_pattern == "[A-Z][A-Z0-9]{1,9}-[0-9]{1,8}"


def test_every_problem_of_a_file_stands_in_one_message() -> None:
    bad = content()
    bad["colour"] = "red"
    bad["stages"][1]["mutableAction"] = "false"
    bad["transitions"]["research-intake"] = "candidate-build"
    bad["stages"].append(dict(bad["stages"][2]))
    bad["transitions"]["gate-evaluation"].append("moon")
    bad["stages"].append({**bad["stages"][3], "stage": "review"})
    bad["transitions"]["review"] = ["live-ramp", "incident-recovery"]
    bad["transitions"]["live-ramp"] = ["review", "incident-recovery"]
    message = "; ".join(problems_of(bad))
    for expected in (
        "colour: Extra inputs are not permitted",
        "stages.1.mutableAction: Input should be a valid boolean, was 'false'",
        "transitions.research-intake: must be a list, was 'candidate-build'",
        "stage backtest-robustness stands twice",
        "transition gate-evaluation -> moon leads to an unknown stage",
        "stage gate-evaluation has more than one forward edge: moon, promotion-prerequisites",
        "stage candidate-build cannot be reached from research-intake",
        "a cycle that does not pass through research-intake holds stages that are not repeatable: review",
    ):
        assert expected in message


def edit(change: Callable[[dict[str, Any]], None]) -> list[str]:
    changed = content()
    change(changed)
    return problems_of(changed)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c["transitions"]["live-ramp"].append("live-ramp"), "transition live-ramp -> live-ramp leads back"),
        (lambda c: c["transitions"]["live-ramp"].append("incident-recovery"), "incident-recovery stands twice"),
        (lambda c: c["transitions"].pop("audit-evidence"), "transitions lack the stage audit-evidence"),
        (lambda c: c["transitions"].update(moon=[]), "transitions start from the unknown stage moon"),
        (lambda c: c["transitions"]["live-ramp"].remove("incident-recovery"), "stage live-ramp has no edge to the con"),
        (lambda c: c["stages"][10].update(requireRiskControls=True), "containment stage incident-recovery must requ"),
        (lambda c: c["stages"][7].update(onFailure="research-intake"), "onFailure of shadow-paper is research-intake"),
        (lambda c: c["stages"][1].update(lane=" "), "stages.1.lane: must not be blank"),
        (lambda c: c.update(version=" "), "version: must not be blank"),
        (lambda c: c["failurePolicies"].pop("spec"), "failurePolicies.spec: Field required"),
        (lambda c: c["failurePolicies"].update(other={}), "failurePolicies.other: Extra inputs"),
        (lambda c: c["failurePolicies"]["spec"].update(maxRetries=True), "failurePolicies.spec.maxRetries"),
        (lambda c: c["failurePolicies"]["spec"].update(maxRetries=-1), "failurePolicies.spec.maxRetries"),
        (lambda c: c["failurePolicies"]["spec"].update(backoffMultiplier=0.9), "failurePolicies.spec.backoffMultip"),
        (lambda c: c["failurePolicies"]["spec"].update(autopauseAfterFailures=0), "spec.autopauseAfterFailures"),
        (lambda c: c["failurePolicies"]["spec"].update(windowSeconds=0), "failurePolicies.spec.windowSeconds"),
        (lambda c: c["failurePolicies"]["spec"].update(initialBackoffSeconds=1), "must not be below initialBackoff"),
        (lambda c: c["controls"].update(riskControlsAuthority="advisory"), "controls.riskControlsAuthority"),
        (lambda c: c["controls"].update(mutableActionMode="direct"), "controls.mutableActionMode"),
        (lambda c: c["controls"].update(emergencyOverrideRequiresTicket=False), "emergencyOverrideRequiresTicket"),
        (lambda c: c["controls"].update(emergencyTicketPattern="["), "is no regular expression"),
        (lambda c: c["controls"].update(emergencyTicketPattern=".*"), "must not match a blank ticket"),
        (lambda c: c["controls"].update(startStages=["moon"]), "controls name the unknown stage moon"),
        (lambda c: c["controls"].update(intakeStage="moon"), "controls name the unknown stage moon"),
    ],
)
def test_a_policy_that_must_not_be_used_says_why(change: Callable[[dict[str, Any]], None], problem: str) -> None:
    assert problem in "; ".join(edit(change))


def test_a_key_that_stands_twice_is_named_with_its_row() -> None:
    text = SHIPPED.read_text().replace("version:", "version: other\nversion:", 1)
    with pytest.raises(PolicyError, match="row 4: key version stands twice"):
        parse_policy(text, sha256="0" * 64)


@pytest.mark.parametrize("text", ["", "[]", "just words", "stages: [", "a: !!python/object:os.system {}"])
def test_what_is_no_mapping_is_no_policy(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(text, sha256="0" * 64)


def test_an_unreadable_file_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(tmp_path / "binary.yaml")


def test_the_project_folders_policy_comes_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_policy_path().read_bytes() == SHIPPED.read_bytes()
    (tmp_path / "config").mkdir()
    (tmp_path / POLICY_PATH).write_text("version: mine\n")
    assert default_policy_path() == Path(POLICY_PATH)


def test_the_picture_draws_every_stage_with_its_lane_and_every_edge_once(policy: OrchestrationPolicy) -> None:
    text = mermaid(policy.graph, {stage.stage: stage.lane for stage in policy.stages})
    lines = text.splitlines()
    assert lines[0] == "flowchart TD"
    assert '    gate-evaluation["gate-evaluation<br/>lane-d"]' in lines
    assert "    policy-dry-run --> shadow-paper" in lines
    assert "    candidate-build -.->|return| research-intake" in lines
    assert "    shadow-paper -.->|containment| incident-recovery" in lines
    assert "    incident-recovery -.->|closing| audit-evidence" in lines
    assert sum("->" in line for line in lines) == 27
