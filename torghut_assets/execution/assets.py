"""Assets of what was traded: the feed's events, and the documents that follow them by automation.

A late event refreshes its own date: the automation condition is Dagster's eager one without its restriction to the
newest partition.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from datetime import date
from typing import Any

import dagster as dg

from torghut_assets.execution import documents, reading
from torghut_assets.execution.keys import EXECUTIONS, ORDER_EVENTS, PARITY, RECONCILIATION_REPORT, TCA, TRADING_DATES
from torghut_assets.execution.parity import difference_table, parity_json, parity_of_day
from torghut_assets.execution.resource import OrderFeedResource
from torghut_assets.keys import OPERATORS
from torghut_assets.resources import ArtifactStoreResource
from torghut_runtime.code_digest import code_digest

GROUP = "execution"
_CODE = code_digest("torghut_assets.execution")[:16]
REFRESH = dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window())

order_events = dg.AssetSpec(
    ORDER_EVENTS,
    partitions_def=TRADING_DATES,
    group_name=GROUP,
    owners=OPERATORS,
    kinds={"kafka", "postgres"},
    description="Broker order events in PostgreSQL, by UTC date of the broker's time; reported by order_feed_sensor.",
)


def _stored(
    store: ArtifactStoreResource, key: dg.AssetKey, day: str, name: str, data: bytes, rows: int, **more: Any
) -> dg.MaterializeResult[Any]:
    reference = store.store.write(key.path, day, {name: data})
    return dg.MaterializeResult(
        metadata={"rows": rows, "bytes": len(data), "sha256": reference.digest, **more},
        data_version=dg.DataVersion(reference.digest),
    )


@dg.asset(
    key=EXECUTIONS,
    deps=[ORDER_EVENTS],
    partitions_def=TRADING_DATES,
    automation_condition=REFRESH,
    group_name=GROUP,
    owners=OPERATORS,
    kinds={"postgres"},
    code_version=_CODE,
)
def executions(
    context: dg.AssetExecutionContext, order_feed: OrderFeedResource, artifacts: ArtifactStoreResource
) -> dg.MaterializeResult[Any]:
    """State of every order that an event of the date touched (``executions.jsonl``)."""
    day = context.partition_key
    with order_feed.connection() as connection, reading.snapshot(connection):
        rows = reading.executions_of(connection, date.fromisoformat(day))
    return _stored(artifacts, EXECUTIONS, day, "executions.jsonl", documents.executions_jsonl(rows), len(rows))


@dg.asset(
    key=TCA,
    deps=[ORDER_EVENTS],
    partitions_def=TRADING_DATES,
    automation_condition=REFRESH,
    group_name=GROUP,
    owners=OPERATORS,
    kinds={"postgres"},
    code_version=_CODE,
)
def tca(
    context: dg.AssetExecutionContext, order_feed: OrderFeedResource, artifacts: ArtifactStoreResource
) -> dg.MaterializeResult[Any]:
    """Costs of the orders last filled on the date, with churn per order and strategy (``tca.json``)."""
    day = context.partition_key
    with order_feed.connection() as connection, reading.snapshot(connection):
        rows = reading.costs_of(connection, date.fromisoformat(day))
    return _stored(artifacts, TCA, day, "tca.json", documents.tca_json(day, rows), len(rows))


@dg.asset(
    key=RECONCILIATION_REPORT,
    deps=[ORDER_EVENTS],
    partitions_def=TRADING_DATES,
    automation_condition=REFRESH,
    group_name=GROUP,
    owners=OPERATORS,
    kinds={"postgres"},
    code_version=_CODE,
)
def reconciliation_report(
    context: dg.AssetExecutionContext, order_feed: OrderFeedResource, artifacts: ArtifactStoreResource
) -> dg.MaterializeResult[Any]:
    """Totals of the date, open discrepancies and dead letters, gaps and counters (``reconciliation-report.json``)."""
    day = context.partition_key
    with order_feed.connection() as connection, reading.snapshot(connection):
        report = reading.reconciliation_of(connection, date.fromisoformat(day))
    data = documents.report_json(report)
    return _stored(artifacts, RECONCILIATION_REPORT, day, "reconciliation-report.json", data, 1)


@dg.asset(
    key=PARITY,
    deps=[ORDER_EVENTS],
    partitions_def=TRADING_DATES,
    automation_condition=REFRESH,
    group_name=GROUP,
    owners=OPERATORS,
    kinds={"postgres", "numba"},
    code_version=_CODE,
)
def parity(
    context: dg.AssetExecutionContext, order_feed: OrderFeedResource, artifacts: ArtifactStoreResource
) -> dg.MaterializeResult[Any]:
    """Recorded steps of the date that the installed code repeats, and every one that it does not (``parity.json``)."""
    day = context.partition_key
    with order_feed.connection() as connection, reading.snapshot(connection):
        found = parity_of_day(connection, date.fromisoformat(day))
    told: dict[str, Any] = {"status": found.status, "equal": found.equal, "differences": len(found.differences)}
    if found.ratio is not None:
        told["ratio"] = found.ratio
    if found.differences:
        told["not_repeated"] = dg.MetadataValue.md(difference_table(found.differences))
    return _stored(artifacts, PARITY, day, "parity.json", parity_json(day, found), found.recorded, **told)


execution_automation = dg.AutomationConditionSensorDefinition(
    "execution_automation",
    target=dg.AssetSelection.groups(GROUP),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Refreshes executions, costs and the reconciliation report of every date that new events touched.",
)
EXECUTION_ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [
    order_events,
    executions,
    tca,
    reconciliation_report,
    parity,
]
