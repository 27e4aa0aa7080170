"""What the engine promises: time limits, UTC, transactions as a whole, errors in one line without secrets."""

import socket
from collections.abc import Generator
from datetime import UTC, datetime

import psycopg
import pytest
import sqlalchemy as sa

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.storage.database import connect, create_engine, lock_for_transaction, transaction


@pytest.fixture
def closed_port() -> Generator[int]:
    """A port that is bound and refuses connections for as long as the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


def one(engine: sa.Engine, statement: str) -> object:
    with connect(engine) as connection:
        return connection.execute(sa.text(statement)).scalar_one()


def test_sessions_have_time_limits_and_live_in_utc(engine: sa.Engine) -> None:
    limits = {name: one(engine, f"SHOW {name}") for name in ("statement_timeout", "lock_timeout", "timezone")}
    assert limits == {"statement_timeout": "1min", "lock_timeout": "20s", "timezone": "UTC"}
    moment = one(engine, "SELECT timestamptz '2026-01-02 03:04:05+02'")
    assert moment == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert isinstance(moment, datetime)
    assert moment.utcoffset() == datetime.now(UTC).utcoffset()


def test_limits_in_the_url_win(database_dsn: str) -> None:
    engine = create_engine(f"{database_dsn}?options=-c%20statement_timeout%3D1234")
    assert one(engine, "SHOW statement_timeout") == "1234ms"
    assert one(engine, "SHOW lock_timeout") == "20s"


def test_a_statement_that_takes_too_long_is_a_store_that_does_not_answer(database_dsn: str) -> None:
    engine = create_engine(f"{database_dsn}?options=-c%20statement_timeout%3D20")
    with pytest.raises(StoreUnavailableError, match=r"canceling statement due to statement timeout$"):
        one(engine, "SELECT pg_sleep(30)")


def test_a_lock_that_is_not_granted_is_a_store_that_does_not_answer(engine: sa.Engine, database_dsn: str) -> None:
    hasty = create_engine(f"{database_dsn}?options=-c%20lock_timeout%3D20")
    with connect(engine) as holder, connect(hasty) as waiter:
        lock_for_transaction(holder, 7)
        with pytest.raises(StoreUnavailableError, match=r"canceling statement due to lock timeout$"):
            lock_for_transaction(waiter, 7)


def test_a_refused_connection_names_the_server(closed_port: int) -> None:
    engine = create_engine(f"postgresql://anna:s3cret@127.0.0.1:{closed_port}/torghut")
    with pytest.raises(StoreUnavailableError, match=f"^PostgreSQL at 127.0.0.1:{closed_port}/torghut: ") as caught:
        one(engine, "SELECT 1")
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_told_without_it(database_dsn: str) -> None:
    engine = create_engine(database_dsn.replace(":torghut@", ":s3cret@"))
    with pytest.raises(StoreUnavailableError, match="password authentication failed") as caught:
        one(engine, "SELECT 1")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value.__cause__)


def test_a_password_that_the_driver_repeats_is_blotted_out(closed_port: int) -> None:
    """libpq quotes an option that it does not know; a password may be part of it."""
    engine = create_engine(f"postgresql://anna:s3cret@127.0.0.1:{closed_port}/torghut?sslmode=s3cret")
    with pytest.raises(StoreUnavailableError) as caught:
        one(engine, "SELECT 1")
    assert "s3cret" not in str(caught.value)


def test_an_engine_is_printed_without_its_password(database_dsn: str) -> None:
    assert ":torghut@" not in repr(create_engine(database_dsn))


def test_a_connection_ended_by_the_server_is_told(engine: sa.Engine) -> None:
    with pytest.raises(StoreUnavailableError, match="terminating connection due to administrator command"):
        one(engine, "SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_missing_table_says_how_it_is_made(empty_database_dsn: str) -> None:
    with pytest.raises(StoreUnavailableError, match=r"torghut-runtime migrate"):
        one(create_engine(empty_database_dsn), "SELECT count(*) FROM governance_ledger")


def test_a_violated_constraint_stays_a_defect(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError) as caught, connect(engine) as connection:
        connection.execute(sa.text("INSERT INTO governance_ledger_head (is_head, seq, hash) VALUES (false, 0, '')"))
    assert isinstance(caught.value.orig, psycopg.errors.CheckViolation)


def test_only_postgresql_is_spoken() -> None:
    with pytest.raises(ValueError, match="must begin with postgresql://"):
        create_engine("sqlite:///x.db")


# transactions


@pytest.fixture
def notes(engine: sa.Engine) -> sa.Engine:
    with connect(engine) as connection:
        connection.execute(sa.text("CREATE TABLE notes (text text UNIQUE)"))
    return engine


def note(connection: sa.Connection, *texts: str) -> None:
    """Write texts, each of which may be there once only."""
    for text in texts:
        connection.execute(sa.text("INSERT INTO notes VALUES (:text)"), {"text": text})


def texts(engine: sa.Engine) -> list[str]:
    with connect(engine) as connection:
        return list(connection.execute(sa.text("SELECT text FROM notes ORDER BY text")).scalars())


def test_what_a_connection_did_is_committed_at_its_end(notes: sa.Engine) -> None:
    with connect(notes) as connection:
        note(connection, "a")
        assert texts(notes) == []
    assert texts(notes) == ["a"]


def test_nothing_is_left_of_a_block_that_raised(notes: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError), connect(notes) as connection:
        note(connection, "a", "a")
    assert texts(notes) == []


def test_a_transaction_is_committed_at_its_own_end(notes: sa.Engine) -> None:
    with connect(notes) as connection:
        with transaction(connection):
            note(connection, "a")
        assert texts(notes) == ["a"]


def test_a_transaction_within_one_is_undone_alone(notes: sa.Engine) -> None:
    with connect(notes) as connection, transaction(connection):
        note(connection, "a")
        with pytest.raises(sa.exc.IntegrityError), transaction(connection):
            note(connection, "b", "a")
        note(connection, "c")
    assert texts(notes) == ["a", "c"]


def test_a_transaction_within_one_is_undone_with_it(notes: sa.Engine) -> None:
    def twice(connection: sa.Connection) -> None:
        with transaction(connection):
            with transaction(connection):
                note(connection, "a")
            note(connection, "a")

    with connect(notes) as connection, pytest.raises(sa.exc.IntegrityError):
        twice(connection)
    assert texts(notes) == []


def test_a_transaction_after_reading_is_committed(notes: sa.Engine) -> None:
    with connect(notes) as connection:
        connection.execute(sa.text("SELECT 1"))
        with transaction(connection):
            note(connection, "a")
    assert texts(notes) == ["a"]
