"""A running engine and a broker that sees things otherwise: splits, jumps, foreign orders, another account."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from alpaca_streams import until
from click.testing import CliRunner
from engine_world import MONDAY, minute_tape
from live_engine import Desk, Start, desk, desks, entry, held, running
from simulator_fixtures import control

from torghut_runtime.broker.alpaca import AlpacaReader
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.cli import cli
from torghut_runtime.engine.engine import Engine
from torghut_runtime.engine.surface import OperationRefusedError
from torghut_runtime.orders.frozen_symbols import FrozenSymbol
from torghut_runtime.orders.positions import Position
from torghut_runtime.storage.database import connect, create_engine, transaction
from torghut_runtime.storage.position_adjustments import store_freeze
from torghut_runtime.storage.position_snapshots import save_positions

__all__ = ["desk", "desks"]

TUESDAY = date(2026, 1, 6)


def two_days(minutes: int = 6) -> Tape:
    prices = {"AAPL": [400] * minutes, "MSFT": [50] * minutes}
    last = 390 - minutes
    first, second = minute_tape(prices, day=MONDAY, first_minute=last), minute_tape(prices, day=TUESDAY)
    return Tape((*first.bars, *second.bars), "1Min")


def minute(desk: Desk, engine: Engine, symbols: int = 2) -> None:
    """One minute of bars that are judged, and a whole pass after them, whatever it finds."""
    before = engine.status()["metrics"]["bars_taken"]
    step = requests.post(f"{desk.simulator.url}/sim/step", json={"events": symbols}, timeout=60)
    step.raise_for_status()
    until(lambda: engine.status()["metrics"]["bars_taken"] >= before + symbols)
    passed(engine)


def passed(engine: Engine) -> None:
    """Wait for a pass that began after this call."""
    progress = running(engine).loop.progress
    for _ in range(2):  # the first may have begun before
        assert engine.settle(60)
        progress.last_reconcile_at = None
        running(engine).loop.reconciliation.soon()
        until(lambda: progress.last_reconcile_at is not None)


def item(engine: Engine, symbol: str) -> dict[str, Any]:
    return next(each for each in engine.positions()["items"] if each["symbol"] == symbol)


def reasons(engine: Engine) -> list[str]:
    return [each["code"] for each in engine.status()["trading_state"]["reasons"]]


def open_discrepancies(desk: Desk) -> list[tuple[str, str]]:
    rows = desk.rows("SELECT kind, symbol FROM reconcile_discrepancies WHERE resolved_at IS NULL ORDER BY kind, symbol")
    return [(row.kind, row.symbol) for row in rows]


@pytest.fixture
def book(desk_of_two_days: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Books the difference in a symbol, as a person does."""

    def booked(symbol: str, reason: str) -> None:
        monkeypatch.setenv("DB_DSN", desk_of_two_days.dsn)
        monkeypatch.setenv("TRADING_SIMULATOR_URL", desk_of_two_days.simulator.url)
        done = CliRunner().invoke(cli, ["positions", "reconcile", symbol, "--reason", reason, "--yes"])
        assert done.exit_code == 0, done.output
        assert "booked, ledger record" in done.output

    return booked


@pytest.fixture
def desk_of_two_days(desks: Start) -> Desk:
    return desks(two_days())


