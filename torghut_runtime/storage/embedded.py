"""The embedded PostgreSQL server: started for whoever needs a database, stopped by the last one who does.

::

    TORGHUT_HOME/postgres/
    ├── data/         the cluster; made beside itself and renamed when complete
    ├── log, log.1    what the server says, this time and the time before
    ├── lock          held while somebody starts or stops the server
    ├── users         held, shared, by every process that uses the server
    └── alive         held by the processes of the server itself

All three are ``flock`` locks, so that a killed process never leaves one behind: a server whose user was killed goes on
and is stopped by the next last user; after ``kill -9`` of the server the next user starts it again. Role ``torghut``
(documented password, loopback only, no superuser) owns the databases ``torghut`` and ``dagster``; the superuser cannot
log in at all. A server named by ``DB_DSN`` is never started or stopped.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.settings import Settings, embedded_dsn
from torghut_runtime.storage.database import create_engine
from torghut_runtime.storage.embedded_account import Account, account_for, place_for, programs_for
from torghut_runtime.storage.migrations import migrate

HOST: Final = "127.0.0.1"
_START_LIMIT_S: Final = 300.0
"""Recovery after a crash takes its time; a server that ends instead is noticed at once."""
_STOP_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.02
_JOIN_ATTEMPTS: Final = 5
_SUPERUSER: Final = "postgres"
_SYNC_METHOD: Final = "syncfs" if sys.platform == "linux" else "fsync"

_ACCESS = """\
host all torghut 127.0.0.1/32 scram-sha-256
"""
_DATABASES = """\
CREATE ROLE torghut LOGIN CREATEDB PASSWORD 'torghut';
CREATE DATABASE torghut OWNER torghut;
CREATE DATABASE dagster OWNER torghut;
"""
_BUSY = ("starting up", "shutting down", "not yet accepting", "recovery")


@contextmanager
def ensure_database(settings: Settings) -> Generator[str]:
    """The database ``torghut`` at the newest schema, for as long as the block runs; yields its URL.

    A database that ``DB_DSN`` names is only migrated. Otherwise the server that listens on the port is used, or the
    embedded one is started; the last user stops what was started.

    Raises:
        StoreUnavailableError: PostgreSQL cannot be started or reached; says why.
    """
    if settings.given_dsn is not None:
        _migrate(settings.given_dsn)
        yield settings.given_dsn
        return
    with _server(settings.home / "postgres", settings.embedded_port) as port:
        dsn = embedded_dsn(port)
        _migrate(dsn)
        yield dsn


def _migrate(dsn: str) -> None:
    migrate(create_engine(dsn))


@contextmanager
def _server(folder: Path, port: int) -> Generator[int]:
    """Use the server of ``folder``, or whatever database torghut already listens on ``port``; yields the port."""
    own = EmbeddedServer.at(folder)
    until = time.monotonic() + _START_LIMIT_S
    gone: list[Path] = []
    while True:
        there = None if own.alive() else _listener(port, until)
        server = own if there is None else _joinable(there, gone)
        if server is None:
            yield port  # somebody else's server with our database: used, and left alone
            return
        try:
            with server.used(port, start=there is None) as real_port:
                yield real_port
                return
        except _GoneError:
            gone.append(server.folder)  # its last user stopped it while we came, or it is not what it says


def _joinable(there: "_Listener", gone: Sequence[Path]) -> "EmbeddedServer | None":
    """The embedded server that answers, when its users can be joined."""
    folder = there.folder
    if folder is None or gone.count(folder) == _JOIN_ATTEMPTS or not os.access(folder / "users", os.R_OK | os.W_OK):
        return None
    return EmbeddedServer(folder)


class _GoneError(Exception):
    """The server of another folder ended before we could join its users."""


@dataclass(frozen=True)
class _Listener:
    """A server that knows role and database torghut; ``folder`` where an embedded one has its files."""

    folder: Path | None


def _listener(port: int, until: float) -> _Listener | None:
    """Who listens on ``port``: nobody, or a server with our database.

    Raises:
        StoreUnavailableError: something else does, or the server does not become ready.
    """
    while True:
        try:
            socket.create_connection((HOST, port), timeout=5).close()
        except ConnectionRefusedError:
            return None
        except OSError as error:
            raise StoreUnavailableError(_occupied(port, str(error))) from error
        try:
            with psycopg.connect(embedded_conninfo(port), autocommit=True) as connection:
                row = connection.execute("SELECT current_setting('torghut.folder', true)").fetchone()
            return _Listener(Path(row[0]) if row and row[0] else None)
        except psycopg.OperationalError as error:
            text = " ".join(str(error).split())
            if not any(word in text for word in _BUSY) or time.monotonic() > until:
                raise StoreUnavailableError(_occupied(port, text)) from None
        time.sleep(_POLL_S)


def embedded_conninfo(port: int) -> str:
    """How libpq reaches database torghut of the embedded server, whatever PG variables the environment holds."""
    return (
        f"host={HOST} port={port} user=torghut password=torghut dbname=torghut "
        "connect_timeout=5 sslmode=disable gssencmode=disable"
    )


def _occupied(port: int, text: str) -> str:
    return (
        f"{HOST}:{port} is in use by something that is not torghut's database ({text}); "
        "stop it, choose another port with TORGHUT_POSTGRES_PORT, or name a database with DB_DSN"
    )


@dataclass(frozen=True)
class EmbeddedServer:
    """The server whose files are in ``folder``; ``durable`` is off only where the data may be lost, in tests."""

    folder: Path
    durable: bool = True

    @classmethod
    def at(cls, folder: Path, *, durable: bool = True) -> "EmbeddedServer":
        """The server of ``folder``, which is made, or linked to a place that the server's account can reach."""
        return cls(place_for(folder, account_for(folder / "data")), durable)

    @property
    def data(self) -> Path:
        """PostgreSQL's own folder."""
        return self.folder / "data"

    def alive(self) -> bool:
        """Whether any process of a server that we started still runs."""
        with _opened(self.folder / "alive") as descriptor:
            return not _taken(descriptor, fcntl.LOCK_SH)  # shared, so that two who look do not see each other

    @contextmanager
    def used(self, port: int, *, start: bool = True) -> Generator[int]:
        """Be one of its users: it runs while the block does; yields the port it listens on.

        Raises:
            StoreUnavailableError: it cannot be started.
            _GoneError: it does not run, and ``start`` is off.
        """
        with _opened(self.folder / "users") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                with self._alone():
                    real_port = self._running(port, start=start)
                yield real_port
            finally:
                self._leave(users)

    def _leave(self, users: int) -> None:
        with self._alone():
            if _taken(users, fcntl.LOCK_EX) and self.alive():
                self._stop()

    @contextmanager
    def _alone(self) -> Generator[None]:
        with _opened(self.folder / "lock") as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    def _running(self, port: int, *, start: bool) -> int:
        """Wait until the server answers, starting it when it does not live; returns its port."""
        until = time.monotonic() + _START_LIMIT_S
        started = False
        while time.monotonic() < until:
            if not self.alive():
                if started:
                    raise StoreUnavailableError(self._failure(port))
                if not start:
                    raise _GoneError
                self._start(port)
                started = True
            told = self._told_port()
            if told is not None and self._answers(told):
                return told
            time.sleep(_POLL_S)
        raise StoreUnavailableError(f"PostgreSQL did not become ready within {_START_LIMIT_S:.0f} s; see {self._log}")

    def _told_port(self) -> int | None:
        """The port in ``postmaster.pid``; none while the server has not written it."""
        lines = self._pid_lines()
        return int(lines[3]) if len(lines) > 3 and lines[3].strip().isdigit() else None

    def _pid_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _answers(self, port: int) -> bool:
        try:
            with psycopg.connect(embedded_conninfo(port), autocommit=True) as connection:
                row = connection.execute("SELECT current_setting('torghut.folder', true)").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and row[0] == str(self.folder)

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _start(self, port: int) -> None:
        account = account_for(self.data)
        programs = programs_for(account)
        if not self.data.exists():
            self._make_cluster(account, programs)
        self._forget_dead_server()
        if self._log.exists():
            self._log.replace(self._log.with_name("log.1"))
        command = [programs / "postgres", "-D", self.data, "-p", str(port), "-c", f"torghut.folder={self.folder}"]
        if not self.durable:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                command += ["-c", f"{name}=off"]
        with _opened(self.folder / "alive") as alive, _opened(self._log) as log:
            fcntl.flock(alive, fcntl.LOCK_EX)
            # the shell ends at once, so that the server is nobody's child and outlives us without leaving a zombie
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(alive,),
                check=True,
                **account.options(),
            )

    def _make_cluster(self, account: Account, programs: Path) -> None:
        """Make ``data`` with role and databases; what an interrupted attempt left is removed first.

        It is written to disk as a whole at the end, which takes a tenth of the time that file by file takes.
        """
        staging = self.folder / "data.partial"
        if staging.exists():
            shutil.rmtree(staging)
        account.make_folder(staging)
        initdb = [programs / "initdb", "-D", staging]
        options = ["-U", _SUPERUSER, "-A", "reject", "--no-instructions", "--no-sync", "--encoding=UTF8", "--no-locale"]
        self._run([*initdb, *options, "--locale-provider=builtin", "--builtin-locale=C.UTF-8"], account)
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": 200,
        }
        with (staging / "postgresql.conf").open("a", encoding="utf-8") as stream:
            stream.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (staging / "pg_hba.conf").write_text(_ACCESS, encoding="utf-8")
        single_user = [programs / "postgres", "--single", "-D", staging, "-c", "exit_on_error=on", "-c", "fsync=off"]
        self._run([*single_user, _SUPERUSER], account, _DATABASES)
        if self.durable:
            self._run([*initdb, "--sync-only", f"--sync-method={_SYNC_METHOD}"], account)
        staging.rename(self.data)

    def _run(self, command: list[str | Path], account: Account, text: str = "") -> None:
        done = account.run(command, text)
        if done.returncode != 0:
            raise StoreUnavailableError(f"{Path(command[0]).name} failed: {_reason(done.stderr)}")

    def _forget_dead_server(self) -> None:
        """Remove ``postmaster.pid`` when its number is no running PostgreSQL's, though some process has it.

        After a restart of the machine or container it is often another program's, and a killed server may stay a
        zombie where nobody collects it. PostgreSQL would take either for a running server.
        """
        lines = self._pid_lines()
        if not lines:
            return
        try:
            stat = Path("/proc", lines[0].strip(), "stat").read_text()
        except OSError:
            return
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if name != "postgres" or rest.split()[0] in ("Z", "X"):
            (self.data / "postmaster.pid").unlink()

    def _failure(self, port: int) -> str:
        try:
            text = self._log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = ""
        if "Address already in use" in text:
            return _occupied(port, "address already in use")
        return f"PostgreSQL does not start: {_reason(text)} (see {self._log})"

    def _stop(self) -> None:
        """End the server: fast shutdown, which rolls back what is open and writes everything committed."""
        until = time.monotonic() + _STOP_LIMIT_S
        asked = False
        while self.alive():
            lines = self._pid_lines()
            if not asked and lines:
                asked = True
                with suppress(ProcessLookupError):  # killed before; its children end by themselves
                    os.kill(int(lines[0]), signal.SIGINT)
            if time.monotonic() > until:
                raise StoreUnavailableError(f"PostgreSQL did not stop within {_STOP_LIMIT_S:.0f} s; see {self._log}")
            time.sleep(_POLL_S)


def _reason(text: str) -> str:
    """What the server's output says went wrong: its first complaint, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    complaints = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "ERROR:", "error:"))]
    return (complaints or lines[-1:] or ["it said nothing"])[0]


@contextmanager
def _opened(path: Path) -> Generator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailableError(
            f"{path}: {error.strerror}; run as the user whose database this is, or set TORGHUT_HOME or DB_DSN"
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int, kind: int) -> bool:
    """Try to get the lock at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
