"""Halting, reducing, resuming, flattening: with the real database and the simulator over HTTP."""

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from order_cases import ACCOUNT
from simulator_fixtures import control, simulator, start_simulator, step
from stop_fixtures import Begin, begin, keys_at_broker, payload, world
from stop_world import NOWHERE, StopWorld, patient, until

from torghut_runtime.broker.protocol import BrokerError
from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.engine.surface import OperationRefusedError, UnknownStrategyError
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.orders.firewall import BlockedError
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.lease import acquire, release

__all__ = ["begin", "patient", "simulator", "start_simulator", "world"]


def refused(call: Callable[[], object]) -> OperationRefusedError:
    with pytest.raises(OperationRefusedError) as caught:
        call()
    return caught.value


# Halting --------------------------------------------------------------------------------------------------------------


def test_after_a_halt_has_returned_no_order_reaches_the_broker(world: StopWorld, simulator: RunningSimulator) -> None:
    """1,000 submits from eight threads against one halt."""
    blocked: list[str] = []
    begun = threading.Barrier(9)

    def submit(first: int) -> None:
        begun.wait()
        for number in range(first, first + 125):
            try:
                world.firewall.submit(payload(f"k{number}"), is_exit=number % 2 == 0)
            except BlockedError as error:
                blocked.extend(error.reasons)
            except BrokerError:
                continue

    threads = [threading.Thread(target=submit, args=(first,)) for first in range(0, 1_000, 125)]
    for thread in threads:
        thread.start()
    begun.wait()
    until(lambda: len(keys_at_broker(simulator)) > 50)
    operation = world.desk.halt("ada", "stop")
    seen = keys_at_broker(simulator)
    for thread in threads:
        thread.join()
    assert keys_at_broker(simulator) == seen
    assert 50 < len(seen) < 1_000
    assert {"state_halted"} < set(blocked) or set(blocked) == {"kill_switch_enabled", "state_halted"}
    assert operation.effects["requests_settled"]
    until(lambda: world.open_orders() == [])


def test_two_hundred_open_orders_are_cancelled_by_one_call(world: StopWorld, simulator: RunningSimulator) -> None:
    for number in range(200):
        world.firewall.submit(payload(f"k{number}"), is_exit=False)
    operation = world.desk.halt("ada", "stop")
    assert operation.effects["orders_cancelled"] == 200
    assert world.open_orders() == []


def test_a_halt_is_a_record_a_freeze_and_an_incident_with_what_was_cancelled(world: StopWorld) -> None:
    world.rest()
    operation = world.desk.halt("ada", "odd fills")
    assert (operation.state_before, operation.state_after, operation.durable) == ("ACTIVE", "HALTED", True)
    assert operation.effects["orders_cancelled"] == 1
    (record,) = world.rows("SELECT seq, kind, actor, body FROM governance_ledger")
    assert (record.seq, record.kind, record.actor) == (operation.ledger_seq, "trading_state", "ada")
    assert (record.body["from"], record.body["to"]) == (None, "HALTED")
    assert [reason["code"] for reason in record.body["reasons"]] == ["operator_halt"]
    assert record.body["fencing_token"] == 1
    assert [(row.cause, row.lifted_at) for row in world.rows("SELECT * FROM guard_freezes")] == [
        ("trading_halted", None)
    ]
    world.stops.keeper.written("cancels", 30)
    (incident,) = world.rows("SELECT * FROM incidents")
    assert incident.detail["orders_cancelled"] == 1
    assert incident.detail["cancels_failed"] == 0
    assert incident.detail["inputs"] == {"reason": "odd fills"}
    assert incident.detail["reasons"][0]["code"] == "operator_halt"


