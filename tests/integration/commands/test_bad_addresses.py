"""Ports that are taken, addresses that are none, settings out of range: one message, exit code 2, and nothing began."""

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "torghut-runtime"
TREE = Path(__file__).parents[3]
NOWHERE = "postgresql://u:hidden-word@127.0.0.1:1/x"


@pytest.fixture
def taken() -> Generator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def ended(folder: Path, *words: str, **environment: str) -> tuple[int, list[str]]:
    """Exit code and stderr of a command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRADING_", "TORGHUT_", "DB_"))}
    given = {**kept, "PYTHONPATH": str(TREE), "DB_DSN": NOWHERE, **environment}
    done = subprocess.run(
        [PROGRAM, *words], cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=300
    )
    assert "hidden-word" not in done.stdout + done.stderr
    return done.returncode, done.stderr.splitlines()


def test_serve_on_a_port_that_is_taken_starts_no_engine(tmp_path: Path, taken: int) -> None:
    code, lines = ended(tmp_path, "serve", "--port", str(taken))
    told = f"torghut-runtime: field --port: 127.0.0.1:{taken} cannot be listened on: Address already in use"
    assert (code, lines) == (2, [told])


@pytest.mark.parametrize("host", ["999.1.1.1", "a..b", "no such host"])
def test_serve_on_a_host_that_nobody_has(tmp_path: Path, host: str) -> None:
    code, lines = ended(tmp_path, "serve", "--host", host, "--port", "8399")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"torghut-runtime: field --port: {host}:8399 cannot be listened on: ")


def test_a_simulator_on_a_port_that_is_taken(tmp_path: Path, taken: int) -> None:
    code, lines = ended(tmp_path, "simulate", "--port", str(taken))
    assert (code, len(lines)) == (2, 1)


def test_metrics_of_the_order_feed_on_a_port_that_is_taken(tmp_path: Path, taken: int) -> None:
    feed = {"TRADING_ORDER_FEED_ENABLED": "true", "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    code, lines = ended(tmp_path, "order-feed", "ingest", "--once", "--metrics-port", str(taken), **feed)
    assert code == 2
    assert lines[-1].startswith(f"torghut-runtime: field --metrics-port: 127.0.0.1:{taken} cannot be listened on: ")


@pytest.mark.parametrize("url", ["nonsense", "", "ftp://127.0.0.1", "http://", "http://127.0.0.1:99999", "http://[x"])
def test_doctor_at_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    told = "torghut-runtime: field --url: must be http(s)://HOST[:PORT]"
    assert ended(tmp_path, "doctor", "--url", url) == (2, [told])


@pytest.mark.parametrize("url", ["ftp://u:hidden-word@x", "hidden-word", "https://", "http://[hidden-word"])
def test_a_webhook_that_is_no_web_address(tmp_path: Path, url: str) -> None:
    told = "torghut-runtime: field TORGHUT_WEBHOOK_URL: must be an http or https address"
    assert ended(tmp_path, "serve", TORGHUT_WEBHOOK_URL=url) == (2, [told])


def test_serve_does_not_begin_with_a_share_of_8_where_8_percent_was_meant(tmp_path: Path) -> None:
    code, lines = ended(tmp_path, "serve", TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT="8")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith("torghut-runtime: field TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT: ")
