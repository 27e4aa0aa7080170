"""Stops that nobody asked for: kill switch, account, lease deadline, baselines, control records."""

import threading
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from engine_world import settings_of
from order_cases import BAR
from simulator_fixtures import control, simulator, start_simulator
from stop_fixtures import begin, keys_at_broker, payload, world
from stop_world import StopWorld, patient, until

from torghut_runtime.broker.protocol import BrokerError
from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.clock import SystemClock
from torghut_runtime.engine.account_guard import AccountGuard
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.control_records import ControlInputs, ControlRecorder, ReconcileOutcome, findings
from torghut_runtime.engine.flag_source import KILL_SWITCH
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.stops import Vitals
from torghut_runtime.orders.firewall import BlockedError
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.baselines import transfers_of
from torghut_runtime.risk.limits import Gate, Limits
from torghut_runtime.risk.trading_state import TradingState, latch_of
from torghut_runtime.storage.controls import newest_controls
from torghut_runtime.storage.database import connect

__all__ = ["begin", "patient", "simulator", "start_simulator", "world"]

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


class Counting:
    """A writing client that counts its cancel-alls."""

    def __init__(self, writer: Any) -> None:
        self.writer, self.cancel_alls, self.submits = writer, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.writer, name)

    def submit(self, payload: Any) -> Any:
        self.submits += 1
        return self.writer.submit(payload)

    def cancel_all(self) -> Any:
        self.cancel_alls += 1
        return self.writer.cancel_all()


# Kill switch ----------------------------------------------------------------------------------------------------------


def test_a_kill_switch_that_is_on_at_the_start_sends_one_cancel_all_and_no_order(
    begin: Any, simulator: RunningSimulator
) -> None:
    first = begin().restored()
    first.rest()
    first.close()
    second = begin(KILL_SWITCH_ENABLED="true", writer=Counting).restored()
    until(lambda: second.open_orders() == [] and not second.stops.cancel_all.at_work)
    assert second.place("MSFT").reason == "kill_switch_enabled"
    writer: Any = second.firewall._writer
    assert (writer.cancel_alls, writer.submits) == (1, 0)
    assert second.stance.trading_state.state == "ACTIVE", "the environment's value blocks and latches nothing"
    assert second.stops.kill_switch.sources.environment


