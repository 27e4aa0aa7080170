"""Event-log retention: old runs of Dagster are deleted with their events, so that its database does not grow for ever.

Proof does not live there: verdicts are in the governance ledger, artifacts in the store. How long ticks are kept is
said in ``dagster.yaml``.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

PARTITION_TAG = "dagster/partition"


class RetentionConfig(dg.Config):
    """How many days finished runs are kept."""

    keep_days: int = 90


def expendable(runs: Sequence[dg.RunRecord], before: datetime) -> list[str]:
    """Ids of the runs that may be deleted.

    The newest run of every job and candidate stays, whatever its age: its events say what an asset holds.

    Args:
        runs: finished ones, newest first.
        before: runs that were created earlier are old (UTC).
    """
    seen: set[tuple[str, str | None]] = set()
    old: list[str] = []
    for record in runs:
        run = record.dagster_run
        kind = (run.job_name, run.tags.get(PARTITION_TAG))
        if kind in seen and record.create_timestamp < before:
            old.append(run.run_id)
        seen.add(kind)
    return old


@dg.op
def delete_old_runs(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
    """Delete what may be deleted."""
    finished = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    )
    runs = context.instance.get_run_records(filters=finished)
    old = expendable(runs, datetime.now(UTC) - timedelta(days=config.keep_days))
    for run_id in old:
        context.instance.delete_run(run_id)
    context.log.info("deleted %d of %d finished runs older than %d days", len(old), len(runs), config.keep_days)


@dg.job(description="Deletes finished runs that are older than 90 days, except the newest of each job and candidate.")
def event_log_retention() -> None:
    """Delete old runs."""
    delete_old_runs()


weekly_retention = dg.ScheduleDefinition(
    name="weekly_event_log_retention",
    job=event_log_retention,
    cron_schedule="0 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every Sunday. Off until somebody turns it on.",
)
