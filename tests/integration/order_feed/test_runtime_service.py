"""The runtime's HTTP service with the database up and down: health, readiness, metrics, webhook."""

import json
import random
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import sqlalchemy as sa
from feed_database import ingest
from feed_settings import feed_settings
from http_world import DOWN, serving
from order_messages import history

from torghut_runtime.api.collector import FeedCollector
from torghut_runtime.api.webhook import Webhook
from torghut_runtime.main import create_app

COUNTERS = [
    "messages", "events_persisted", "duplicates", "missing_fields", "out_of_order", "apply_updates", "consumer_errors",
]  # fmt: skip


def wait_for(condition: Any) -> None:
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("never happened")


def samples(text: str) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_metrics_show_the_seven_counters_exactly(database_dsn: str, connection: sa.Connection) -> None:
    values = [value for number in range(10) for value in history(random.Random(1), number).values()]
    ingest(connection, [*values, values[0], b"{"])
    with serving(create_app(feed_settings(given_dsn=database_dsn))) as client:
        wait_for(lambda: samples(client.get("/metrics").text).get("torghut_db_up") == 1)
        found = samples(client.get("/metrics").text)
        assert client.get("/").json()["service"] == "torghut-runtime"
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/readyz").status_code == 200
        assert client.get("/db-check").json() == {"ok": True}
    prefix = "torghut_trading_order_feed_"
    counted = {name: found[f"{prefix}{name}_total"] for name in COUNTERS}
    assert counted["messages"] == len(values) + 2
    assert (counted["duplicates"], counted["missing_fields"]) == (1, 1)
    assert found[f'{prefix}dead_letters_open{{reason="invalid_json"}}'] == 1
    assert found[f"{prefix}unlinked_orders"] == 10


def test_with_the_database_down_nothing_of_it_is_shown_as_zero() -> None:
    with serving(create_app(feed_settings(given_dsn=DOWN))) as client:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert "torghut_db_up 0.0" in answer.text
        assert "torghut_trading_order_feed" not in answer.text
        assert "process_cpu_seconds_total" in answer.text
        assert client.get("/db-check").status_code == 503
        assert client.get("/readyz").json()["reasons"] == ["database_unavailable"]
        assert client.get("/healthz").status_code == 200


def test_enabled_without_servers_is_told_by_readiness(database_dsn: str) -> None:
    settings = feed_settings(given_dsn=database_dsn, order_feed_enabled=True)
    with serving(create_app(settings)) as client:
        wait_for(lambda: "database_unavailable" not in client.get("/readyz").json()["reasons"])
        assert client.get("/readyz").json()["reasons"] == ["order_feed_bootstrap_servers_missing"]


@pytest.fixture
def receiver() -> Generator[tuple[str, list[dict[str, Any]]]]:
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_webhook_is_raised_once_per_onset(
    database_dsn: str, connection: sa.Connection, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = receiver
    settings = feed_settings(given_dsn=database_dsn, webhook_url=url)
    collector = FeedCollector(settings, Webhook(url, "1"))
    collector.read()
    ingest(connection, [b"{"])
    collector.read()
    collector.read()
    wait_for(lambda: received)
    assert [(each["event"], each["subject"], each["reasons"]) for each in received] == [
        ("dead_letters_open", "order-feed", ["invalid_json: 1"])
    ]


def test_a_webhook_that_cannot_be_reached_is_counted_and_delays_nothing() -> None:
    webhook = Webhook("http://127.0.0.1:1/", "1")
    thread = webhook.send("dead_letters_open", "order-feed", [])
    assert webhook.send("dead_letters_open", "order-feed", []) is None
    assert thread is not None
    thread.join()
    assert webhook.failures == 1
