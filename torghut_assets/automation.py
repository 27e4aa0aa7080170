"""What starts by itself: jobs, the sensor over registrations, the daily re-evaluation.

Nothing here concludes anything about a candidate. Out of the box only the sensor runs, and it only adds partitions:
materialising a candidate is somebody's click or command, or the schedule's once it has been switched on.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Iterator

import dagster as dg

from torghut_assets.execution.keys import PARITY, RECONCILIATION_REPORT
from torghut_assets.partitions import CANDIDATES
from torghut_assets.resources import ProjectResource
from torghut_runtime.market.calendar import TradingCalendar

MAX_RUNTIME_S = 7200
"""After this a run of the lane counts as lost."""
EXCHANGE_ZONE = "America/New_York"

LANE = dg.define_asset_job(
    "lane",
    selection=dg.AssetSelection.groups("market", "research", "gates", "promotion")
    - dg.AssetSelection.assets(dg.AssetKey(["research", "leaderboard"])),
    tags={"dagster/max_runtime": str(MAX_RUNTIME_S)},
    description="One candidate from its data to the verdict and, when it is promoted, the patch; with all checks.",
)
CHECKS = dg.define_asset_job(
    "checks",
    selection=dg.AssetSelection.all_asset_checks() - dg.AssetSelection.checks_for_assets(RECONCILIATION_REPORT, PARITY),
    description="Judges stored artifacts again; for one candidate, named by the run's tag dagster/partition.",
)


@dg.sensor(
    name="candidate_registrations",
    target=LANE,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds a partition for every registration in config/candidates. It requests no run.",
)
def candidate_registrations(
    context: dg.SensorEvaluationContext, project: ProjectResource
) -> dg.SensorResult | dg.SkipReason:
    """Make new registrations known; those that cannot be used are named in the tick and disturb no other."""
    good, bad = project.registered()
    for error in bad:
        context.log.warning("%s", error)
    known = set(context.instance.get_dynamic_partitions(CANDIDATES.name or ""))
    new = sorted(registration.name for registration in good if registration.name not in known)
    if new:
        return dg.SensorResult(dynamic_partitions_requests=[CANDIDATES.build_add_request(new)])
    if bad:
        return dg.SkipReason(f"nothing new; {len(bad)} cannot be used: {'; '.join(str(error) for error in bad)}")
    return dg.SkipReason(f"nothing new among {len(good)} registrations")


@dg.schedule(
    name="daily_reevaluation",
    job=LANE,
    cron_schedule="30 17 * * 1-5",
    execution_timezone=EXCHANGE_ZONE,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every registered candidate again, after the close of each session. Off until somebody turns it on.",
)
def daily_reevaluation(
    context: dg.ScheduleEvaluationContext, project: ProjectResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """One run of the lane per registered candidate on days on which the exchange was open."""
    day = context.scheduled_execution_time.date()
    if not TradingCalendar().sessions(day, day):
        yield dg.SkipReason(f"the exchange was closed on {day.isoformat()}")
        return
    known = set(context.instance.get_dynamic_partitions(CANDIDATES.name or ""))
    for registration in project.registered()[0]:
        if registration.name in known:
            yield dg.RunRequest(run_key=f"{day.isoformat()}:{registration.name}", partition_key=registration.name)
