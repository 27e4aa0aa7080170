"""`torghut-runtime doctor` where no runtime answers, and where one without an engine does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from postgres import free_port

from torghut_runtime.cli import cli
from torghut_runtime.storage.strategy_blocks import StrategyBlock, block_strategy
from torghut_runtime.storage.trading_state import save_stops

CATALOG = """
strategies:
  - name: momentum
    strategy_type: buy_and_hold
    base_timeframe: 1Min
"""


@pytest.fixture
def doctor(
    tmp_path: Path, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Runs the command where nothing stands against trading but what is given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strategies.yaml").write_text(CATALOG)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "broken.yaml").write_text("strategies: [{name: x, nmae: y}]")

    def run(**environment: str) -> tuple[int, dict[str, Any]]:
        given = {
            "DB_DSN": database_dsn,
            "TRADING_ENABLED": "true",
            "TRADING_KILL_SWITCH_ENABLED": "false",
            "TRADING_STATIC_SYMBOLS": "AAPL,MSFT",
            "TRADING_STRATEGY_CONFIG_PATH": "strategies.yaml",
            **environment,
        }
        url = f"http://127.0.0.1:{free_port()}"
        done = CliRunner().invoke(cli, ["doctor", "--url", url, "--json"], env=given)
        assert done.exit_code in (0, 3), done.output
        return done.exit_code, json.loads(done.stdout)

    return run


def blocked(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(line["check"], line["code"]) for line in answer["lines"] if line["verdict"] == "blocked"]


def test_without_a_blocker_the_answer_is_yes_and_says_who_was_asked(doctor: Any) -> None:
    code, answer = doctor()
    assert (code, blocked(answer)) == (0, [])
    assert answer["asked"] == "environment and database"
    assert answer["runtime_answers"] is False


@pytest.mark.parametrize(
    ("environment", "check", "reason"),
    [
        ({"TRADING_ENABLED": "false"}, "enabled", "trading_disabled"),
        ({"TRADING_KILL_SWITCH_ENABLED": "true"}, "kill_switch", "kill_switch_enabled"),
        ({"DB_DSN": "postgresql://t:t@127.0.0.1:1/torghut"}, "state", "database_unavailable"),
        ({"TRADING_STRATEGY_CONFIG_PATH": ""}, "provenance", "no_strategy"),
        ({"TRADING_STRATEGY_CONFIG_PATH": "broken.yaml"}, "provenance", "catalog_error"),
        ({"TRADING_REQUIRE_PROVENANCE": "true"}, "provenance", "provenance_missing"),
        ({"TRADING_STATIC_SYMBOLS": ""}, "data", "universe_source_unavailable"),
        ({"TRADING_UNIVERSE_SOURCE": "file", "TRADING_UNIVERSE_PATH": "gone"}, "data", "universe_source_unavailable"),
        (
            {"TRADING_UNIVERSE_SOURCE": "file", "TRADING_UNIVERSE_PATH": "empty.txt"},
            "data",
            "universe_source_unavailable",
        ),
        ({"TRADING_MAX_NOTIONAL_PER_TRADE": "0"}, "limits", "max_notional_exceeded"),
        ({"TRADING_MAX_OPEN_ORDERS": "0"}, "limits", "max_open_orders_exceeded"),
        ({"TRADING_MAX_DAILY_LOSS_PCT_EQUITY": "0"}, "limits", "daily_loss_limit_reached"),
    ],
)
def test_each_blocker_of_the_environment_alone_is_named(
    doctor: Any, environment: dict[str, str], check: str, reason: str
) -> None:
    code, answer = doctor(**environment)
    assert (code, blocked(answer)) == (3, [(check, reason)])


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("REDUCING", "signal_lag_exceeded:700", [("state", "state_reducing")]),
        ("HALTED", "account_mismatch", [("state", "state_halted")]),
        ("HALTED", "operator_halt", [("kill_switch", "kill_switch_enabled"), ("state", "state_halted")]),
    ],
)
def test_a_stored_state_blocks(
    doctor: Any, connection: sa.Connection, state: str, reason: str, expected: list[tuple[str, str]]
) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO trading_state (account_label, state, reasons, actor, since, updated_at) "
            "VALUES ('paper', :state, CAST(:reasons AS jsonb), 'runtime', now(), now())"
        ),
        {
            "state": state,
            "reasons": json.dumps([{"code": reason, "clears": "operator", "at": "2026-01-05T15:00:00Z"}]),
        },
    )
    connection.commit()
    code, answer = doctor()
    assert (code, blocked(answer)) == (3, expected)


def test_a_stop_flag_that_was_last_seen_true_and_an_operators_block_are_told(
    doctor: Any, connection: sa.Connection
) -> None:
    block_strategy(connection, "paper", StrategyBlock("momentum", "reduce", "it loses", "ada"))
    connection.commit()
    code, answer = doctor()
    assert (code, blocked(answer)) == (3, [("provenance", "strategy_disabled")])
    assert any("it loses" in line["value"] for line in answer["lines"])
    save_stops(connection, "paper", {"torghut_trading_kill_switch_enabled": True}, actor="runtime")
    connection.commit()
    assert ("kill_switch", "kill_switch_enabled") in blocked(doctor()[1])


def test_a_database_that_is_behind_is_told(doctor: Any, empty_database_dsn: str) -> None:
    code, answer = doctor(DB_DSN=empty_database_dsn)
    assert (code, blocked(answer)) == (3, [("state", "migrations_behind")])


def test_a_table_is_printed_for_people(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(
        cli, ["doctor", "--url", f"http://127.0.0.1:{free_port()}"], env={"TRADING_ENABLED": "false"}
    )
    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    assert lines[0].startswith("no runtime answers at http://127.0.0.1:")
    assert lines[1].split() == ["check", "verdict", "code", "value", "remedy"]
    assert lines[2].startswith("enabled      blocked  trading_disabled")
