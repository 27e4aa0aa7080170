"""The ledger on a real PostgreSQL: one chain, whoever appends; rows that nobody changes; what verification finds."""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.storage.database import connect, create_engine, transaction
from torghut_runtime.storage.ledger import GENESIS, LedgerRow, Verification, append, history, lock_head, verify
from torghut_runtime.storage.tables import LEDGER_KINDS

SWAP_ROWS_2_AND_3 = """
UPDATE governance_ledger SET seq = seq * 10;
UPDATE governance_ledger SET seq = CASE seq WHEN 20 THEN 3 WHEN 30 THEN 2 ELSE seq / 10 END
"""
AT = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)


def drill(connection: sa.Connection, subject: str = "momentum", **body: object) -> LedgerRow:
    return append(connection, kind="drill", subject=subject, actor="anna", body=body, at=AT)


def execute(connection: sa.Connection, statement: str) -> None:
    connection.execute(sa.text(statement))


def without_trigger(connection: sa.Connection, statement: str) -> None:
    """What somebody with the database owner's rights can do."""
    for table in ("governance_ledger", "governance_ledger_head"):
        execute(connection, f"ALTER TABLE {table} DISABLE TRIGGER immutable")
    execute(connection, statement)


def test_a_hash_can_be_recomputed_from_the_contract_alone(connection: sa.Connection) -> None:
    first = drill(connection, b=1, a="ü", passed=True)
    second = drill(connection)
    text = (
        '{"actor":"anna","at":"2026-01-02T03:04:05.600000Z","body":{"a":"ü","b":1,"passed":true},'
        '"kind":"drill","seq":1,"subject":"momentum"}'
    )
    assert first.prev_hash == GENESIS == 64 * "0"
    assert first.hash == hashlib.sha256((GENESIS + text).encode()).hexdigest()
    assert (second.seq, second.prev_hash) == (2, first.hash)
    assert history(connection, "momentum") == [first, second]


def test_without_a_time_the_clock_of_the_database_counts(connection: sa.Connection) -> None:
    before = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    row = append(connection, kind="approval", subject="x", actor="anna", body={})
    after = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    assert before <= row.at <= after
    assert history(connection, "x") == [row]


def test_a_time_in_another_zone_is_the_same_moment(connection: sa.Connection) -> None:
    local = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    row = append(connection, kind="drill", subject="x", actor="anna", body={}, at=local)
    assert row.at == AT
    assert row.at.utcoffset() == timedelta(0)
    assert verify(connection) == Verification(1)


@pytest.mark.parametrize(
    "value",
    [1e22, 1e16, -1e300, 5e-324, 1.0, -0.0, 10**40, 0.1 + 0.2, 1 / 3, "\u2028\U0001f600\\", [], {}, None, {"": [[]]}],
)
def test_what_is_hashed_is_what_the_database_gives_back(connection: sa.Connection, value: object) -> None:
    row = drill(connection, value=value)
    assert history(connection, "momentum") == [row]
    assert verify(connection) == Verification(1)


def test_history_is_of_one_subject_in_order(connection: sa.Connection) -> None:
    rows = [drill(connection, subject, number=number) for number, subject in enumerate("abab")]
    assert history(connection, "b") == [rows[1], rows[3]]
    assert history(connection, "c") == []


@pytest.mark.parametrize("kind", LEDGER_KINDS)
def test_every_kind_of_the_contract_can_be_appended(connection: sa.Connection, kind: str) -> None:
    append(connection, kind=kind, subject="x", actor="anna", body={})  # type: ignore[arg-type]
    assert verify(connection) == Verification(1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "gossip"}, "kind is one of guard_decision, .* was 'gossip'"),
        ({"subject": ""}, "needs a subject and an actor"),
        ({"actor": ""}, "needs a subject and an actor"),
        ({"body": {"x": float("nan")}}, "nan"),
        ({"at": datetime(2026, 1, 1)}, "needs a time zone"),  # noqa: DTZ001
    ],
)
def test_what_is_no_row_is_refused_and_leaves_nothing(
    connection: sa.Connection, changed: dict[str, object], message: str
) -> None:
    given: dict[str, object] = {"kind": "drill", "subject": "x", "actor": "anna", "body": {}, **changed}
    with pytest.raises(ValueError, match=message):
        append(connection, **given)  # type: ignore[arg-type]
    assert verify(connection) == Verification(0)


def test_a_row_belongs_to_its_caller_s_transaction(engine: sa.Engine) -> None:
    with connect(engine) as connection, pytest.raises(ZeroDivisionError), transaction(connection):
        _ = drill(connection).seq / 0
    with connect(engine) as connection:
        assert verify(connection) == Verification(0)
        assert drill(connection).seq == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE governance_ledger SET actor = 'eve'",
        "UPDATE governance_ledger SET actor = actor WHERE false",
        "DELETE FROM governance_ledger",
        "TRUNCATE governance_ledger CASCADE",
        "DELETE FROM governance_ledger_head",
        "TRUNCATE governance_ledger_head",
    ],
)
def test_the_database_refuses_to_change_rows(engine: sa.Engine, statement: str) -> None:
    with connect(engine) as connection:
        drill(connection)
    with connect(engine) as connection, pytest.raises(sa.exc.IntegrityError, match="its rows are never changed"):
        execute(connection, statement)
    with connect(engine) as connection:
        assert verify(connection) == Verification(1)


