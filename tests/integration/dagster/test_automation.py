"""What starts by itself: partitions from registrations, the daily re-evaluation, retention."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from lane_project import write_project

from torghut_assets import retention
from torghut_assets.automation import candidate_registrations, daily_reevaluation
from torghut_assets.definitions import build_definitions
from torghut_assets.resources import ProjectResource
from torghut_assets.retention import event_log_retention, expendable

NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", {"first": {}, "second": {}})


def tick(project: Path, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    definitions = build_definitions(project=project)
    with dg.build_sensor_context(
        instance=instance, definitions=definitions, resources={"project": ProjectResource(root=str(project))}
    ) as context:
        result = candidate_registrations(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def added(result: dg.SensorResult | dg.SkipReason) -> list[str]:
    assert isinstance(result, dg.SensorResult)
    (request,) = result.dynamic_partitions_requests or ()
    assert not result.run_requests
    return list(request.partition_keys)


def skipped(result: dg.SensorResult | dg.SkipReason) -> str:
    assert isinstance(result, dg.SkipReason)
    return result.skip_message or ""


def test_new_registrations_become_partitions_once_and_start_no_run(project: Path, instance: dg.DagsterInstance) -> None:
    assert added(tick(project, instance)) == ["first", "second"]
    instance.add_dynamic_partitions("candidate", ["first"])
    assert added(tick(project, instance)) == ["second"]
    instance.add_dynamic_partitions("candidate", ["second"])
    assert skipped(tick(project, instance)) == "nothing new among 2 registrations"


def test_registrations_that_cannot_be_used_are_named_and_disturb_no_other(
    project: Path, instance: dg.DagsterInstance
) -> None:
    candidates = project / "config" / "candidates"
    (candidates / "third.yaml").write_text((candidates / "first.yaml").read_text())
    (candidates / "fourth.yaml").write_text("name: [")
    assert added(tick(project, instance)) == ["first", "second"]
    instance.add_dynamic_partitions("candidate", ["first", "second"])
    said = skipped(tick(project, instance))
    assert said.startswith("nothing new; 2 cannot be used: ")
    assert "fourth.yaml: is not YAML" in said
    assert "third.yaml: field name: must be the file's name 'third', was 'first'" in said


def test_a_project_without_registrations_has_nothing_new(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    assert skipped(tick(tmp_path, instance)) == "nothing new among 0 registrations"


def test_a_known_candidate_whose_registration_went_stays_known(project: Path, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("candidate", ["first", "second", "former"])
    assert skipped(tick(project, instance)) == "nothing new among 2 registrations"
    assert "former" in instance.get_dynamic_partitions("candidate")


def evening(project: Path, instance: dg.DagsterInstance, day: date) -> list[dg.RunRequest | dg.SkipReason]:
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime.combine(day, time(17, 30), NEW_YORK),
        resources={"project": ProjectResource(root=str(project))},
    )
    return list(daily_reevaluation(context))  # type: ignore[call-overload]


def test_after_a_session_every_registered_partition_is_judged_again(project: Path) -> None:
    with dg.instance_for_test() as stored:  # a schedule opens its instance by reference
        stored.add_dynamic_partitions("candidate", ["second", "former"])
        (request,) = evening(project, stored, date(2026, 7, 2))
    assert isinstance(request, dg.RunRequest)
    assert (request.run_key, request.partition_key) == ("2026-07-02:second", "second")


@pytest.mark.parametrize("day", [date(2026, 7, 3), date(2025, 1, 9), date(2026, 12, 25)])
def test_on_a_day_without_session_nothing_is_judged(project: Path, instance: dg.DagsterInstance, day: date) -> None:
    instance.add_dynamic_partitions("candidate", ["first"])
    (reason,) = evening(project, instance, day)
    assert isinstance(reason, dg.SkipReason)
    assert reason.skip_message == f"the exchange was closed on {day.isoformat()}"


def record(job: str, partition: str | None, age_days: int, number: int) -> dg.RunRecord:
    moment = datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=age_days)
    run = dg.DagsterRun(
        job_name=job,
        run_id=f"run-{number}",
        tags={} if partition is None else {"dagster/partition": partition},
        status=dg.DagsterRunStatus.SUCCESS,
    )
    return dg.RunRecord(storage_id=number, dagster_run=run, create_timestamp=moment, update_timestamp=moment)


def test_old_runs_may_go_except_the_newest_of_each_job_and_candidate() -> None:
    runs = [
        record("lane", "a", 1, 9),
        record("lane", "a", 10, 8),
        record("lane", "b", 89, 7),
        record("checks", "a", 91, 6),
        record("lane", "a", 91, 5),
        record("lane", "c", 400, 4),
        record("event_log_retention", None, 400, 3),
        record("event_log_retention", None, 401, 2),
        record("lane", "c", 401, 1),
    ]
    assert expendable(runs, datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=90)) == ["run-5", "run-2", "run-1"]


def test_a_run_that_is_exactly_as_old_as_the_limit_stays() -> None:
    runs = [record("lane", "a", 1, 3), record("lane", "a", 90, 2), record("lane", "a", 91, 1)]
    assert expendable(runs, datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=90)) == ["run-1"]


def test_retention_deletes_old_runs_of_the_instance_and_keeps_running_ones(instance: dg.DagsterInstance) -> None:
    @dg.job
    def lane() -> None: ...

    for _ in range(3):
        lane.execute_in_process(instance=instance)
    running = instance.create_run_for_job(lane, status=dg.DagsterRunStatus.STARTED)
    newest = instance.get_run_records(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))[0]
    result = event_log_retention.execute_in_process(
        instance=instance, run_config={"ops": {"delete_old_runs": {"config": {"keep_days": 0}}}}
    )
    assert result.success
    kept = {run.run_id for run in instance.get_runs() if run.job_name == "lane"}
    assert kept == {running.run_id, newest.dagster_run.run_id}


def test_runs_are_kept_for_90_days_unless_told_otherwise() -> None:
    assert retention.RetentionConfig().keep_days == 90
