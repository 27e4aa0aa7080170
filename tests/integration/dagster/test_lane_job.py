"""The lane as Dagster runs it: a denial is a green run with red checks, and the patch exists only by a verdict."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from dagster_projects import ALLOWED, DENIED, IMPOSSIBLE, SIGNALLED, JudgedProject
from lane_project import LENIENT, NOW, DagsterProject, files, momentum_entry, request_of, write_policy

from torghut_assets import keys
from torghut_assets.bundle import PATCH
from torghut_assets.gates.rule import GATES
from torghut_assets.lane import run_lane
from torghut_assets.presentation import PICTURE_LIMIT
from torghut_assets.resources import DatabaseResource
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.storage import ledger

Own = Callable[..., DagsterProject]
LANE_ASSETS = {
    keys.BARS,
    keys.SIGNALS,
    keys.CANDIDATE_SPEC,
    keys.WALKFORWARD_RESULTS,
    keys.EVALUATION_REPORT,
    keys.EVIDENCE,
    keys.GATE_EVALUATION,
    keys.PREREQUISITES,
    keys.READINESS,
    keys.POLICY_DRY_RUN,
    keys.DECISION,
}
GUARDED = {keys.GATE_EVALUATION, keys.PREREQUISITES, keys.READINESS, keys.POLICY_DRY_RUN, keys.PATCH}


def materialized(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, dg.AssetMaterialization]:
    events = result.get_asset_materialization_events()
    return {event.asset_key: event.step_materialization_data.materialization for event in events if event.asset_key}


def versions(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, str]:
    return {key: (each.tags or {})["dagster/data_version"] for key, each in materialized(result).items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[dg.AssetKey, str], dg.AssetCheckEvaluation]:
    return {(each.asset_key, each.check_name): each for each in result.get_asset_check_evaluations()}


def red(result: dg.ExecuteInProcessResult) -> set[str]:
    return {name for (_, name), each in checks(result).items() if not each.passed}


def test_a_promoted_candidate_has_green_checks_for_what_it_asked_and_its_patch(judged: JudgedProject) -> None:
    result = judged.runs[ALLOWED]
    assert result.success
    assert set(materialized(result)) == LANE_ASSETS | {keys.PATCH}
    assert [
        name
        for (_, name), each in checks(result).items()
        if not each.passed and each.severity is dg.AssetCheckSeverity.ERROR
    ] == []
    assert checks(result)[keys.DECISION, "promotion_decision"].passed
    assert PATCH in judged.project.bundle(ALLOWED)
    assert judged.project.instance.get_materialized_partitions(keys.PATCH) == {ALLOWED}


def test_a_denied_candidate_is_a_green_run_with_red_checks_all_reports_and_no_patch(judged: JudgedProject) -> None:
    result = judged.runs[DENIED]
    assert result.success
    assert set(materialized(result)) == LANE_ASSETS
    assert {"gate1_statistical_robustness", "promotion_decision"} <= red(result)
    failed = checks(result)[keys.GATE_EVALUATION, "gate1_statistical_robustness"]
    assert (failed.severity, failed.blocking, failed.partition) == (dg.AssetCheckSeverity.ERROR, False, DENIED)
    assert failed.description == "1.trade_count: trade_count_below_minimum"
    assert "10,000" in str(failed.metadata["rules"].value)
    bundle = judged.project.bundle(DENIED)
    assert set(bundle) == set(judged.project.bundle(ALLOWED)) - {PATCH}
    assert json.loads(bundle["gates/promotion-decision.json"])["reasons"] == ["trade_count_below_minimum"]
    assert judged.project.store.partitions(keys.PATCH.path) == [ALLOWED]


def test_every_gate_and_verdict_has_a_check_for_its_candidate(judged: JudgedProject) -> None:
    expected = {(keys.GATE_EVALUATION, gate.gate_id) for gate in GATES} | {
        (keys.SIGNALS, "gate0_data_integrity"),
        (keys.PREREQUISITES, "promotion_prerequisites"),
        (keys.READINESS, "rollback_readiness"),
        (keys.DECISION, "promotion_decision"),
    }
    for name, result in judged.runs.items():
        guarded = GUARDED if name == ALLOWED else GUARDED - {keys.PATCH}
        assert set(checks(result)) == expected | {(key, "guard_transition") for key in guarded}
        assert {each.partition for each in checks(result).values()} == {name}


@pytest.mark.parametrize("name", [ALLOWED, DENIED])
def test_dagster_and_the_command_line_leave_the_same_bytes(judged: JudgedProject, tmp_path: Path, name: str) -> None:
    run_lane(request_of(judged.project.folder, tmp_path / "out", name), clock=lambda: NOW)
    assert files(tmp_path / "out") == judged.project.bundle(name)


def test_a_candidate_with_signals_has_no_bars(judged: JudgedProject) -> None:
    found = materialized(judged.runs[SIGNALLED])
    assert found[keys.BARS].metadata["file"].value == "none: the candidate has signals"
    assert found[keys.SIGNALS].metadata["source"].value == "signals"
    assert json.loads(judged.project.bundle(SIGNALLED)["research/candidate-spec.json"])["dataset"]["rows"] == 120


def test_results_describe_themselves(judged: JudgedProject) -> None:
    found = materialized(judged.runs[ALLOWED])
    signals = found[keys.SIGNALS].metadata
    bars = pl.read_parquet(judged.project.folder / "bars.parquet")
    assert signals["dagster/row_count"].value == bars.height
    assert "rsi14" in [column.name for column in signals["dagster/column_schema"].value.columns]
    assert len(found[keys.WALKFORWARD_RESULTS].metadata["folds"].records) == 5
    assert "| 1.trade_count |" in str(found[keys.GATE_EVALUATION].metadata["rules"].value)
    assert found[keys.DECISION].metadata["action"].value == "promote"
    assert "kind: ConfigMap" in str(found[keys.PATCH].metadata["patch"].value)
    assert found[keys.EVALUATION_REPORT].metadata["trade_count"].value > 0


def test_pictures_in_metadata_are_small_and_complete(judged: JudgedProject) -> None:
    pictures = [
        str(entry.value)
        for each in materialized(judged.runs[ALLOWED]).values()
        for entry in each.metadata.values()
        if "data:image/png;base64," in str(entry.value)
    ]
    assert len(pictures) == 4
    for text in pictures:
        assert text.startswith("![")
        assert text.endswith(")")
        assert 5_000 < len(text) < PICTURE_LIMIT * 1.4


def test_the_patch_alone_is_refused_for_a_denied_candidate_with_its_reasons(judged: JudgedProject) -> None:
    before = judged.project.bundle(DENIED)
    result = judged.project.run(DENIED, keys.PATCH, raise_on_error=False)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    said = str(failure.event_specific_data)
    assert "no patch for denied" in said
    assert "trade_count_below_minimum" in said
    assert judged.project.bundle(DENIED) == before
    assert judged.project.store.partitions(keys.PATCH.path) == [ALLOWED]


def test_the_patch_alone_is_made_again_for_a_promoted_candidate(judged: JudgedProject) -> None:
    before = judged.project.bundle(ALLOWED)
    result = judged.project.run(ALLOWED, keys.PATCH)
    assert versions(result) == {keys.PATCH: versions(judged.runs[ALLOWED])[keys.PATCH]}
    assert judged.project.bundle(ALLOWED) == before


@pytest.mark.parametrize("name", [ALLOWED, DENIED])
def test_checks_alone_conclude_the_same_and_change_nothing(judged: JudgedProject, name: str) -> None:
    folder, instance = judged.project.folder / "artifacts", judged.project.instance
    before = files(folder)
    runs = {key: instance.get_latest_materialization_event(key).run_id for key in LANE_ASSETS}  # type: ignore[union-attr]
    job = judged.project.definitions.resolve_job_def("checks")
    result = job.execute_in_process(tags={"dagster/partition": name}, instance=instance)
    assert result.success
    found = {key: each.passed for key, each in checks(result).items()}
    patch = found.pop((keys.PATCH, "guard_transition"))
    first = {key: each.passed for key, each in checks(judged.runs[name]).items()}
    assert patch == first.pop((keys.PATCH, "guard_transition"), False)
    assert found == first
    assert files(folder) == before
    assert {key: instance.get_latest_materialization_event(key).run_id for key in LANE_ASSETS} == runs  # type: ignore[union-attr]


def test_the_leaderboard_compares_all_candidates(judged: JudgedProject) -> None:
    job = judged.project.definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(asset_selection=[keys.LEADERBOARD], instance=judged.project.instance)
    entry = materialized(result)[keys.LEADERBOARD].metadata
    rows = {str(row.data["name"]): row.data for row in entry["candidates"].records}
    assert entry["dagster/row_count"].value == 3
    assert set(rows) == {ALLOWED, DENIED, SIGNALLED}
    assert rows[DENIED]["verdict"] == "deny"
    assert rows[DENIED]["reasons"] == "trade_count_below_minimum"


def test_equal_inputs_have_equal_versions_and_a_change_reaches_what_depends_on_it(own_project: Own) -> None:
    project = own_project()
    first, again = versions(project.run(ALLOWED)), versions(project.run(ALLOWED))
    assert again == first
    write_policy(project.folder / "config" / f"{ALLOWED}-policy.json", **{**LENIENT, "gate6_min_confidence_samples": 1})
    judged_anew = versions(project.run(ALLOWED))
    research = {keys.BARS, keys.SIGNALS, keys.CANDIDATE_SPEC, keys.WALKFORWARD_RESULTS, keys.EVALUATION_REPORT}
    assert {key for key in first if judged_anew[key] != first[key]} == set(first) - research - {keys.EVIDENCE}
    bars = pl.read_parquet(project.folder / "bars.parquet")
    cheaper = pl.when(pl.int_range(pl.len()) == 200).then(pl.col("low") - 0.01).otherwise(pl.col("low"))
    bars.with_columns(low=cheaper).write_parquet(project.folder / "bars.parquet")
    other = versions(project.run(ALLOWED))
    assert {key for key in first if other[key] == judged_anew[key]} == set()


def test_a_denial_after_a_promotion_leaves_no_patch_anywhere(own_project: Own) -> None:
    project = own_project()
    project.run(ALLOWED)
    assert PATCH in project.bundle(ALLOWED)
    write_policy(project.folder / "config" / f"{ALLOWED}-policy.json", **IMPOSSIBLE)
    assert project.run(ALLOWED).success
    assert PATCH not in project.bundle(ALLOWED)
    assert project.store.partitions(keys.PATCH.path) == []
    assert not project.run(ALLOWED, keys.PATCH, raise_on_error=False).success


def test_a_stored_verdict_is_not_believed_when_the_policy_has_changed_since(own_project: Own) -> None:
    project = own_project()
    project.run(ALLOWED)
    before = project.bundle(ALLOWED)
    write_policy(project.folder / "config" / f"{ALLOWED}-policy.json", **IMPOSSIBLE)
    result = project.run(ALLOWED, keys.PATCH, raise_on_error=False)
    assert not result.success
    assert project.bundle(ALLOWED) == before


def test_a_database_that_is_down_fails_the_run_and_concludes_nothing(own_project: Own) -> None:
    project = own_project(database=DatabaseResource(dsn="postgresql://torghut:a-password@127.0.0.1:9/torghut"))
    result = project.run(ALLOWED, raise_on_error=False)
    assert not result.success
    assert keys.EVIDENCE not in materialized(result)
    assert keys.DECISION not in materialized(result)
    (failure,) = result.get_step_failure_events()
    assert StoreUnavailableError.__name__ in str(failure.event_specific_data)
    assert "a-password" not in str(failure.event_specific_data)
    assert not (project.folder / "artifacts" / "candidates").exists()


def test_decisions_of_dagster_are_rows_of_the_ledger(own_project: Own, database_dsn: str, connection: Any) -> None:
    project = own_project(
        {ALLOWED: {"policy": LENIENT}, DENIED: {"policy": IMPOSSIBLE}}, database=DatabaseResource(dsn=database_dsn)
    )
    for name in (ALLOWED, DENIED):
        assert project.run(name).success
        (row,) = [each for each in ledger.history(connection, name) if each.kind == "promotion"]
        decision = json.loads(project.bundle(name)["gates/promotion-decision.json"])
        assert (row.kind, row.actor, row.body["action"]) == ("promotion", "dagster", decision["action"])
        assert decision["ledger"] == {"seq": row.seq, "hash": row.hash}
    assert PATCH in project.bundle(ALLOWED)
    assert PATCH not in project.bundle(DENIED)


def test_a_registration_that_is_wrong_fails_its_own_run_only(own_project: Own) -> None:
    project = own_project({ALLOWED: {"policy": LENIENT}, "broken": {"policy": LENIENT}})
    entries = {"strategies": [momentum_entry(params={"lookback_bars": -1})]}
    (project.folder / "config" / "broken-strategies.yaml").write_text(yaml.safe_dump(entries))
    result = project.run("broken", raise_on_error=False)
    assert not result.success
    said = str([event.event_specific_data for event in result.get_step_failure_events()])
    assert "broken-strategies.yaml" in said
    assert "params.lookback_bars" in said
    assert project.run(ALLOWED).success
