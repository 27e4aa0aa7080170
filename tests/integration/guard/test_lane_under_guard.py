"""The lane in Dagster under the guard: entries, denials, checks, retries, and the patch that is refused alone."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from guard_world import POLICY_FILE, World, emptied
from lane_project import LENIENT, NOW, DagsterProject, write_project

from torghut_assets.artifacts import ArtifactStore
from torghut_assets.guard import stages
from torghut_assets.guard.holds import freeze_promotion, pause
from torghut_assets.guard.policy import POLICY_PATH
from torghut_assets.guard.resource import GuardResource
from torghut_assets.guard.sensors import STAGE_OF, record_lost_run
from torghut_assets.keys import (
    BARS,
    DECISION,
    EVALUATION_REPORT,
    EVIDENCE,
    GATE_EVALUATION,
    PATCH,
    POLICY_DRY_RUN,
    PREREQUISITES,
    READINESS,
    SIGNALS,
)
from torghut_assets.research import tearsheet
from torghut_assets.resources import ClockResource, DatabaseResource
from torghut_runtime.errors import UpstreamError

GUARD_CHECK = "guard_transition"
GOOD, BAD = "good-candidate", "denied-candidate"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    blank = dict.fromkeys(("equity", "folds", "months", "sharpe", "costs"), "data:,")
    monkeypatch.setattr(tearsheet, "_pictures", lambda report, walkforward: blank)


@pytest.fixture
def project(tmp_path: Path, guard_dsn: str, pooled_engine: sa.Engine) -> Generator[DagsterProject]:
    """Two candidates, one of which no policy would pass, on a database of their own."""
    emptied(pooled_engine)
    denied = {**LENIENT, "gate1_min_trade_count": 100_000}
    folder = write_project(
        tmp_path / "project",
        {GOOD: {"policy": LENIENT}, BAD: {"policy": denied, "entry": {"priority": 7}}},
    )
    resources = {"database": DatabaseResource(dsn=guard_dsn), "clock": ClockResource(fixed=NOW.isoformat())}
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterProject(folder, instance, **resources)


@pytest.fixture
def world(project: DagsterProject, pooled_engine: sa.Engine) -> World:
    return World(pooled_engine, project.store)


def guard_checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    return {
        evaluation.asset_key.path[-1]: (bool(evaluation.passed), str(evaluation.metadata["reason"].value))
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.check_name == GUARD_CHECK
    }


def entries(world: World, name: str) -> list[tuple[str, str, str | None]]:
    return [(row.stage, row.edge, row.verdict) for row in world.footprint()[2] if row.name == name]


def test_an_allowed_candidate_walks_to_shadow_paper_and_a_second_lane_changes_nothing(
    project: DagsterProject, world: World
) -> None:
    result = project.run(GOOD)
    assert result.success
    assert entries(world, GOOD) == [
        ("research-intake", "start", "passed"),
        *((stage, "forward", "passed") for stage in stages.ASSET_STAGES[1:]),
    ]
    assert set(guard_checks(result).values()) == {(True, "transition_allowed")}
    assert len(guard_checks(result)) == 5
    before, decided = world.footprint(), [row.kind for row in world.ledger(GOOD)]
    stored = project.bundle(GOOD)
    again = project.run(GOOD)
    assert again.success
    assert world.footprint()[1:] == before[1:]
    assert [row.kind for row in world.ledger(GOOD)][len(decided) :] == ["promotion"]
    second = project.bundle(GOOD)
    changed = {path for path in stored if stored[path] != second[path]}
    assert changed <= {"gates/promotion-decision.json", "MANIFEST.json"}
    assert b'"transition_allowed"' in second["gates/promotion-decision.json"]


def test_a_denied_candidate_is_a_green_run_with_red_checks_and_another_ones_patch_still_appears(
    project: DagsterProject, world: World
) -> None:
    result = project.run(BAD)
    assert result.success
    illegal = "illegal_transition:research-intake->promotion-prerequisites"
    assert guard_checks(result)["promotion_prerequisites"] == (False, illegal)
    assert guard_checks(result)["gate_evaluation"] == (True, "transition_allowed")
    assert entries(world, BAD)[-2:] == [("gate-evaluation", "forward", "failed"), ("research-intake", "return", None)]
    assert not [path for path in project.bundle(BAD) if path.startswith("paper-candidate")]
    assert world.footprint()[3] == [], "a denial is no failure"
    first = entries(world, BAD)
    again = project.run(BAD)
    assert again.success
    assert [entry[:2] for entry in entries(world, BAD)] == [entry[:2] for entry in first]
    assert project.run(GOOD).success
    assert "paper-candidate/strategy-configmap-patch.yaml" in project.bundle(GOOD)


def test_checks_run_moves_nothing(project: DagsterProject, world: World) -> None:
    project.run(BAD)
    before = world.footprint()
    job = project.definitions.resolve_job_def("checks")
    job.execute_in_process(tags={"dagster/partition": BAD}, instance=project.instance, raise_on_error=False)
    assert world.footprint() == before


def test_a_check_that_cannot_tell_is_red_and_does_not_raise(project: DagsterProject) -> None:
    job = project.definitions.resolve_job_def("checks")
    result = job.execute_in_process(tags={"dagster/partition": GOOD}, instance=project.instance, raise_on_error=False)
    found = guard_checks(result)
    assert len(found) == 5
    assert set(found.values()) == {(False, "guard_error")}


def test_the_patch_alone_is_refused_where_the_guard_says_no(project: DagsterProject, world: World) -> None:
    project.run(BAD)
    denied = project.run(BAD, PATCH, raise_on_error=False)
    assert not denied.success
    project.run(GOOD)
    world.guard.enter(world.request("incident-recovery", run=str(world.state(GOOD).run_id), candidate=GOOD))
    project.store.forget(PATCH.path, GOOD)
    refused = project.run(GOOD, PATCH, raise_on_error=False)
    assert not refused.success
    event = refused.get_step_failure_events()[0]
    assert "illegal_transition:incident-recovery->shadow-paper" in str(event.step_failure_data.error)
    assert project.store.reference(PATCH.path, GOOD) is None
    assert len(world.footprint()[3]) == 0


def test_a_frozen_promotion_denies_in_the_decision_and_a_pause_waits(project: DagsterProject, world: World) -> None:
    freeze_promotion(world.engine, reason="stop", actor="ada")
    result = project.run(GOOD)
    assert result.success
    assert guard_checks(result)["promotion_prerequisites"] == (False, "promotion_frozen:operator")
    decision = project.bundle(GOOD)["gates/promotion-decision.json"]
    assert b'"action": "deny"' in decision
    assert world.state(GOOD).active_stage == "gate-evaluation"


def test_new_evidence_takes_the_return_edge_and_a_run_in_the_dry_run_is_left_to_a_person(
    project: DagsterProject, world: World
) -> None:
    freeze_promotion(world.engine, reason="stop", actor="ada")
    project.run(GOOD)
    first = world.state(GOOD).run_id
    pause(world.engine, GOOD, reason="look", actor="ada")  # is part of the evidence
    project.run(GOOD)
    assert world.state(GOOD).run_id != first
    moves = [row.body["edge"] for row in world.ledger(GOOD) if row.kind == "guard_decision" and row.body["allowed"]]
    assert moves[4:6] == ["return", "start"]


@pytest.fixture
def failing(project: DagsterProject, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception, int], None]:
    """Make reading bars fail a number of times; retries wait for nothing."""
    content = yaml.safe_load(POLICY_FILE.read_text())
    content["failurePolicies"]["transient"].update(initialBackoffSeconds=0, maxBackoffSeconds=0)
    (project.folder / POLICY_PATH).write_text(yaml.safe_dump(content))
    from torghut_assets.market import assets as market

    read = market.read_market_bars

    def install(error: Exception, times: int) -> None:
        left = [times]

        def unreliable(*given: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise error
            return read(*given)

        monkeypatch.setattr(market, "read_market_bars", unreliable)

    return install


def test_the_third_retry_of_a_stage_really_happens(
    project: DagsterProject, world: World, failing: Callable[[Exception, int], None]
) -> None:
    failing(UpstreamError("no data yet"), 3)
    result = project.run(GOOD, BARS)
    assert result.success
    rows = world.footprint()[3]
    assert [(row.action, row.attempt) for row in rows] == [("retry", 1), ("retry", 2), ("retry", 3)]
    assert {(row.name, row.stage, row.run_id, row.failure_class) for row in rows} == {
        (GOOD, "research-intake", None, "transient")
    }
    assert len({row.occurrence_id for row in rows}) == 3


def test_five_failures_pause_and_the_run_fails_for_good(
    project: DagsterProject, world: World, failing: Callable[[Exception, int], None]
) -> None:
    failing(UpstreamError("down"), 9)
    result = project.run(GOOD, BARS, raise_on_error=False)
    assert not result.success
    assert [row.action for row in world.footprint()[3]] == ["retry"] * 4 + ["pause_for_review"]
    assert world.state(GOOD).paused


def test_a_broken_stage_is_not_retried(
    project: DagsterProject, world: World, failing: Callable[[Exception, int], None]
) -> None:
    failing(ZeroDivisionError("defect"), 1)
    result = project.run(GOOD, BARS, raise_on_error=False)
    assert not result.success
    assert [(row.action, row.failure_class) for row in world.footprint()[3]] == [("fail", "deterministic")]
    event = result.get_step_failure_events()[0]
    assert "deterministic_non_retryable" in str(event.step_failure_data.error)


def guard_of(project: DagsterProject, dsn: str) -> GuardResource:
    return GuardResource(root=str(project.folder), dsn=dsn, artifacts_root=str(project.store.root))


def lost_run(project: DagsterProject, name: str = GOOD) -> dg.DagsterRun:
    job = project.definitions.resolve_job_def("lane")
    return project.instance.create_run_for_job(job, tags={"dagster/partition": name})


def test_five_lost_runs_within_the_hour_pause_the_candidate_each_counted_once(
    project: DagsterProject, world: World, guard_dsn: str
) -> None:
    guard = guard_of(project, guard_dsn)
    for number in range(5):
        run = lost_run(project)
        outcome = record_lost_run(guard, project.instance, run, "the worker is gone")
        assert outcome is not None
        assert outcome.answer.stage_failures == number + 1
        assert record_lost_run(guard, project.instance, run, "the worker is gone") is None
    assert world.state(GOOD).paused
    assert {row.failure_class for row in world.footprint()[3]} == {"transient"}


def test_a_failure_seen_by_asset_and_sensor_is_counted_once(
    project: DagsterProject, world: World, guard_dsn: str, failing: Callable[[Exception, int], None]
) -> None:
    failing(ZeroDivisionError("defect"), 1)
    result = project.run(GOOD, BARS, raise_on_error=False)
    run = project.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert record_lost_run(guard_of(project, guard_dsn), project.instance, run, "failed") is None
    assert len(world.footprint()[3]) == 1


def test_a_run_without_candidate_or_database_is_nobodys_failure(project: DagsterProject, guard_dsn: str) -> None:
    job = project.definitions.resolve_job_def("lane")
    run = project.instance.create_run_for_job(job)
    assert record_lost_run(guard_of(project, guard_dsn), project.instance, run, "lost") is None
    without = GuardResource(root=str(project.folder), artifacts_root=str(project.store.root))
    assert record_lost_run(without, project.instance, lost_run(project), "lost") is None


def test_every_asset_of_the_lane_has_its_stage(project: DagsterProject) -> None:
    lane = project.definitions.resolve_job_def("lane").asset_layer.selected_asset_keys
    assert set(STAGE_OF) == set(lane)
    assert {STAGE_OF[key] for key in (EVIDENCE, GATE_EVALUATION)} == {"gate-evaluation"}
    assert STAGE_OF[SIGNALS] == "research-intake"
    assert STAGE_OF[EVALUATION_REPORT] == "backtest-robustness"
    assert {STAGE_OF[key] for key in (POLICY_DRY_RUN, DECISION)} == {"policy-dry-run"}
    assert (STAGE_OF[PREREQUISITES], STAGE_OF[READINESS]) == ("promotion-prerequisites", "rollback-readiness")
    assert isinstance(project.store, ArtifactStore)
