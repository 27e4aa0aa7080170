"""``order_feed_sensor``: consumes the topic where it is the driver, and reports what is stored in any case.

Thin: consuming is ``torghut_runtime.order_feed``'s, the cursor's logic is :mod:`cursor`'s. After a tick that timed out,
its evaluation goes on beside the next one; that is harmless here, because offsets are fenced in the database and
reports come from the cursor, not from what the tick consumed.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from typing import Any

import dagster as dg
import sqlalchemy as sa

from torghut_assets.execution import reading
from torghut_assets.execution.cursor import DateCount, read_cursor, reports
from torghut_assets.execution.keys import ORDER_EVENTS
from torghut_assets.execution.resource import OrderFeedResource
from torghut_runtime.order_feed.report import IngestReport
from torghut_runtime.order_feed.status import configuration, read_status
from torghut_runtime.settings import Settings

MAX_REPORTED = 1_000_000
"""Events whose dates one tick reports; more wait for the next."""


@dg.sensor(
    name="order_feed_sensor",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Broker events from Kafka into PostgreSQL, and a materialization per trading date they touch.",
)
def order_feed_sensor(
    context: dg.SensorEvaluationContext, order_feed: OrderFeedResource
) -> dg.SensorResult | dg.SkipReason:
    """Consume for at most 20 s, then report every event after the cursor."""
    settings = order_feed.settings()
    trouble = configuration(settings)
    if trouble is not None and trouble[0] == "disabled":
        return dg.SkipReason(trouble[1])
    consumed: IngestReport | None = None
    if trouble is None and settings.order_feed_driver == "sensor":
        consumed = order_feed.tick(settings)
    with order_feed.connection() as connection, reading.snapshot(connection):
        newest = reading.head(connection)
        cursor = read_cursor(context.cursor)
        if cursor > newest:
            context.log.warning("cursor_ahead_of_events: cursor %d, newest event_seq %d", cursor, newest)
            until, counts = newest, reading.counts_of_newest_dates(connection)
        else:
            until = min(newest, cursor + MAX_REPORTED)
            counts = reading.counts_between(connection, cursor, until) if until > cursor else list[DateCount]()
        shared = _shared(connection, settings) if counts else {}
    events = [
        dg.AssetMaterialization(ORDER_EVENTS, partition=report.partition, metadata=report.metadata)
        for report in reports(counts, order_feed.today(), shared)
    ]
    if events:
        return dg.SensorResult(asset_events=events, cursor=str(until))
    if cursor > newest:
        return dg.SensorResult(skip_reason=dg.SkipReason("cursor_ahead_of_events"), cursor=str(newest))
    return dg.SkipReason(_skip_reason(trouble, consumed, cursor))


def _skip_reason(trouble: tuple[str, str] | None, consumed: IngestReport | None, cursor: int) -> str:
    if trouble is not None:
        return trouble[1]
    told = "nothing to consume here" if consumed is None else f"consumed {consumed.messages} records"
    return f"no new events after event_seq {cursor}; {told}"


def _shared(connection: sa.Connection, settings: Settings) -> dict[str, Any]:
    status = read_status(connection, settings)
    letters = sum(int(row["count"]) for row in status.dead_letters if row["state"] == "open")
    return {
        "dead_letters": letters,
        "lag": sum(each.lag or 0 for each in status.offsets),
        "offsets": {f"{each.topic}-{each.partition}": each.next_offset for each in status.offsets},
        "driver": status.driver,
    }
