"""The reporting sensor, the assets behind it and their checks, over a real PostgreSQL and Dagster's own machinery."""

import json
import warnings
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from feed_database import ingest, intend, rows
from feed_settings import feed_settings
from memory_log import MemoryLog, MemoryTopic
from order_messages import envelope, payload

from torghut_assets.execution.assets import EXECUTION_ASSETS
from torghut_assets.execution.checks import EXECUTION_CHECKS
from torghut_assets.execution.costs import execution_facts
from torghut_assets.execution.keys import ORDER_EVENTS, TCA
from torghut_assets.execution.resource import OrderFeedResource
from torghut_assets.execution.sensor import order_feed_sensor
from torghut_assets.resources import ArtifactStoreResource
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.ingestor import OrderFeedIngestor
from torghut_runtime.order_feed.report import IngestReport, Limits
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.settings import Settings
from torghut_runtime.storage.database import create_engine

TODAY = date(2025, 10, 10)
TOPIC = MemoryTopic()


class Feed(OrderFeedResource):
    """The feed over a log in memory."""

    driver: str = "sensor"
    enabled: bool = True
    servers: str | None = "127.0.0.1:9092"

    def settings(self) -> Settings:
        return feed_settings(
            given_dsn=self.dsn,
            order_feed_enabled=self.enabled,
            order_feed_bootstrap_servers=self.servers,
            order_feed_driver=self.driver,
            order_feed_auto_offset_reset="earliest",
        )

    def tick(self, settings: Settings) -> IngestReport:
        ingestor = OrderFeedIngestor(settings, ingest_engine(settings.db_dsn), MemoryLog(TOPIC), "sensor")
        try:
            return ingestor.ingest(Limits(seconds=20, rows=100_000, until_end=True))
        finally:
            ingestor.close()

    def today(self) -> date:
        return TODAY


@pytest.fixture
def topic() -> MemoryTopic:
    TOPIC.recreate(topic_id="id-1")
    return TOPIC


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield


def tick(feed: Feed, cursor: str | None) -> Any:
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, sensor_name="order_feed_sensor", resources={"order_feed": feed}
        )
        return order_feed_sensor(context)


def order_of(day: int, number: int = 0, **more: Any) -> bytes:
    order = {"id": f"o{day}-{number}", "client_order_id": f"c{day}-{number}"}
    return envelope(payload("new", timestamp=f"2025-10-{day:02}T15:00:00Z", order=order, **more))


def partitions(result: dg.SensorResult) -> dict[str, Any]:
    return {
        event.partition: {key: value.value for key, value in event.metadata.items()} for event in result.asset_events
    }


def test_a_tick_consumes_and_reports_every_date_it_touched(database_dsn: str, topic: MemoryTopic) -> None:
    topic.append(order_of(9), order_of(10), order_of(10, 1), b"{")
    result = tick(Feed(dsn=database_dsn), None)
    found = partitions(result)
    assert result.cursor == "3"
    assert set(found) == {"2025-10-09", "2025-10-10"}
    assert (found["2025-10-10"]["events"], found["2025-10-10"]["event_seq_to"]) == (2, 3)
    assert found["2025-10-09"]["dead_letters"] == 1
    assert found["2025-10-09"]["lag"] == 0
    assert found["2025-10-09"]["driver"] == "sensor"
    assert {event.asset_key for event in result.asset_events} == {ORDER_EVENTS}


def test_rows_committed_before_a_crash_are_reported_by_the_next_tick(database_dsn: str, topic: MemoryTopic) -> None:
    topic.append(order_of(9))
    feed = Feed(dsn=database_dsn)
    feed.tick(feed.settings())  # committed, and the process died before it reported anything
    assert set(partitions(tick(feed, None))) == {"2025-10-09"}


def test_two_ticks_with_one_cursor_apply_once_and_both_report(
    database_dsn: str, topic: MemoryTopic, connection: sa.Connection
) -> None:
    topic.append(order_of(9))
    first, second = tick(Feed(dsn=database_dsn), None), tick(Feed(dsn=database_dsn), None)
    assert first.cursor == second.cursor == "1"
    assert rows(connection, "SELECT count(*) FROM execution_order_events") == [(1,)]


def test_nothing_new_is_a_skip_with_its_reason(database_dsn: str, topic: MemoryTopic) -> None:
    assert "no new events after event_seq 0" in str(tick(Feed(dsn=database_dsn), None).skip_message)


