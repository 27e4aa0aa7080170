"""The order feed in Dagster's own daemon: events on the topic become rows, materializations and documents."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from broker_specification import World, running
from order_messages import envelope, payload

from torghut_assets.artifacts import ArtifactStore
from torghut_runtime.order_feed.launchers.launcher import free_port
from torghut_runtime.order_feed.launchers.tansu import TansuLauncher
from torghut_runtime.storage.database import connect, create_engine

pytestmark = [pytest.mark.full, pytest.mark.e2e]
TESTS = Path(__file__).parents[1]
LIMIT_S = 300
_TICKS = """
{ sensorOrError(sensorSelector: {repositoryName: "__repository__", repositoryLocationName: "order_feed",
    sensorName: "order_feed_sensor"}) {
  ... on Sensor { sensorState { status ticks(limit: 50) { status cursor skipReason error { message } } } } } }
"""
_PARTITIONS = """
query ($path: [String!]!) { assetNodeOrError(assetKey: {path: $path}) { ... on AssetNode {
  assetMaterializations(limit: 100) { partition metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }
"""


class Dagster:
    """Web server, daemon and code server over one folder."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        home.mkdir(exist_ok=True)
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\nnux:\n  enabled: false\n")
        (home / "workspace.yaml").write_text(
            "load_from:\n  - python_file:\n"
            f"      relative_path: {TESTS / 'order_feed_location.py'}\n      location_name: order_feed\n"
        )
        self._port = free_port()
        self._log = (home / "log").open("wb")
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(home / "workspace.yaml"), "-p", str(self._port)]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONWARNINGS": "ignore", **environment},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            cwd=home,
        )

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["data"]

    def answers(self) -> bool:
        with suppress(urllib.error.URLError, OSError):
            return bool(self.ask("{ version }"))
        return False

    def ticks(self) -> list[dict[str, Any]]:
        return self.ask(_TICKS)["sensorOrError"]["sensorState"]["ticks"]

    def materialized(self, asset: str) -> list[dict[str, Any]]:
        found = self.ask(_PARTITIONS, path=["execution", asset])["assetNodeOrError"]["assetMaterializations"]
        return [
            {"partition": each["partition"], **{e["label"]: e.get("intValue") for e in each["metadataEntries"]}}
            for each in found
        ]

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._log.close()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.5)


@pytest.fixture
def world(tmp_path: Path, database_dsn: str) -> Generator[World]:
    launcher = TansuLauncher(tmp_path)
    with running(launcher) as servers:
        made = World(launcher, servers, database_dsn, "feed")
        made.create()
        yield made


def test_events_become_rows_partitions_and_documents_across_a_restart_of_the_daemon(
    tmp_path: Path, world: World
) -> None:
    store = tmp_path / "store"
    environment = {
        "DB_DSN": world.dsn,
        "TRADING_ORDER_FEED_ENABLED": "true",
        "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS": world.servers,
        "TRADING_ORDER_FEED_TOPIC": world.topic,
        "TRADING_ORDER_FEED_AUTO_OFFSET_RESET": "earliest",
        "ORDER_FEED_STORE": str(store),
    }
    today = datetime.now(UTC).date().isoformat()

    def event(number: int) -> bytes:
        order = {"id": f"o{number}", "client_order_id": f"c{number}"}
        return envelope(payload("new", timestamp=f"{today}T00:00:{number:02}Z", order=order))

    first = Dagster(tmp_path / "home", environment)
    try:
        wait_for(first.answers)
        wait_for(lambda: any(tick["status"] == "SKIPPED" for tick in first.ticks()))
        world.produce([event(1), event(2), b"{"])
        wait_for(lambda: bool(first.materialized("order_events")))
    finally:
        first.stop()
    with connect(create_engine(world.dsn)) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM execution_order_events")).scalar_one() == 2
    world.produce([event(3), event(1)])
    second = Dagster(tmp_path / "home", environment)
    try:
        wait_for(second.answers)
        wait_for(lambda: any(each["event_seq_to"] == 3 for each in second.materialized("order_events")))
        wait_for(lambda: bool(second.materialized("reconciliation_report")))
        found = second.materialized("order_events")
        assert {each["partition"] for each in found} == {today}
        assert sum(each["events"] for each in found) == 3
        wait_for(lambda: second.ticks()[0]["cursor"] == "3")
        assert all(tick["error"] is None for tick in second.ticks())
    finally:
        second.stop()
    assert world.counters()["duplicates"] == 1
    report = json.loads(
        ArtifactStore(store).read(("execution", "reconciliation_report"), today)["reconciliation-report.json"]
    )
    assert report["dead_letters"] == [{"count": 1, "reason": "invalid_json", "state": "open"}]