@pytest.mark.parametrize("table", ["guard_freezes", "incidents"])
def test_halted_its_freeze_and_its_incident_are_stored_together_or_not_at_all(
    world: StopWorld, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    tables = ("trading_state", "governance_ledger", "guard_freezes", "incidents")

    def stored() -> list[int]:
        return [len(world.rows(f"SELECT 1 FROM {each}")) for each in tables]

    def change(statement: str) -> None:
        with connect(create_engine(world.dsn)) as connection:
            connection.execute(sa.text(statement))

    change(f"ALTER TABLE {table} ADD CONSTRAINT nothing CHECK (false) NOT VALID")
    world.stance.latch("account_mismatch", world.clock.now())
    until(lambda: "the trading state could not be kept" in caplog.text)
    assert (stored(), world.stance.trading_state.state) == ([0, 0, 0, 0], "HALTED")
    change(f"ALTER TABLE {table} DROP CONSTRAINT nothing")
    until(lambda: stored() == [1, 1, 1, 1])


def test_an_operators_halt_stops_exits_too_and_counts_as_a_kill_switch(world: StopWorld) -> None:
    world.desk.halt("ada", "stop")
    outcome = world.place(side="sell", is_exit=True)
    assert (outcome.kind, outcome.reason) == ("rejected", "kill_switch_enabled")
    assert world.stops.kill_switch.sources.operator


def test_cancels_that_fail_are_repeated_until_no_order_is_open(world: StopWorld, simulator: RunningSimulator) -> None:
    world.rest()
    control(simulator, http_errors=[{"method": "DELETE", "path": "/v2/orders", "status": 503, "count": 3}])
    operation = world.desk.halt("ada", "stop")
    until(lambda: world.open_orders() == [])
    assert operation.effects["cancels_failed"] == 3


def test_without_database_a_halt_holds_at_once_and_is_not_durable(
    begin: Begin, simulator: RunningSimulator, database_dsn: str
) -> None:
    world = begin(database=NOWHERE)
    with pytest.raises(BlockedError, match="state_halted"):
        world.firewall.submit(payload("k0"), is_exit=True)
    begin(leads=False, holder="another").restored().firewall.submit(payload("k1"), is_exit=False)
    operation = world.desk.halt("ada", "stop")
    assert (operation.state_after, operation.durable, operation.ledger_seq) == ("HALTED", False, None)
    assert world.open_orders() == []
    assert world.stance.gate().state == "HALTED"
    with pytest.raises(StoreUnavailableError):
        world.desk.resume("ada", "go on", ["operator_halt"])
    assert world.stance.trading_state.state == "HALTED"


def test_a_change_made_while_the_database_was_away_is_written_when_it_is_back(begin: Begin) -> None:
    world = begin().restored()
    real = world.stops.keeper._engine

    world.stops.keeper._engine = create_engine(NOWHERE)
    cut = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    world.rows(cut)
    until(lambda: not world.stops.keeper.available)
    assert not world.desk.halt("ada", "stop").durable
    assert world.rows("SELECT 1 FROM trading_state") == []
    world.stops.keeper._engine = real
    assert world.stops.keeper.flush(30).durable
    assert [row.state for row in world.rows("SELECT state FROM trading_state")] == ["HALTED"]
    assert len(world.rows("SELECT 1 FROM guard_freezes")) == 1


# Restart and other processes ------------------------------------------------------------------------------------------


def test_a_restart_never_clears_a_latch(begin: Begin) -> None:
    first = begin().restored()
    first.stance.latch("daily_loss_limit_reached", first.clock.now())
    first.desk.halt("ada", "stop")
    first.close()
    second = begin().restored()
    assert second.stance.trading_state.codes == ("daily_loss_limit_reached", "operator_halt")
    assert second.place().reason == "kill_switch_enabled"


def test_orders_that_are_open_when_a_halted_process_starts_are_cancelled(begin: Begin) -> None:
    first = begin().restored()
    first.desk.halt("ada", "stop")
    first.close()
    control(
        first.simulator,
        foreign_order={
            "symbol": "AAPL",
            "qty": "1",
            "side": "buy",
            "type": "limit",
            "limit_price": "1",
            "time_in_force": "day",
        },
    )
    assert len(first.open_orders()) == 1
    begin().restored()
    until(lambda: first.open_orders() == [])


@pytest.mark.parametrize("state", ["SLEEPING", "HALTED", "REDUCING"])
def test_a_stored_state_that_nobody_can_explain_halts(begin: Begin, world: StopWorld, state: str) -> None:
    world.close()

    with connect(world.engine) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO trading_state (account_label, state, reasons, actor, since, updated_at) "
                "VALUES ('paper', :state, '[{\"no\": 1}]', 'x', now(), now())"
            ),
            {"state": state},
        )
    again = begin().restored()
    assert again.stance.trading_state.state == "HALTED"


