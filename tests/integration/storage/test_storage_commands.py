"""`torghut-runtime migrate` and `torghut ledger`: what they answer, with which exit code, about a real database."""

import json

import pytest
import sqlalchemy as sa

from torghut_assets.cli import cli as assets_cli
from torghut_runtime.cli import cli as runtime_cli
from torghut_runtime.command_line import run
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.ledger import append

Output = pytest.CaptureFixture[str]


@pytest.fixture
def ledger_of_three(engine: sa.Engine, database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    monkeypatch.setenv("DB_DSN", database_dsn)
    with connect(engine) as connection:
        for number in range(3):
            append(connection, kind="drill", subject="momentum", actor="anna", body={"action": f"try {number}"})
    return engine


def tamper(engine: sa.Engine) -> None:
    with connect(engine) as connection:
        connection.execute(sa.text("ALTER TABLE governance_ledger DISABLE TRIGGER immutable"))
        connection.execute(sa.text("UPDATE governance_ledger SET actor = 'eve' WHERE seq = 2"))


def test_migrate_brings_an_empty_database_up_and_says_so(
    empty_database_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("DB_DSN", empty_database_dsn)
    answers = [
        (run(runtime_cli, "torghut-runtime", ["migrate", *options]), capsys.readouterr().out.strip())
        for options in (["--check"], [], ["--check"], [])
    ]
    assert answers == [(3, "behind"), (0, "migrated"), (0, "current"), (0, "current")]


def test_an_intact_ledger_is_told_with_its_length(ledger_of_three: sa.Engine, capsys: Output) -> None:
    assert run(assets_cli, "torghut", ["ledger", "verify"]) == 0
    assert capsys.readouterr().out == "intact: 3 rows\n"


def test_a_broken_ledger_ends_with_3_and_names_the_row(ledger_of_three: sa.Engine, capsys: Output) -> None:
    tamper(ledger_of_three)
    assert run(assets_cli, "torghut", ["ledger", "verify", "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == {
        "rows": 1,
        "first_broken_seq": 2,
        "reason": "the row's content does not give its hash",
    }


def test_history_lists_the_rows_of_a_subject(ledger_of_three: sa.Engine, capsys: Output) -> None:
    assert run(assets_cli, "torghut", ["ledger", "history", "--subject", "momentum", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["seq"], row["actor"], row["body"]) for row in rows] == [
        (number + 1, "anna", {"action": f"try {number}"}) for number in range(3)
    ]


@pytest.mark.parametrize("arguments", [["ledger", "verify"], ["ledger", "history", "--subject", "x"]])
def test_a_database_that_does_not_answer_is_one_line_and_exit_1(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("DB_DSN", "postgresql://anna:s3cret@127.0.0.1:1/torghut")
    assert run(assets_cli, "torghut", arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("torghut: PostgreSQL at 127.0.0.1:1/torghut: ")
    assert captured.err.count("\n") == 1
    assert "s3cret" not in captured.err


def test_a_url_that_is_none_is_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("DB_DSN", "mysql://anna:s3cret@h/torghut")
    assert run(runtime_cli, "torghut-runtime", ["migrate"]) == 2
    assert capsys.readouterr().err == ("torghut-runtime: field DB_DSN: must begin with postgresql://, was mysql://\n")
