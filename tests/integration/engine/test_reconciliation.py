"""Passes of the reconciler against the simulator over HTTP, with PostgreSQL: what is found, frozen, booked, adopted."""

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from engine_world import MONDAY, minute_tape
from order_cases import ACCOUNT, BAR, decision, intent
from order_path_process import OrderPath
from simulator_fixtures import StartSimulator, control, simulator, start_simulator, step

from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.canonical import utc_text
from torghut_runtime.cli import cli
from torghut_runtime.clock import nanoseconds_of
from torghut_runtime.orders.broker_view import read_broker
from torghut_runtime.orders.reconciler import Reconciler
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.ledger import history, verify
from torghut_runtime.storage.position_snapshots import delete_old_positions

__all__ = ["simulator", "start_simulator"]

TUESDAY = date(2026, 1, 6)


def two_days() -> Tape:
    prices = {"AAPL": [400] * 5, "MSFT": [50] * 5}
    first, second = minute_tape(prices, day=MONDAY, first_minute=380), minute_tape(prices, day=TUESDAY)
    return Tape((*first.bars, *second.bars), "1Min")


def started(dsn: str, simulator: RunningSimulator) -> OrderPath:
    path = OrderPath(dsn, simulator.url)
    assert path.restart() == []
    return path


def again(path: OrderPath) -> OrderPath:
    """The next process."""
    path.close()
    made = OrderPath(path.dsn, path.url)
    made.restart()
    return made


def buy(path: OrderPath, simulator: RunningSimulator, symbol: str = "AAPL", qty: int = 10, minute: int = 0) -> None:
    bar_ts = BAR + timedelta(minutes=minute)
    order = intent(symbol=symbol, qty=qty, bar_ts=bar_ts)
    assert path.manager.place(decision(order, bar_ts), order).kind == "accepted"


def rows(engine: sa.Engine, statement: str) -> list[Any]:
    with connect(engine) as connection:
        return list(connection.execute(sa.text(statement)).all())


def discrepancies(engine: sa.Engine) -> list[tuple[Any, ...]]:
    return [
        tuple(row)
        for row in rows(
            engine,
            """SELECT kind, symbol, seen_count, resolution FROM reconcile_discrepancies
            WHERE kind NOT IN ('order_unknown_to_us', 'fill_gap') ORDER BY first_seen_at, kind""",
        )
    ]


@pytest.fixture
def path(database_dsn: str, simulator: RunningSimulator) -> OrderPath:
    step(simulator, 2)
    return started(database_dsn, simulator)


# Orders ---------------------------------------------------------------------------------------------------------------


def test_one_bad_row_does_not_end_a_pass(path: OrderPath, simulator: RunningSimulator) -> None:
    buy(path, simulator)
    step(simulator, 4)
    view = read_broker(path.reader, None, path.reconciler.asked())
    bad_orders = [{"id": "x", "symbol": "AAPL", "filled_qty": "NaN"}, {}, {"id": "y", "symbol": "A\0", "qty": "1"}]
    bad = replace(view, orders=[*bad_orders, *view.orders], positions=[{"symbol": "ZZZ"}, *view.positions])
    result = path.reconciler.take(bad)
    assert (result.bad_rows, result.found) == (4, ())
    assert path.portfolio.symbol_qty("AAPL") == 10
    ours = replace(view, positions=[{"symbol": "AAPL", "qty": "NaN"}])
    assert [path.reconciler.take(ours).mismatched for _ in range(4)] == [()] * 4
    assert path.compare().is_clean


