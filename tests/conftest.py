"""Fixtures of all tests: PostgreSQL. Whoever asks for none of them starts no server."""

import signal
from collections.abc import Generator

import pytest
import sqlalchemy as sa
from hypothesis import settings
from postgres import new_database, session_server

from torghut_runtime.storage.database import connect, create_engine

# A machine that is busy is no failure: no example has a deadline.
settings.register_profile("steady", deadline=None)
if settings.get_current_profile_name() == "default":
    settings.load_profile("steady")


def pytest_configure() -> None:
    """Take signals as a terminal's process does.

    Who is started in the background ignores SIGINT; Dagster gives SIGTERM what SIGINT has, and every process that is
    started afterwards inherits that.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(scope="session")
def postgres_port() -> Generator[int]:
    """Port of the session's PostgreSQL server, started by the first test that needs it."""
    with session_server() as port:
        yield port


@pytest.fixture
def database_dsn(postgres_port: int) -> Generator[str]:
    """URL of a database of this test alone, at the newest schema."""
    with new_database(postgres_port) as dsn:
        yield dsn


@pytest.fixture
def empty_database_dsn(postgres_port: int) -> Generator[str]:
    """URL of a database of this test alone, without any table."""
    with new_database(postgres_port, "template1") as dsn:
        yield dsn


@pytest.fixture
def engine(database_dsn: str) -> sa.Engine:
    """An engine for the test's database; its connections are closed when they are given back."""
    return create_engine(database_dsn)


@pytest.fixture
def connection(engine: sa.Engine) -> Generator[sa.Connection]:
    """An open connection to the test's database."""
    with connect(engine) as opened:
        yield opened
