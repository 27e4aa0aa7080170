"""The sensor over failed runs: a run that was lost is a failure that no asset could tell.

It records each such run once and requests none; restarting lost runs is Dagster's ``run_retries``.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Mapping
from typing import Final

import dagster as dg
import sqlalchemy as sa

from torghut_assets.guard.answering import ACTOR
from torghut_assets.guard.policy import FailureClass
from torghut_assets.guard.resource import GuardResource
from torghut_assets.guard.session import Failure
from torghut_assets.guard.stages import (
    BACKTEST,
    BUILD,
    DRY_RUN,
    GATES,
    INTAKE,
    PAPER,
    PREREQUISITES,
    READINESS,
)
from torghut_assets.guard.store import FailureOutcome
from torghut_assets.keys import (
    BARS,
    CANDIDATE_SPEC,
    DECISION,
    EVALUATION_REPORT,
    EVIDENCE,
    GATE_EVALUATION,
    PATCH,
    POLICY_DRY_RUN,
    SIGNALS,
    WALKFORWARD_RESULTS,
)
from torghut_assets.keys import PREREQUISITES as PREREQUISITES_KEY
from torghut_assets.keys import READINESS as READINESS_KEY
from torghut_runtime.storage.guard_tables import guard_failures

STAGE_OF: Final[Mapping[dg.AssetKey, str]] = {
    BARS: INTAKE,
    SIGNALS: INTAKE,
    CANDIDATE_SPEC: BUILD,
    WALKFORWARD_RESULTS: BACKTEST,
    EVALUATION_REPORT: BACKTEST,
    EVIDENCE: GATES,
    GATE_EVALUATION: GATES,
    PREREQUISITES_KEY: PREREQUISITES,
    READINESS_KEY: READINESS,
    POLICY_DRY_RUN: DRY_RUN,
    DECISION: DRY_RUN,
    PATCH: PAPER,
}
"""The stage that each asset belongs to."""
_STAGE_OF_STEP: Final = {key.to_python_identifier(): stage for key, stage in STAGE_OF.items()}
_PARTITION: Final = "dagster/partition"


def record_lost_run(
    guard: GuardResource, instance: dg.DagsterInstance, run: dg.DagsterRun, message: str
) -> FailureOutcome | None:
    """Record the failure of a run, unless an asset of it did; ``None`` when there is nothing to record."""
    name = run.tags.get(_PARTITION)
    engine = guard.engine
    if name is None or engine is None:
        return None
    with engine.connect() as connection:
        told = sa.select(sa.exists().where(guard_failures.c.dagster_run_id == run.run_id))
        if connection.execute(told).scalar_one():
            return None
    stage, failure_class = _what_failed(instance, run)
    stages = guard.of(name, ACTOR)
    failure = Failure(
        name=name,
        run_id=stages.bound_run(stage),
        stage=stage,
        failure_class=failure_class,
        occurrence_id=run.run_id,
        message=message,
        dagster_run_id=run.run_id,
    )
    return stages.guard.evaluate_failure(failure, actor=ACTOR, apply=True, first_sight=True)


def _what_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[str, FailureClass]:
    """The stage that the run was in, and the class: a run without a failed step was lost."""
    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_FAILURE}
    last_started, failed = None, None
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        step = event.step_key if event is not None else None
        if step not in _STAGE_OF_STEP:
            continue
        if event is not None and event.event_type == dg.DagsterEventType.STEP_FAILURE:
            failed = step
        else:
            last_started = step
    stage = _STAGE_OF_STEP.get(failed or last_started or "", INTAKE)
    return stage, "transient" if failed is None else "deterministic"


@dg.run_failure_sensor(
    name="guard_run_failure_sensor",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Records each run that was lost as one transient failure of its candidate. It requests no run.",
)
def guard_run_failure_sensor(context: dg.RunFailureSensorContext, guard: GuardResource) -> None:
    """One failure per lost run; five within the hour pause the candidate."""
    run = context.dagster_run
    outcome = record_lost_run(guard, context.instance, run, context.failure_event.message or "the run failed")
    if outcome is not None:
        context.log.info("run %s: %s %s", run.run_id, outcome.answer.action, outcome.answer.reason or "")
