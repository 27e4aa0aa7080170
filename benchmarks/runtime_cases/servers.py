"""A PostgreSQL with its durable settings, and a database of it for each case."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from postgres import free_port

from torghut_runtime.settings import embedded_dsn
from torghut_runtime.storage.database import create_engine
from torghut_runtime.storage.embedded import EmbeddedServer
from torghut_runtime.storage.migrations import migrate


def plain(dsn: str) -> str:
    """A URL as the driver itself takes it."""
    return dsn.replace("postgresql+psycopg://", "postgresql://")


@contextmanager
def durable_server() -> Generator[int]:
    """A PostgreSQL with its durable settings, on disk; yields its port."""
    with tempfile.TemporaryDirectory(prefix="torghut-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root the server runs as another user
        with EmbeddedServer.at(folder / "postgres").used(free_port()) as port:
            yield port


@contextmanager
def new_database(port: int, name: str) -> Generator[str]:
    """A migrated database of the server."""
    with psycopg.connect(plain(embedded_dsn(port)), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE bench_{name}".encode())
    dsn = embedded_dsn(port, f"bench_{name}")
    migrate(create_engine(dsn))
    yield dsn
