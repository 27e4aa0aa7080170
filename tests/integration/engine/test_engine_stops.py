"""A running engine under its stops: controls on record, deposits and withdrawals, halt, flatten, resume."""

from decimal import Decimal

from alpaca_streams import until
from live_engine import Desk, desk, desks, entry, held
from simulator_fixtures import control

__all__ = ["desk", "desks"]


def test_an_engine_records_its_controls_and_says_why_it_would_not_go_live(desk: Desk) -> None:
    desk.write(entry())
    engine = desk.ready(desk.engine(POLL_MS="50"))
    until(lambda: len(desk.rows("SELECT 1 FROM control_records")) == 3)
    kinds = {row.kind: row.verdict for row in desk.rows("SELECT kind, verdict FROM control_records")}
    assert kinds.keys() == {"risk", "execution", "reconciliation"}
    assert kinds["risk"] == "pass"
    until(lambda: engine.status()["live_gate"]["missing"] != [])
    assert "live_settings_missing" in engine.status()["live_gate"]["missing"]
    assert engine.status()["trading_state"]["state"] == "ACTIVE", "paper is not halted by the live gate"


def test_a_deposit_is_no_gain_and_a_withdrawal_no_loss(desk: Desk) -> None:
    desk.write(entry(enter_at=1))
    engine = desk.ready(desk.engine(POLL_MS="50", RECONCILE_MS="200"))
    desk.step(engine, 2)
    for cash in ("500000", "50000"):
        control(desk.simulator, account={"cash": cash})
        desk.step(engine)
        until(lambda cash=cash: engine.positions()["account"]["cash"] == cash)
    desk.step(engine)
    assert engine.status()["trading_state"]["reasons"] == []
    until(lambda: desk.rows("SELECT 1 FROM risk_baselines WHERE transfers < 0") != [])
    (row,) = desk.rows("SELECT * FROM risk_baselines")
    assert row.high_water_mark < Decimal(60_000)


def test_halted_flattened_and_resumed_an_engine_trades_again(desk: Desk) -> None:
    desk.write(entry(enter_at=1, until=9, pyramid=True))
    engine = desk.ready(desk.engine())
    desk.step(engine, 2)
    desk.step(engine)
    assert held(engine)["AAPL"] > 0
    assert engine.operations.halt("ada", "look").state_after == "HALTED"
    effects = engine.operations.flatten("ada", "out", None, override_kill_switch=True).effects
    assert [order["outcome"] for order in effects["orders"]] == ["accepted"]
    desk.step(engine, 2)
    until(lambda: held(engine) == desk.held() == {})
    assert engine.operations.resume("ada", "go on", ["operator_halt"]).state_after == "ACTIVE"
    desk.step(engine, 3)
    assert held(engine)["AAPL"] > 0