def test_a_flag_that_flips_in_the_middle_of_a_batch_lets_nothing_follow(
    world: StopWorld, simulator: RunningSimulator
) -> None:
    stopped: list[str] = []

    def submit(first: int) -> None:
        for number in range(first, first + 100):
            try:
                world.firewall.submit(payload(f"k{number}"), is_exit=True)
            except BlockedError as error:
                stopped.extend(error.reasons)
            except BrokerError:
                continue

    threads = [threading.Thread(target=submit, args=(first,)) for first in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    until(lambda: len(keys_at_broker(simulator)) > 20)
    world.flags.answers[KILL_SWITCH] = True
    assert world.firewall.settle()
    seen = keys_at_broker(simulator)
    for thread in threads:
        thread.join()
    assert keys_at_broker(simulator) == seen
    assert "kill_switch_enabled" in stopped
    until(lambda: world.stance.trading_state.state == "HALTED" and world.open_orders() == [])
    assert world.stance.trading_state.codes == ("kill_switch_enabled",)


def test_a_flag_that_turns_off_again_lifts_nothing_and_a_resume_does(world: StopWorld) -> None:
    world.flags.answers[KILL_SWITCH] = True
    until(lambda: world.stance.trading_state.state == "HALTED")
    world.flags.answers[KILL_SWITCH] = False
    assert world.place().reason == "kill_switch_enabled"
    world.desk.resume("ada", "go on", ["kill_switch_enabled"])
    assert world.place().kind == "accepted"


def test_no_source_of_the_kill_switch_undoes_another(begin: Any) -> None:
    world = begin(KILL_SWITCH_ENABLED="true").restored()
    world.flags.answers[KILL_SWITCH] = False
    assert world.place().reason == "kill_switch_enabled"


# Account and lease ----------------------------------------------------------------------------------------------------


def test_an_account_that_changes_under_a_running_process_halts_it(
    world: StopWorld, simulator: RunningSimulator
) -> None:
    assert world.rest().kind == "accepted"
    control(simulator, account={"account_number": "SIM999"})
    assert not world.stops.account.see(world.reader.account())
    assert world.stance.trading_state.codes == ("account_mismatch",)
    outcome = world.place(side="sell", is_exit=True)
    assert outcome.reason == "state_halted"
    assert "account_mismatch" in world.stance.trading_state.codes
    until(lambda: world.open_orders() == [])


def test_a_live_account_behind_a_papers_address_gets_no_order(begin: Any, simulator: RunningSimulator) -> None:
    control(simulator, account={"account_number": "123456789"})
    world = begin().restored()
    assert world.stance.trading_state.codes == ("account_mismatch",)
    assert world.place().kind == "rejected"
    assert keys_at_broker(simulator) == []


@pytest.mark.parametrize(
    ("url", "simulator_url", "fits"),
    [
        ("https://paper-api.alpaca.markets", None, True),
        ("https://api.alpaca.markets", None, False),
        ("https://api.alpaca.markets", "https://api.alpaca.markets", False),
        ("http://sim.internal:8282", "http://sim.internal:8282", True),
        ("http://sim.internal:8282", None, False),
        ("http://127.0.0.1:8282", None, True),
    ],
)
def test_paper_mode_sends_to_no_other_host(url: str, simulator_url: str | None, fits: bool) -> None:
    settings = settings_of()
    broker = settings.broker.model_copy(update={"simulator_url": simulator_url})
    stance = Stance(Gate())
    guard = AccountGuard(stance, replace(settings, broker=broker), url, SystemClock())
    assert not stance.gate().account_matches
    assert guard.see({"id": "a", "account_number": "SIM1"}) == fits
    assert stance.gate().account_matches == fits
    assert (stance.trading_state.state == "HALTED") != fits


def test_a_lease_near_its_end_sends_nothing_and_still_cancels(world: StopWorld, simulator: RunningSimulator) -> None:
    world.rest()
    world.may_submit = False
    assert world.place().reason == "lease_not_held"
    world.desk.cancel_all("ada", "clean")
    assert world.open_orders() == []
    assert len(keys_at_broker(simulator)) == 1


# Baselines ------------------------------------------------------------------------------------------------------------


def view(cash: Decimal = Decimal(100_000)) -> AccountView:
    portfolio = Portfolio(cash)
    return AccountView(portfolio, OrderTracker("paper", portfolio), Decimal(2))


def transferred(simulator: RunningSimulator, cash: str) -> None:
    answer = requests.post(f"{simulator.url}/sim/control", json={"account": {"cash": cash}}, timeout=30)
    assert answer.status_code == 200, answer.text


def test_deposits_and_withdrawals_shift_the_baselines_and_are_no_result(
    world: StopWorld, simulator: RunningSimulator
) -> None:
    account = view()
    account.begin(MONDAY)
    assert account.transferred(transfers_of(world.reader.transfers())) == 0
    transferred(simulator, "150000")
    assert account.transferred(transfers_of(world.reader.transfers())) == 50_000
    account.portfolio.cash += 50_000
    assert (account.portfolio.equity, account.opening_equity, account.high_water_mark) == (150_000,) * 3
    transferred(simulator, "90000")
    assert account.transferred(transfers_of(world.reader.transfers())) == -60_000
    account.portfolio.cash -= 60_000
    assert account.transferred(transfers_of(world.reader.transfers())) == 0
    assert (account.portfolio.equity, account.opening_equity, account.high_water_mark) == (90_000,) * 3


def test_baselines_survive_a_restart_and_what_was_transferred_meanwhile(
    world: StopWorld, simulator: RunningSimulator
) -> None:
    account = view()
    account.begin(MONDAY)
    account.portfolio.cash -= 3_000
    account.value()
    world.stops.store_baselines(account.baselines)
    assert world.stops.keeper.written("baselines", 30)
    transferred(simulator, "110000")
    again = view(Decimal(107_000))
    again.restore(world.stops.stored_baselines(), transfers_of(world.reader.transfers()))
    again.begin(MONDAY)
    assert (again.opening_equity, again.high_water_mark) == (110_000, 110_000)
    again.begin(TUESDAY)
    assert (again.opening_equity, again.high_water_mark) == (107_000, 110_000)


# Control records ------------------------------------------------------------------------------------------------------


def inputs(**changes: Any) -> ControlInputs:
    given: dict[str, Any] = {
        "state": TradingState(),
        "vitals": Vitals(Decimal(99_600), Decimal(100_000), Decimal(100_000)),
        "limits": Limits.of(settings_of()),
        "unknown_orders": 0,
        "broker_failure_streak": 5,
        "order_feed_ok": True,
        "order_feed_detail": "",
        "reconcile": ReconcileOutcome(3.0, {}, (), 45.0),
    }
    return ControlInputs(**{**given, **changes})


def verdicts(**changes: Any) -> list[tuple[str, list[str]]]:
    return [(each.verdict, each.body["failures"]) for each in findings(inputs(**changes))]


def test_a_healthy_runtime_passes_all_three() -> None:
    assert verdicts() == [("pass", [])] * 3
    risk = findings(inputs())[0].body
    assert (risk["day_loss"], risk["drawdown"], risk["daily_loss_limit"]) == ("400", "0.004", "3000")


def test_each_fault_fails_its_own_kind() -> None:
    lost = Vitals(Decimal(97_000), Decimal(100_000), Decimal(100_000))
    assert verdicts(vitals=lost)[0] == ("fail", ["daily_loss_limit_reached"])
    halted = TradingState((latch_of("operator_halt", BAR),))
    assert verdicts(state=halted)[0] == ("fail", ["state_halted"])
    unknown = Vitals(*(Decimal(1),) * 3, broker_failures=5, unresolved_orders=("t1-a",))
    assert verdicts(vitals=unknown, order_feed_ok=False)[1] == (
        "fail",
        ["order_unknown_unresolved:t1-a", "broker_failure_streak_exceeded:5", "order_feed"],
    )
    assert verdicts(reconcile=ReconcileOutcome(None, {}, (), 45.0))[2] == ("fail", ["never_reconciled"])
    late = ReconcileOutcome(46.0, {"position_qty_mismatch": 1, "gone": 0}, ("AAPL",), 45.0)
    assert verdicts(reconcile=late)[2] == (
        "fail",
        ["reconcile_overdue", "position_qty_mismatch", "symbol_frozen:AAPL"],
    )


def test_records_are_written_again_and_again_and_grow_old_when_nobody_writes_them(world: StopWorld) -> None:
    recorder = ControlRecorder(world.stops.keeper, inputs, world.clock, every_seconds=0.05)
    recorder.start()
    until(lambda: len(world.rows("SELECT 1 FROM control_records")) >= 6)
    recorder.stop()
    with connect(world.engine) as connection:
        found = newest_controls(connection)
    assert {kind: record.verdict for kind, record in found.items()} == dict.fromkeys(
        ("risk", "execution", "reconciliation"), "pass"
    )
    assert all(record.age < timedelta(seconds=900) for record in found.values())


class Waits(threading.Event):
    """Passes at once, and knows how long it was asked to wait; set after the third time."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return len(self.seconds) > 3


def test_control_records_come_every_300_seconds_from_the_first_on(
    world: StopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, waits = ControlRecorder(world.stops.keeper, inputs, world.clock), Waits()
    monkeypatch.setattr(recorder, "_stopping", waits)
    recorder.start()
    until(lambda: len(waits.seconds) > 3)
    assert waits.seconds == [0.0, 300.0, 300.0, 300.0]


def test_nothing_is_recorded_while_nothing_is_known(world: StopWorld) -> None:
    assert not ControlRecorder(world.stops.keeper, lambda: None, world.clock).record()
    assert world.rows("SELECT 1 FROM control_records") == []


# The emergency stop on record -----------------------------------------------------------------------------------------

LAG = "signal_lag_exceeded:7"


def evaluated(world: StopWorld, *found: str) -> None:
    world.stance.evaluate(found, world.clock.now(), 1, {"inputs": {"continuity": list(found)}, "limits": {"lag": 5}})


def test_a_stop_that_reduces_is_one_incident_that_closes_by_itself_and_freezes_nothing(world: StopWorld) -> None:
    evaluated(world, LAG)
    evaluated(world, LAG, "broker_failure_streak_exceeded:5")
    assert world.stops.keeper.flush(30).durable
    (incident,) = world.rows("SELECT * FROM incidents")
    assert (incident.opened_by, incident.closed_at) == ("runtime", None)
    assert incident.detail["limits"] == {"lag": 5}
    assert [reason["code"] for reason in incident.detail["reasons"]] == [LAG, "broker_failure_streak_exceeded:5"]
    assert world.rows("SELECT 1 FROM guard_freezes") == []
    world.desk.resume("ada", "go on", world.stance.trading_state.codes)
    assert world.rows("SELECT 1 FROM incidents WHERE closed_at IS NULL") == []
    assert [row.body["to"] for row in world.rows("SELECT body FROM governance_ledger ORDER BY seq")] == [
        "REDUCING",
        "REDUCING",
        "ACTIVE",
    ]


def test_automatic_reasons_clear_on_record_too(world: StopWorld) -> None:
    evaluated(world, LAG)
    evaluated(world)
    assert world.stance.trading_state.state == "ACTIVE"
    assert world.stops.keeper.flush(30).durable
    assert [row.state for row in world.rows("SELECT state FROM trading_state")] == ["ACTIVE"]
    assert world.rows("SELECT 1 FROM incidents WHERE closed_at IS NULL") == []


def test_who_has_no_lease_cannot_loosen_what_is_stored(begin: Any) -> None:
    world = begin(leads=False).restored()
    evaluated(world, LAG)
    assert world.stops.keeper.flush(30).durable
    evaluated(world)
    until(lambda: world.stance.trading_state.codes == (LAG,))
    assert [row.state for row in world.rows("SELECT state FROM trading_state")] == ["REDUCING"]


def test_cancels_of_entries_join_the_incident(world: StopWorld) -> None:
    world.rest()
    world.rest("MSFT")
    evaluated(world, LAG)
    until(lambda: world.open_orders() == [])
    until(lambda: world.rows("SELECT 1 FROM incidents WHERE detail->>'orders_cancelled' = '2'") != [])
