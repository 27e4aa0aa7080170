"""kill -9 on the way from intent to order: no order twice, none lost, and ledger and broker agree after a restart."""

import json
import signal
import subprocess
from collections.abc import Generator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from order_cases import ACCOUNT, BAR, decision, intent
from order_path_campaign import PER_CYCLE, Campaign, Nursery, at_broker, disagreements, rows
from order_path_process import ACTIONS, HOLDER, LABELS, OrderPath, leased
from simulator_fixtures import StartSimulator, control, simulator, start_simulator, step

from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.broker.simulator.tape import synthetic_tape
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.orders.reconcile import KINDS, MISSING, POSITION, position_differences
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.discrepancies import write_findings
from torghut_runtime.storage.lease import LeaseLostError, acquire, release, renew
from torghut_runtime.storage.order_journal import PostgresJournal

__all__ = ["simulator", "start_simulator"]

LEDGER = Path(__file__).parents[3] / "test-artifacts" / "order-path-campaign.json"
FILLS_MISSING = """
SELECT e.client_order_id, e.filled_qty, sum(f.qty) FROM executions e
LEFT JOIN order_fills f ON f.alpaca_order_id = e.alpaca_order_id AND f.state = 'counted'
GROUP BY e.id HAVING e.filled_qty <> coalesce(sum(f.qty), 0)
"""
"""Executions that say more or less than their fills."""
REASONS = {"submit_not_received", "alpaca_order_rejected", "order_rate_exceeded", "not_reconciled"}


def check_agreement(engine: sa.Engine, simulator: RunningSimulator) -> None:
    """Every order at the broker is one execution of one intent; every other intent ended, and says why."""
    assert disagreements(engine, simulator) == []


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Generator[Nursery]:
    made = Nursery(tmp_path_factory.mktemp("order-path"))
    yield made
    made.close()


def restarted(dsn: str, simulator: RunningSimulator) -> OrderPath:
    path = OrderPath(dsn, simulator.url)
    assert path.restart() == []
    assert path.stance.gate().reconciled
    path.close()
    return path


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(("entry:intent_committed", "entry:sent"), id="before and after the request"),
        pytest.param(LABELS, marks=pytest.mark.full, id="everywhere"),
    ],
)
def test_a_kill_at_a_labelled_point_leaves_one_order_or_none(
    labels: tuple[str, ...], engine: sa.Engine, database_dsn: str, simulator: RunningSimulator, nursery: Nursery
) -> None:
    step(simulator, 2)
    for number, label in enumerate(labels):
        child = nursery.start(database_dsn, simulator.url, number * PER_CYCLE, len(ACTIONS) * 2, label)
        lines = child.heard()
        assert child.returncode == -signal.SIGKILL, label
        told = lines[0]["restarted"]
        assert (told["clean"], told["found"], told["refused_before"]) == (True, [], True), label
        restarted(database_dsn, simulator)
        check_agreement(engine, simulator)
        at_broker(simulator)
        assert rows(engine, FILLS_MISSING) == [], label
    recorded = rows(engine, "SELECT trace_id, count(*) AS times FROM decision_inputs GROUP BY 1")
    assert {row.times for row in recorded} == {1}


@pytest.mark.full
def test_twenty_kills_under_faults_lose_and_double_nothing(
    engine: sa.Engine, database_dsn: str, start_simulator: StartSimulator, nursery: Nursery
) -> None:
    found = run_campaign(nursery, engine, database_dsn, start_simulator, cycles=20, seed=20_260_105)
    assert found["violations"] == []
    assert found["orders"] > 50


@pytest.mark.campaign
def test_two_hundred_kills_under_faults_lose_and_double_nothing(
    engine: sa.Engine, database_dsn: str, start_simulator: StartSimulator, nursery: Nursery
) -> None:
    version = commit()
    found = run_campaign(nursery, engine, database_dsn, start_simulator, cycles=200, seed=20_260_106)
    found = {"commit": version, **found}
    LEDGER.parent.mkdir(exist_ok=True)
    LEDGER.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    assert found["violations"] == []
    assert found["longest_unknown_seconds"] <= 15.0
    assert found["orders"] > 500


def run_campaign(
    nursery: Nursery, engine: sa.Engine, dsn: str, start_simulator: StartSimulator, *, cycles: int, seed: int
) -> dict[str, Any]:
    tape = synthetic_tape(["AAPL", "MSFT"], seed=1, first=date(2026, 1, 5), sessions=30)
    simulator = start_simulator(tape)
    step(simulator, 2)
    return Campaign(nursery, dsn, engine, simulator, seed, cycles).run()


def commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


@pytest.fixture
def path(database_dsn: str, simulator: RunningSimulator) -> OrderPath:
    step(simulator, 2)
    made = OrderPath(database_dsn, simulator.url)
    assert made.restart() == []
    return made


def test_a_lost_response_is_one_order_and_one_execution(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    control(simulator, lose_response=1)
    assert path.place(0) == "accepted"
    assert path.portfolio.gross == 100
    check_agreement(engine, simulator)
    assert len(at_broker(simulator)) == 1


NOT_TAKEN = {"method": "POST", "path": "/v2/orders", "status": 503}
NOT_FOUND_OUT = {"method": "GET", "path": "/v2/orders:by_client_order_id", "status": 503}


def test_two_requests_that_never_arrive_are_unknown_for_fifteen_seconds_each(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    control(simulator, http_errors=[{**NOT_TAKEN, "count": 2}])
    path.act(0, "entry")
    waits = path.waits
    assert (waits.resolved, waits.longest, waits.silent) == (2, 15.0, 0)
    assert [tuple(row) for row in rows(engine, "SELECT state, reason FROM order_intents")] == [
        ("rejected", "submit_not_received")
    ]
    assert at_broker(simulator) == {}


def test_time_in_which_no_look_up_is_answered_is_told_apart(path: OrderPath, simulator: RunningSimulator) -> None:
    control(simulator, http_errors=[{**NOT_TAKEN, "count": 1}, {**NOT_FOUND_OUT, "count": 8}])
    path.act(0, "entry")
    waits = path.waits
    assert (waits.resolved, waits.silent, waits.longest_silent) == (0, 1, 25.0)
    assert len(at_broker(simulator)) == 1


def test_a_process_whose_clock_is_behind_that_of_the_one_before_resolves_within_fifteen_seconds(
    path: OrderPath, engine: sa.Engine, database_dsn: str, simulator: RunningSimulator
) -> None:
    path.wait(31)
    control(simulator, http_errors=[{**NOT_TAKEN, "count": 1}])
    assert path.place(0) == "unknown"
    path.close()
    with connect(engine) as connection:
        release(connection, path.journal._lease)
        connection.commit()
    after = restarted(database_dsn, simulator)
    assert (after.waits.resolved, after.waits.longest) == (1, 15.0)
    check_agreement(engine, simulator)


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
    assert path.compare().found == ()
    assert path.portfolio.position(("unattributed", "MSFT")).qty == 5
    assert path.portfolio.position(("s1", "AAPL")).qty == 1


def test_a_position_that_orders_do_not_explain_is_a_discrepancy_until_it_is_gone(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    path.place(0)
    step(simulator, 4)
    assert path.compare().found == ()
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
    (found,) = path.compare().found
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
    assert path.compare().found == ()
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