def test_a_split_over_night_freezes_its_symbol_alone_and_is_taken_over_once_it_is_booked(
    desk_of_two_days: Desk, book: Callable[[str, str], None]
) -> None:
    desk = desk_of_two_days
    control(desk.simulator, split=[{"symbol": "AAPL", "ratio": 4, "effective": TUESDAY.isoformat()}])
    stop = {"exits": {"stop_pct": 0.1}}
    desk.write(
        entry("alpha", enter_at=1, exit_at=10, **stop),
        entry("beta", universe_symbols=["MSFT"], enter_at=1, until=60, pyramid=True, qty=1),
    )
    engine = desk.ready(desk.engine())
    for _ in range(6):
        minute(desk, engine)
    assert held(engine) == desk.held()
    average = Decimal(item(engine, "AAPL")["by_strategy"][0]["avg_entry_price"])
    equity = Decimal(engine.positions()["account"]["equity"])
    for _ in range(2):
        minute(desk, engine)
    until(lambda: item(engine, "AAPL")["frozen"])
    assert (item(engine, "AAPL")["qty"], item(engine, "AAPL")["broker_qty"]) == ("10", "40")
    assert item(engine, "AAPL")["discrepancy_qty"] == "30"
    assert not item(engine, "MSFT")["frozen"]
    assert open_discrepancies(desk) == [("split_unreconciled", "AAPL")]
    assert [tuple(row) for row in desk.rows("SELECT symbol, reason FROM frozen_symbols")] == [
        ("AAPL", "split_unreconciled")
    ]
    assert "reconciler_found_discrepancies" in engine.unready_reasons
    assert engine.status()["trading_state"]["state"] == "ACTIVE"
    assert reasons(engine) == []
    assert abs(Decimal(engine.positions()["account"]["equity"]) - equity) < 100
    before = len(orders_in(desk, "MSFT"))
    minute(desk, engine)
    assert len(orders_in(desk, "MSFT")) > before
    book("AAPL", "4:1")
    passed(engine)
    until(lambda: not item(engine, "AAPL")["frozen"])
    part = item(engine, "AAPL")["by_strategy"][0]
    assert (part["strategy_id"], Decimal(part["qty"])) == ("alpha", 40)
    assert Decimal(part["avg_entry_price"]) == average / 4
    assert open_discrepancies(desk) == []
    until(lambda: "reconciler_found_discrepancies" not in engine.unready_reasons)
    for _ in range(3):
        minute(desk, engine)
    assert held(engine) == desk.held()
    assert [order["side"] for order in orders_in(desk, "AAPL")] == ["buy"]
    assert reasons(engine) == []


def orders_in(desk: Desk, symbol: str) -> list[dict[str, Any]]:
    return [each for each in desk.orders() if each["symbol"] == symbol]


def test_a_jump_that_nobody_announced_reduces_until_it_is_booked(
    desk_of_two_days: Desk, book: Callable[[str, str], None]
) -> None:
    desk = desk_of_two_days
    desk.write(entry("alpha", enter_at=1), entry("beta", universe_symbols=["MSFT"], enter_at=1, qty=1))
    engine = desk.ready(desk.engine())
    for _ in range(3):
        minute(desk, engine)
    desk.simulator.call(lambda broker: broker.desk.account.split("AAPL", Decimal(3)))
    for _ in range(2):
        minute(desk, engine)
    until(lambda: engine.status()["trading_state"]["state"] == "REDUCING")
    assert reasons(engine) == ["position_mismatch:AAPL"]
    assert item(engine, "AAPL")["frozen"]
    assert item(engine, "AAPL")["discrepancy_qty"] == "20"
    with pytest.raises(OperationRefusedError) as refused:
        engine.operations.resume("ada", "go on", ["position_mismatch:AAPL"])
    assert (refused.value.code, refused.value.detail) == ("symbol_frozen", {"symbols": ["AAPL"]})
    book("AAPL", "given by hand")
    passed(engine)
    until(lambda: engine.status()["trading_state"]["state"] == "ACTIVE")
    assert item(engine, "AAPL")["qty"] == "30"
    assert {each["strategy_id"] for each in item(engine, "AAPL")["by_strategy"]} == {"alpha", "unattributed"}
    assert open_discrepancies(desk) == []
    until(lambda: [row.state for row in desk.rows("SELECT state FROM trading_state")] == ["ACTIVE"])


def test_a_mismatch_that_was_booked_while_no_process_ran_is_over_at_the_next_start(
    desk_of_two_days: Desk, book: Callable[[str, str], None]
) -> None:
    desk = desk_of_two_days
    desk.write(entry("alpha", enter_at=1, universe_symbols=["AAPL", "MSFT"]))
    engine = desk.ready(desk.engine())
    for _ in range(2):
        minute(desk, engine)
    desk.simulator.call(lambda broker: broker.desk.account.split("AAPL", Decimal(3)))
    minute(desk, engine)
    until(lambda: engine.status()["trading_state"]["state"] == "REDUCING")
    until(lambda: [row.state for row in desk.rows("SELECT state FROM trading_state")] == ["REDUCING"])
    engine.stop()
    book("AAPL", "given by hand")
    following = desk.ready(desk.engine())
    until(lambda: following.status()["trading_state"]["state"] == "ACTIVE")
    assert held(following) == desk.held() == {"AAPL": Decimal(30), "MSFT": Decimal(10)}


