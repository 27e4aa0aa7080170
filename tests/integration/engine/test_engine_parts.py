"""Parts of a running engine that fail, an operator's word, and the end in order."""

from decimal import Decimal

import httpx
import pytest
from alpaca_streams import until
from engine_world import minute_tape, settings_of
from feed_settings import feed_settings
from live_engine import TRADES, Desk, Start, desk, desks, entry, held

from torghut_runtime.broker.simulator.server.pacing import Pace
from torghut_runtime.engine.engine import Engine, EngineOptions
from torghut_runtime.market_data.feed import MarketFeed

__all__ = ["desk", "desks"]


def open_order(desk: Desk) -> None:
    order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1", "time_in_force": "day"}
    headers = {"APCA-API-KEY-ID": "simulator", "APCA-API-SECRET-KEY": "simulator"}
    httpx.post(f"{desk.simulator.url}/v2/orders", json=order, headers=headers, timeout=60).raise_for_status()


def test_a_component_that_keeps_failing_halts_and_cancels(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write(entry())
    engine = desk.ready(desk.engine())
    open_order(desk)

    def broken(self: MarketFeed) -> bool:
        raise ValueError("broken")

    monkeypatch.setattr(MarketFeed, "is_alive", property(broken))
    until(lambda: engine.status()["trading_state"]["state"] == "HALTED")
    assert [each["code"] for each in engine.status()["trading_state"]["reasons"]] == ["component_failed:market_data"]
    until(lambda: [order["status"] for order in desk.orders()] == ["canceled"])
    until(lambda: [row.state for row in desk.rows("SELECT state FROM trading_state")] == ["HALTED"])
    monkeypatch.undo()
    until(
        lambda: engine.components()["market_data"].state == "ok" and engine.components()["market_data"].age_seconds < 5
    )
    assert engine.status()["trading_state"]["state"] == "HALTED"


def test_a_trading_thread_that_fails_once_begins_a_new_term_and_goes_on(desk: Desk) -> None:
    desk.write(entry(enter_at=1))
    engine = desk.ready(desk.engine())
    desk.step(engine, 2)

    def fail() -> None:
        raise ValueError("in the trading thread")

    assert engine.in_trading_thread(fail)
    until(lambda: not engine.status()["running"])
    desk.ready(engine)
    assert held(engine) == desk.held() == {"AAPL": Decimal(10)}
    assert engine.status()["trading_state"]["state"] == "ACTIVE"


def test_an_operator_halts_and_resumes_a_running_engine(desk: Desk) -> None:
    desk.write(entry(enter_at=2, until=60, pyramid=True))
    engine = desk.ready(desk.engine())
    open_order(desk)
    told = engine.operations.halt("ada", "have a look")
    assert (told.state_before, told.state_after, told.durable) == ("ACTIVE", "HALTED", True)
    until(lambda: [order["status"] for order in desk.orders()] == ["canceled"])
    desk.step(engine, 3)
    assert len(desk.orders()) == 1
    engine.operations.resume("ada", "all is well", ["operator_halt"])
    desk.step(engine, 2)
    assert held(engine) == desk.held() != {}


def test_the_end_cancels_open_entries_and_lets_go_of_the_lease(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": [100, 101, 102, 103]}))
    desk.write(entry(enter_at=1))
    engine = desk.ready(desk.engine(EXECUTION_PREFER_LIMIT="true"))
    desk.step(engine)
    until(lambda: [order["status"] for order in desk.orders()] == ["new"])
    engine.stop(60)
    assert [order["status"] for order in desk.orders()] == ["canceled"]
    assert [row.status for row in desk.rows("SELECT status FROM executions")] == ["canceled"]
    assert [row.over for row in desk.rows("SELECT expires_at <= clock_timestamp() AS over FROM runtime_lease")] == [
        True
    ]
    assert {row.symbol for row in desk.rows("SELECT symbol FROM trade_cursor")} == {"AAPL"}


def test_without_a_simulator_it_brings_its_own_and_follows_its_time(desk: Desk) -> None:
    desk.write({"strategy_id": "hold", "strategy_type": "buy_and_hold", "universe_symbols": ["AAPL"]})
    environment = {**TRADES, "STRATEGY_CONFIG_PATH": str(desk.catalog)}
    engine = Engine(
        feed_settings(given_dsn=desk.dsn),
        settings_of(**environment),
        EngineOptions(simulator_pace=Pace(speed=20.0)),
    )
    engine.start()
    try:
        until(lambda: held(engine) == {"AAPL": Decimal(1)})
        until(lambda: "reconciler_found_discrepancies" not in engine.unready_reasons)
        assert engine.dependencies()["alpaca"].detail.startswith("account SIM")
    finally:
        engine.stop()
    assert [row.status for row in desk.rows("SELECT status FROM executions")] == ["filled"]
