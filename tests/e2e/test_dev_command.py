"""`torghut dev` from the outside: what it leaves behind, and whose database it leaves alone."""

import signal
import socket
from pathlib import Path

import psycopg
import pytest
from dagster_dev import DevServer, alive, wait_for, write_candidates
from postgres import TEMPLATE, new_database, open_folder

from torghut_runtime.storage.embedded import embedded_conninfo

pytestmark = [pytest.mark.full, pytest.mark.e2e]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_given_database_is_used_and_left_alone_and_no_process_remains(tmp_path: Path, postgres_port: int) -> None:
    project = write_candidates(tmp_path / "project")
    with new_database(postgres_port, TEMPLATE) as dsn, new_database(postgres_port, "template1") as dagster_dsn:
        server = DevServer(
            project,
            tmp_path / "home",
            {"DB_DSN": dsn, "TORGHUT_DAGSTER_PG_URL": dagster_dsn.replace("+psycopg", "+psycopg2")},
        )
        try:
            server.wait_until_ready()
            wait_for(lambda: "promoted" in server.partitions(), 120)
            started = server.descendants()
            assert not listens(server.postgres_port)
            assert server.stop(signal.SIGTERM) == 0
        finally:
            server.kill()
        assert len(started) > 3
        assert alive(started) == []
        assert not listens(server.port)
        assert not (tmp_path / "home" / "postgres").exists()
        with psycopg.connect(dsn.replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert server.lines[-1] == "torghut    | stopped\n"


def test_the_embedded_database_goes_with_the_command_when_its_terminal_closes(tmp_path: Path) -> None:
    with open_folder() as home:
        server = DevServer(write_candidates(tmp_path / "project"), home)
        try:
            wait_for(lambda: any("starting Dagster" in line for line in server.lines), 120)
            psycopg.connect(embedded_conninfo(server.postgres_port)).close()
            assert server.stop(signal.SIGHUP) == 0
        finally:
            server.kill()
        assert not listens(server.postgres_port)
        assert server.lines[-1] == "torghut    | stopped\n"