@pytest.mark.parametrize(
    ("feed", "reason"),
    [({"enabled": False}, "order_feed_disabled"), ({"servers": None}, "order_feed_bootstrap_servers_missing")],
)
def test_a_feed_that_cannot_run_says_why(
    database_dsn: str, topic: MemoryTopic, feed: dict[str, Any], reason: str
) -> None:
    topic.append(order_of(9))
    assert tick(Feed(dsn=database_dsn, **feed), None).skip_message == reason


def test_with_driver_runtime_the_sensor_only_reports(
    database_dsn: str, topic: MemoryTopic, connection: sa.Connection
) -> None:
    topic.append(order_of(10))
    ingest(connection, [order_of(8), order_of(9)])
    assert set(partitions(tick(Feed(dsn=database_dsn, driver="runtime"), None))) == {"2025-10-08", "2025-10-09"}
    assert rows(connection, "SELECT 1 FROM feed_offsets") == []


def test_a_cursor_ahead_of_a_restored_database_reports_the_newest_dates_again(
    database_dsn: str, topic: MemoryTopic, connection: sa.Connection
) -> None:
    ingest(connection, [order_of(day) for day in range(1, 10)])
    result = tick(Feed(dsn=database_dsn), "5000")
    assert set(partitions(result)) == {f"2025-10-{day:02}" for day in range(3, 10)}
    assert result.cursor == "9"


def test_dates_out_of_range_are_reported_under_today(
    database_dsn: str, topic: MemoryTopic, connection: sa.Connection
) -> None:
    ingest(connection, [order_of(20), envelope(payload(timestamp="1999-01-01T00:00:00Z"))])
    found = partitions(tick(Feed(dsn=database_dsn), None))
    assert set(found) == {"2025-10-10"}
    assert found["2025-10-10"]["date_out_of_range"] == "1999-01-01, 2025-10-20"


def test_an_unreadable_cursor_starts_again(database_dsn: str, topic: MemoryTopic, connection: sa.Connection) -> None:
    ingest(connection, [order_of(9)])
    assert tick(Feed(dsn=database_dsn), '{"v": 7}').cursor == "1"


def definitions(dsn: str, root: Path) -> dg.Definitions:
    return dg.Definitions(
        assets=EXECUTION_ASSETS,
        asset_checks=EXECUTION_CHECKS,
        sensors=[order_feed_sensor],
        resources={"order_feed": Feed(dsn=dsn), "artifacts": ArtifactStoreResource(root=str(root))},
        executor=dg.in_process_executor,
    )


def test_a_late_event_of_yesterday_refreshes_that_date_only(
    database_dsn: str, topic: MemoryTopic, tmp_path: Path
) -> None:
    """Partitions that exist at the first evaluation are never newly missing, so a first evaluation comes before."""
    defs = definitions(database_dsn, tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance)
        instance.report_runless_asset_event(dg.AssetMaterialization(ORDER_EVENTS, partition="2025-10-08"))
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=result.cursor)
        assert result.get_requested_partitions(TCA) == {"2025-10-08"}
        again = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=result.cursor)
        assert again.total_requested == 0


def traded(connection: sa.Connection) -> None:
    """Buys of a strategy at a price above arrival, and a sale within 15 minutes of the first."""
    for number, (side, qty, price, minute) in enumerate(
        [("buy", "4", "101", 0), ("sell", "1", "99", 10), ("buy", "2", "100", 40)]
    ):
        intend(connection, f"c{number}", side=side, qty=Decimal(qty), strategy_id="s1")
        order = {"id": f"o{number}", "client_order_id": f"c{number}", "side": side, "qty": qty, "filled_qty": qty}
        moment = f"2025-10-09T15:{minute:02}:00Z"
        fill = payload("fill", execution_id=f"e{number}", price=price, qty=qty, timestamp=moment, order=order)
        ingest(connection, [envelope(fill)], start=number)


