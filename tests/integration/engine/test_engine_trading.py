"""A running engine against the simulator over HTTP and websockets: bars in, decisions, orders, fills, positions out."""

import json
from decimal import Decimal
from pathlib import Path

import requests
from alpaca_streams import until
from engine_world import minute_tape
from live_engine import Desk, Start, desk, desks, entry, held
from simulator_fixtures import control

from torghut_runtime.order_feed.outbox import Outbox

__all__ = ["desk", "desks"]


def test_bars_become_decisions_orders_fills_and_positions_that_are_the_brokers(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": [100] * 12, "MSFT": [200] * 12}))
    desk.write(entry(universe_symbols=["AAPL", "MSFT"], enter_at=3, exit_at=6))
    engine = desk.ready(desk.engine())
    desk.step(engine, 4, symbols=2)
    assert held(engine) == desk.held() == {"AAPL": Decimal(10), "MSFT": Decimal(10)}
    desk.step(engine, 4, symbols=2)
    assert held(engine) == desk.held() == {}
    desk.stored(engine)
    decisions = desk.rows("SELECT symbol, rationale, status FROM trade_decisions ORDER BY bar_ts, symbol")
    assert [tuple(row) for row in decisions] == [
        ("AAPL", "entry", "filled"),
        ("MSFT", "entry", "filled"),
        ("AAPL", "exit_signal", "filled"),
        ("MSFT", "exit_signal", "filled"),
    ]
    executions = {row.client_order_id: row.status for row in desk.rows("SELECT * FROM executions")}
    assert executions == {order["client_order_id"]: order["status"] for order in desk.orders()}
    until(lambda: engine.positions()["account"]["cash"] == broker_cash(desk))
    assert desk.rows("SELECT * FROM reconcile_discrepancies WHERE resolved_at IS NULL") == []


def broker_cash(desk: Desk) -> str:
    headers = {"APCA-API-KEY-ID": "simulator", "APCA-API-SECRET-KEY": "simulator"}
    return requests.get(f"{desk.simulator.url}/v2/account", headers=headers, timeout=60).json()["cash"]


def test_a_bar_that_comes_twice_is_decided_once(desk: Desk) -> None:
    desk.write(entry(enter_at=1, until=2, pyramid=True))
    engine = desk.ready(desk.engine())
    control(desk.simulator, duplicate_bars=[{"symbol": "AAPL", "count": 1}])
    desk.step(engine)
    assert [row.rationale for row in desk.rows("SELECT rationale FROM trade_decisions")] == ["entry"]
    desk.step(engine)
    assert len(desk.orders()) == 2


def test_without_bars_nothing_is_decided_or_sent(desk: Desk) -> None:
    desk.write(entry())
    engine = desk.ready(desk.engine())
    assert engine.status()["last_run_at"] is None
    assert desk.orders() == []
    assert desk.rows("SELECT * FROM trade_decisions") == []


def test_not_enabled_it_keeps_records_and_sends_nothing(desk: Desk) -> None:
    desk.write(entry(enter_at=1))
    engine = desk.ready(desk.engine(ENABLED="false"))
    desk.step(engine)
    decisions = desk.rows("SELECT status, decision_json->'risk_reasons' AS reasons FROM trade_decisions")
    assert [(row.status, row.reasons) for row in decisions] == [("rejected", ["trading_disabled"])]
    assert desk.orders() == []
    assert engine.status()["last_reconcile_at"] is not None


def test_a_fill_that_came_while_the_stream_was_down_is_found_at_the_broker(desk: Desk) -> None:
    desk.write(entry(enter_at=2))
    engine = desk.ready(desk.engine())
    control(desk.simulator, mute=[{"stream": "trading", "seconds": 90}])
    desk.step(engine, 3)
    assert held(engine) == {"AAPL": Decimal(10)}
    desk.stored(engine)
    assert [row.filled_qty for row in desk.rows("SELECT filled_qty FROM executions")] == [Decimal(10)]


def test_history_before_the_start_warms_up_and_decides_nothing(desk: Desk) -> None:
    desk.write(entry(enter_at=1))
    requests.post(f"{desk.simulator.url}/sim/step", json={"events": 20}, timeout=60).raise_for_status()
    engine = desk.ready(desk.engine())
    assert desk.rows("SELECT * FROM trade_decisions") == []
    desk.step(engine)
    assert [row.rationale for row in desk.rows("SELECT rationale FROM trade_decisions")] == ["entry"]


def test_with_the_order_feed_on_every_frame_goes_to_the_outbox_and_not_into_the_tables(
    desks: Start, tmp_path: Path
) -> None:
    nobody = "127.0.0.1:9"  # what is recorded stays in the outbox
    folder = tmp_path / "outbox"
    desk = desks(
        order_feed_enabled=True, order_feed_bootstrap_servers=nobody, forwarder_outbox_dir=folder, account_label="paper"
    )
    desk.write(entry(enter_at=1, exit_at=4))
    engine = desk.ready(desk.engine())
    desk.step(engine, 6)
    assert [row.is_exit for row in desk.rows("SELECT is_exit FROM order_intents ORDER BY created_at")] == [False, True]
    engine.stop()
    outbox = Outbox(folder)
    rows = [json.loads(row.value) for row in outbox.pending(0, 100)]
    outbox.close()
    heard = [row["payload"]["event"] for row in rows if row["source"] == "ws"]
    assert heard.count("fill") == 2
    assert {row["accountLabel"] for row in rows} == {"paper"}
    sources = {row.source for row in desk.rows("SELECT DISTINCT source FROM execution_order_events")}
    assert "stream" not in sources
    assert sources <= {"submit", "reconcile"}
