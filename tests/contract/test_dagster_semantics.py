"""What we rely on in Dagster, row by row: an upgrade that changes one of these facts fails here, loudly."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args, get_origin

import dagster as dg
import pytest

from torghut_assets.check_specs import candidate_check
from torghut_assets.partitions import CANDIDATES
from torghut_assets.selection import selected_alone

Instance = dg.DagsterInstance
BASE = dg.AssetKey("base")
TAG = "dagster/partition"


@dataclass(frozen=True)
class Measured:
    """Any record of ours."""

    value: int


class Memory(dg.IOManager):
    """Keeps outputs by asset and partition, as a store would, and counts what is read."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str | None], Any] = {}
        self.read: list[tuple[str, str | None]] = []

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        self.kept[context.asset_key.to_user_string(), context.partition_key if context.has_partition_key else None] = (
            obj
        )

    def load_input(self, context: dg.InputContext) -> Any:
        key = context.asset_key.to_user_string()
        partition = context.asset_partition_key if context.has_asset_partitions else None
        self.read.append((key, partition))
        return self.kept[key, partition]


@pytest.fixture
def instance() -> Iterator[Instance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("candidate", ["good", "bad"])
        yield instance


def evaluations(instance: Instance, asset: str, check: str) -> dict[str | None, bool]:
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey(asset), check), limit=100
    )
    found: dict[str | None, bool] = {}
    for record in records:
        if record.event is not None and record.event.dagster_event is not None:
            evaluation = record.event.dagster_event.event_specific_data
            if hasattr(evaluation, "passed"):
                found.setdefault(evaluation.partition, evaluation.passed)
    return found


@dg.asset(partitions_def=CANDIDATES)
def base(context: dg.AssetExecutionContext) -> str:
    return context.partition_key


@dg.asset(partitions_def=CANDIDATES, output_required=False)
def patch(context: dg.AssetExecutionContext, base: str) -> Iterator[dg.MaterializeResult[str]]:
    if base == "good":
        yield dg.MaterializeResult(value="patch")


@dg.multi_asset_check(specs=[candidate_check("gate", BASE, "passes for the good one")])
def gate(base: str) -> Iterator[dg.AssetCheckResult]:
    yield dg.AssetCheckResult(check_name="gate", asset_key=BASE, passed=base == "good")


def run(instance: Instance, partition: str, *assets: Any, memory: Memory | None = None, **options: Any) -> Any:
    return dg.materialize(
        list(assets),
        instance=instance,
        partition_key=partition,
        resources={"io_manager": memory or Memory()},
        raise_on_error=False,
        **options,
    )


def test_an_output_that_is_not_required_may_stay_away_in_a_green_run(instance: Instance):
    result = run(instance, "bad", base, patch)
    assert result.success
    assert instance.get_latest_materialization_event(patch.key) is None
    assert run(instance, "good", base, patch).success
    assert instance.get_materialized_partitions(patch.key) == {"good"}


def test_what_depends_on_an_absent_output_is_skipped_in_a_green_run(instance: Instance):
    @dg.asset(partitions_def=CANDIDATES, deps=[patch])
    def after() -> None:
        raise AssertionError("must not run")

    result = run(instance, "bad", base, patch, after)
    assert result.success
    assert instance.get_latest_materialization_event(after.key) is None


def test_a_failed_check_that_does_not_block_leaves_the_run_green_and_downstream_running(instance: Instance):
    result = run(instance, "bad", base, patch, gate)
    assert result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, dg.AssetCheckSeverity.ERROR, False)


def test_checks_are_recorded_for_each_partition(instance: Instance):
    memory = Memory()
    run(instance, "good", base, gate, memory=memory)
    run(instance, "bad", base, gate, memory=memory)
    assert evaluations(instance, "base", "gate") == {"good": True, "bad": False}


def test_a_partitioned_check_loads_its_own_partition_only(instance: Instance):
    memory = Memory()
    run(instance, "good", base, gate, memory=memory)
    assert memory.read == [("base", "good")]


def test_checks_alone_run_for_a_partition_that_the_run_tag_names(instance: Instance):
    memory = Memory()
    memory.kept = {("base", "good"): "good", ("base", "bad"): "bad"}
    defs = dg.Definitions(
        assets=[base],
        asset_checks=[gate],
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())],
        resources={"io_manager": memory},
    )
    job = defs.resolve_job_def("checks")
    for name in ("good", "bad"):
        result = job.execute_in_process(tags={TAG: name}, instance=instance)
        (evaluation,) = result.get_asset_check_evaluations()
        assert (evaluation.passed, evaluation.partition) == (name == "good", name)
    assert instance.get_latest_materialization_event(BASE) is None


