"""``torghut guard``: one JSON object whatever happens, every exit code, every error code."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from guard_world import CANDIDATE, NAME, POLICY, POLICY_FILE, RUN, World
from stored_trading import HALT, latch_exactly

from torghut_assets.artifacts import ArtifactStore, export_bundle
from torghut_assets.cli import cli
from torghut_runtime.command_line import run

STATE: Mapping[str, Any] = {
    "candidateId": CANDIDATE,
    "runId": RUN,
    "activeStage": "research-intake",
    "paused": False,
    "failureCounts": {},
}
IDS = ("--candidate-id", CANDIDATE, "--run-id", RUN)
FROZEN = {"activeStage": "gate-evaluation", "promotionFrozen": True}
Guard = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def guard(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guard:
    """Run a command in a folder of its own; returns exit code and answer."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, dict[str, Any]]:
        code = run(cli, "torghut", ["guard", *words])
        out, err = capsys.readouterr()
        answer = json.loads(out)
        assert out == json.dumps(answer, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        assert len(err.splitlines()) == (1 if "error" in answer else 0), err
        return code, answer

    return call


def state_file(folder: Path, **changes: Any) -> tuple[str, str]:
    (folder / "state.json").write_text(json.dumps({**STATE, **changes}))
    return ("--state", "state.json")


def transition(guard: Guard, folder: Path, to_stage: str, *words: str, **changes: Any) -> tuple[int, dict[str, Any]]:
    return guard("check-transition", *state_file(folder, **changes), *IDS, "--to-stage", to_stage, *words)


def failure(guard: Guard, folder: Path, *words: str, **changes: Any) -> tuple[int, dict[str, Any]]:
    given = ("--failure-class", "transient", "--attempt", "1", "--stage", "research-intake")
    return guard("evaluate-failure", *state_file(folder, **changes), *given, *words)


def test_an_allowed_transition_says_where_it_leads(guard: Guard, tmp_path: Path) -> None:
    code, answer = transition(guard, tmp_path, "incident-recovery", "--from-stage", "research-intake")
    assert code == 0
    assert answer == {
        "allowed": True,
        "applied": False,
        "assertedFacts": True,
        "candidateId": CANDIDATE,
        "details": {},
        "fromStage": "research-intake",
        "lane": "lane-f",
        "mode": "gitops",
        "nextAction": "proceed",
        "policySha256": POLICY.sha256,
        "policyVersion": "torghut-v3-orchestration-policy-v2",
        "reason": "transition_allowed",
        "replayed": False,
        "runId": RUN,
        "toStage": "incident-recovery",
    }


@pytest.mark.parametrize(
    ("to_stage", "changes", "code", "reason"),
    [
        ("shadow-paper", {}, 3, "illegal_transition:research-intake->shadow-paper"),
        ("candidate-build", {}, 3, "missing_previous_artifact"),
        ("candidate-build", {"paused": True}, 4, "candidate_paused_for_review"),
        ("promotion-prerequisites", FROZEN, 4, "promotion_frozen:state_file"),
        ("candidate-build", {"runId": None}, 3, "missing_run_id"),
        ("candidate-build", {"candidateId": None}, 3, "candidate_mismatch"),
        ("candidate-build", {"runId": "run-000002"}, 3, "run_mismatch:run-000002"),
        ("research-intake", {}, 3, "transition_already_applied"),
        ("incident-recovery", {"activeStage": "incident-recovery"}, 0, "already_in_containment"),
        ("shadow-paper", {"activeStage": None}, 3, "missing_source_stage"),
    ],
)  # fmt: skip
def test_denials_never_exit_with_0(
    guard: Guard, tmp_path: Path, to_stage: str, changes: dict[str, Any], code: int, reason: str
) -> None:
    found, answer = transition(guard, tmp_path, to_stage, **changes)
    assert (found, answer["reason"]) == (code, reason)
    assert answer["allowed"] is (code == 0)
    assert ("lane" in answer) is answer["allowed"]


def test_a_bundles_artifact_and_the_switches_let_a_candidate_go_on(guard: Guard, tmp_path: Path) -> None:
    bundle = export_bundle({"research/candidate-spec.json": b"{}"}, tmp_path / "bundle", ids={"run_id": RUN}).folder
    artifact = ("--previous-artifact", str(bundle / "research/candidate-spec.json"))
    switches = ("--previous-gate-passed", "--risk-controls-passed", "--execution-controls-passed")
    assert transition(guard, tmp_path, "candidate-build", *artifact, *switches)[0] == 0
    reasons = ("previous_gate_failed", "risk_controls_not_passed", "execution_controls_not_passed")
    for number, reason in enumerate(reasons):
        code, answer = transition(guard, tmp_path, "candidate-build", *artifact, *switches[:number])
        assert (code, answer["reason"], answer["nextAction"]) == (3, reason, "rollback")
    emergency = ("--mode", "emergency", "--emergency-ticket", " ", "--emergency-approved-by", "grace")
    code, answer = transition(guard, tmp_path, "candidate-build", *artifact, *switches, *emergency)
    assert (code, answer["reason"]) == (3, "mutable_action_requires_gitops_or_ticketed_emergency")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--apply",), "apply_requires_store"),
        (("--expected-version", "3"), "version_requires_store"),
        (("--from-stage", "moon"), "unknown_stage"),
        (("--mode", "moon"), "usage"),
        (("--colour", "red"), "usage"),
        (("--actor", " "), "usage"),
    ],
)
def test_bad_usage_of_check_transition_has_a_code(
    guard: Guard, tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    found, answer = transition(guard, tmp_path, "incident-recovery", *words)
    assert (found, answer["error"]["code"]) == (2, code)


@pytest.mark.parametrize("bad", ["abcde", "a" * 64, "Cand-0426c28f7b82", "-and-0426c28f7b82", f"{CANDIDATE}\n", ""])
@pytest.mark.parametrize("option", ["--candidate-id", "--run-id"])
def test_a_bad_id_is_one_message(guard: Guard, tmp_path: Path, bad: str, option: str) -> None:
    words = list(IDS)
    words[words.index(option) + 1] = bad
    code, answer = guard("check-transition", *state_file(tmp_path), *words, "--to-stage", "incident-recovery")
    assert (code, answer["error"]["code"]) == (2, "invalid_id")


@pytest.mark.parametrize("text", ["not json", "[]", '{"runId": "x"}', json.dumps({**STATE, "paused": "false"})])
def test_a_bad_state_file_is_told_without_traceback(guard: Guard, tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    code, answer = guard("check-transition", "--state", "state.json", *IDS, "--to-stage", "incident-recovery")
    assert (code, answer["error"]["code"]) == (2, "invalid_state")


def test_a_bad_policy_comes_before_everything(guard: Guard, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 7\nstages: []\n")
    code, answer = guard("--policy", "policy.yaml", "check-transition", "--state", "x", *IDS, "--to-stage", "moon")
    assert (code, answer["error"]["code"]) == (2, "invalid_policy")
    assert len(answer["error"]["details"]["problems"]) > 4


@pytest.mark.parametrize(
    ("words", "changes", "code", "action", "reason"),
    [
        (("--attempt", "4"), {}, 0, "retry", None),
        (("--attempt", "5"), {}, 3, "fail", "transient_retries_exhausted"),
        ((), {"failureCounts": {"transient": 40}}, 4, "pause_for_review", "transient_failure_threshold_reached"),
        ((), {"paused": True}, 4, "pause_for_review", "candidate_paused_for_review"),
        (("--failure-class", "deterministic"), {}, 3, "fail", "deterministic_non_retryable"),
        (("--failure-class", "policy"), {}, 4, "pause_for_review", "policy_failure_threshold_reached"),
        (("--stage", "shadow-paper"), {}, 3, "fail", "active_stage_mismatch:research-intake"),
    ],
)
def test_failures_are_answered_with_an_exit_code(
    guard: Guard,
    tmp_path: Path,
    words: tuple[str, ...],
    changes: dict[str, Any],
    code: int,
    action: str,
    reason: str | None,
) -> None:
    found, answer = failure(guard, tmp_path, *words, **changes)
    assert (found, answer["action"], answer.get("reason")) == (code, action, reason)
    assert ("nextBackoffSeconds" in answer) is (action == "retry")


def test_a_seed_makes_the_delay_reproducible(guard: Guard, tmp_path: Path) -> None:
    delays = [
        failure(guard, tmp_path, "--attempt", "4", "--jitter-seed", str(seed))[1]["nextBackoffSeconds"]
        for seed in (1, 1, 2, 3, 4)
    ]
    assert delays[0] == delays[1]
    assert len(set(delays)) > 1
    assert all(0 <= delay <= 120 for delay in delays)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--attempt", "0"), "invalid_attempt"),
        (("--failure-class", "moon"), "unknown_failure_class"),
        (("--stage", "moon"), "unknown_stage"),
        (("--apply",), "apply_requires_store"),
        (("--run-id", "run-000002"), "contradicts_state"),
        (("--candidate-id", "cand-000000000000"), "contradicts_state"),
    ],
)
def test_bad_usage_of_evaluate_failure_has_a_code(
    guard: Guard, tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    found, answer = failure(guard, tmp_path, *words)
    assert (found, answer["error"]["code"]) == (2, code)


def test_a_state_file_needs_an_attempt(guard: Guard, tmp_path: Path) -> None:
    words = ("--stage", "research-intake", "--failure-class", "spec")
    assert guard("evaluate-failure", *state_file(tmp_path), *words)[1]["error"]["code"] == "usage"
    assert guard("evaluate-failure", *words)[1]["error"]["code"] == "usage"


def test_a_store_that_does_not_answer_is_exit_1(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_DSN", "postgresql://torghut:secret@127.0.0.1:1/torghut")
    code, answer = guard("check-transition", *IDS, "--to-stage", "incident-recovery")
    assert (code, answer["error"]["code"]) == (1, "store_unavailable")
    assert "secret" not in json.dumps(answer)


def test_a_defect_is_exit_1_and_one_object(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: object) -> None:
        raise ZeroDivisionError("defect")

    monkeypatch.setattr("torghut_assets.commands.guard_policy.policy_of", broken)
    code, answer = guard("policy", "lint")
    assert (code, answer["error"]["code"]) == (1, "unexpected_failure")


def test_lint_counts_and_graph_draws(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = guard("--policy", str(POLICY_FILE), "policy", "lint")
    assert (code, answer["stages"], answer["edges"], answer["policySha256"]) == (0, 12, 27, POLICY.sha256)
    assert run(cli, "torghut", ["guard", "policy", "graph"]) == 0
    assert capsys.readouterr().out.startswith("flowchart TD\n")


# database mode


@pytest.fixture
def recorded(world: World, guard_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world whose database and artifact store the commands use."""
    monkeypatch.setenv("DB_DSN", guard_dsn)
    monkeypatch.setenv("TORGHUT_PROJECT", str(tmp_path))
    return World(world.engine, ArtifactStore(tmp_path / "artifacts" / "store"))


def test_a_candidate_is_started_concluded_and_moved_by_a_person(recorded: World, guard: Guard, tmp_path: Path) -> None:
    code, answer = guard("state", "start", "--name", NAME, *IDS)
    assert (code, answer["applied"], answer["toStage"]) == (0, True, "research-intake")
    assert guard("state", "start", "--name", NAME, *IDS)[1]["replayed"] is True
    recorded.walk("shadow-paper")
    recorded.result()
    recorded.controls()
    code, answer = guard("check-transition", *IDS, "--to-stage", "live-ramp", "--apply", "--actor", "grace")
    assert (code, answer["applied"], answer["stateVersion"]) == (0, True, recorded.state().version)
    assert isinstance(answer["decisionSeq"], int)
    assert str(answer["decidedAt"]).endswith("Z")
    again = guard("check-transition", *IDS, "--to-stage", "live-ramp", "--apply")
    assert (again[0], again[1]["reason"], again[1]["replayed"]) == (3, "transition_already_applied", True)
    (tmp_path / "ramp.json").write_text("{}")
    words = ("--candidate-id", NAME, "--verdict", "passed", "--reason", "three days")
    code, answer = guard("state", "result", *words, "--artifact", "ramp.json")
    assert (code, answer["applied"], answer["stage"]) == (0, True, "live-ramp")
    assert guard("state", "result", *words, "--artifact", "ramp.json")[0] == 0
    code, answer = guard("state", "result", "--candidate-id", NAME, "--verdict", "failed", "--reason", "no")
    assert (code, answer["reason"]) == (3, "result_is_final")
    assert guard("check-transition", *IDS, "--to-stage", "continuous-monitoring", "--apply")[0] == 0
    code, shown = guard("state", "show", "--candidate-id", NAME)
    assert code == 0
    assert set(shown) == {
        "name", "candidateId", "runId", "activeStage", "paused", "pauseReason", "promotionFrozen", "freezeReason",
        "version", "failureCounts", "lastDecisionSeq", "updatedAt",
    }  # fmt: skip
    assert (shown["activeStage"], shown["candidateId"]) == ("continuous-monitoring", CANDIDATE)


def test_a_run_that_may_not_start_is_exit_3(recorded: World, guard: Guard) -> None:
    recorded.walk("policy-dry-run")
    code, answer = guard("state", "start", "--name", NAME, "--candidate-id", CANDIDATE, "--run-id", "run-000002")
    assert (code, answer["reason"]) == (3, "run_start_not_allowed:policy-dry-run")
    code, answer = guard("state", "start", "--name", "reversion", "--candidate-id", CANDIDATE, "--run-id", "run-000002")
    assert (code, answer["reason"]) == (3, f"candidate_id_in_use:{NAME}")


def test_a_result_of_an_assets_stage_is_not_a_persons(recorded: World, guard: Guard) -> None:
    recorded.walk("gate-evaluation")
    code, answer = guard("state", "result", "--candidate-id", NAME, "--verdict", "passed", "--reason", "x")
    assert (code, answer["error"]["code"]) == (2, "stage_has_asset")


def test_a_claim_against_the_records_is_exit_2(recorded: World, guard: Guard) -> None:
    recorded.walk("gate-evaluation")
    recorded.result("failed")
    words = ("check-transition", *IDS, "--to-stage", "promotion-prerequisites")
    code, answer = guard(*words, "--previous-gate-passed")
    assert (code, answer["error"]["code"]) == (2, "asserted_fact_contradicts_record:previous_gate_passed")
    code, answer = guard(*words)
    assert (code, answer["reason"]) == (3, "previous_gate_failed")


def test_failures_are_recorded_with_apply_only(recorded: World, guard: Guard) -> None:
    recorded.walk("gate-evaluation")
    words = ("evaluate-failure", *IDS, "--stage", "gate-evaluation", "--failure-class", "transient")
    before = recorded.footprint()
    assert guard(*words)[1]["applied"] is False
    assert recorded.footprint() == before
    code, answer = guard(*words, "--apply", "--occurrence-id", "one")
    assert (code, answer["applied"], answer["attempt"]) == (0, True, 1)
    code, answer = guard(*words, "--apply", "--occurrence-id", "one")
    assert (code, answer["replayed"], answer["applied"]) == (0, True, False)
    code, answer = guard(*words, "--attempt", "1")
    assert (code, answer["error"]["code"]) == (2, "attempt_contradicts_record")
    deterministic = ("evaluate-failure", *IDS, "--stage", "gate-evaluation", "--failure-class", "deterministic")
    code, answer = guard(*deterministic, "--apply")
    assert (code, answer["details"]["movedTo"]) == (3, "research-intake")
    code, answer = guard("evaluate-failure", "--candidate-id", "nobody", *words[5:])
    assert (code, answer["error"]["code"]) == (2, "unknown_candidate")


def test_paused_and_frozen_are_exit_4_and_a_person_resumes(recorded: World, guard: Guard) -> None:
    recorded.walk("gate-evaluation")
    recorded.result()
    words = ("check-transition", *IDS, "--to-stage", "promotion-prerequisites")
    about = ("--candidate-id", NAME, "--reason", "look")
    code, answer = guard("state", "pause", *about)
    assert (code, answer["paused"], answer["applied"]) == (0, True, True)
    assert guard("state", "pause", *about)[1]["reason"] == "already_paused"
    assert guard(*words)[0] == 4
    assert guard("state", "resume", *about, "--approver", "grace")[1]["reason"] == "resumed"
    code, answer = guard("state", "pause", "--all", "--reason", "outage")
    assert (code, answer["promotionFrozen"], answer["freezeReason"]) == (0, True, "operator")
    assert guard(*words)[1]["reason"] == "promotion_frozen:operator"
    resume = ("state", "resume", "--all", "--reason", "back", "--approver", "grace")
    assert guard(*resume)[1]["promotionFrozen"] is False
    assert guard(*resume)[1]["reason"] == "not_frozen"
    with recorded.engine.begin() as connection:
        latch_exactly(connection, {HALT})
    code, answer = guard(*resume)
    assert (code, answer["reason"]) == (3, "trading_halted")
    assert guard(*words)[1]["reason"] == "promotion_frozen:trading_halted"


@pytest.mark.parametrize(
    "words",
    [
        ("state", "pause", "--reason", "x"),
        ("state", "pause", "--all", "--candidate-id", NAME, "--reason", "x"),
        ("state", "pause", "--all", "--reason", " "),
        ("state", "resume", "--all", "--reason", "x", "--approver", ""),
        ("state", "resume", "--all", "--reason", "x"),
    ],
)
def test_holds_want_an_aim_a_reason_and_an_approver(recorded: World, guard: Guard, words: tuple[str, ...]) -> None:
    code, answer = guard(*words)
    assert (code, answer["error"]["code"]) == (2, "usage")


def test_an_unknown_candidate_is_exit_2(recorded: World, guard: Guard) -> None:
    for words in (
        ("state", "show", "--candidate-id", "nobody"),
        ("state", "pause", "--candidate-id", "nobody", "--reason", "x"),
        ("check-transition", *IDS, "--to-stage", "incident-recovery", "--apply"),
    ):
        code, answer = guard(*words)
        assert (code, answer["error"]["code"]) == (2, "unknown_candidate")