def test_documents_are_the_same_bytes_over_the_same_rows(
    database_dsn: str, connection: sa.Connection, tmp_path: Path
) -> None:
    traded(connection)
    results = []
    for root in ("a", "b"):
        with dg.DagsterInstance.ephemeral() as instance:
            run = dg.materialize(
                [*EXECUTION_ASSETS, *EXECUTION_CHECKS],
                partition_key="2025-10-09",
                instance=instance,
                resources={
                    "order_feed": Feed(dsn=database_dsn),
                    "artifacts": ArtifactStoreResource(root=str(tmp_path / root)),
                },
            )
        assert run.success
        checks = {each.check_name: each for each in run.get_asset_check_evaluations()}
        unrecorded = checks.pop("decisions_repeated")
        assert (unrecorded.passed, unrecorded.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert unrecorded.description == "missing: no step is recorded"
        assert all(each.passed for each in checks.values())
        assert set(checks) == {
            "accounting_identity",
            "event_seq_gap_free",
            "fills_match_orders",
            "dead_letters_open",
        }
        store = ArtifactStoreResource(root=str(tmp_path / root)).store
        results.append(
            {
                name: store.read(("execution", asset), "2025-10-09")[name]
                for asset, name in {
                    "executions": "executions.jsonl",
                    "tca": "tca.json",
                    "reconciliation_report": "reconciliation-report.json",
                }.items()
            }
        )
    assert results[0] == results[1]
    assert len(results[0]["executions.jsonl"].splitlines()) == 3
    costs = json.loads(results[0]["tca.json"])
    assert [row["churn_qty"] for row in costs["executions"]] == ["0", "1", "0"]
    (strategy,) = costs["strategies"]
    assert (strategy["churn_qty"], strategy["filled_qty"]) == ("1", "7")


def test_damage_is_told_by_the_checks(database_dsn: str, connection: sa.Connection, tmp_path: Path) -> None:
    traded(connection)
    for damage in (
        "UPDATE order_fills SET qty = 9 WHERE broker_execution_id = 'e0'",
        "UPDATE durable_counters SET value = value + 1 WHERE name LIKE '%messages_total'",
        "DELETE FROM execution_order_events WHERE event_seq = 2",
        """INSERT INTO feed_dead_letters (id, source, reason, error_detail)
            VALUES (gen_random_uuid(), 'stream', 'invalid_json', '')""",
    ):
        connection.execute(sa.text(damage))
    connection.commit()
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize(
            [*EXECUTION_ASSETS, *EXECUTION_CHECKS],
            partition_key="2025-10-09",
            instance=instance,
            resources={
                "order_feed": Feed(dsn=database_dsn),
                "artifacts": ArtifactStoreResource(root=str(tmp_path)),
            },
        )
    found = {each.check_name: (each.passed, each.severity) for each in run.get_asset_check_evaluations()}
    error = (False, dg.AssetCheckSeverity.ERROR)
    assert found == {
        "decisions_repeated": (False, dg.AssetCheckSeverity.WARN),
        "accounting_identity": error,
        "event_seq_gap_free": error,
        "fills_match_orders": error,
        "dead_letters_open": (False, dg.AssetCheckSeverity.WARN),
    }


def test_checks_of_a_database_that_is_down_fail_and_say_so() -> None:
    down = Feed(dsn="postgresql://torghut:torghut@127.0.0.1:1/torghut")
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.Definitions(
            assets=EXECUTION_ASSETS,
            asset_checks=EXECUTION_CHECKS,
            jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())],
            resources={"order_feed": down, "artifacts": ArtifactStoreResource(root="unused")},
        ).resolve_job_def("checks")
        run = job.execute_in_process(instance=instance)
    found = run.get_asset_check_evaluations()
    assert {each.passed for each in found} == {False}
    assert len(found) == 5
    assert all("127.0.0.1:1" in (each.description or "") for each in found)


def test_facts_of_a_strategy_are_weighted_over_thirty_days(connection: sa.Connection) -> None:
    traded(connection)
    executions, costs = execution_facts(connection, "s1", datetime(2025, 10, 20, tzinfo=UTC))
    assert executions.count == 3
    assert costs is not None
    # 404 at 100 bps, 99 at 100 bps, 200 at 0 bps
    assert costs.slippage_bps == pytest.approx((404 * 100 + 99 * 100) / (404 + 99 + 200))
    assert costs.shortfall_notional == pytest.approx((4 + 1 + 0) / 3)
    assert costs.churn_ratio == pytest.approx(1 / 7)
    idle, costs = execution_facts(connection, "s1", datetime(2025, 12, 20, tzinfo=UTC))
    assert (idle.count, costs) == (0, None)
    assert execution_facts(connection, "none", datetime(2025, 10, 20, tzinfo=UTC))[0].count == 0


def test_a_database_that_is_down_is_an_error_and_never_no_executions() -> None:
    engine = create_engine("postgresql://torghut:torghut@127.0.0.1:1/torghut")
    with pytest.raises(StoreUnavailableError), engine.connect() as connection:
        execution_facts(connection, "s1", datetime(2025, 10, 20, tzinfo=UTC))