def test_a_declared_check_without_result_fails_its_step(instance: Instance):
    @dg.multi_asset_check(specs=[candidate_check(name, BASE, "") for name in ("first", "second")])
    def forgetful() -> Iterator[dg.AssetCheckResult]:
        yield dg.AssetCheckResult(check_name="first", asset_key=BASE, passed=True)

    result = run(instance, "good", base, forgetful)
    assert not result.success
    assert [each.check_name for each in result.get_asset_check_evaluations()] == ["first"]


def test_a_check_that_raises_leaves_no_evaluation_and_a_failed_run_but_downstream_runs(instance: Instance):
    @dg.multi_asset_check(specs=[candidate_check("gate", BASE, "")])
    def broken() -> Iterator[dg.AssetCheckResult]:
        raise RuntimeError("broken check")

    result = run(instance, "good", base, patch, broken)
    assert not result.success
    assert result.get_asset_check_evaluations() == []
    assert instance.get_materialized_partitions(patch.key) == {"good"}


def test_whether_an_asset_runs_alone_is_read_from_the_job(instance: Instance):
    seen: list[tuple[set[dg.AssetKey], set[dg.AssetKey]]] = []

    @dg.asset(partitions_def=CANDIDATES)
    def watcher(context: dg.AssetExecutionContext, base: str) -> str:
        seen.append((set(context.selected_asset_keys), set(context.job_def.asset_layer.selected_asset_keys)))
        return base

    memory = Memory()
    run(instance, "good", base, watcher, memory=memory)
    run(instance, "good", base, watcher, memory=memory, selection=[watcher])
    assert seen == [({watcher.key}, {base.key, watcher.key}), ({watcher.key}, {watcher.key})]


@pytest.mark.parametrize("job", ["lane", "__ASSET_JOB"])
def test_a_run_of_a_job_s_subset_knows_whether_an_asset_was_asked_for_alone(instance: Instance, job: str):
    seen: list[bool] = []

    @dg.asset(partitions_def=CANDIDATES)
    def watcher(context: dg.AssetExecutionContext, base: str) -> str:
        seen.append(selected_alone(context))
        return base

    @dg.multi_asset_check(specs=[candidate_check("watched", watcher.key, "")])
    def watched(watcher: str) -> Iterator[dg.AssetCheckResult]:
        yield dg.AssetCheckResult(check_name="watched", asset_key=dg.AssetKey("watcher"), passed=True)

    defs = dg.Definitions(
        assets=[base, watcher],
        asset_checks=[watched],
        jobs=[dg.define_asset_job("lane", selection=dg.AssetSelection.all())],
        resources={"io_manager": Memory()},
    )
    resolved = defs.resolve_implicit_global_asset_job_def() if job == "__ASSET_JOB" else defs.resolve_job_def(job)
    for selection in (None, [watcher.key], [base.key, watcher.key]):
        run = resolved.execute_in_process(partition_key="good", instance=instance, asset_selection=selection)
        assert run.success
    assert seen == [False, True, False]


def test_a_job_of_partitioned_assets_takes_a_partition_without_being_told():
    defs = dg.Definitions(assets=[base], jobs=[dg.define_asset_job("lane", selection=dg.AssetSelection.all())])
    assert defs.resolve_job_def("lane").partitions_def == CANDIDATES


def test_an_optional_input_annotation_is_loaded_as_none(instance: Instance):
    seen: list[str | None] = []

    @dg.asset
    def maybe() -> dg.MaterializeResult[str | None]:
        return dg.MaterializeResult(value=None)

    @dg.asset
    def reader(maybe: str | None) -> None:
        seen.append(maybe)

    assert dg.materialize([maybe, reader], instance=instance, resources={"io_manager": Memory()}).success
    assert seen == [None]


def test_deleting_a_run_keeps_what_other_runs_have_materialized(instance: Instance):
    memory = Memory()
    first = run(instance, "good", base, memory=memory)
    second = run(instance, "bad", base, memory=memory)
    instance.delete_run(first.run_id)
    assert [each.run_id for each in instance.get_runs()] == [second.run_id]
    assert "bad" in instance.get_materialized_partitions(BASE)