def test_what_is_open_in_a_symbol_that_stands_frozen_is_cancelled_at_the_start(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": [100, 101, 102, 103]}))
    desk.write(entry(enter_at=1, until=9))
    engine = desk.ready(desk.engine(EXECUTION_PREFER_LIMIT="true"))
    desk.step(engine)
    until(lambda: [order["status"] for order in desk.orders()] == ["new"])

    def fail() -> None:
        raise ValueError("in the trading thread")

    with connect(create_engine(desk.dsn)) as connection, transaction(connection):
        store_freeze(connection, "paper", FrozenSymbol("AAPL", "position_mismatch", {}, {}))
    assert engine.in_trading_thread(fail)
    until(lambda: [order["status"] for order in desk.orders()] == ["canceled"])
    until(lambda: [each["frozen"] for each in engine.positions()["items"]] == [True])
    desk.ready(engine)
    minute(desk, engine, 1)
    reasons_told = desk.rows("SELECT decision_json->'risk_reasons' AS told FROM trade_decisions ORDER BY bar_ts")
    assert "symbol_frozen" in reasons_told[-1].told
    assert len(desk.orders()) == 1


def test_a_foreign_order_counts_as_exposure(desk: Desk) -> None:
    desk.write(entry(enter_at=90))
    engine = desk.ready(desk.engine())
    order = {"symbol": "AAPL", "qty": "5", "side": "buy", "type": "limit", "limit_price": "10", "time_in_force": "day"}
    control(desk.simulator, foreign_order=[order])
    minute(desk, engine, 1)
    until(lambda: {cap["source"]: cap["room"] for cap in engine.status()["limits"]}["TRADING_MAX_OPEN_ORDERS"] == "49")
    assert held(engine) == {}
    desk.stored(engine)
    assert [tuple(row) for row in desk.rows("SELECT symbol, status FROM executions")] == [("AAPL", "new")]


def test_one_bad_row_does_not_end_a_pass(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write(entry(enter_at=1))
    engine = desk.ready(desk.engine())
    good = AlpacaReader.orders

    def with_bad(self: AlpacaReader, *, after: str | None = None) -> list[dict[str, Any]]:
        return [{"id": "x", "symbol": "AAPL", "filled_qty": "NaN"}, {}, *good(self, after=after)]

    monkeypatch.setattr(AlpacaReader, "orders", with_bad)
    control(desk.simulator, mute=[{"stream": "trading", "seconds": 600}])
    for _ in range(3):
        minute(desk, engine, 1)
    assert held(engine) == desk.held() == {"AAPL": Decimal(10)}
    assert set(open_discrepancies(desk)) <= {("fill_gap", "AAPL")}


def test_another_account_under_a_running_engine_halts_and_nothing_leaves(desk: Desk) -> None:
    desk.write(entry(enter_at=1, until=60, pyramid=True))
    engine = desk.ready(desk.engine())
    desk.step(engine, 2)
    sent = len(desk.orders())
    control(desk.simulator, account={"account_number": "SIM-OTHER"})
    running(engine).loop.reconciliation.soon()
    until(lambda: engine.status()["trading_state"]["state"] == "HALTED")
    assert reasons(engine) == ["account_mismatch"]
    assert "account_mismatch" in engine.unready_reasons
    for _ in range(2):
        requests.post(f"{desk.simulator.url}/sim/step", json={"events": 1}, timeout=60).raise_for_status()
    taken = engine.status()["metrics"]["bars_taken"]
    until(lambda: engine.status()["metrics"]["bars_taken"] >= max(taken, 4))
    assert engine.settle(60)
    assert len(desk.orders()) == sent
    until(lambda: open_discrepancies(desk) == [("account_mismatch", None)])


def test_orders_that_ended_long_ago_are_forgotten_and_old_snapshots_deleted(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": [100] * 90}))
    desk.write(entry(enter_at=1, exit_at=4))
    engine = desk.ready(desk.engine())
    desk.step(engine, 6)
    tracker = running(engine).loop.core.tracker
    assert len(list(tracker.orders())) == 2
    passed(engine)  # positions are stored with a pass, and on a clock that stands still none comes by itself
    newest = desk.rows("SELECT max(at) AS at FROM position_snapshots")[0].at
    with connect(create_engine(desk.dsn)) as connection, transaction(connection):
        save_positions(connection, "paper", [(("alpha", "OLD"), Position())], newest - timedelta(days=91))
    desk.step(engine, 30)
    passed(engine)  # later ones do not ask for what was sent half an hour ago
    desk.step(engine, 40)
    until(lambda: list(tracker.orders()) == [])
    until(lambda: desk.rows("SELECT at FROM position_snapshots WHERE symbol = 'OLD'") == [])
    assert held(engine) == desk.held() == {}