def test_the_leader_sees_a_halt_that_a_standby_has_stored(world: StopWorld, begin: Begin) -> None:
    standby = begin(leads=False, holder="standby").restored()
    world.rest()
    operation = standby.desk.halt("bob", "stop")
    assert operation.durable
    assert world.reader.open_orders() == []
    until(lambda: world.stance.gate().state == "HALTED")
    assert world.place().reason == "kill_switch_enabled"
    assert list(world.stance.trading_state.codes) == ["operator_halt"]
    assert [row.actor for row in world.rows("SELECT actor FROM trading_state")] == ["bob"]


def test_two_processes_that_stop_at_once_both_count(world: StopWorld, begin: Begin) -> None:
    standby = begin(leads=False, holder="standby").restored()
    calls = [
        threading.Thread(target=world.desk.reduce, args=("ada", "slow")),
        threading.Thread(target=standby.desk.halt, args=("bob", "stop")),
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    both = {"operator_halt", "operator_reduce"}
    until(lambda: set(world.stance.trading_state.codes) == both == set(standby.stance.trading_state.codes))
    (row,) = world.rows("SELECT reasons FROM trading_state")
    assert {reason["code"] for reason in row.reasons} == both


def test_on_a_standby_resume_and_flatten_are_refused(begin: Begin) -> None:
    standby = begin(leads=False, holder="standby").restored()
    standby.desk.halt("bob", "stop")
    assert refused(lambda: standby.desk.resume("bob", "go on", ["operator_halt"])).code == "lease_not_held"
    flatten = lambda: standby.desk.flatten("bob", "out", None, override_kill_switch=True)  # noqa: E731
    assert refused(flatten).code == "lease_not_held"
    assert standby.stance.trading_state.state == "HALTED"


def test_a_process_whose_lease_was_taken_cannot_resume(begin: Begin, world: StopWorld) -> None:

    world.desk.halt("ada", "stop")
    assert world.lease is not None
    with connect(world.engine) as connection:
        release(connection, world.lease)
        assert acquire(connection, ACCOUNT, "another") is not None
    assert refused(lambda: world.desk.resume("ada", "go on", ["operator_halt"])).code == "lease_not_held"
    assert world.stance.trading_state.state == "HALTED"


# Resume ---------------------------------------------------------------------------------------------------------------


def test_a_resume_names_every_reason_and_closes_the_incident_but_lifts_no_freeze(world: StopWorld) -> None:
    world.stance.latch("broker_failure_streak_exceeded:5", world.clock.now())
    world.desk.halt("ada", "stop")
    error = refused(lambda: world.desk.resume("ada", "go on", ["operator_halt"]))
    assert (error.code, error.detail) == (
        "unacknowledged_reasons", {"missing": ["broker_failure_streak_exceeded:5"]}
    )  # fmt: skip
    operation = world.desk.resume("ada", "go on", ["operator_halt", "broker_failure_streak_exceeded:5"])
    assert (operation.state_before, operation.state_after) == ("HALTED", "ACTIVE")
    assert world.rows("SELECT 1 FROM incidents WHERE closed_at IS NULL") == []
    assert len(world.rows("SELECT 1 FROM guard_freezes WHERE lifted_at IS NULL")) == 1
    assert world.place().kind == "accepted"
    world.close()


def test_a_resume_stands_against_kill_switch_gate_and_frozen_symbols(world: StopWorld) -> None:
    world.desk.halt("ada", "stop")
    resume: Callable[[], object] = lambda: world.desk.resume("ada", "go on", world.stance.trading_state.codes)  # noqa: E731
    world.flags.environment["TRADING_KILL_SWITCH_ENABLED"] = True
    assert refused(resume).code == "kill_switch_enabled"
    world.flags.environment["TRADING_KILL_SWITCH_ENABLED"] = False
    world.missing = ["live_limits_missing"]
    assert refused(resume).detail == {"missing": ["live_limits_missing"]}
    world.missing = []
    world.stance.latch("position_mismatch:AAPL", world.clock.now())
    assert refused(resume).detail == {"symbols": ["AAPL"]}
    world.stance.position_reconciled("AAPL")
    resume()
    assert world.stance.trading_state.state == "ACTIVE"


# Reduce ---------------------------------------------------------------------------------------------------------------


def test_reducing_cancels_entries_and_keeps_exits(world: StopWorld, simulator: RunningSimulator) -> None:
    world.place(qty=10)
    step(simulator, 4)
    world.reconcile()
    world.place(side="sell", qty=5, order_type="limit", limit_price=Decimal(900), is_exit=True)
    world.rest("MSFT")
    world.desk.reduce("ada", "slow")
    until(lambda: [order["side"] for order in world.open_orders()] == ["sell"])
    assert world.place("MSFT").reason == "state_reducing"
    assert world.place(side="sell", qty=5, is_exit=True).kind == "accepted"
    assert world.rows("SELECT 1 FROM incidents") == []


def test_a_standby_reduces_what_it_does_not_know(world: StopWorld, begin: Begin, simulator: RunningSimulator) -> None:
    world.place(qty=10)
    step(simulator, 4)
    world.place(side="sell", qty=5, order_type="limit", limit_price=Decimal(900), is_exit=True)
    world.rest("MSFT")
    standby = begin(leads=False, holder="standby").restored()
    assert standby.desk.reduce("bob", "slow").effects["orders_cancelled"] == 1
    assert [order["side"] for order in world.open_orders()] == ["sell"]
    until(lambda: world.stance.trading_state.state == "REDUCING")


def test_cancel_all_changes_no_state(world: StopWorld) -> None:
    world.rest()
    world.rest("MSFT")
    operation = world.desk.cancel_all("ada", "clean")
    assert (operation.effects["orders_cancelled"], operation.state_after) == (2, "ACTIVE")
    assert world.open_orders() == []
    assert world.rows("SELECT 1 FROM governance_ledger") == []


# Flatten --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def holding(world: StopWorld, simulator: RunningSimulator) -> StopWorld:
    """Ten shares of AAPL, of two strategies."""
    world.place(qty=7)
    world.place(qty=3, strategy="s2")
    step(simulator, 4)
    world.reconcile()
    assert world.at_broker() == 10
    return world


def flatten(world: StopWorld, *, override: bool = False, symbols: list[str] | None = None) -> dict[str, Any]:
    return dict(world.desk.flatten("ada", "out", symbols, override_kill_switch=override).effects)


def test_flatten_reaches_zero_for_every_strategy(holding: StopWorld, simulator: RunningSimulator) -> None:
    effects = flatten(holding)
    assert [(order["strategy_id"], order["qty"], order["outcome"]) for order in effects["orders"]] == [
        ("s1", "7", "accepted"),
        ("s2", "3", "accepted"),
    ]
    step(simulator, 4)
    holding.reconcile()
    assert holding.at_broker() == 0
    assert list(holding.portfolio.positions()) == []


def test_flatten_with_a_pending_exit_never_crosses_zero(holding: StopWorld, simulator: RunningSimulator) -> None:
    control(simulator, cancel_latency_ms=50)
    holding.place(side="sell", qty=7, is_exit=True)
    cancelling = threading.Thread(target=lambda: flatten(holding))
    cancelling.start()
    while cancelling.is_alive():
        step(simulator)
        cancelling.join(0.05)
    step(simulator, 4)
    holding.reconcile()
    assert holding.at_broker() == 0
    assert list(holding.portfolio.positions()) == []


def test_flatten_twice_at_once_closes_once(holding: StopWorld, simulator: RunningSimulator) -> None:
    calls = [threading.Thread(target=flatten, args=(holding,)) for _ in range(2)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    step(simulator, 4)
    assert holding.at_broker() == 0


def test_halted_only_flatten_passes_and_the_kill_switch_wants_to_be_overridden(
    holding: StopWorld, simulator: RunningSimulator
) -> None:
    holding.desk.halt("ada", "stop")
    assert refused(lambda: flatten(holding)).code == "kill_switch_enabled"
    assert [order["outcome"] for order in flatten(holding, override=True)["orders"]] == ["accepted", "accepted"]
    step(simulator, 4)
    assert holding.at_broker() == 0
    assert holding.stance.trading_state.state == "HALTED"


def test_a_halt_by_the_runtime_lets_flatten_pass(holding: StopWorld, simulator: RunningSimulator) -> None:
    holding.stance.latch("component_failed:reconciler", holding.clock.now())
    until(lambda: not holding.stops.cancel_all.at_work)
    assert len(flatten(holding, symbols=["AAPL"])["orders"]) == 2
    step(simulator, 4)
    assert holding.at_broker() == 0


def test_flatten_of_other_symbols_leaves_a_position(holding: StopWorld) -> None:
    holding.rest("MSFT")
    effects = flatten(holding, symbols=["MSFT"])
    assert (effects["orders"], effects["orders_cancelled"]) == ([], 1)
    assert holding.at_broker() == 10


def test_what_the_broker_holds_and_nobody_bought_is_closed_too(holding: StopWorld, simulator: RunningSimulator) -> None:
    control(
        simulator, foreign_order={"symbol": "AAPL", "qty": "5", "side": "buy", "type": "market", "time_in_force": "day"}
    )
    step(simulator, 4)
    effects = flatten(holding)
    assert [order["strategy_id"] for order in effects["orders"]] == ["s1", "s2", "unattributed"]
    step(simulator, 4)
    assert holding.at_broker() == 0


# Strategies -----------------------------------------------------------------------------------------------------------


def test_a_frozen_strategy_loses_its_orders_and_a_reduced_one_its_entries(
    holding: StopWorld, simulator: RunningSimulator
) -> None:
    exits: dict[str, Any] = {
        "side": "sell",
        "qty": 2,
        "order_type": "limit",
        "limit_price": Decimal(900),
        "is_exit": True,
    }
    for strategy in ("s1", "s2"):
        holding.place(strategy=strategy, **exits)
    operation = holding.desk.disable_strategy("ada", "odd", "s1", "freeze")
    assert operation.durable
    until(lambda: len(holding.open_orders()) == 1)
    holding.desk.disable_strategy("ada", "odd", "s2", "reduce")
    assert holding.stops.blocks.reasons("s2", is_exit=True) == []
    assert holding.stops.blocks.reasons("s2", is_exit=False) == ["strategy_disabled"]
    assert holding.stops.blocks.reasons("s1", is_exit=True) == ["strategy_disabled"]
    assert len(holding.open_orders()) == 1


def test_a_block_outlives_the_process_and_reaches_the_leader(world: StopWorld, begin: Begin) -> None:
    standby = begin(leads=False, holder="standby").restored()
    standby.desk.disable_strategy("bob", "odd", "s1", "freeze")
    until(lambda: world.stops.blocks.reasons("s1", is_exit=True) == ["strategy_disabled"])
    world.close()
    again = begin().restored()
    assert again.stops.blocks.all()["s1"].mode == "freeze"
    again.desk.enable_strategy("ada", "fine", "s1")
    until(lambda: standby.stops.blocks.all() == {})
    assert again.rows("SELECT 1 FROM strategy_blocks") == []


def test_an_unknown_strategy_is_told(world: StopWorld) -> None:
    with pytest.raises(UnknownStrategyError):
        world.desk.disable_strategy("ada", "odd", "nobody", "reduce")
