"""What runs leave in PostgreSQL, and what the next run reads there: trials, drills, champions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from lane_project import LENIENT, NOW, ROOT, files, momentum_entry, request_of, write_policy, write_project

from torghut_assets.cli import cli
from torghut_assets.lane import LaneResult, run_lane
from torghut_assets.research import candidate, records
from torghut_runtime.command_line import run
from torghut_runtime.errors import InputError
from torghut_runtime.storage import ledger

DRILLS = {
    "killSwitchDryRunPassed": "4.kill_switch_drill",
    "gitopsRevertDryRunPassed": "4.gitops_revert_drill",
    "strategyDisableDryRunPassed": "4.strategy_disable_drill",
}
TABLES = (
    "research_candidates",
    "research_runs",
    "research_fold_metrics",
    "research_trials",
    "research_promotions",
)
Judged = Callable[..., LaneResult]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", {"test-candidate": {"policy": LENIENT}})


@pytest.fixture
def judged(project: Path, tmp_path: Path, database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Judged:
    """Run the lane on the test's database; ``entry`` changes the strategy."""
    monkeypatch.setenv("DB_DSN", database_dsn)

    def call(entry: dict[str, Any] | None = None, *, called: str = "test-candidate") -> LaneResult:
        config = project / "config" / "test-candidate-strategies.yaml"
        config.write_text(yaml.safe_dump({"strategies": [momentum_entry(**(entry or {}))]}))
        request = request_of(project, tmp_path / called, ledger="auto")
        return run_lane(replace(request, name=called), clock=lambda: NOW)

    return call


def decisions(connection: sa.Connection) -> list[ledger.LedgerRow]:
    """The ledger's promotion decisions on the candidate; what the guard wrote beside them is told in its own tests."""
    return [row for row in ledger.history(connection, "test-candidate") if row.kind == "promotion"]


def counts(connection: sa.Connection) -> dict[str, int]:
    return {name: connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one() for name in TABLES}


def drill(connection: sa.Connection, name: str, *, passed: bool = True, subject: str = "test-candidate") -> None:
    body = {"drill": name, "passed": passed}
    ledger.append(connection, kind="drill", subject=subject, actor="operator", body=body, at=NOW)


def test_a_run_again_adds_no_research_and_one_ledger_row_for_its_decision(
    judged: Judged, connection: sa.Connection
) -> None:
    first = judged()
    before = counts(connection)
    assert before == {
        "research_candidates": 1,
        "research_runs": 1,
        "research_fold_metrics": 5,
        "research_trials": 1,
        "research_promotions": 1,
    }
    again = judged()
    assert again.decision.run_id == first.decision.run_id
    assert counts(connection) == before
    rows = decisions(connection)
    assert len(rows) == 2
    assert {row.body["run_id"] for row in rows} == {first.decision.run_id}
    assert again.decision.ledger is not None
    assert again.decision.ledger.seq == rows[1].seq
    assert ledger.verify(connection).reason is None


def test_the_bundle_names_its_ledger_row_and_only_the_decision_differs_between_runs(
    judged: Judged, connection: sa.Connection
) -> None:
    result = judged()
    before = files(result.output_dir)
    judged()
    after = files(result.output_dir)
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {"gates/promotion-decision.json", "MANIFEST.json"}
    (row, _) = decisions(connection)
    decision = json.loads(before["gates/promotion-decision.json"])
    assert decision["ledger"] == {"seq": row.seq, "hash": row.hash}


def test_the_same_inputs_under_two_names_are_one_candidate_with_two_runs(
    judged: Judged, connection: sa.Connection
) -> None:
    one, other = judged(), judged(called="second-name")
    assert one.research.spec.candidate_id == other.research.spec.candidate_id
    assert one.decision.run_id != other.decision.run_id
    assert [run.name for run in records.newest_runs(connection)] == ["second-name", "test-candidate"]
    assert other.evidence.trials == one.evidence.trials
    assert (counts(connection)["research_candidates"], counts(connection)["research_trials"]) == (1, 1)


