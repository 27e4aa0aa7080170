"""PostgreSQL for tests: one embedded server per test session, one migrated database per test."""

import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.settings import embedded_dsn
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.embedded import EmbeddedServer
from torghut_runtime.storage.migrations import migrate

TEMPLATE = "torghut_template"
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 1 << 30
PATIENCE = 120.0
"""How long a database to be dropped may still be vacuumed, in seconds."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def open_folder() -> Generator[Path]:
    """A temporary folder that other users can enter: as root the server runs as one of them. In memory, if possible."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED
    folder = Path(tempfile.mkdtemp(prefix="torghut-postgres-", dir=MEMORY if roomy else None))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def session_server() -> Generator[int]:
    """A server whose data may be lost, with a migrated template; yields its port."""
    with (
        open_folder() as folder,
        EmbeddedServer.at(folder / "postgres", durable=False).used(free_port()) as port,
        _ended_with_us(folder),
    ):
        _administer(port, f"CREATE DATABASE {TEMPLATE}")
        migrate(create_engine(embedded_dsn(port, TEMPLATE)))
        yield port


_MINDER = """
read -r word && exit
pid_file="$1/postgres/data/postmaster.pid"
kill -INT "$(head -n 1 "$pid_file")"
while [ -e "$pid_file" ]; do sleep 0.1; done
rm -rf "$1"
"""


@contextmanager
def _ended_with_us(folder: Path) -> Generator[None]:
    """Have the server stopped and its files removed when this process is killed: its end of the pipe is closed then."""
    minder = subprocess.Popen(["/bin/sh", "-c", _MINDER, "sh", folder], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        minder.communicate(b"all is well\n")


@contextmanager
def new_database(port: int, template: str = TEMPLATE) -> Generator[str]:
    """A database of its own, dropped at the end with whoever is still connected; yields its URL."""
    name = f"test_{secrets.token_hex(8)}"
    _administer(port, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield embedded_dsn(port, name)
    finally:
        _drop(port, name)


def _drop(port: int, name: str) -> None:
    """Drop a database, when whoever vacuums a large one has left it: our role may not end the server's own workers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            _administer(port, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            return
        except StoreUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _administer(port: int, statement: str) -> None:
    engine = create_engine(embedded_dsn(port)).execution_options(isolation_level="AUTOCOMMIT")
    with connect(engine) as connection:
        connection.execute(sa.text(statement))
