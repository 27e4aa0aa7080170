"""``torghut-runtime order-feed`` as a user meets it: exit codes, JSON, what changes and what does not."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from broker_specification import World, running, some_values
from feed_database import counters, execution, ingest, intend, rows
from order_messages import envelope, history, payload

from torghut_runtime.cli import cli
from torghut_runtime.command_line import run
from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.backfill import backfill, span_of_gap
from torghut_runtime.order_feed.launchers.launcher import free_port
from torghut_runtime.order_feed.launchers.tansu import TansuLauncher


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, database_dsn: str) -> None:
    for name in list(os.environ):
        if name.startswith(("TRADING_", "APCA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DB_DSN", database_dsn)


def feed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run(cli, "torghut-runtime", ["order-feed", *arguments, "--json"])
    text = capsys.readouterr().out
    return code, json.loads(text) if text else None


def test_status_of_a_disabled_feed(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = feed(capsys, "status", "--verify")
    assert code == 0
    assert (found["state"], found["enabled"], found["driver"]) == ("disabled", False, "sensor")
    assert found["violations"] == []
    assert set(found["counters"].values()) == {0}


def test_enabled_without_servers_is_misconfigured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ORDER_FEED_ENABLED", "true")
    code, found = feed(capsys, "status")
    assert (code, found["state"], found["reason"]) == (3, "misconfigured", "order_feed_bootstrap_servers_missing")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TRADING_ORDER_FEED_POLL_MS", "0", "TRADING_ORDER_FEED_POLL_MS"),
        ("TRADING_ORDER_FEED_POLL_MS", "60001", "TRADING_ORDER_FEED_POLL_MS"),
        ("TRADING_ORDER_FEED_BATCH_SIZE", "10001", "TRADING_ORDER_FEED_BATCH_SIZE"),
        ("TRADING_ORDER_FEED_BOOTSTRAP_SERVERS", "nowhere", "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS"),
        ("TRADING_ORDER_FEED_TOPIC", "a b", "TRADING_ORDER_FEED_TOPIC"),
        ("TRADING_ORDER_FEED_AUTO_OFFSET_RESET", "none", "TRADING_ORDER_FEED_AUTO_OFFSET_RESET"),
        ("TRADING_ORDER_FEED_DRIVER", "both", "TRADING_ORDER_FEED_DRIVER"),
        ("TRADING_ORDER_FEED_SECURITY_PROTOCOL", "SASL_SSL", "TRADING_ORDER_FEED_SASL_MECHANISM"),
        ("TRADING_ORDER_FEED_SSL_CA_LOCATION", "/nonexistent", "TRADING_ORDER_FEED_SSL_CA_LOCATION"),
    ],
)
def test_a_bad_setting_is_named_and_exits_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert run(cli, "torghut-runtime", ["order-feed", "status"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_missing_password_is_named_and_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ORDER_FEED_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("TRADING_ORDER_FEED_SASL_MECHANISM", "SCRAM-SHA-512")
    monkeypatch.setenv("TRADING_ORDER_FEED_SASL_USERNAME", "feed")
    assert run(cli, "torghut-runtime", ["order-feed", "ingest", "--once"]) == 2
    assert "TRADING_ORDER_FEED_SASL_PASSWORD is required" in capsys.readouterr().err


def test_once_on_a_disabled_feed_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = feed(capsys, "ingest", "--once")
    assert (code, found["reason"]) == (3, "order_feed_disabled")


def test_a_database_that_is_down_exits_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_DSN", "postgresql://torghut:torghut@127.0.0.1:1/torghut")
    assert run(cli, "torghut-runtime", ["order-feed", "status"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_verification_names_an_order_that_is_not_its_events(
    capsys: pytest.CaptureFixture[str], connection: sa.Connection
) -> None:
    import random

    ingest(connection, [value for number in range(30) for value in history(random.Random(1), number).values()])
    assert feed(capsys, "status", "--verify")[0] == 0
    connection.execute(sa.text("UPDATE executions SET filled_qty = 77 WHERE alpaca_order_id = 'order-00000003'"))
    connection.commit()
    code, found = feed(capsys, "status", "--verify")
    assert code == 3
    assert found["violations"] == [
        {"kind": "order", "detail": "paper/order-00000003 differs from its events in filled_qty"}
    ]


def broken(connection: sa.Connection, count: int = 3) -> list[uuid.UUID]:
    """Letters of records that were refused once and would be read today, and one that is still bad."""
    values = [envelope(payload(order={"id": f"o{n}", "client_order_id": f"c{n}"})) for n in range(count)]
    ids = []
    for number, value in enumerate([*values, b"{"]):
        ids.append(uuid.uuid4())
        connection.execute(
            sa.text(
                "INSERT INTO feed_dead_letters (id, source, source_partition, source_offset, record_value, reason,"
                " error_detail) VALUES (:id, 'cluster/topic/0', 0, :offset, :value, 'unsupported_version', '')"
            ),
            {"id": ids[-1], "offset": 100 + number, "value": value},
        )
    connection.commit()
    return ids


def test_replayed_letters_become_events_with_their_coordinates(
    capsys: pytest.CaptureFixture[str], connection: sa.Connection
) -> None:
    broken(connection)
    before = counters(connection)
    code, found = feed(capsys, "replay-dead-letters", "--dry-run")
    assert (code, found["selected"], found["replayed"]) == (0, 4, 0)
    code, found = feed(capsys, "replay-dead-letters")
    assert (code, found["selected"], found["replayed"], found["failed"]) == (3, 4, 3, 1)
    stored = rows(connection, "SELECT source_offset, event_seq FROM execution_order_events ORDER BY 1")
    assert [tuple(row) for row in stored] == [(100, 1), (101, 2), (102, 3)]
    states = rows(connection, "SELECT state, reason, attempts, replayed_event_seq FROM feed_dead_letters"
                  " ORDER BY source_offset")  # fmt: skip
    assert [tuple(row) for row in states] == [
        ("replayed", "unsupported_version", 1, 1),
        ("replayed", "unsupported_version", 1, 2),
        ("replayed", "unsupported_version", 1, 3),
        ("open", "invalid_json", 1, None),
    ]
    assert counters(connection) == before


def test_a_letter_replayed_twice_or_known_otherwise_is_a_duplicate(
    capsys: pytest.CaptureFixture[str], connection: sa.Connection
) -> None:
    first, second, *_ = broken(connection)
    ingest(connection, [envelope(payload(order={"id": "o1", "client_order_id": "c1"}))])
    assert feed(capsys, "replay-dead-letters", "--id", str(first))[1]["replayed"] == 1
    assert feed(capsys, "replay-dead-letters", "--id", str(first))[1]["duplicate"] == 1
    assert feed(capsys, "replay-dead-letters", "--id", str(second))[1]["duplicate"] == 1
    assert len(rows(connection, "SELECT 1 FROM execution_order_events")) == 2


def test_discarding_keeps_the_bytes_and_writes_the_ledger(
    capsys: pytest.CaptureFixture[str], connection: sa.Connection
) -> None:
    broken(connection, 1)
    assert run(cli, "torghut-runtime", ["order-feed", "replay-dead-letters", "--discard", "--note", "x"]) == 2
    code, found = feed(
        capsys, "replay-dead-letters", "--reason", "unsupported_version", "--discard", "--note", "test traffic"
    )
    assert (code, found["discarded"]) == (0, 2)
    ((count,),) = rows(
        connection, "SELECT count(record_value) FROM feed_dead_letters WHERE state = 'discarded' AND note IS NOT NULL"
    )
    assert count == 2
    ((kind, body),) = rows(connection, "SELECT kind, body FROM governance_ledger")
    assert (kind, body["action"], body["note"]) == ("operator_action", "discard_dead_letters", "test traffic")


class Broker:
    """A broker's history with one order that filled while nobody listened, submitted 40 days ago."""

    fails = False

    def orders(self, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
        yield {"id": "new", "client_order_id": "cn", "symbol": "AAPL", "qty": "1", "filled_qty": "0", "status": "new",
               "updated_at": "2025-10-09T09:00:00Z"}  # fmt: skip
        if self.fails:
            raise UpstreamError("broker: /orders failed (500)")

    def open_orders(self) -> Iterator[dict[str, Any]]:
        yield from ()

    def order(self, order_id: str) -> dict[str, Any]:
        return {"id": order_id, "client_order_id": "client-1", "symbol": "AAPL", "qty": "3", "filled_qty": "3",
                "filled_avg_price": "100", "status": "filled", "updated_at": "2025-10-09T10:00:00Z"}  # fmt: skip

    def fills(self, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
        yield {"id": "20251009::1", "order_id": "order-1", "symbol": "AAPL", "side": "buy", "price": "100", "qty": "3",
               "cum_qty": "3", "transaction_time": "2025-10-09T10:00:00Z"}  # fmt: skip


def test_a_gap_is_repaired_by_what_the_broker_says(connection: sa.Connection) -> None:
    intend(connection)
    ingest(connection, [envelope(payload("new", timestamp="2025-08-30T10:00:00Z"))])
    gap = uuid.uuid4()
    detected = datetime(2025, 10, 9, 12, tzinfo=UTC)
    connection.execute(
        sa.text(
            "INSERT INTO feed_gaps (id, source, source_partition, from_offset, to_offset, reason, since_ts,"
            " detected_at) VALUES (:id, 's', 0, 5, 9, 'retention', :since, :detected)"
        ),
        {"id": gap, "since": detected - timedelta(hours=3), "detected": detected},
    )
    connection.commit()
    assert span_of_gap(connection, gap) == (detected - timedelta(hours=3, minutes=5), detected)
    span = span_of_gap(connection, gap)
    failing = Broker()
    failing.fails = True
    with pytest.raises(UpstreamError):
        backfill(connection, failing, *span, "paper", gap=gap)
    assert rows(connection, "SELECT resolved_at FROM feed_gaps") == [(None,)]
    tried = backfill(connection, Broker(), *span, "paper", gap=gap, dry_run=True)
    assert tried.new_events == 3
    assert execution(connection, "order-1").status == "new"
    done = backfill(connection, Broker(), *span, "paper", gap=gap)
    assert (done.orders_read, done.activities_read, done.new_events, done.duplicates) == (2, 1, 3, 0)
    row = execution(connection, "order-1")
    assert (row.status, row.filled_qty, row.avg_fill_price, row.fills_complete) == ("filled", 3, 100, True)
    assert rows(connection, "SELECT resolved_by FROM feed_gaps") == [("backfill",)]
    assert counters(connection)["messages"] == 1
    assert backfill(connection, Broker(), *span, "paper").new_events == 0


def test_backfill_without_a_broker_names_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "torghut-runtime", ["order-feed", "backfill", "--from", "2025-01-01"]) == 2
    assert "TRADING_SIMULATOR_URL" in capsys.readouterr().err
    assert run(cli, "torghut-runtime", ["order-feed", "backfill"]) == 2


def test_the_driver_as_a_process_consumes_serves_metrics_and_ends_on_sigterm(
    tmp_path: Path, database_dsn: str, connection: sa.Connection
) -> None:
    launcher = TansuLauncher(tmp_path)
    with running(launcher) as servers:
        world = World(launcher, servers, database_dsn, "feed")
        world.create()
        values = some_values(9, 8)
        world.produce(values)
        port = free_port()
        environment = {
            **os.environ,
            "TRADING_ORDER_FEED_ENABLED": "true",
            "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS": servers,
            "TRADING_ORDER_FEED_TOPIC": "feed",
            "TRADING_ORDER_FEED_AUTO_OFFSET_RESET": "earliest",
            "TRADING_ORDER_FEED_DRIVER": "runtime",
        }
        program = [sys.executable, "-c", "from torghut_runtime.cli import main; main()", "order-feed", "ingest"]
        process = subprocess.Popen(
            [*program, "--metrics-port", str(port), "--json"], env=environment, stdout=subprocess.PIPE
        )
        try:
            world.wait_for(lambda: counters(connection)["messages"] == len(values))
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                text = answer.read().decode()
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    report = json.loads(output)
    assert (report["messages"], report["stopped_by"]) == (len(values), "asked")
    assert report["offsets"] == [{"topic": "feed", "partition": 0, "next_offset": len(values)}]
    assert "torghut_trading_order_feed_event_to_commit_seconds_bucket" in text
    assert "torghut_trading_order_feed_batch_rows_sum" in text


def test_one_tick_without_a_broker_ends_by_its_time(tmp_path: Path, database_dsn: str) -> None:
    from feed_settings import feed_settings

    from torghut_runtime.order_feed.run import run_tick

    settings = feed_settings(
        given_dsn=database_dsn, order_feed_enabled=True, order_feed_bootstrap_servers=f"127.0.0.1:{free_port()}"
    )
    assert run_tick(settings, max_seconds=1.0).stopped_by == "time"


def test_a_feed_that_is_switched_off_pauses_and_goes_on_at_its_offset(
    tmp_path: Path, database_dsn: str, connection: sa.Connection
) -> None:
    """The switch is asked before each batch, by a tick as by the continuous driver, which SIGTERM ends."""
    from feed_settings import feed_settings

    from torghut_runtime.order_feed.run import run_driver, run_tick

    launcher = TansuLauncher(tmp_path)
    with running(launcher) as servers:
        world = World(launcher, servers, database_dsn, "feed")
        world.create()
        values = some_values(10, 8)
        world.produce(values)
        settings = feed_settings(
            given_dsn=database_dsn,
            order_feed_enabled=True,
            order_feed_bootstrap_servers=servers,
            order_feed_topic="feed",
            order_feed_auto_offset_reset="earliest",
            order_feed_batch_size=5,
        )
        assert run_tick(settings, is_enabled=lambda: False).stopped_by == "paused"
        assert run_driver(settings, once=True, is_enabled=lambda: False).stopped_by == "paused"
        assert run_tick(settings, max_rows=5).messages == 5
        answers = iter([True, True, False])

        def switch() -> bool:
            if counters(connection)["messages"] == len(values):
                os.kill(os.getpid(), signal.SIGTERM)
            return next(answers, True)

        report = run_driver(settings, once=False, is_enabled=switch)
    assert (report.stopped_by, report.messages) == ("asked", len(values) - 5)
    assert counters(connection)["events_persisted"] == len(values)
