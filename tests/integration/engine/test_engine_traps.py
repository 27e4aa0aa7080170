"""What would send a wrong order or lose a stop, tried on a running engine: database, simulator and sockets are real."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from alpaca_streams import until
from engine_world import minute_tape, settings_of
from feed_settings import feed_settings
from http_world import DOWN, OPERATOR, PATIENT, TOKENS, bearer, serving
from live_engine import KEYS, REGISTRY, TRADES, Desk, Start, codes, desk, desks, entry, held, running
from simulator_fixtures import control
from stop_world import Flags

from torghut_runtime.engine.engine import Engine, EngineOptions
from torghut_runtime.engine.event_writer import CAPACITY
from torghut_runtime.engine.flag_source import ALLOW_SHORTS, EMERGENCY_STOP, KILL_SWITCH, Switch
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.main import create_app
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.storage.database import create_engine

__all__ = ["desk", "desks"]

FLAT = [100] * 30
MANY = {
    "MAX_ORDERS_PER_MINUTE": "1000",
    "MAX_ORDERS_PER_SYMBOL_PER_MINUTE": "1000",
    "MAX_OPEN_ORDERS": "1000",
    "MAX_OPEN_ORDERS_PER_SYMBOL": "1000",
}
"""No cap on counts: what is tried is another one."""


def flat(desks: Start, *symbols: str) -> Desk:
    """A desk over half an hour in which no price moves."""
    return desks(minute_tape(dict.fromkeys(symbols or ("AAPL",), FLAT)))


def reasons(desk: Desk) -> list[tuple[str, list[str]]]:
    """Symbol and reasons of every decision that was refused, oldest first."""
    rows = desk.rows(
        "SELECT symbol, decision_json->'risk_reasons' AS reasons FROM trade_decisions"
        " WHERE status = 'rejected' ORDER BY bar_ts, symbol, strategy_id"
    )
    return [(row.symbol, list(row.reasons)) for row in rows]


def advance(desk: Desk, engine: Engine, bars: int = 1) -> None:
    """Let bars come and be judged, whatever the broker does about them."""
    before = engine.status()["metrics"]["bars_taken"]
    requests.post(f"{desk.simulator.url}/sim/step", json={"events": bars}, timeout=60).raise_for_status()
    until(lambda: engine.status()["metrics"]["bars_taken"] >= before + bars)


def submit(desk: Desk, **order: str) -> dict[str, Any]:
    """An order that somebody else sends."""
    given = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day", **order}
    answer = requests.post(f"{desk.simulator.url}/v2/orders", json=given, headers=KEYS, timeout=60)
    answer.raise_for_status()
    return answer.json()


# Caps -----------------------------------------------------------------------------------------------------------------


def test_twenty_signals_of_one_bar_never_pass_a_cap_of_the_whole_equity(desks: Start) -> None:
    desk = flat(desks)
    control(desk.simulator, account={"cash": "10000"})
    desk.write(*(entry(f"s{number:02}", enter_at=1) for number in range(20)))
    engine = desk.ready(desk.engine(None, PORTFOLIO_MAX_GROSS_EXPOSURE="10000", **MANY))
    advance(desk, engine)
    until(lambda: len(desk.rows("SELECT 1 FROM trade_decisions")) == 20)
    sent = sum(Decimal(order["qty"]) for order in desk.orders())
    assert 9_000 <= sent * 100 <= 10_000
    assert {code for _, each in reasons(desk) for code in each} == {"gross_exposure_exceeded"}
    desk.step(engine, 2)
    assert desk.held() == {"AAPL": sent}


def test_above_the_gross_cap_an_exit_goes_out_in_full(desks: Start) -> None:
    desk = flat(desks)
    desk.write(entry(enter_at=1, exits={"max_bars": 4}, qty=100))
    first = desk.ready(desk.engine())
    desk.step(first, 3)
    first.stop()
    capped = {"PORTFOLIO_MAX_GROSS_EXPOSURE": "1000", "MAX_NOTIONAL_PER_TRADE": "1000", "MAX_DAILY_LOSS": "0"}
    second = desk.ready(desk.engine(None, **capped))
    assert held(second) == {"AAPL": Decimal(100)}
    desk.step(second, 3)
    assert [(order["side"], order["qty"]) for order in desk.orders()] == [("buy", "100"), ("sell", "100")]
    assert held(second) == desk.held() == {}


# Stops ----------------------------------------------------------------------------------------------------------------


def test_a_kill_switch_that_flips_in_the_middle_of_a_batch_lets_nothing_follow(desks: Start) -> None:
    desk = flat(desks)
    desk.write(*(entry(f"s{number:02}", enter_at=1, until=9, pyramid=True) for number in range(20)))
    engine = desk.ready(desk.engine(EngineOptions(registry=REGISTRY, flags=AfterFiveOrders(desk)), **MANY))
    advance(desk, engine)
    until(lambda: engine.status()["trading_state"]["state"] == "HALTED")
    until(lambda: [order["status"] for order in desk.orders()] == ["canceled"] * 5)
    until(lambda: len(reasons(desk)) == 15)
    assert all("kill_switch_enabled" in each for _, each in reasons(desk))
    advance(desk, engine, 2)
    assert len(desk.orders()) == 5
    assert codes(engine) == ["kill_switch_enabled"]
    assert engine.status()["running"], "no restart is needed, and none happens"


class AfterFiveOrders(Flags):
    """A flag service that turns the kill switch on as soon as five orders have reached the broker."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(settings_of(**TRADES))
        self._desk = desk

    def switch(self, setting: str) -> Switch:
        if setting == KILL_SWITCH and not self.answers:
            at_broker = self._desk.simulator.call(lambda broker: len(list(broker.desk.book)))
            if at_broker >= 5:
                self.answers[KILL_SWITCH] = True
        return super().switch(setting)