def test_an_empty_ledger_is_intact(connection: sa.Connection) -> None:
    assert verify(connection) == Verification(0)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            "UPDATE governance_ledger SET actor = 'eve' WHERE seq = 3",
            (2, 3, "the row's content does not give its hash"),
        ),
        ("DELETE FROM governance_ledger WHERE seq = 2", (1, 2, "the row is missing; row 3 follows")),
        ("DELETE FROM governance_ledger WHERE seq = 1", (0, 1, "the row is missing; row 2 follows")),
        ("DELETE FROM governance_ledger WHERE seq > 3", (3, 4, "rows are missing at the end; the head names row 5")),
        ("DELETE FROM governance_ledger", (0, 1, "rows are missing at the end; the head names row 5")),
        (
            SWAP_ROWS_2_AND_3,
            (1, 2, "the row does not name the hash of the row before it"),
        ),
        ("UPDATE governance_ledger_head SET seq = 4", (5, 5, "the row is newer than the head, which names row 4")),
        ("UPDATE governance_ledger_head SET hash = repeat('1', 64)", (5, 5, "the head names another hash")),
        ("DELETE FROM governance_ledger_head", (0, None, "the head row is missing")),
    ],
)
def test_verification_names_the_first_broken_row(
    connection: sa.Connection, statement: str, found: tuple[int, int | None, str]
) -> None:
    for number in range(5):
        drill(connection, number=number)
    assert verify(connection) == Verification(5)
    without_trigger(connection, statement)
    assert verify(connection) == Verification(*found)


def test_a_row_that_was_put_in_with_a_right_hash_does_not_fit(connection: sa.Connection) -> None:
    """A forged last row, correct in itself: the head does not know it."""
    drill(connection)
    with transaction(connection) as savepoint:
        inner = savepoint.begin_nested()
        forged = drill(connection, forged=True)
        inner.rollback()
    columns = "seq, kind, subject, at, actor, body, prev_hash, hash"
    connection.execute(
        sa.text(
            f"INSERT INTO governance_ledger ({columns}) VALUES (2, 'drill', 'momentum', :at, 'anna', :body, :p, :h)"
        ),
        {"at": AT, "body": json.dumps(forged.body), "p": forged.prev_hash, "h": forged.hash},
    )
    assert verify(connection) == Verification(2, 2, "the row is newer than the head, which names row 1")


def test_two_rows_never_name_the_same_predecessor(engine: sa.Engine) -> None:
    with connect(engine) as connection:
        drill(connection)
    fork = (
        "INSERT INTO governance_ledger SELECT 2, kind, subject, at, actor, body, prev_hash, 'x' FROM governance_ledger"
    )
    with pytest.raises(sa.exc.IntegrityError, match="uq_governance_ledger_prev_hash"), connect(engine) as connection:
        execute(connection, fork)


def test_without_its_head_nothing_is_appended(connection: sa.Connection) -> None:
    without_trigger(connection, "DELETE FROM governance_ledger_head")
    with pytest.raises(StoreUnavailableError, match="head row is missing"):
        drill(connection)


def test_who_does_not_get_the_head_in_time_is_told(engine: sa.Engine, database_dsn: str) -> None:
    hasty = create_engine(f"{database_dsn}?options=-c%20lock_timeout%3D20")
    with connect(engine) as holder:
        lock_head(holder)
        with pytest.raises(StoreUnavailableError, match="lock timeout"), connect(hasty) as waiter:
            drill(waiter)
    with connect(engine) as connection:
        assert drill(connection).seq == 1


def test_verification_sees_one_moment_while_others_append(engine: sa.Engine) -> None:
    with connect(engine) as writer, connect(engine) as reader:
        with transaction(writer):
            drill(writer)
            assert verify(reader) == Verification(0)
        assert verify(reader) == Verification(1)


def test_many_rows_are_verified_in_pages(connection: sa.Connection) -> None:
    for number in range(1_001):
        drill(connection, number=number)
    assert verify(connection) == Verification(1_001)
    without_trigger(connection, "UPDATE governance_ledger SET body = '{}' WHERE seq = 1001")
    assert verify(connection).first_broken_seq == 1_001


APPENDER = """
import sys
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.ledger import append
engine = create_engine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    with connect(engine) as connection:
        append(connection, kind="drill", subject=sys.argv[2], actor="anna", body={"number": number})
"""


def test_processes_that_append_at_once_make_one_chain(database_dsn: str, connection: sa.Connection) -> None:
    names = ["a", "b", "c"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDER, database_dsn, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n")
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert verify(connection) == Verification(60)
    for name in names:
        assert [row.body for row in history(connection, name)] == [{"number": number} for number in range(20)]