def test_one_more_grid_point_is_one_more_trial_and_other_code_is_none(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trials(result: LaneResult) -> int:
        assert result.evidence.trials is not None
        return result.evidence.trials.count

    first = judged({"search": {"lookback_bars": [20, 30]}})
    second = judged({"search": {"lookback_bars": [20, 30, 40]}})
    assert (trials(first), trials(second)) == (2, 3)
    assert second.evidence.trials is not None
    assert second.evidence.trials.sharpe_variance is not None
    monkeypatch.setattr(candidate, "code_digest", lambda *modules: "0" * 64)
    refactored = judged({"search": {"lookback_bars": [20, 30, 40]}}, called="refactored")
    assert refactored.research.spec.candidate_id != second.research.spec.candidate_id
    assert trials(refactored) == 3


def test_points_of_an_earlier_candidate_count_for_the_next(judged: Judged) -> None:
    judged({"search": {"lookback_bars": [20, 30, 40]}})
    narrowed = judged({"params": {"lookback_bars": 50, "skip_bars": 2, "vol_halflife": 5.0}})
    assert narrowed.evidence.trials is not None
    assert narrowed.evidence.trials.count == 4
    assert narrowed.research.report.statistics.n_trials == 1


def test_a_missing_drill_that_is_run_makes_new_evidence_a_new_run_and_a_new_verdict(
    judged: Judged, project: Path, connection: sa.Connection
) -> None:
    policy = project / "config" / "test-candidate-policy.json"
    waivers = json.loads(policy.read_text())["waivers"]
    kept = [each for each in waivers if not each["rule_id"].startswith(("4.", "r."))]
    write_policy(policy, **LENIENT, waivers=kept)
    denied = judged()
    assert denied.decision.action == "deny"
    assert "kill_switch_drill_missing" in denied.decision.reasons
    drill(connection, "killSwitchDryRunPassed", subject="another-candidate")
    assert judged().decision.run_id == denied.decision.run_id
    for name in DRILLS:
        drill(connection, name)
    passed = judged()
    assert (passed.decision.action, passed.decision.reasons) == ("promote", ())
    assert passed.evidence.drills.kill_switch is not None
    assert passed.evidence.drills.kill_switch.record_id.startswith("ledger:")
    assert passed.evaluation.inputs["gates/evidence.json"] != denied.evaluation.inputs["gates/evidence.json"]
    assert passed.decision.run_id != denied.decision.run_id
    assert passed.research.spec == denied.research.spec
    drill(connection, "killSwitchDryRunPassed", passed=False)
    failed = judged()
    assert failed.decision.action == "deny"
    assert "kill_switch_dry_run_failed" in failed.decision.reasons
    assert [run.action for run in records.runs_of(connection, "test-candidate")] == ["deny", "promote", "deny"]


def test_a_successor_demotes_the_champion_and_the_champion_cannot_come_back(
    judged: Judged, connection: sa.Connection
) -> None:
    first = judged()
    champion = records.champion(connection, "test-momentum")
    assert champion is not None
    assert champion.candidate_id == first.research.spec.candidate_id
    successor = judged({"params": {"lookback_bars": 30, "skip_bars": 2, "vol_halflife": 5.0}}, called="successor")
    champion = records.champion(connection, "test-momentum")
    assert champion is not None
    assert champion.candidate_id == successor.research.spec.candidate_id
    (demotion,) = [row for row in ledger.history(connection, "test-momentum") if row.kind == "demotion"]
    assert demotion.body["candidate_id"] == first.research.spec.candidate_id
    assert demotion.body["successor_candidate_id"] == successor.research.spec.candidate_id
    again = judged()
    assert again.decision.reasons == ("candidate_superseded",)
    assert records.champion(connection, "test-momentum") == champion


def test_a_champion_that_is_evaluated_again_never_demotes_itself(judged: Judged, connection: sa.Connection) -> None:
    judged()
    judged(called="other-name")
    assert [row for row in ledger.history(connection, "test-momentum") if row.kind == "demotion"] == []


def test_a_run_that_cannot_be_recorded_leaves_the_folder_as_it_was(
    judged: Judged, connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = judged()
    before, rows = files(result.output_dir), counts(connection)

    def lost(*given: object, **named: object) -> bool:
        raise RuntimeError("the connection is gone")

    monkeypatch.setattr(records, "record_folds", lost)
    with pytest.raises(RuntimeError, match="the connection is gone"):
        judged()
    assert files(result.output_dir) == before
    assert counts(connection) == rows


def test_without_its_database_the_lane_ends_with_1_and_writes_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DB_DSN", "postgresql://torghut:a-password@127.0.0.1:9/torghut")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "MANIFEST.json").write_text("old")
    before = files(tmp_path)
    command = [
        *("lane", "run", "--bars", str(project / "bars.parquet"), "--timeframe", "1Day"),
        *("--strategy-config", str(project / "config/test-candidate-strategies.yaml")),
        *("--gate-policy", str(project / "config/test-candidate-policy.json")),
        *("--strategy-configmap", str(ROOT / "deploy/k8s/base/strategy-configmap.yaml")),
        *("--output-dir", str(tmp_path / "out")),
    ]
    assert run(cli, "torghut", command) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "127.0.0.1" in captured.err
    assert "a-password" not in captured.err
    assert captured.err.count("\n") == 1
    assert files(tmp_path) == before


def test_a_folder_that_cannot_hold_the_bundle_is_told_before_anything_is_recorded(
    judged: Judged, tmp_path: Path, connection: sa.Connection
) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken: is a file; give a folder for the bundle"):
        judged(called="taken")
    assert set(counts(connection).values()) == {0}
    assert ledger.history(connection, "taken") == []
    assert (tmp_path / "taken").read_text() == "a file"
