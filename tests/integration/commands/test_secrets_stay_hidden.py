"""A run with secrets in its environment: none of them is in a log line, an error or an answer."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from postgres import free_port

SECRETS = {
    "APCA_API_KEY_ID": "PKSECRETKEYIDENTITY",
    "APCA_API_SECRET_KEY": "alpaca-secret-0123456789",
    "OPENAI_API_KEY": "sk-secret-0123456789",
    "TRADING_ORDER_FEED_SASL_PASSWORD": "kafka-secret-0123456789",
    "TORGHUT_WEBHOOK_URL": "http://127.0.0.1:1/hooks/webhook-secret-0123456789",
    "DB_DSN": "postgresql://someone:database-secret-0123456789@127.0.0.1:1/torghut",
}
WORDS = [
    "PKSECRETKEYIDENTITY", "alpaca-secret", "sk-secret", "kafka-secret", "webhook-secret", "database-secret",
]  # fmt: skip
TOKEN = "operator-token-0123456789"
PROGRAM = "from torghut_runtime.cli import main; main()"


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRADING_", "TORGHUT_", "APCA_", "LLM_", "DB_"))
    }
    return {
        **kept,
        **SECRETS,
        "TORGHUT_HOME": str(folder),
        "TRADING_ORDER_FEED_ENABLED": "true",
        "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "TRADING_ORDER_FEED_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "TRADING_ORDER_FEED_SASL_MECHANISM": "PLAIN",
        "TRADING_ORDER_FEED_SASL_USERNAME": "torghut",
        **more,
    }


@contextmanager
def serving(folder: Path, port: int) -> Generator[list[str]]:
    """`torghut-runtime serve`; yields what it prints, growing."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", "--port", str(port)],
        env=environment(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,))
    reader.start()
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        reader.join()
        process.stdout.close()


def test_no_secret_is_in_a_log_line_or_an_answer_while_everything_is_down(tmp_path: Path) -> None:
    port = free_port()
    shown: list[str] = []
    with serving(tmp_path, port) as lines, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        until = time.monotonic() + 60
        while True:
            try:
                client.get("/healthz")
                break
            except httpx.HTTPError:
                assert time.monotonic() < until, lines
                time.sleep(0.1)
        for path in ("/", "/healthz", "/readyz", "/db-check", "/metrics", "/trading/status", "/trading/health"):
            answer = client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            shown.append(f"{path} {dict(answer.headers)} {answer.text}")
        shown.append(client.post("/trading/halt", headers={"Authorization": f"Bearer {TOKEN}"}, json={}).text)
    shown += lines
    assert any("database_unavailable" in text for text in shown)
    for text in shown:
        for word in (*WORDS, TOKEN):
            assert word not in text, text
    for line in lines:
        assert {"ts", "level", "logger", "message"} <= json.loads(line).keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"DB_DSN": "mysql://someone:database-secret-0123456789@127.0.0.1/torghut"},
        {"DB_DSN": "postgresql://someone:database-secret-0123456789@127.0.0.1:port/torghut"},
        {"TRADING_ORDER_FEED_SECURITY_PROTOCOL": "kafka-secret-0123456789"},
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_not_shown(tmp_path: Path, wrong: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "serve", "--port", "1"],
        env=environment(tmp_path, **wrong),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert next(iter(wrong)) in done.stderr
    for word in WORDS:
        assert word not in done.stdout + done.stderr


def test_a_command_that_cannot_reach_its_database_does_not_show_how(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "migrate"],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    for word in WORDS:
        assert word not in done.stdout + done.stderr