def test_what_is_latched_stays_so_in_the_next_process_also_with_the_emergency_stop_off(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": [100] * 4 + [80] * 20}))
    desk.write(entry("alpha", enter_at=1, qty=900))
    first = desk.ready(desk.engine())
    desk.step(first, 6)
    until(lambda: any(code.startswith("max_drawdown_exceeded") for code in codes(first)))
    latched = codes(first)
    first.stop()
    desk.write(entry("alpha", exit_at=2, qty=900), entry("beta", enter_at=1))
    second = desk.ready(desk.engine(EMERGENCY_STOP_ENABLED="false", ROLLBACK_MAX_DRAWDOWN_LIMIT="0.9"))
    assert codes(second) == latched
    desk.step(second, 5)
    assert [(symbol, "state_reducing" in each) for symbol, each in reasons(desk)] == [("AAPL", True)]
    assert [(order["side"], order["qty"]) for order in desk.orders()] == [("buy", "900"), ("sell", "900")]
    assert held(second) == {}
    assert codes(second) == latched


def test_one_rejected_order_stops_nothing_and_five_in_a_row_reduce(desks: Start) -> None:
    desk = flat(desks)
    desk.write(entry("alpha", enter_at=1, exit_at=9), entry("beta", enter_at=3, until=20, pyramid=True))
    engine = desk.ready(desk.engine())
    desk.step(engine, 2)
    control(desk.simulator, reject_next=[{"code": 40310000, "message": "no"}])
    advance(desk, engine)
    until(lambda: len(reasons(desk)) == 1)
    assert engine.status()["trading_state"]["state"] == "ACTIVE"
    control(desk.simulator, reject_next=[{"code": 40310000, "message": "no"}] * 4)
    desk.step(engine, 4)
    until(lambda: codes(engine) == ["broker_failure_streak_exceeded:5"])
    desk.step(engine, 3)
    sold = [order for order in desk.orders() if order["side"] == "sell"]
    assert [(order["qty"], order["status"]) for order in sold] == [("10", "filled")]


def test_whatever_hangs_has_its_orders_cancelled_and_the_process_ends(desk: Desk) -> None:
    desk.write(entry())
    ended: list[bool] = []
    options = EngineOptions(registry=REGISTRY, watchdog_seconds=60.0, end_process=lambda: ended.append(True))
    engine = desk.ready(desk.engine(options))
    submit(desk, type="limit", limit_price="1")
    seen = chain([-100.0], repeat(0.0))  # last seen 100 s ago, for ever
    engine.watch("loop", Heartbeat(lambda: next(seen)))
    until(lambda: ended == [True])
    assert [order["status"] for order in desk.orders()] == ["canceled"]
    stored = desk.rows("SELECT state, reasons FROM trading_state")
    assert [(row.state, [each["code"] for each in row.reasons]) for row in stored] == [("HALTED", ["loop_stalled"])]


@pytest.mark.parametrize(("code", "state"), [("trading_flag_off", "ACTIVE"), ("flags_stale", "REDUCING")])
def test_without_the_permission_of_flags_exits_go_out_alone_until_it_is_back(
    desks: Start, code: str, state: str
) -> None:
    desk = flat(desks)
    desk.write(entry("alpha", enter_at=1, exit_at=4), entry("beta", enter_at=4, until=20))
    flags = Flags(settings_of(**TRADES))
    engine = desk.ready(desk.engine(EngineOptions(registry=REGISTRY, flags=flags)))
    desk.step(engine, 3)
    flags.degraded = (code,)
    desk.step(engine, 2)
    until(lambda: engine.status()["trading_state"]["state"] == state)
    assert [(order["side"], order["status"]) for order in desk.orders()] == [("buy", "filled"), ("sell", "filled")]
    assert [code in each for _, each in reasons(desk)] == [True, True]
    flags.degraded = ()
    for _ in range(12):  # each minute is one evaluation at least; three healthy ones give the state back
        desk.step(engine)
        if held(engine):
            break
    assert engine.status()["trading_state"]["state"] == "ACTIVE"
    assert held(engine) == {"AAPL": Decimal(10)}


def test_a_flag_forbids_shorts_that_the_environment_allows_until_it_is_back(desks: Start) -> None:
    desk = flat(desks)
    desk.write(entry(enter_at=1, until=60, short=True))
    flags = Flags(settings_of(**TRADES, ALLOW_SHORTS="true"))
    flags.answers[ALLOW_SHORTS] = False
    engine = desk.ready(desk.engine(EngineOptions(registry=REGISTRY, flags=flags), ALLOW_SHORTS="true"))
    desk.step(engine, 2)
    assert [each for _, each in reasons(desk)] == [["shorts_not_allowed"]] * 2
    flags.answers[ALLOW_SHORTS] = True
    desk.step(engine, 2)
    assert held(engine) == {"AAPL": Decimal(-10)}


@pytest.mark.parametrize(("flag", "state"), [(True, "REDUCING"), (False, "ACTIVE")])
def test_a_flag_arms_the_emergency_stop_that_the_environment_has_off(desks: Start, flag: bool, state: str) -> None:
    desk = flat(desks)
    desk.write(entry(enter_at=1, until=60, pyramid=True))
    environment = {"EMERGENCY_STOP_ENABLED": "false", "MAX_ORDERS_PER_SYMBOL_PER_MINUTE": "60"}
    flags = Flags(settings_of(**TRADES, **environment))
    flags.answers[EMERGENCY_STOP] = flag
    engine = desk.ready(desk.engine(EngineOptions(registry=REGISTRY, flags=flags), **environment))
    control(desk.simulator, reject_next=[{"code": 40310000, "message": "no"}] * 6)
    desk.step(engine, 5)
    until(lambda: len(reasons(desk)) >= 5)
    advance(desk, engine)
    until(lambda: engine.status()["trading_state"]["state"] == state)


# Two processes, and what is down --------------------------------------------------------------------------------------


def test_of_two_processes_one_submits_and_the_other_takes_over_when_it_ends(desks: Start) -> None:
    desk = flat(desks)
    desk.write(entry(enter_at=1, until=60, pyramid=True, qty=1))
    first = desk.ready(desk.engine())
    second = desk.engine()
    until(lambda: second.unready_reasons == () and second.role == "standby")
    desk.step(first, 3)
    assert len(desk.orders()) == 3
    first.stop()
    desk.ready(second)
    until(lambda: second.role == "leader")
    desk.step(second, 3)
    keys = [order["client_order_id"] for order in desk.orders()]
    assert len(set(keys)) == len(keys) == 6
    assert {row.client_order_id for row in desk.rows("SELECT client_order_id FROM order_intents")} == set(keys)
    assert first.role == "standby"


def test_with_database_and_broker_down_http_is_up_and_says_why_nothing_trades(desk: Desk) -> None:
    trading = settings_of(
        **{**TRADES, "SIMULATOR_URL": "http://127.0.0.1:1", "STRATEGY_CONFIG_PATH": str(desk.catalog)}
    )
    settings = feed_settings(given_dsn=DOWN, operator_tokens=TOKENS)
    with serving(create_app(settings, Engine(settings, trading), deadlines=PATIENT)) as client:
        until(lambda: "broker_unavailable" in client.get("/readyz").json()["reasons"])
        assert client.get("/readyz").status_code == 503
        assert "database_unavailable" in client.get("/readyz").json()["reasons"]
        assert client.get("/healthz").status_code == 200
        assert "torghut_db_up 0.0" in client.get("/metrics").text
        status = client.get("/trading/status").json()
        assert (status["running"], status["role"]) == (False, "standby")
        answer = client.post("/trading/halt", json={"reason": "drill"}, headers=bearer(OPERATOR))
        assert (answer.status_code, answer.json()["durable"]) == (202, False)


def test_flatten_twice_with_one_id_is_one_operation_beside_a_pending_exit(desks: Start) -> None:
    desk = flat(desks)
    desk.write(entry(enter_at=1, exit_at=3))
    trading = settings_of(**{**TRADES, "SIMULATOR_URL": desk.simulator.url, "STRATEGY_CONFIG_PATH": str(desk.catalog)})
    settings = feed_settings(given_dsn=desk.dsn, operator_tokens=TOKENS)
    engine = Engine(settings, trading, EngineOptions(registry=REGISTRY))
    body = {"reason": "out", "confirm": True, "request_id": "once"}
    with serving(create_app(settings, engine, deadlines=PATIENT)) as client, ThreadPoolExecutor(2) as two:
        desk.ready(engine)
        desk.step(engine, 2)
        advance(desk, engine)
        until(lambda: len(desk.orders()) == 2)
        calls = [two.submit(client.post, "/trading/flatten", json=body, headers=bearer(OPERATOR)) for _ in "12"]
        first, second = (each.result().json() for each in calls)
        assert first == second
        assert first["ok"]
        desk.step(engine, 2)
        assert held(engine) == desk.held() == {}
        sold = sum(Decimal(order["filled_qty"]) for order in desk.orders() if order["side"] == "sell")
        assert sold == 10
        assert len(desk.rows("SELECT 1 FROM trade_decisions WHERE rationale = 'operator_flatten'")) == 1


# Market and broker ----------------------------------------------------------------------------------------------------


def test_a_halted_symbol_orders_nothing_and_the_others_go_on(desks: Start) -> None:
    desk = flat(desks, "AAPL", "MSFT")
    desk.write(entry(universe_symbols=["AAPL", "MSFT"], enter_at=2))
    engine = desk.ready(desk.engine())
    desk.step(engine, symbols=2)
    # A halted symbol has no bars, but its last one may come when the halt is known.
    control(desk.simulator, late_bars=[{"symbol": "AAPL", "count": 1, "delay_ms": 1_000}])
    desk.step(engine, symbols=2, heard=1)
    control(desk.simulator, halt=["AAPL"])
    desk.step(engine, symbols=2)
    desk.step(engine, symbols=2, heard=1)
    assert [order["symbol"] for order in desk.orders()] == ["MSFT"]
    assert [(symbol, "symbol_halted" in each) for symbol, each in reasons(desk)] == [("AAPL", True)]


def test_orders_are_in_the_steps_that_the_broker_names_for_their_asset(desks: Start) -> None:
    desk = desks(minute_tape(dict.fromkeys(("AAPL", "MSFT"), [100.03] * 30)))
    steps = {"price_increment": "0.05", "min_trade_increment": "0.001", "min_order_size": "0.01"}
    control(desk.simulator, assets={"AAPL": steps})
    desk.write(entry(universe_symbols=["AAPL", "MSFT"], enter_at=1, exit_at=3, qty=2.3456))
    engine = desk.ready(desk.engine(None, EXECUTION_PREFER_LIMIT="true"))
    desk.step(engine, 5, symbols=2)
    sent = {(each["symbol"], each["side"]): each for each in desk.orders()}
    assert {key: each["qty"] for key, each in sent.items()} == {
        ("AAPL", "buy"): "2.345",
        ("AAPL", "sell"): "2.345",
        ("MSFT", "buy"): "2",
        ("MSFT", "sell"): "2",
    }
    limits = {key: Decimal(each["limit_price"]) for key, each in sent.items() if key[1] == "buy"}
    assert limits["AAPL", "buy"] % Decimal("0.05") == 0
    assert limits["MSFT", "buy"] % Decimal("0.05") != 0
    assert {each["status"] for each in desk.orders()} == {"filled"}
    assert held(engine) == desk.held() == {}


def test_a_clock_an_hour_apart_from_the_brokers_blocks_entries_and_lets_exits_go(
    desks: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torghut_runtime.engine.market_system.FACTS_SECONDS", 0.1)
    desk = flat(desks)
    desk.write(entry("alpha", enter_at=1, exit_at=5), entry("beta", enter_at=4))
    engine = desk.ready(desk.engine())
    desk.step(engine, 3)
    control(desk.simulator, clock_skew_ms=3_600_000)
    until(lambda: not running(engine).market.calendar.agrees)
    desk.step(engine, 3)
    assert [(order["side"], order["status"]) for order in desk.orders()] == [("buy", "filled"), ("sell", "filled")]
    assert ["calendar_broker_mismatch" in each for _, each in reasons(desk)] == [True]
    keys = [row.client_order_id for row in desk.rows("SELECT client_order_id FROM order_intents")]
    assert len(set(keys)) == len(keys) == 2


def test_of_five_missing_bars_none_is_decided_twice_or_ordered_on_when_it_is_old(desks: Start) -> None:
    desk = flat(desks)
    desk.write(entry(enter_at=1, until=60, pyramid=True, qty=1))
    engine = desk.ready(desk.engine())
    desk.step(engine, 2)
    refuse = {"method": "GET", "path": "/v2/stocks*", "status": 500, "count": 1_000}
    control(desk.simulator, drop_bars=[{"symbol": "AAPL", "count": 5}], http_errors=[refuse])
    for number in range(5):
        before = refused(desk)
        requests.post(f"{desk.simulator.url}/sim/step", json={"events": 1}, timeout=60).raise_for_status()
        if number:  # the minute before is overdue and has been asked for in vain
            until(lambda before=before: refused(desk) > before)
    control(desk.simulator, http_errors=[])
    taken = engine.status()["metrics"]["bars_taken"]
    requests.post(f"{desk.simulator.url}/sim/step", json={"events": 1}, timeout=60).raise_for_status()
    until(lambda: engine.status()["metrics"]["bars_taken"] >= taken + 6)
    rows = desk.rows("SELECT bar_ts, decision_json->'risk_reasons' AS reasons FROM trade_decisions ORDER BY bar_ts")
    assert len({row.bar_ts for row in rows}) == len(rows) == 8
    assert ["signal_stale" in row.reasons for row in rows] == [False] * 2 + [True] * 4 + [False] * 2
    assert len(desk.orders()) == 4


def refused(desk: Desk) -> int:
    """Requests that the simulator has answered with an error."""
    return desk.simulator.call(lambda broker: broker.controls.applied["http_errors"])


def test_an_order_against_a_protective_stop_is_refused_and_the_stop_stays(desks: Start) -> None:
    desk = flat(desks)
    desk.write(entry("alpha", enter_at=1), entry("beta", enter_at=4))
    engine = desk.ready(desk.engine())
    desk.step(engine, 3)
    stop = submit(desk, side="sell", qty="10", type="stop", stop_price="50", time_in_force="gtc")
    desk.step(engine, 3)
    assert [order["status"] for order in desk.orders() if order["id"] == stop["id"]] == ["new"]
    assert held(engine) == {"AAPL": Decimal(10)}
    assert len([order for order in desk.orders() if order["side"] == "buy"]) == 1
    told = desk.rows("SELECT reason, state FROM order_intents ORDER BY created_at")
    assert [tuple(row) for row in told] == [(None, "filled"), ("alpaca_order_rejected", "rejected")]


@pytest.mark.full
def test_an_order_whose_answer_was_lost_is_one_order_and_one_execution(desks: Start) -> None:
    desk = flat(desks)
    desk.write(entry(enter_at=2))
    engine = desk.ready(desk.engine())
    control(desk.simulator, lose_response=1)
    desk.step(engine, 4)
    assert held(engine) == desk.held() == {"AAPL": Decimal(10)}
    assert len(desk.orders()) == 1
    assert [row.status for row in desk.rows("SELECT status FROM executions")] == ["filled"]
    assert [row.state for row in desk.rows("SELECT state FROM order_intents")] == ["filled"]


# The order feed beside it ---------------------------------------------------------------------------------------------


def test_without_servers_of_the_order_feed_events_are_in_the_tables(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": FLAT}), order_feed_enabled=True)
    desk.write(entry(enter_at=1))
    engine = desk.engine()
    missing = ("order_feed_bootstrap_servers_missing",)
    until(lambda: bool(engine.status()["running"]) and engine.unready_reasons == missing)
    desk.step(engine, 3)
    assert held(engine) == {"AAPL": Decimal(10)}
    until(lambda: desk.rows("SELECT 1 FROM execution_order_events WHERE source = 'stream'") != [])
    until(lambda: [row.status for row in desk.rows("SELECT status FROM executions")] == ["filled"])


# A driver that freezes in its transaction -----------------------------------------------------------------------------


def frozen_in_its_transaction(desk: Desk, stack: ExitStack) -> sa.Connection:
    """Another process's ingest that goes no further: it holds the head, and every intent and decision there is."""
    frozen = stack.enter_context(create_engine(desk.dsn).connect())
    frozen.execute(sa.text("SELECT 1 FROM event_seq_head FOR UPDATE"))
    for table in ("order_intents", "trade_decisions"):
        frozen.execute(sa.text(f"SELECT 1 FROM {table} FOR NO KEY UPDATE"))
    return frozen


def passes(engine: Engine) -> float:
    """Passes of reconciliation since the start."""
    return engine.metrics.registry.get_sample_value("torghut_trading_reconcile_seconds_count") or 0.0


def told_once(desk: Desk) -> None:
    """Every order at the broker is one execution of one intent and every event is stored once."""
    until(lambda: desk.rows("SELECT 1 FROM executions WHERE terminal_at IS NULL") == [])
    ours = desk.rows("SELECT client_order_id, status, filled_qty FROM executions ORDER BY 1")
    broker = [(each["client_order_id"], each["status"], Decimal(each["filled_qty"])) for each in desk.orders()]
    assert [tuple(row) for row in ours] == sorted(broker)
    keys = desk.rows("SELECT client_order_id FROM order_intents ORDER BY 1")
    assert [row.client_order_id for row in keys] == [key for key, _, _ in sorted(broker)]
    (events,) = desk.rows(
        "SELECT count(*), max(event_seq) AS newest, (SELECT last_event_seq FROM event_seq_head) AS head,"
        " (SELECT sum(filled_qty) FROM executions) - (SELECT sum(qty) FROM order_fills WHERE state = 'counted') AS gap"
        " FROM execution_order_events"
    )
    assert (events.newest, events.head, events.gap) == (events.count, events.count, 0)
    status = desk.rows("SELECT DISTINCT d.status = e.status FROM trade_decisions d JOIN executions e"
                       " ON e.trade_decision_id = d.id")  # fmt: skip
    assert status == [(True,)]


def test_while_a_driver_is_frozen_it_trades_cancels_and_reconciles_and_stores_all_of_it_afterwards(
    desks: Start,
) -> None:
    desk = flat(desks)
    desk.write(entry(enter_at=1, until=20, pyramid=True), entry("leaver", enter_at=1, exit_at=3))
    engine = desk.ready(desk.engine(None, **MANY))
    desk.step(engine)
    until(lambda: len(desk.rows("SELECT 1 FROM executions")) == 2)
    with ExitStack() as stack:
        frozen = frozen_in_its_transaction(desk, stack)
        before, compared = len(desk.orders()), passes(engine)
        desk.step(engine, 4)
        assert len(desk.orders()) == before + 5
        assert {order["side"] for order in desk.orders()} == {"buy", "sell"}
        until(lambda: passes(engine) >= compared + 3)
        assert engine.status()["queues"]["order_events"] > 0
        told = engine.operations.halt("ada", "the feed hangs")
        assert (told.state_after, told.durable) == ("HALTED", True)
        until(lambda: {order["status"] for order in desk.orders()} == {"filled", "canceled"})
        until(lambda: engine.status()["queues"]["order_events_age_seconds"] > 6)
        assert len(desk.rows("SELECT 1 FROM executions")) == 2
        assert (engine.status()["last_error"], codes(engine)) == (None, ["operator_halt"])
        frozen.rollback()
    until(lambda: engine.status()["queues"]["order_events"] == 0)
    told_once(desk)


def test_from_a_thousand_waiting_events_on_nothing_is_entered_and_exits_go_out(desks: Start) -> None:
    desk = flat(desks, "AAPL", "MSFT")
    leaver = entry("leaver", enter_at=1, exit_at=3, universe_symbols=["MSFT"])
    desk.write(entry(enter_at=1, until=20, pyramid=True), leaver)
    engine = desk.ready(desk.engine(None, **MANY))
    desk.step(engine, 2, symbols=2)
    until(lambda: engine.status()["queues"]["order_events"] == 0)
    (known,) = desk.rows("SELECT CAST(raw_event AS text) AS value FROM execution_order_events LIMIT 1")
    with ExitStack() as stack:
        frozen = frozen_in_its_transaction(desk, stack)
        running(engine).events.take([known.value.encode()] * CAPACITY, "stream")
        sent = len(desk.orders())
        desk.step(engine, symbols=2)
        assert [order["side"] for order in desk.orders()[sent:]] == ["sell"]
        assert reasons(desk) == [("AAPL", ["backpressure"])]
        frozen.rollback()
    until(lambda: engine.status()["queues"]["order_events"] == 0)
    sent = len(desk.orders())
    desk.step(engine, symbols=2)
    assert [order["side"] for order in desk.orders()[sent:]] == ["buy"]


def test_an_order_is_forgotten_an_hour_after_its_end_and_not_before_it_is_stored(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": [100] * 80}))
    desk.write(entry(enter_at=1, exit_at=5))
    engine = desk.ready(desk.engine())

    def tracker() -> OrderTracker:
        return running(engine).loop.core.tracker

    def known() -> set[str]:
        return {order.order_id for order in tracker().orders()}

    with ExitStack() as stack:
        frozen = frozen_in_its_transaction(desk, stack)
        desk.step(engine, 3)
        until(lambda: tracker().portfolio.symbol_qty("AAPL") > 0)
        desk.step(engine, 67)
        orders = {order["id"] for order in desk.orders()}
        assert (len(orders), known()) == (2, orders)
        frozen.rollback()
    until(lambda: engine.status()["queues"]["order_events"] == 0)
    desk.step(engine, 3)
    until(lambda: known() == set())


def test_a_term_begins_when_what_the_one_before_knew_is_stored(desks: Start) -> None:
    desk = flat(desks)
    desk.write(entry(enter_at=1, until=20, pyramid=True))
    engine = desk.ready(desk.engine(None, **MANY))
    desk.step(engine)
    until(lambda: engine.status()["queues"]["order_events"] == 0)
    with ExitStack() as stack:
        frozen = frozen_in_its_transaction(desk, stack)
        desk.step(engine)
        pid = frozen.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        desk.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            f" AND pid NOT IN (pg_backend_pid(), {pid})"
        )
        requests.post(f"{desk.simulator.url}/sim/step", json={"events": 1}, timeout=60).raise_for_status()
        until(lambda: engine.status()["waiting_for"] == ["database_unavailable"])
        until(lambda: engine.status()["queues"]["order_events_age_seconds"] > 10)
        assert not engine.status()["running"]
        frozen.rollback()
    desk.ready(engine)
    desk.agrees(engine)
    desk.step(engine, 2)
    until(lambda: engine.status()["queues"]["order_events"] == 0)
    assert len(desk.orders()) > 3


@pytest.mark.full
def test_with_the_order_feed_on_a_frozen_driver_holds_no_cancel_and_loses_no_order(
    desks: Start, tmp_path: Path
) -> None:
    nobody = "127.0.0.1:9"
    feed = {"order_feed_bootstrap_servers": nobody, "forwarder_outbox_dir": tmp_path / "outbox"}
    desk = desks(minute_tape({"AAPL": FLAT}), order_feed_enabled=True, account_label="paper", **feed)
    desk.write(entry(enter_at=1, until=20, pyramid=True))
    engine = desk.ready(desk.engine())
    with ExitStack() as stack:
        frozen = frozen_in_its_transaction(desk, stack)
        desk.step(engine, 2)
        engine.operations.halt("ada", "the feed hangs")
        until(lambda: [order["status"] for order in desk.orders()] == ["filled", "canceled"])
        assert engine.status()["last_error"] is None
        frozen.rollback()
    engine.operations.resume("ada", "it goes on", ["operator_halt"])
    desk.step(engine, 3)
    keys = [order["client_order_id"] for order in desk.orders()]

    def stored() -> dict[str, str]:
        rows = desk.rows("SELECT client_order_id, state FROM order_intents")
        return {row.client_order_id: row.state for row in rows}

    until(lambda: stored().get(keys[1]) == "canceled")
    assert stored().keys() == set(keys)
    assert len(keys) > 2
