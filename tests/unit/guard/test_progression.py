"""validate-promotion and policy-dry-run: yes as things are, no as soon as something is missing, old or unapproved."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lane_project import LENIENT, NOW, request_of, write_project

from torghut_assets.cli import cli
from torghut_assets.lane import run_lane
from torghut_assets.research import tearsheet
from torghut_runtime.command_line import run

READY: dict[str, Any] = {
    "killSwitchDryRunPassed": True,
    "gitopsRevertDryRunPassed": True,
    "strategyDisableDryRunPassed": True,
    "humanApproved": True,
    "rollbackTarget": "a" * 64,
}
Judge = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lenient project with the bundle of its candidate, judged once; its drills are waived, not run."""
    with pytest.MonkeyPatch.context() as patch:
        blank = dict.fromkeys(("equity", "folds", "months", "sharpe", "costs"), "data:,")
        patch.setattr(tearsheet, "_pictures", lambda report, walkforward: blank)
        folder = write_project(tmp_path_factory.mktemp("project"), {"test-candidate": {"policy": LENIENT}})
        run_lane(request_of(folder, folder / "bundle"), clock=lambda: NOW)
        strict = json.loads((folder / "config" / "test-candidate-policy.json").read_text())
        strict["waivers"] = [waiver for waiver in strict["waivers"] if not waiver["rule_id"].startswith("r.")]
        (folder / "strict.json").write_text(json.dumps(strict))
    return folder


@pytest.fixture
def validate(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Judge:
    def call(*words: str, root: Path | None = None, state: dict[str, Any] | None = None, **readiness: Any) -> Any:
        stated = {**READY, "dryRunCompletedAt": datetime.now(UTC).isoformat(), **readiness}
        content: dict[str, Any] = {"paused": False, "failureCounts": {}, "rollbackReadiness": stated, **(state or {})}
        (tmp_path / "state.json").write_text(json.dumps(content))
        bundle = root or project / "bundle"
        command = ["guard", "validate-promotion", "--policy", str(project / "strict.json")]
        command += ["--state", str(tmp_path / "state.json"), "--artifact-root", str(bundle)]
        command += ["--gate-report", str(project / "bundle" / "gates" / "gate-evaluation.json"), *words]
        code = run(cli, "torghut", command)
        return code, json.loads(capsys.readouterr().out)

    return call


def test_a_ready_candidate_may_go_on(validate: Judge, tmp_path: Path) -> None:
    code, answer = validate("--output", str(tmp_path / "answer.json"))
    assert (code, answer["promotion_progression_allowed"], answer["reasons"]) == (0, True, [])
    assert json.loads((tmp_path / "answer.json").read_text()) == answer


def ago(**age: float) -> str:
    return (datetime.now(UTC) - timedelta(**age)).isoformat()


@pytest.mark.parametrize(
    ("readiness", "reason"),
    [
        ({"killSwitchDryRunPassed": False}, "rollback_checks_missing_or_failed"),
        ({"gitopsRevertDryRunPassed": None}, "rollback_checks_missing_or_failed"),
        ({"rollbackTarget": None}, "rollback_target_missing"),
        ({"dryRunCompletedAt": None}, "rollback_dry_run_timestamp_missing"),
        ({"dryRunCompletedAt": "yesterday"}, "rollback_dry_run_timestamp_missing"),
        ({"dryRunCompletedAt": ago(hours=-1)}, "rollback_dry_run_timestamp_missing"),
        ({"dryRunCompletedAt": ago(hours=73)}, "rollback_dry_run_stale"),
        ({"dryRunCompletedAt": ago(hours=71)}, None),
        ({"humanApproved": False}, None),
    ],
)
def test_rollback_readiness_is_judged_with_its_age(
    validate: Judge, readiness: dict[str, Any], reason: str | None
) -> None:
    code, answer = validate(**readiness)
    assert answer["reasons"] == ([] if reason is None else [reason])
    assert code == (0 if reason is None else 3)
    if reason == "rollback_checks_missing_or_failed":
        assert answer["missing_checks"] == list(readiness)


def test_live_wants_a_persons_approval(validate: Judge) -> None:
    _, denied = validate("--promotion-target", "live", humanApproved=False)
    _, approved = validate("--promotion-target", "live")
    assert set(denied["reasons"]) - set(approved["reasons"]) == {"rollback_human_approval_missing"}


def test_the_state_speaks_for_pause_and_missing_signals(validate: Judge) -> None:
    assert validate(state={"paused": True})[1]["reasons"] == ["candidate_paused_for_review"]
    assert validate(state={"noSignalReason": "feed down"})[1]["reasons"] == ["no_signal_window_detected"]
    code, answer = validate(state={"rollbackReadiness": None})
    assert code == 3
    assert "rollback_checks_missing_or_failed" in answer["reasons"]


def test_a_bundle_that_lacks_or_changed_an_artifact_is_refused(validate: Judge, project: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(project / "bundle", tmp_path / "copy")
    spec = tmp_path / "copy" / "research" / "candidate-spec.json"
    spec.write_bytes(spec.read_bytes().replace(b"\n", b" \n", 1))
    assert validate(root=tmp_path / "copy")[1]["reasons"] == ["required_artifact_digest_mismatch"]
    spec.unlink()
    assert validate(root=tmp_path / "copy")[1]["reasons"] == ["required_artifacts_missing"]


def test_what_is_no_evaluation_is_bad_input(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gates").mkdir()
    report = tmp_path / "gates" / "report.json"
    words = ["guard", "policy-dry-run", "--policy", str(project / "strict.json"), "--gate-report", str(report)]
    for text in (None, "[]", "{}"):
        if text is not None:
            report.write_text(text)
        assert run(cli, "torghut", words) == 2
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "invalid_input"


def dry_run(project: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    command = ["guard", "policy-dry-run", "--policy", str(project / "config" / "test-candidate-policy.json")]
    command += ["--gate-report", str(project / "bundle" / "gates" / "gate-evaluation.json"), *words]
    return run(cli, "torghut", command), json.loads(capsys.readouterr().out)


def test_the_dry_run_says_yes_as_things_are_and_no_to_each_simulation(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, plain = dry_run(project, capsys)
    assert (code, plain["promotion_progression_allowed"], plain["simulated"]) == (0, True, [])
    code, missing = dry_run(project, capsys, "--simulate-missing-artifact")
    assert (code, missing["promotion_progression_allowed"]) == (3, False)
    assert "required_artifacts_missing" in missing["reasons"]
    code, stale = dry_run(project, capsys, "--simulate-stale-rollback")
    assert (code, stale["simulated"]) == (3, ["stale_rollback"])
    assert not stale["promotion_progression_allowed"]