def test_a_failure_without_retries_is_not_tried_again(instance: Instance):
    tries: list[str] = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def refusing() -> None:
        tries.append("tried")
        raise dg.Failure("candidate_equals_baseline", allow_retries=False)

    result = dg.materialize([refusing], instance=instance, raise_on_error=False)
    assert not result.success
    assert tries == ["tried"]
    (failure,) = result.get_step_failure_events()
    assert "candidate_equals_baseline" in str(failure.event_specific_data)


def test_a_data_version_given_by_the_asset_is_the_recorded_one_and_reaches_downstream(instance: Instance):
    @dg.asset(code_version="c1")
    def source() -> dg.MaterializeResult[int]:
        return dg.MaterializeResult(value=1, data_version=dg.DataVersion("f00d"))

    @dg.asset
    def sink(source: int) -> int:
        return source

    dg.materialize([source, sink], instance=instance, resources={"io_manager": Memory()})
    record = instance.get_latest_data_version_record(source.key)
    assert record is not None
    tags = record.asset_materialization.tags or {}
    assert (tags["dagster/data_version"], tags["dagster/code_version"]) == ("f00d", "c1")
    below = instance.get_latest_data_version_record(sink.key)
    assert below is not None
    assert (below.asset_materialization.tags or {})["dagster/input_data_version/source"] == "f00d"


def test_an_unpartitioned_asset_sees_all_partitions_of_its_input(instance: Instance):
    keys: list[list[str]] = []

    class Listing(Memory):
        def load_input(self, context: dg.InputContext) -> Any:
            keys.append(sorted(context.asset_partition_keys))
            return {}

    @dg.asset
    def leaderboard(base: dict[str, str]) -> int:
        return len(base)

    result = dg.materialize(
        [leaderboard, base], selection=[leaderboard], instance=instance, resources={"io_manager": Listing()}
    )
    assert result.success
    assert keys == [["bad", "good"]]


def test_the_annotation_of_an_input_reaches_the_io_manager(instance: Instance):
    kinds: list[Any] = []

    class Typed(Memory):
        def load_input(self, context: dg.InputContext) -> Any:
            kinds.append(context.dagster_type.typing_type)
            return {} if context.name == "many" else None

    @dg.asset
    def many() -> int:
        return 0

    @dg.asset
    def one() -> int:
        return 0

    @dg.asset
    def reader(many: dict[str, Measured], one: Measured | None) -> None: ...

    result = dg.materialize([many, one, reader], instance=instance, resources={"io_manager": Typed()})
    assert result.success
    table = next(kind for kind in kinds if get_origin(kind) is dict)
    optional = next(kind for kind in kinds if get_origin(kind) is not dict)
    assert get_args(table) == (str, Measured)
    assert set(get_args(optional)) == {Measured, type(None)}


def test_a_sensor_adds_partitions_once(instance: Instance):
    @dg.sensor(target="*", name="registrations")
    def registrations(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        known = context.instance.get_dynamic_partitions("candidate")
        new = [name for name in ("good", "newer") if name not in known]
        return dg.SensorResult(dynamic_partitions_requests=[CANDIDATES.build_add_request(new)] if new else [])

    with dg.build_sensor_context(instance=instance, definitions=dg.Definitions(assets=[base])) as context:
        tick = registrations.evaluate_tick(context)
    (request,) = tick.dynamic_partitions_requests
    assert list(request.partition_keys) == ["newer"]


@pytest.mark.parametrize("value", [Decimal("0.1"), datetime(2026, 1, 1, tzinfo=UTC).date(), {1, 2}])
def test_some_values_are_no_metadata(value: Any):
    with pytest.raises(dg.DagsterError, match="metadata"):
        dg.AssetCheckResult(passed=True, metadata={"observed": value})


def test_markdown_tables_and_numbers_are_metadata():
    result = dg.AssetCheckResult(passed=True, metadata={"rules": dg.MetadataValue.md("| a |\n|---|\n| 1 |"), "open": 0})
    assert result.metadata["open"].value == 0


def test_owners_are_teams_or_mail_addresses():
    assert list(dg.AssetSpec("x", owners=["team:research"]).owners) == ["team:research"]
    with pytest.raises(dg.DagsterInvalidDefinitionError):
        dg.AssetSpec("x", owners=["research"])


def test_an_event_written_in_one_run_is_not_in_another_ephemeral_instance(instance: Instance):
    run(instance, "good", base)
    with dg.DagsterInstance.ephemeral() as other:
        assert other.get_latest_materialization_event(BASE) is None
