"""The trading side of `torghut dev`: simulated, an account per start, no key of a real broker, readable lines."""

import json
import signal
import stat
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from dagster_dev import wait_for

from torghut_assets.dev_parts import Part, Service, readable
from torghut_assets.dev_trading import (
    Trading,
    made_up_days,
    operator_variables,
    runtime_part,
    simulator_part,
    trading_variables,
)
from torghut_assets.dev_view import View
from torghut_assets.shipped_files import shipped

NOW = datetime(2026, 3, 8, 12, 0, 5, tzinfo=UTC)
"""A Sunday."""


def variables(tmp_path: Path, **environment: str) -> dict[str, str]:
    return trading_variables(environment, Trading(), home=tmp_path, project=tmp_path, now=NOW)


def test_it_trades_on_the_simulator_whatever_the_environment_says(tmp_path: Path) -> None:
    found = variables(tmp_path, TRADING_MODE="live", TRADING_LIVE_ENABLED="true", TRADING_EXECUTION_ADAPTER="alpaca")
    assert (found["TRADING_MODE"], found["TRADING_LIVE_ENABLED"]) == ("paper", "false")
    assert found["TRADING_EXECUTION_ADAPTER"] == "simulator"
    assert found["TRADING_SIMULATOR_URL"] == "http://127.0.0.1:8282"
    assert (found["TRADING_ENABLED"], found["TRADING_KILL_SWITCH_ENABLED"]) == ("true", "false")


def test_every_start_is_an_account_of_its_own_unless_one_is_named(tmp_path: Path) -> None:
    assert variables(tmp_path)["TRADING_ACCOUNT_LABEL"] == "dev-20260308T120005"
    assert variables(tmp_path, TRADING_ACCOUNT_LABEL="mine")["TRADING_ACCOUNT_LABEL"] == "mine"


def test_what_the_developer_has_set_wins(tmp_path: Path) -> None:
    found = variables(tmp_path, TRADING_ENABLED="false", TRADING_STATIC_SYMBOLS="SPY", TRADING_SIMULATOR_URL="http://s")
    assert (found["TRADING_ENABLED"], found["TRADING_STATIC_SYMBOLS"]) == ("false", "SPY")
    assert found["TRADING_SIMULATOR_URL"] == "http://s"


def test_the_projects_own_sample_catalog_is_used_and_else_the_shipped_one(tmp_path: Path) -> None:
    name = "config/autonomous-strategy-sample.yaml"
    assert variables(tmp_path)["TRADING_STRATEGY_CONFIG_PATH"] == str(shipped(name))
    (tmp_path / "config").mkdir()
    (tmp_path / name).write_text("strategies: []")
    assert variables(tmp_path)["TRADING_STRATEGY_CONFIG_PATH"] == str(tmp_path / name)


def test_no_key_of_a_broker_gets_into_the_processes(tmp_path: Path) -> None:
    environment = {"APCA_API_KEY_ID": "k", "APCA_API_SECRET_KEY": "s", "APCA_API_BASE_URL": "u", "PATH": "/bin"}
    environment |= variables(tmp_path)
    for part in (
        simulator_part(Trading(), environment, home=tmp_path, project=tmp_path),
        runtime_part(Trading(), environment, home=tmp_path, project=tmp_path),
    ):
        assert not [name for name in part.environment if name.startswith("APCA_")]
        assert part.environment["PATH"] == "/bin"


@pytest.mark.parametrize(
    ("now", "first", "start"),
    [
        (NOW, "2026-03-04", "2026-03-06T14:30:00Z"),
        (datetime(2026, 3, 9, 1, 0, tzinfo=UTC), "2026-03-05", "2026-03-09T13:30:00Z"),
        (datetime(2026, 1, 1, 12, 0, tzinfo=UTC), "2025-12-29", "2025-12-31T14:30:00Z"),
    ],
)
def test_made_up_bars_begin_with_history_before_the_last_session(now: datetime, first: str, start: str) -> None:
    assert made_up_days(now) == (first, start)


def test_an_operators_token_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    found, path = operator_variables({}, tmp_path / "home")
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text()
    (entry,) = json.loads(found["TORGHUT_OPERATOR_TOKENS"])
    assert entry == {"actor": "developer", "role": "operator", "sha256": sha256(token.encode()).hexdigest()}
    assert operator_variables({}, tmp_path / "home")[0] == found
    assert operator_variables({"TORGHUT_OPERATOR_TOKENS": "[]"}, tmp_path) == ({}, None)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain text", "plain text"),
        ("{no json", "{no json"),
        ('{"listening": "http://x"}', '{"listening": "http://x"}'),
        (
            '{"ts":"t","level":"info","logger":"l","message":"order filled","symbol":"AAPL","trace_id":"ab"}',
            "info order filled symbol=AAPL trace_id=ab",
        ),
        (
            '{"level":"error","message":"oops","error":"Traceback\\n  x\\nValueError: bad"}',
            "error oops ValueError: bad",
        ),
    ],
)
def test_a_json_line_is_shown_as_people_read_it(line: str, shown: str) -> None:
    assert readable(line) == shown


def part_of(tmp_path: Path, program: str) -> Part:
    return Part(
        "thing", "http://x", [sys.executable, "-c", program], {}, lambda: True, tmp_path, tmp_path / "logs" / "t.log"
    )


def test_a_part_is_ready_while_it_answers_and_keeps_its_lines_as_they_are(tmp_path: Path) -> None:
    said: list[str] = []
    line = '{"level":"info","message":"up"}'
    part = part_of(tmp_path, f"import time; print({line!r}, flush=True); time.sleep(600)")
    part.start(said.append)
    wait_for(lambda: said, 30)
    part.look()
    assert (part.state, part.code) == ("ready", None)
    part.ask_to_stop()
    part.stop()
    assert (part.state, part.code) == ("stopped", -signal.SIGTERM)
    assert said == ["thing      | info up"]
    assert (tmp_path / "logs" / "t.log").read_text() == f"{line}\n"


def test_a_part_that_ends_is_seen(tmp_path: Path) -> None:
    part = part_of(tmp_path, "raise SystemExit(7)")
    part.start(lambda line: None)
    wait_for(lambda: part.code is not None, 30)
    part.look()
    assert (part.state, part.code) == ("ended", 7)
    part.stop()


def test_changes_of_a_state_are_lines_and_the_table_comes_once_when_all_is_up() -> None:
    said: list[str] = []
    view = View(said.append)
    one = Service("broker", "127.0.0.1:9", lambda: False)
    two = Service("runtime", "http://127.0.0.1:8", lambda: True)
    view.show([one, two])
    assert said == []
    two.look()
    view.show([one, two])
    view.show([one, two])
    assert said == ["torghut    | ready: http://127.0.0.1:8 (runtime)"]
    one.answers = lambda: True
    one.look()
    view.show([one, two])
    assert said[1:3] == [
        "torghut    | broker is ready on 127.0.0.1:9",
        "torghut    | everything is up (Ctrl-C stops all of it)",
    ]
    assert [line.split() for line in said[3:]] == [
        ["torghut", "|", "broker", "127.0.0.1:9", "ready"],
        ["torghut", "|", "runtime", "http://127.0.0.1:8", "ready"],
    ]
    one.answers = lambda: False
    one.look()
    view.show([one, two])
    assert said[5:] == ["torghut    | broker does not answer"]