def test_a_foreign_order_is_recorded_and_counts_as_exposure_until_it_ends(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    order = {"symbol": "MSFT", "qty": "5", "side": "buy", "type": "limit", "limit_price": "10", "time_in_force": "day"}
    control(simulator, foreign_order=[order])
    result = path.compare()
    assert len(result.foreign) == 1
    assert (path.portfolio.gross, path.portfolio.symbols()) == (50, {"MSFT"})
    assert rows(engine, "SELECT symbol, status FROM executions") == [("MSFT", "new")]
    path.manager.cancel(result.foreign[0])
    assert path.compare().foreign == ()
    assert path.portfolio.gross == 0


def test_an_order_that_turns_up_after_it_was_given_up_is_adopted_and_reserved_again(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    order = intent(qty=3, order_type="limit", limit_price=Decimal(1))
    path.manager.commit(decision(order), order)
    path.manager.refuse(order, "submit_not_received")
    assert path.portfolio.gross == 0
    simulator.call(lambda broker: broker.submit(order.terms.payload(order.client_order_id)))
    result = path.compare()
    assert result.adopted == (order.client_order_id,)
    assert path.portfolio.gross == 300
    assert rows(engine, "SELECT state FROM order_intents") == [("accepted",)]


def test_an_order_of_an_intent_that_was_never_to_be_sent_is_told_and_moves_nothing(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    order = intent(qty=3, order_type="limit", limit_price=Decimal(1))
    path.manager.commit(decision(order), order)
    path.manager.withdraw(order, "queue_expired", expired=True)
    simulator.call(lambda broker: broker.submit(order.terms.payload(order.client_order_id)))
    path.compare()
    assert rows(engine, "SELECT state, reason FROM order_intents") == [("expired", "queue_expired")]
    assert ("illegal_intent_move", "AAPL", 1, None) in discrepancies(engine)


def test_what_the_broker_takes_back_is_a_mismatch_until_it_agrees(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    buy(path, simulator)
    step(simulator, 4)
    assert path.compare().found == ()
    view = read_broker(path.reader, None, path.reconciler.asked())
    later = {"status": "new", "filled_qty": "4", "updated_at": "2026-01-05T20:00:00Z"}
    result = path.reconciler.take(replace(view, orders=[{**view.orders[0], **later}]))
    assert sorted(each.kind for each in result.found) == ["filled_qty_mismatch", "status_mismatch"]
    assert path.portfolio.symbol_qty("AAPL") == 10
    again = replace(view, orders=[{**view.orders[0], "updated_at": "2026-01-05T20:00:01Z"}])
    assert path.reconciler.take(again).found == ()
    assert {row[3] for row in discrepancies(engine)} == {"no_longer_found"}


def test_an_order_closed_between_passes_is_found_however_old_it_is(
    path: OrderPath, simulator: RunningSimulator
) -> None:
    order = intent(qty=3, order_type="limit", limit_price=Decimal(1))
    path.manager.place(decision(order), order)
    path.reconciler = Reconciler(
        manager=path.manager, reader=path.reader, store=path.store, frozen=path.frozen, clock=path.clock,
        since=path.clock.now() + timedelta(days=1),
    )  # fmt: skip
    tracked = path.tracker.order_of(order.client_order_id)
    assert tracked is not None
    path.manager.cancel(tracked.order_id)
    assert path.compare().found == ()
    assert path.tracker.open_orders() == []


def test_a_pass_asks_for_the_five_minutes_before_the_last_one_again(path: OrderPath) -> None:
    asked = path.reconciler.asked()
    path.reconciler.take(read_broker(path.reader, None, asked))
    assert path.reconciler.asked().after == utc_text(asked.at - timedelta(minutes=5))


def test_another_account_closes_everything(path: OrderPath, engine: sa.Engine, simulator: RunningSimulator) -> None:
    view = read_broker(path.reader, None, path.reconciler.asked())
    result = path.reconciler.take(replace(view, account={**view.account, "id": "somebody-else"}))
    assert not result.is_clean
    assert result.account_fault is not None
    assert discrepancies(engine) == [("account_mismatch", None, 1, None)]
    assert path.compare().is_clean
    assert discrepancies(engine) == [("account_mismatch", None, 1, "no_longer_found")]


def test_a_deposit_is_taken_over_once_nothing_moves_and_positions_agree(
    path: OrderPath, simulator: RunningSimulator
) -> None:
    before = path.portfolio.cash
    control(simulator, account={"cash": float(before) + 500})
    view = read_broker(path.reader, None, path.reconciler.asked())
    strange = replace(view, positions=[{"symbol": "MSFT", "qty": "1"}])
    assert path.reconciler.take(strange).cash_change is None
    assert path.reconciler.take(view, is_settled=False).cash_change is None
    assert path.reconciler.take(view, is_quiet=False).cash_change is None
    assert path.portfolio.cash == before
    assert [path.compare().cash_change for _ in range(2)] == [500, 0]
    assert path.portfolio.cash == before + 500


def test_what_was_read_while_orders_changed_concludes_nothing_about_positions(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    view = read_broker(path.reader, None, path.reconciler.asked())
    strange = replace(view, positions=[{"symbol": "MSFT", "qty": "1"}])
    results = [path.reconciler.take(strange, is_quiet=False) for _ in range(4)]
    assert [(result.is_whole, result.found, result.mismatched) for result in results] == [(False, (), ())] * 4
    assert discrepancies(engine) == []
    assert path.reconciler.take(strange).found != ()
    path.reconciler.take(strange, is_quiet=False)
    assert discrepancies(engine) == [("position_qty_mismatch", "MSFT", 1, None)]


# Positions ------------------------------------------------------------------------------------------------------------


def without(path: OrderPath, symbol: str, qty: str) -> list[Any]:
    """Three passes in which the broker holds another quantity of a symbol."""
    results: list[Any] = []
    for _ in range(2):
        view = read_broker(path.reader, None, path.reconciler.asked())
        positions = [{**each, "qty": qty} if each["symbol"] == symbol else each for each in view.positions]
        results.append(path.reconciler.take(replace(view, positions=positions)))
    return results


def test_a_jump_without_an_announcement_is_a_mismatch_in_its_second_pass(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    buy(path, simulator)
    buy(path, simulator, "MSFT", 3, minute=1)
    step(simulator, 4)
    assert path.compare().is_clean
    first, second = without(path, "AAPL", "40")
    assert (first.is_clean, first.mismatched, first.newly_frozen) == (False, (), ())
    assert (second.is_clean, second.mismatched, second.newly_frozen) == (True, ("AAPL",), ("AAPL",))
    assert "MSFT" not in path.frozen
    assert rows(engine, "SELECT symbol, reason FROM frozen_symbols") == [("AAPL", "position_mismatch")]
    assert discrepancies(engine) == [("position_qty_mismatch", "AAPL", 2, None)]
    following = again(path)
    assert following.frozen.reason("AAPL") == "position_mismatch"


def test_a_difference_that_moves_with_the_trading_is_no_mismatch_in_two_passes(
    path: OrderPath, simulator: RunningSimulator
) -> None:
    buy(path, simulator)
    step(simulator, 4)
    path.compare()
    results: list[Any] = []
    for qty in ("7", "9"):
        view = read_broker(path.reader, None, path.reconciler.asked())
        results.append(path.reconciler.take(replace(view, positions=[{**view.positions[0], "qty": qty}])))
    assert [result.mismatched for result in results] == [(), ()]


def test_positions_are_kept_as_they_change_for_ninety_days(
    path: OrderPath, engine: sa.Engine, simulator: RunningSimulator
) -> None:
    buy(path, simulator)
    step(simulator, 4)
    path.compare()
    path.compare()
    assert rows(engine, "SELECT symbol, strategy_id, qty FROM position_snapshots") == [("AAPL", "s1", 10)]
    now = path.clock.now()
    with connect(engine) as connection:
        assert delete_old_positions(connection, now + timedelta(days=89)) == 0
        assert delete_old_positions(connection, now + timedelta(days=91)) == 1


# Splits ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def split_over_night(
    database_dsn: str, start_simulator: StartSimulator, monkeypatch: pytest.MonkeyPatch
) -> tuple[OrderPath, RunningSimulator]:
    simulator = start_simulator(two_days())
    monkeypatch.setenv("DB_DSN", database_dsn)
    monkeypatch.setenv("TRADING_SIMULATOR_URL", simulator.url)
    step(simulator, 2)
    path = started(database_dsn, simulator)
    buy(path, simulator)
    buy(path, simulator, "MSFT", 3, minute=1)
    step(simulator, 4)
    assert path.compare().is_clean
    control(simulator, split=[{"symbol": "AAPL", "ratio": 4, "effective": "2026-01-06"}])
    step(simulator, 4)
    order = intent(qty=1, bar_ts=BAR + timedelta(minutes=9), order_type="limit", limit_price=Decimal(390))
    path.manager.place(decision(order, BAR + timedelta(minutes=9)), order)
    step(simulator, 2)
    path.clock.advance_to(nanoseconds_of(datetime.fromisoformat(path.reader.clock()["timestamp"])))
    return path, simulator


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["positions", *arguments])


def test_a_split_over_night_freezes_its_symbol_until_it_is_booked(
    split_over_night: tuple[OrderPath, RunningSimulator], engine: sa.Engine
) -> None:
    path, simulator = split_over_night
    result = path.compare()
    assert (result.is_clean, result.newly_frozen, result.mismatched) == (True, ("AAPL",), ())
    assert path.frozen.reason("AAPL") == "split_unreconciled"
    assert ("split_unreconciled", "AAPL", 1, None) in discrepancies(engine)
    buy(path, simulator, "MSFT", 1, minute=20)
    shown = run("reconcile", "AAPL", "--reason", "4:1", "--json", "--yes")
    answer = json.loads(shown.output)
    assert shown.exit_code == 0
    assert (answer["qty"], answer["broker_qty"], answer["split"]["ratio"]) == ("10", "40", "4:1")
    assert answer["adjustments"] == [{"strategy_id": "s1", "qty_factor": "4", "qty_change": "0", "price": None}]
    assert answer["booked"]
    average = path.portfolio.position(("s1", "AAPL")).average_entry
    result = path.compare()
    assert (result.thawed, result.found) == (("AAPL",), ())
    position = path.portfolio.position(("s1", "AAPL"))
    assert (position.qty, position.average_entry) == (40, average / 4)
    with connect(engine) as connection:
        (record,) = [each for each in history(connection, ACCOUNT) if each.kind == "operator_action"]
        assert (record.body["symbol"], record.body["reason"]) == ("AAPL", "4:1")
        assert verify(connection).reason is None
    following = again(path)
    assert following.portfolio.position(("s1", "AAPL")).qty == 40
    assert len(following.frozen) == 0
    assert json.loads(run("show", "--json").output)["matches"]


def test_booking_twice_books_once(split_over_night: tuple[OrderPath, RunningSimulator], engine: sa.Engine) -> None:
    path, _ = split_over_night
    path.compare()
    assert run("reconcile", "aapl", "--reason", "4:1", "--yes").output.splitlines()[-1].startswith("booked, ledger")
    second = run("reconcile", "AAPL", "--reason", "4:1", "--yes")
    assert (second.exit_code, second.output) == (0, "AAPL: ours 40, broker 40\nnothing to book\n")
    assert rows(engine, "SELECT count(*) FROM position_adjustments") == [(1,)]


def test_any_other_difference_is_booked_as_unattributed(
    split_over_night: tuple[OrderPath, RunningSimulator], engine: sa.Engine
) -> None:
    path, simulator = split_over_night
    simulator.call(lambda broker: broker.desk.account.split("MSFT", Decimal(5)))
    path.compare()
    assert path.compare().mismatched == ("MSFT",)
    answer = run("reconcile", "MSFT", "--reason", "given", "--yes")
    assert answer.exit_code == 0
    assert answer.output.splitlines()[0] == "MSFT: ours 3, broker 15"
    result = path.compare()
    assert (result.thawed, result.found[1:]) == (("MSFT",), ())
    assert path.portfolio.position(("unattributed", "MSFT")).qty == 12
    assert path.portfolio.position(("s1", "MSFT")).qty == 3


def test_booking_asks_first_and_refuses_where_nobody_answers(
    split_over_night: tuple[OrderPath, RunningSimulator], engine: sa.Engine
) -> None:
    from torghut_runtime.command_line import run as exit_code

    split_over_night[0].compare()
    assert exit_code(cli, "torghut-runtime", ["positions", "reconcile", "AAPL", "--reason", "x"]) == 2
    assert exit_code(cli, "torghut-runtime", ["positions", "reconcile", "AAPL", "--reason", " ", "--yes"]) == 2
    assert exit_code(cli, "torghut-runtime", ["positions", "reconcile", "AAPL", "--yes"]) == 2
    assert rows(engine, "SELECT count(*) FROM position_adjustments") == [(0,)]


def test_nothing_is_booked_while_our_records_lack_a_fill(
    split_over_night: tuple[OrderPath, RunningSimulator], engine: sa.Engine
) -> None:
    path, simulator = split_over_night
    path.compare()
    order = {"symbol": "AAPL", "qty": "5", "side": "buy", "type": "market", "time_in_force": "day"}
    control(simulator, foreign_order=[order])
    step(simulator, 4)
    answer = run("reconcile", "AAPL", "--reason", "4:1", "--yes")
    assert answer.exit_code == 3
    assert "not in our records" in answer.output
    assert rows(engine, "SELECT count(*) FROM position_adjustments") == [(0,)]
