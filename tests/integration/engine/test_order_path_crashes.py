"""kill -9 on the way from intent to order: no order twice, none lost, and ledger and broker agree after a restart."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from order_cases import ACCOUNT, BAR, decision, intent
from order_path_process import HOLDER, OrderPath, leased
from simulator_fixtures import StartSimulator, control, simulator, start_simulator, step

from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.orders.manager import POINTS
from torghut_runtime.orders.model import trace_of
from torghut_runtime.orders.reconcile import KINDS, MISSING, POSITION, position_differences
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.discrepancies import write_findings
from torghut_runtime.storage.lease import LeaseLostError, acquire, release, renew
from torghut_runtime.storage.order_journal import PostgresJournal

__all__ = ["simulator", "start_simulator"]

PROCESS = Path(__file__).parents[2] / "order_path_process.py"


def start(dsn: str, url: str, first: int, count: int, *point: object) -> "subprocess.Popen[str]":
    command = [sys.executable, str(PROCESS), dsn, url, str(first), str(count), *map(str, point)]
    environment = {**os.environ, "PYTHONPATH": str(PROCESS.parent)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def said(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), err
    return [json.loads(line) for line in out.splitlines() if line.endswith("}")]


def at_broker(simulator: RunningSimulator) -> dict[str, str]:
    """Client order ids at the broker with the status of their order; a key that is there twice fails."""

    def read(broker: Any) -> list[tuple[str, str]]:
        return [(order.client_order_id, order.status) for order in broker.desk.book]

    found = simulator.call(read)
    assert len({key for key, _ in found}) == len(found)
    return dict(found)


def rows(engine: sa.Engine, statement: str) -> list[Any]:
    with connect(engine) as connection:
        return list(connection.execute(sa.text(statement)).all())


def check_agreement(engine: sa.Engine, simulator: RunningSimulator) -> None:
    """Every order at the broker is one execution of one intent; every other intent was rejected, and says why."""
    broker = at_broker(simulator)
    executions = {row.client_order_id: row.status for row in rows(engine, "SELECT * FROM executions")}
    assert executions == broker
    intents = {row.client_order_id: row for row in rows(engine, "SELECT * FROM order_intents")}
    assert set(broker) <= set(intents)
    for key, row in intents.items():
        if key not in broker:
            assert row.state == "rejected", key
            assert row.reason in {"submit_not_received", "alpaca_order_rejected", "order_rate_exceeded"}, key


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(("intent_committed", "sent"), id="before and after the request"),
        pytest.param(POINTS, marks=pytest.mark.full, id="everywhere"),
    ],
)
def test_a_kill_at_a_labelled_point_leaves_one_order_or_none(
    points: tuple[str, ...], engine: sa.Engine, database_dsn: str, simulator: RunningSimulator
) -> None:
    step(simulator, 2)
    expected: dict[str, str] = {}
    for number, point in enumerate(points):
        process = start(database_dsn, simulator.url, number, 1, point, number)
        lines = said(process)
        assert process.returncode == -signal.SIGKILL
        assert [line for line in lines if "restarted" in line] == [{"restarted": []}]
        expected[intent(qty=1, bar_ts=BAR + timedelta(minutes=number)).client_order_id] = point
    lines = said(start(database_dsn, simulator.url, 0, len(points)))
    step(simulator, 4)
    assert {line["kind"] for line in lines if "placed" in line} == {"known"}
    assert lines[-1] == {"done": []}
    check_agreement_after_restart(engine, database_dsn, simulator)
    recorded = rows(engine, "SELECT trace_id, count(*) AS times FROM decision_inputs GROUP BY 1")
    assert {row.trace_id: row.times for row in recorded} == {trace_of(key): 1 for key in expected}
    assert {expected[key] for key in at_broker(simulator)} == set(points) - {"intent_committed"}


def check_agreement_after_restart(engine: sa.Engine, dsn: str, simulator: RunningSimulator) -> None:
    path = OrderPath(dsn, simulator.url)
    assert path.restart() == []
    path.journal.close()
    check_agreement(engine, simulator)


@pytest.mark.full
def test_twenty_random_kills_under_faults_lose_and_double_nothing(
    engine: sa.Engine, database_dsn: str, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator()
    step(simulator, 2)
    seed = 20_260_105
    dice = random.Random(seed)
    number = 0
    for _ in range(20):
        faults = [
            {"lose_response": 1},
            {"http_errors": [{"method": "POST", "path": "/v2/orders", "status": 503, "count": 1}]},
            {"http_errors": [{"method": "POST", "path": "/v2/orders", "status": 429, "count": 1, "retry_after": 1}]},
            {"http_errors": [{"method": "GET", "path": "/v2/positions", "status": 500, "count": 1}]},
        ]
        for fault in dice.sample(faults, 2):
            control(simulator, **fault)
        process = start(database_dsn, simulator.url, number, 500)
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("placed", -1) >= number + dice.randint(0, 8):
                break
        time.sleep(dice.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        number += 500
        step(simulator, dice.randint(1, 3))
    step(simulator, 4)
    check_agreement_after_restart(engine, database_dsn, simulator)
    path = OrderPath(database_dsn, simulator.url)
    assert path.restart() == []
    held = simulator.call(lambda broker: broker.desk.account.position("AAPL"))
    assert path.portfolio.symbol_qty("AAPL") == held > 20
    path.journal.close()


@pytest.fixture
def path(database_dsn: str, simulator: RunningSimulator) -> OrderPath:
    step(simulator, 2)
    return OrderPath(database_dsn, simulator.url)


def test_a_lost_response_is_one_order_and_one_execution(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    control(simulator, lose_response=1)
    assert path.place(0) == "accepted"
    assert path.portfolio.gross == 100
    check_agreement(engine, simulator)
    assert len(at_broker(simulator)) == 1


def test_the_same_decision_again_is_known_in_the_database(path: OrderPath, engine: sa.Engine) -> None:
    assert [path.place(3), path.place(3)] == ["accepted", "known"]
    assert rows(engine, "SELECT count(*) FROM trade_decisions") == [(1,)]


def test_a_decision_and_its_intent_are_stored_with_what_they_need(path: OrderPath, engine: sa.Engine) -> None:
    path.place(0)
    (row,) = rows(
        engine,
        """SELECT i.state, i.qty, i.is_exit, i.worst_price, i.submit_payload->>'qty' AS payload_qty, d.status,
            i.sent_at IS NOT NULL AS sent, i.alpaca_order_id IS NOT NULL AS named, d.trace_id, d.decision_hash
        FROM order_intents i JOIN trade_decisions d ON d.id = i.trade_decision_id""",
    )
    assert (row.state, row.status, row.qty, row.is_exit, row.worst_price) == ("accepted", "pending_new", 1, False, 100)
    assert (row.payload_qty, row.sent, row.named) == ("1", True, True)
    assert row.trace_id == row.decision_hash[3:35]


def test_a_refused_decision_is_stored_once(path: OrderPath, engine: sa.Engine) -> None:
    refused = decision(intent())
    assert path.journal.note(refused, "rejected")
    assert not path.journal.note(refused, "rejected")
    assert rows(engine, "SELECT status FROM trade_decisions") == [("rejected",)]


def test_an_order_behind_our_back_counts_as_unattributed(path: OrderPath, simulator: RunningSimulator) -> None:
    path.place(0)
    control(
        simulator,
        foreign_order=[{"symbol": "MSFT", "qty": "5", "side": "buy", "type": "market", "time_in_force": "day"}],
    )
    step(simulator, 4)
    assert path.compare() == []
    assert path.portfolio.position(("unattributed", "MSFT")).qty == 5
    assert path.portfolio.position(("s1", "AAPL")).qty == 1


def test_a_position_that_orders_do_not_explain_is_a_discrepancy_until_it_is_gone(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    path.place(0)
    step(simulator, 4)
    assert path.compare() == []
    broker_says = [{"symbol": "AAPL", "qty": "4"}, {"symbol": "MSFT", "qty": "-2"}]
    found = position_differences(path.tracker, broker_says)
    assert [(each.kind, each.symbol, each.ours, each.broker) for each in found] == [
        (POSITION, "AAPL", {"qty": "1"}, {"qty": "4"}),
        (POSITION, "MSFT", {"qty": "0"}, {"qty": "-2"}),
    ]
    with connect(engine) as connection:
        write_findings(connection, ACCOUNT, KINDS, found)
        write_findings(connection, ACCOUNT, KINDS, found[:1])
    stored = rows(
        engine,
        """SELECT symbol, seen_count, resolution FROM reconcile_discrepancies
        WHERE kind = 'position_qty_mismatch' ORDER BY symbol""",
    )
    assert [tuple(row) for row in stored] == [("AAPL", 2, None), ("MSFT", 1, "no_longer_found")]


def test_an_open_order_that_the_broker_no_longer_knows_is_told(path: OrderPath, simulator: RunningSimulator) -> None:
    bar_ts = BAR + timedelta(minutes=9)
    order = intent(qty=1, bar_ts=bar_ts, order_type="limit", limit_price=Decimal(1))
    path.manager.place(decision(order, bar_ts), order)

    def forget(broker: Any) -> None:
        book = broker.desk.book
        book._orders.clear()
        book._by_client_id.clear()
        book._open.clear()

    simulator.call(forget)
    (found,) = path.compare()
    assert (found.kind, found.symbol, found.ours["client_order_id"]) == (MISSING, "AAPL", order.client_order_id)


# The lease and the database ------------------------------------------------------------------------------------------


def test_a_lease_is_free_only_after_its_holder_let_it_go_or_it_expired(engine: sa.Engine) -> None:
    with connect(engine) as connection:
        first = acquire(connection, ACCOUNT, "a")
        assert first is not None
        assert acquire(connection, ACCOUNT, "b") is None
        assert renew(connection, first).fencing_token == 1
        release(connection, first)
        second = acquire(connection, ACCOUNT, "b")
        assert second is not None
        assert second.fencing_token == 2
        with pytest.raises(LeaseLostError):
            renew(connection, first)
        release(connection, first)
        assert acquire(connection, ACCOUNT, "c") is None
        connection.commit()
        expired = acquire(connection, "other", "a", timedelta(seconds=-1))
        assert expired is not None
        assert acquire(connection, "other", "b") is not None


def test_a_process_that_lost_its_lease_writes_and_sends_nothing(
    path: OrderPath, engine: sa.Engine, database_dsn: str, simulator: RunningSimulator
) -> None:
    path.place(0)
    leased(database_dsn, HOLDER)
    with pytest.raises(LeaseLostError):
        path.place(1)
    with pytest.raises(LeaseLostError):
        path.journal.note(decision(intent(), BAR + timedelta(days=1)), "rejected")
    assert len(rows(engine, "SELECT 1 FROM order_intents")) == 1
    assert len(at_broker(simulator)) == 1


def test_without_a_database_nothing_is_sent(path: OrderPath, simulator: RunningSimulator) -> None:
    path.place(0)
    nowhere = "postgresql://torghut:torghut@127.0.0.1:9/torghut"
    down = PostgresJournal(nowhere, ACCOUNT, "simulator", path.journal._lease)
    path.manager._journal = down
    with pytest.raises(StoreUnavailableError):
        path.place(1)
    assert len(at_broker(simulator)) == 1


def test_a_journal_whose_connection_was_cut_goes_on(path: OrderPath, engine: sa.Engine) -> None:
    path.place(0)
    cut = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    assert rows(engine, cut)
    with pytest.raises(StoreUnavailableError):
        path.place(1)
    assert path.place(2) == "accepted"


# The command ---------------------------------------------------------------------------------------------------------


def test_positions_are_shown_beside_the_brokers(
    path: OrderPath, database_dsn: str, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from torghut_runtime.cli import cli

    monkeypatch.setenv("DB_DSN", database_dsn)
    monkeypatch.setenv("TRADING_SIMULATOR_URL", simulator.url)
    empty = CliRunner().invoke(cli, ["positions"])
    assert (empty.exit_code, empty.output) == (0, "nothing is held, here or at the broker\n")
    path.place(0)
    step(simulator, 4)
    behind = CliRunner().invoke(cli, ["positions", "show", "--json"])
    assert behind.exit_code == 3
    assert json.loads(behind.output)["items"][0]["discrepancy_qty"] == "1"
    assert path.compare() == []
    shown = CliRunner().invoke(cli, ["positions", "show", "--json"])
    answer = json.loads(shown.output)
    assert (shown.exit_code, answer["matches"]) == (0, True)
    (item,) = answer["items"]
    assert (item["symbol"], item["qty"], item["broker_qty"]) == ("AAPL", "1", "1")
    assert item["by_strategy"][0]["strategy_id"] == "s1"
    table = CliRunner().invoke(cli, ["positions"]).output.splitlines()
    assert [line.split()[:3] for line in table[1:]] == [["AAPL", "s1", "1"], ["AAPL", "all", "1"]]


def test_positions_need_a_broker(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torghut_runtime.cli import cli
    from torghut_runtime.command_line import run

    monkeypatch.setenv("DB_DSN", database_dsn)
    monkeypatch.delenv("TRADING_SIMULATOR_URL", raising=False)
    assert run(cli, "torghut-runtime", ["positions"]) == 2
    monkeypatch.setenv("TRADING_SIMULATOR_URL", "http://127.0.0.1:9")
    assert run(cli, "torghut-runtime", ["positions"]) == 1
