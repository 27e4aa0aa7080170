"""The console without a browser: what stands in the page, that all of it is escaped, its policy and its stream."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import sqlalchemy as sa
from alpaca_streams import until
from http_world import DOWN, KeptEngine, app_of, order_world, serving
from postgres import free_port

from torghut_runtime.engine.surface import Component, Dependency

EVIL = "<img src=x onerror=alert(1)>\"'&"


def events(answer: httpx.Response) -> Iterator[dict[str, str]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_the_page_is_complete_without_javascript(database_dsn: str, connection: sa.Connection) -> None:
    order_world(connection)
    kept = KeptEngine(database_dsn)
    kept.trading = kept.trading.latched("signal_lag_exceeded:7", datetime.now(UTC))
    with serving(app_of(database_dsn, kept)) as client:
        text = client.get("/console").text.replace("\u200b", "")
    for shown in (
        "REDUCING", "signal_lag_exceeded:7", "clears by itself", "AAPL", "MSFT", "price_stale", "trace-2", "filled",
        "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE", "1,500", "momentum", "heartbeat 0.1 s ago", "market_data",
        "100,000.50", "-120.75",
    ):  # fmt: skip
        assert shown in text, shown


def test_the_page_takes_nothing_from_elsewhere_and_allows_no_inline_code(database_dsn: str) -> None:
    with serving(app_of(database_dsn, KeptEngine(database_dsn))) as client:
        answer = client.get("/console")
        policy = answer.headers["content-security-policy"]
        for rule in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
            assert rule in policy
        assert "unsafe" not in policy
        assert "http" not in re.sub(r'http-equiv="refresh"', "", answer.text)
        assert not re.search(r" on\w+=| style=|<style|<script(?! src)", answer.text)
        for name in set(re.findall(r'(?:src|href)="(console/[^"]+|docs|metrics)"', answer.text)):
            assert client.get(f"/{name}").status_code == 200, name
        assert client.get("/console/../main.py").status_code == 404
        docs = client.get("/docs").text
        assert "https://" not in docs
        for name in re.findall(r'"(docs/[^"]+)"', docs):
            assert client.get(f"/{name}").status_code == 200, name


def test_every_value_is_escaped(database_dsn: str, connection: sa.Connection) -> None:
    order_world(connection)
    for table, column in (
        ("trade_decisions", "strategy_id"), ("trade_decisions", "rationale"), ("trade_decisions", "trace_id"),
        ("trade_decisions", "status"), ("order_intents", "reason"), ("order_intents", "strategy_id"),
    ):  # fmt: skip
        connection.execute(sa.text(f"UPDATE {table} SET {column} = :evil"), {"evil": EVIL})
    connection.execute(
        sa.text(
            "UPDATE trade_decisions SET decision_json ="
            " jsonb_build_object('risk_reasons', jsonb_build_array(CAST(:evil AS text)))"
        ),
        {"evil": EVIL},
    )
    connection.commit()

    class Evil(KeptEngine):
        def status(self) -> Any:
            found = dict(super().status())
            found["trading_state"] = {
                "state": EVIL,
                "reasons": [{"code": EVIL, "at": EVIL}],
                "actor": EVIL,
                "since": EVIL,
            }
            found["limits"] = [{"code": EVIL, "value": EVIL, "room": EVIL, "source": EVIL}]
            found["catalog"] = {"strategies": [{"strategy_id": EVIL, "error": EVIL}], "error": EVIL, "digest": EVIL}
            found["queues"] = {EVIL: EVIL}
            found["last_error"] = {"message": EVIL, "at": EVIL}
            found["live_gate"] = {"allowed": False, "missing": [EVIL]}
            found.update(mode=EVIL, adapter=EVIL, role=EVIL)
            return found

    kept = Evil(
        database_dsn,
        positions_held={EVIL: Decimal(1)},
        parts={EVIL: Component(0.0, "ok")},
        found={EVIL: Dependency(ok=False, detail=EVIL)},
    )
    with serving(app_of(database_dsn, kept, account_label=EVIL)) as client:
        page = client.get("/console").text
        with client.stream("GET", "/console/events") as answer:
            changed = next(events(answer))
    for text in (page, *changed.values()):
        assert "<img" not in text
    assert page.count("&lt;img") > 20


def test_the_stream_brings_everything_once_and_then_what_changed(database_dsn: str) -> None:
    kept = KeptEngine(database_dsn)
    with serving(app_of(database_dsn, kept)) as client, client.stream("GET", "/console/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = events(answer)
        first = next(stream)
        assert {
            "head",
            "state",
            "account",
            "positions",
            "orders",
            "decisions",
            "limits",
            "data",
            "parts",
            "feed",
        } <= set(first)
        assert "ACTIVE" in first["state"]
        kept.trading = kept.trading.latched("operator_halt", datetime.now(UTC))
        changed = next(each for each in stream if "state" in each)
        assert "HALTED" in changed["state"]
        assert "positions" not in changed


def test_without_a_database_the_console_shows_the_engine_and_says_what_is_missing() -> None:
    with serving(app_of(DOWN, KeptEngine(DOWN))) as client:
        text = client.get("/console").text
    assert "ACTIVE" in text
    assert text.count("database unavailable") == 3


def test_an_open_stream_does_not_hold_the_end_of_the_process(database_dsn: str) -> None:
    port = free_port()
    environment = {**os.environ, "DB_DSN": database_dsn}
    command = [sys.executable, "-m", "uvicorn", "torghut_runtime.main:app", "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen(command, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until(lambda: _answers(client))
            with client.stream("GET", "/console/events") as answer:
                stream = events(answer)
                next(stream)
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False
