"""`torghut dev` without Dagster: addresses, DAGSTER_HOME, ports, and the end of a process with all its children."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dagster_dev import alive, wait_for
from postgres import free_port

from torghut_assets import dev_parts
from torghut_assets.cli import cli
from torghut_assets.dev import (
    Where,
    check_dagster_database,
    check_port,
    dagster_url,
    prepare_dagster_home,
    run_dev,
)
from torghut_assets.dev_parts import stop_group
from torghut_assets.shipped_files import shipped
from torghut_runtime.command_line import run
from torghut_runtime.errors import InputError, StoreUnavailableError
from torghut_runtime.settings import Settings, load_settings

SIGNALS = "import signal; [signal.signal(n, signal.SIG_{}) for n in (signal.SIGINT, signal.SIGTERM)]; "
CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
OBEDIENT, DEAF = SIGNALS.format("DFL") + CHILD, SIGNALS.format("IGN") + CHILD
SLEEP = "print('up', flush=True); time.sleep(600)"


@pytest.mark.parametrize(
    ("dsn", "url"),
    [
        ("postgresql+psycopg://u:p@h:1/torghut", "postgresql+psycopg2://u:p@h:1/dagster"),
        ("postgresql://u@h/other?sslmode=require", "postgresql+psycopg2://u@h/dagster?sslmode=require"),
        ("postgresql://u@/torghut?host=/run/pg", "postgresql+psycopg2://u@/dagster?host=%2Frun%2Fpg"),
    ],
)
def test_dagster_has_a_database_of_its_own_on_the_same_server(dsn: str, url: str) -> None:
    assert dagster_url(dsn) == url


@pytest.mark.parametrize("dsn", ["sqlite:///file", "postgresql://host", "torghut"])
def test_what_is_no_database_url_is_refused(dsn: str) -> None:
    with pytest.raises(InputError, match="DB_DSN"):
        dagster_url(dsn)


def test_dagster_home_gets_the_shipped_configuration_and_a_change_of_it(tmp_path: Path) -> None:
    folder = prepare_dagster_home(tmp_path / "home", tmp_path)
    assert (folder / "dagster.yaml").read_bytes() == shipped("deploy/dagster/dagster.yaml").read_bytes()
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert prepare_dagster_home(tmp_path / "home", tmp_path) == folder
    assert (folder / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_a_port_is_free_or_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port} is in use"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


def test_a_taken_port_is_one_line_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert run(cli, "torghut", ["dev", "--port", str(port)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"torghut: field port: 127.0.0.1:{port} is in use; give another or stop what listens there\n"
    )


def test_a_missing_dagster_database_is_named_without_the_password(postgres_port: int) -> None:
    url = f"postgresql+psycopg2://torghut:torghut@127.0.0.1:{postgres_port}"
    check_dagster_database(f"{url}/dagster")
    with pytest.raises(StoreUnavailableError, match='database "absent" does not exist') as caught:
        check_dagster_database(f"{url}/absent")
    assert ":torghut@" not in str(caught.value)


@contextmanager
def session_leader(program: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    """A process with one child, each of which sleeps; yields it and the child's id."""
    command = [sys.executable, "-c", program + SLEEP]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield process, int(child)
        stop_group(process, patience=0.0)


@pytest.mark.parametrize(
    ("program", "patience", "signals"),
    [(OBEDIENT, 30.0, {signal.SIGINT, signal.SIGTERM}), (DEAF, 0.2, {signal.SIGKILL})],
    ids=["asked", "made to"],
)
def test_a_group_ends_with_its_children(program: str, patience: float, signals: set[signal.Signals]) -> None:
    with session_leader(program) as (process, child):
        stop_group(process, patience)
        assert process.returncode in {-number for number in signals}
        assert alive([process.pid, child]) == []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_dsn: str) -> Path:
    """A project folder, in an environment with a database of its own."""
    monkeypatch.setenv("DB_DSN", database_dsn)
    monkeypatch.setenv("TORGHUT_HOME", str(tmp_path / "home"))
    return tmp_path


def settings() -> Settings:
    return load_settings()


def replace_dagster(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Start ``program`` where Dagster would be started."""
    real = subprocess.Popen

    def popen(command: list[str], **options: object) -> subprocess.Popen[str]:
        if command[1:4] != ["-m", "dagster", "dev"]:
            return real(command, **options)  # type: ignore[call-overload]
        return real([sys.executable, "-c", program], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(dev_parts.subprocess, "Popen", popen)


def test_the_processes_are_told_where_everything_is_and_a_wish_ends_them(
    project: Path, monkeypatch: pytest.MonkeyPatch, database_dsn: str
) -> None:
    names = (
        "DB_DSN", "DAGSTER_HOME", "TORGHUT_PROJECT", "TRADING_ORDER_FEED_ENABLED", "DAGSTER_DISABLE_TELEMETRY",
    )  # fmt: skip
    replace_dagster(
        monkeypatch, f"import os, time\nfor n in {names}: print(n, os.environ[n], flush=True)\ntime.sleep(600)"
    )
    wish, said = threading.Event(), list[str]()

    def say(line: str) -> None:
        said.append(line)
        if "TELEMETRY" in line:
            wish.set()

    assert run_dev(settings(), Where(project, port=free_port()), say=say, stopping=wish) == 0
    assert f"dagster    | DB_DSN {database_dsn}" in said
    assert f"dagster    | DAGSTER_HOME {project / 'home' / 'dagster'}" in said
    assert f"dagster    | TORGHUT_PROJECT {project}" in said
    assert "dagster    | TRADING_ORDER_FEED_ENABLED true" in said
    assert said[-1] == "torghut    | stopped"
    assert "torghut:torghut" not in said[0]


def test_dagster_that_ends_by_itself_is_a_failure(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_dagster(monkeypatch, "print('broken'); raise SystemExit(3)")
    said: list[str] = []
    assert run_dev(settings(), Where(project, port=free_port()), say=said.append) == 1
    assert "dagster    | broken" in said
    assert said[-1] == "torghut    | Dagster ended by itself with 3; its last lines say why"


def test_the_web_server_is_announced_once_it_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = (
        "import http.server\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        "http.server.HTTPServer(('127.0.0.1', PORT), Handler).serve_forever()\n"
    )
    port = free_port()
    replace_dagster(monkeypatch, server.replace("PORT", str(port)))
    wish, said = threading.Event(), list[str]()

    def say(line: str) -> None:
        said.append(line)
        if "ready: http" in line:
            wish.set()

    assert run_dev(settings(), Where(project, port=port), say=say, stopping=wish) == 0
    wait_for(lambda: "torghut    | stopped" in said, 10)
    assert [line for line in said if "ready: http" in line] == [
        f"torghut    | ready: http://127.0.0.1:{port} (dagster)"
    ]
