"""The webhook: once per event and subject, in a thread of its own, and never in the way of what it tells of."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from alpaca_streams import until
from http_world import OPERATOR, KeptEngine, app_of, bearer, serving

from torghut_runtime.api import webhook as module
from torghut_runtime.api.webhook import Webhook
from torghut_runtime.engine.metrics import TradingMetrics


@contextmanager
def target(status: int = 204) -> Generator[tuple[str, list[dict[str, Any]]]]:
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def counted(metrics: TradingMetrics, event: str, outcome: str) -> float:
    return metrics.registry.get_sample_value("torghut_webhook_total", {"event": event, "outcome": outcome}) or 0.0


def test_the_same_event_a_hundred_times_is_one_call_per_subject() -> None:
    metrics = TradingMetrics()
    with target() as (url, received):
        webhook = Webhook(url, "1.2", metrics)
        threads = [
            threading.Thread(target=webhook.send, args=("trading_halted", subject, ["operator_halt"]))
            for subject in ("paper", "live") for _ in range(100)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: counted(metrics, "trading_halted", "delivered") == 2)
    assert sorted(each["subject"] for each in received) == ["live", "paper"]
    assert set(received[0]) == {"event", "at", "subject", "reasons", "version"}
    assert received[0]["version"] == "1.2"


def test_after_15_minutes_it_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with target() as (url, _):
        webhook = Webhook(url, "1")
        sent = []
        for at in (1_000.0, 1_899.0, 1_900.0):
            now[0] = at
            sent.append(webhook.send("dead_letters_open", "order-feed", []))
        for thread in sent:
            if thread is not None:
                thread.join()
    assert [thread is not None for thread in sent] == [True, False, True]


def test_a_target_that_answers_500_is_tried_three_times_and_counted() -> None:
    metrics = TradingMetrics()
    with target(500) as (url, received):
        thread = Webhook(url, "1", metrics).send("trading_halted", "paper", [])
        assert thread is not None
        thread.join()
    assert (len(received), counted(metrics, "trading_halted", "failed")) == (3, 1)


@pytest.fixture
def hanging_name(monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """The address of a target whose name is looked up without end."""
    over, look_up = threading.Event(), socket.getaddrinfo

    def hanging(host: Any, *rest: Any, **how: Any) -> Any:
        if host not in ("hangs.test", b"hangs.test"):
            return look_up(host, *rest, **how)
        over.wait()
        raise socket.gaierror("over")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    yield "http://hangs.test/"
    over.set()


def test_a_name_whose_look_up_hangs_is_given_up_at_the_deadline(
    hanging_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEADLINE_S", 0.2)
    metrics = TradingMetrics()
    webhook = Webhook(hanging_name, "1", metrics)
    threads = [webhook.send("trading_halted", subject, []) for subject in ("paper", "live")]
    until(lambda: counted(metrics, "trading_halted", "failed") == 2)
    for thread in threads:
        assert thread is not None
        thread.join()


def test_a_name_that_nobody_knows_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    metrics = TradingMetrics()
    thread = Webhook("http://nobody.test/", "1", metrics).send("trading_halted", "paper", [])
    assert thread is not None
    thread.join()
    assert counted(metrics, "trading_halted", "failed") == 1


ENDS = """
import socket, threading
asked = threading.Event()
def hanging(*_, **__):
    asked.set()
    threading.Event().wait()
socket.getaddrinfo = hanging
from torghut_runtime.api.webhook import Webhook
Webhook("http://hangs.test/", "1").send("trading_halted", "paper", [])
assert asked.wait(60)
"""


def test_a_process_ends_while_the_look_up_of_a_name_hangs() -> None:
    assert subprocess.run([sys.executable, "-c", ENDS], timeout=120, check=False).returncode == 0


def test_halting_is_told_once_and_a_target_that_hangs_delays_nothing(database_dsn: str) -> None:
    kept = KeptEngine(database_dsn)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with serving(app_of(database_dsn, kept, webhook_url=url)) as client:
            answer = client.post("/trading/halt", json={"reason": "drill"}, headers=bearer(OPERATOR))
            assert (answer.status_code, kept.trading.state) == (200, "HALTED")
            connection, _ = silent.accept()  # the call was made, and nobody answers it
            with connection:
                assert connection.recv(4_096).startswith(b"POST / ")
                assert client.get("/trading/status").json()["trading_state"]["state"] == "HALTED"
                assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(("role", "calls"), [("leader", 1), ("standby", 0)])
def test_only_the_leader_tells_of_a_halt_also_of_one_that_it_finds(role: str, calls: int, database_dsn: str) -> None:
    from datetime import UTC, datetime

    from torghut_runtime.api.halt_watch import HaltWatch

    kept = KeptEngine(database_dsn, role=role)
    kept.trading = kept.trading.latched("loop_stalled", datetime.now(UTC))
    metrics = TradingMetrics()
    with target() as (url, received):
        watch = HaltWatch(lambda: kept, Webhook(url, "1", metrics), "paper")
        for _ in range(100):
            watch.look()
        until(lambda: counted(metrics, "trading_halted", "delivered") == calls)
    assert [each["reasons"] for each in received] == [["loop_stalled"]] * calls


def test_without_a_target_nothing_is_sent() -> None:
    assert Webhook(None, "1").send("trading_halted", "paper", []) is None
