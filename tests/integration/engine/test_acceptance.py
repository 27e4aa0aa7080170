"""What the contract's acceptance says word for word, on a running engine: database, simulator and sockets are real."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from alpaca_streams import until
from engine_world import FRIDAY, MONDAY, minute_tape
from live_engine import KEYS, Desk, Start, codes, desks, entry, held, running
from market_days import MINUTE, bounds, minutes_from, walk
from simulator_fixtures import control

from torghut_runtime.broker.alpaca import AlpacaWriter
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.clock import moment_of, nanoseconds_of
from torghut_runtime.engine.engine import Engine
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.stops import EmergencyStop
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.storage.database import connect, create_engine

__all__ = ["desks"]

FLAT = [100] * 40
BELL, _ = bounds(MONDAY)
MANY = {"MAX_ORDERS_PER_SYMBOL_PER_MINUTE": "1000", "MAX_OPEN_ORDERS_PER_SYMBOL": "1000"}


def flat(*symbols: str) -> Tape:
    """Forty minutes in which no price moves."""
    return minute_tape(dict.fromkeys(symbols or ("AAPL",), FLAT))


def decided(desk: Desk, strategy_id: str = "alpha", symbol: str = "AAPL") -> dict[int, list[str]]:
    """Reasons against what a strategy decided, by minute of Monday from 1 on."""
    rows = desk.rows(
        "SELECT bar_ts, decision_json->'risk_reasons' AS reasons FROM trade_decisions"
        f" WHERE strategy_id = '{strategy_id}' AND symbol = '{symbol}'"
    )
    found = {(row.bar_ts.astimezone(UTC) - BELL) // MINUTE + 1: list(row.reasons) for row in rows}
    assert len(found) == len(rows)
    return found


def sides(desk: Desk) -> list[tuple[str, str]]:
    return [(order["side"], order["status"]) for order in desk.orders()]


def move_to(desk: Desk, engine: Engine, moment: datetime) -> None:
    """Let time come to a moment, and the engine know it."""
    desk.simulator.call(lambda broker: broker.advance_to(nanoseconds_of(moment)))
    until(lambda: running(engine).loop._clock.now() == moment)


def advance(desk: Desk, engine: Engine, bars: int = 1) -> None:
    """Let a bar be judged, whatever comes of it."""
    before = engine.status()["metrics"]["bars_taken"]
    requests.post(f"{desk.simulator.url}/sim/step", json={"events": bars}, timeout=60).raise_for_status()
    until(lambda: engine.status()["metrics"]["bars_taken"] >= before + bars)


# Pipeline -------------------------------------------------------------------------------------------------------------


def test_without_bars_nothing_is_sent_and_the_cursor_is_kept(desks: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desks(flat())
    desk.write(entry(enter_at=1, until=2))
    first = desk.ready(desk.engine())
    desk.step(first, 2)
    first.stop()
    kept, sent = desk.rows("SELECT * FROM trade_cursor"), desk.orders()
    assert [row.bar_ts.astimezone(UTC) for row in kept] == [BELL + MINUTE]
    second = desk.ready(desk.engine())
    looks = Evaluations(monkeypatch)
    for seconds in (1, 2, 3):
        move_to(desk, second, BELL + 2 * MINUTE + timedelta(seconds=seconds))
        until(lambda seconds=seconds: looks.count == seconds)
    second.stop()
    assert (desk.rows("SELECT * FROM trade_cursor"), desk.orders()) == (kept, sent)


def test_a_bar_that_comes_again_after_equity_and_params_changed_is_still_one_decision(desks: Start) -> None:
    tape = flat()
    desk = desks(tape)
    desk.write(entry(enter_at=1, until=2, pyramid=True))
    engine = desk.ready(desk.engine(None, **MANY))
    desk.step(engine, 3)
    control(desk.simulator, account={"cash": "500000"})
    move_to(desk, engine, BELL + 3 * MINUTE + timedelta(seconds=10))
    until(lambda: Decimal(engine.positions()["account"]["cash"]) == 500_000)
    before = engine.status()["catalog"]["digest"]
    desk.write(entry(enter_at=1, until=60, pyramid=True, qty=20))
    until(lambda: engine.status()["catalog"]["digest"] != before)
    desk.ready(engine)
    desk.simulator.call(lambda broker: broker.feed.closed(tape.bars[1]))
    desk.step(engine)
    assert decided(desk) == {1: [], 2: [], 4: []}
    assert [order["qty"] for order in desk.orders()] == ["10", "10", "20"]
    assert [row.qty for row in desk.rows("SELECT qty FROM order_intents ORDER BY created_at")] == [10, 10, 20]


def test_behind_a_failing_quality_gate_the_cursor_advances_nothing_is_entered_and_exits_go(desks: Start) -> None:
    desk = desks(flat("AAPL", "MSFT"))
    desk.write(
        entry("alpha", enter_at=2, until=60, pyramid=True, universe_symbols=["AAPL", "MSFT"]),
        entry("leaver", enter_at=1, exit_at=4),
    )
    engine = desk.ready(desk.engine(None, FEATURE_MAX_DUPLICATE_RATIO="0", **MANY))
    desk.step(engine, 2, symbols=2)
    control(desk.simulator, duplicate_bars=[{"symbol": "AAPL", "count": 1}])
    desk.step(engine, 3, symbols=2)
    refused = ["feature_quality:duplicate_ratio_exceeds_threshold"]
    assert decided(desk)[5] == refused
    assert decided(desk, symbol="MSFT") == {2: [], 3: [], 4: [], 5: []}
    assert [order["side"] for order in desk.orders() if order["symbol"] == "AAPL"].count("sell") == 1
    engine.stop()
    moved = desk.rows("SELECT symbol, bar_ts FROM trade_cursor ORDER BY symbol")
    last = BELL + 4 * MINUTE
    assert [(row.symbol, row.bar_ts.astimezone(UTC)) for row in moved] == [("AAPL", last), ("MSFT", last)]


class Evaluations:
    """Counts how often the emergency stop has looked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        evaluate = EmergencyStop.evaluate

        def counted(stop: EmergencyStop) -> Any:
            told = evaluate(stop)
            self.count += 1
            return told

        monkeypatch.setattr(EmergencyStop, "evaluate", counted)


class Requests:
    """Counts what leaves for the broker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[str] = []
        for name in ("submit", "replace", "cancel", "cancel_all"):
            monkeypatch.setattr(AlpacaWriter, name, self._counting(name, getattr(AlpacaWriter, name)))

    def _counting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **given: Any) -> Any:
            self.sent.append(name)
            return call(*arguments, **given)

        return counted


def test_with_the_kill_switch_on_there_is_one_cancel_all_no_submit_and_the_reason_on_record(
    desks: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks(minute_tape({"AAPL": [100, *[101] * 20]}))
    desk.write(entry(enter_at=1, until=60, pyramid=True))
    limited = {"EXECUTION_PREFER_LIMIT": "true", "EXECUTION_ORDER_TTL_SECONDS": "3600"}
    order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1", "time_in_force": "day"}
    keys = {"APCA-API-KEY-ID": "simulator", "APCA-API-SECRET-KEY": "simulator"}
    requests.post(f"{desk.simulator.url}/v2/orders", json=order, headers=keys, timeout=60).raise_for_status()
    seen = Requests(monkeypatch)
    engine = desk.engine(None, KILL_SWITCH_ENABLED="true", **limited)
    until(lambda: engine.status().get("phase") == "trading")
    until(lambda: sides(desk) == [("buy", "canceled")])
    for _ in range(3):
        advance(desk, engine)
        assert engine.settle(60)
    assert {reason for reasons in decided(desk).values() for reason in reasons} == {"kill_switch_enabled"}
    assert len(decided(desk)) == 3
    assert seen.sent == ["cancel_all"]


def test_a_wash_trade_is_one_submit_and_the_named_order_stays(desks: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desks(flat())
    desk.write(entry(enter_at=4))
    engine = desk.ready(desk.engine())

    def by_hand(**terms: str) -> dict[str, Any]:
        given = {"symbol": "AAPL", "qty": "5", "type": "market", "time_in_force": "day", **terms}
        answer = requests.post(f"{desk.simulator.url}/v2/orders", json=given, headers=KEYS, timeout=60)
        answer.raise_for_status()
        return answer.json()

    desk.step(engine)
    by_hand(side="buy")
    desk.step(engine)
    resting = by_hand(side="sell", type="limit", limit_price="900")
    desk.step(engine)
    submitted, submit = list[str](), desk.simulator.broker.submit

    def counted(payload: Any) -> Any:
        submitted.append(payload["client_order_id"])
        return submit(payload)

    monkeypatch.setattr(desk.simulator.broker, "submit", counted)
    desk.step(engine, 4)
    (intent,) = desk.rows("SELECT client_order_id, state, reason FROM order_intents")
    assert (intent.state, intent.reason) == ("rejected", "alpaca_order_rejected")
    assert submitted == [intent.client_order_id]
    assert [(order["id"], order["status"]) for order in desk.orders() if order["side"] == "sell"] == [
        (resting["id"], "new")
    ]
    assert codes(engine) == []


# Risk -----------------------------------------------------------------------------------------------------------------


def test_shares_against_the_volume_of_twenty_sessions(desks: Start) -> None:
    """A thousand shares a day, and a tenth of them at most: 100 go, 101 and 2,000 do not."""
    sessions = TradingCalendar().sessions(MONDAY - timedelta(days=40), MONDAY)
    past = [bar for day in sessions[-21:-1] for bar in minute_tape({"AAPL": [100]}, day=day).bars]
    thin = tuple(replace(bar, volume=1_000.0) for bar in past)
    desk = desks(Tape((*thin, *flat().bars), "1Min"), begins=BELL)
    desk.write(*(entry(f"of{qty}", enter_at=1, qty=qty) for qty in (100, 101, 2_000)))
    engine = desk.ready(desk.engine(None, MAX_PARTICIPATION_RATE="0.1", MAX_ORDERS_PER_SYMBOL_PER_MINUTE="9"))
    desk.step(engine)
    told = {qty: decided(desk, f"of{qty}") for qty in (100, 101, 2_000)}
    refused = {1: ["participation_exceeds_max"]}
    assert told == {100: {1: []}, 101: refused, 2_000: refused}
    assert [order["qty"] for order in desk.orders()] == ["100"]


def test_a_short_of_4000_grows_to_the_cap_of_5000_when_5000_more_are_asked_for_and_no_further(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": [1] * 20}))
    desk.write(
        *(entry(name, enter_at=at, short=True, qty=qty) for name, at, qty in (("a", 1, 4_000), ("b", 3, 5_000))),
        entry("c", enter_at=5, short=True, qty=5_000),
    )
    engine = desk.ready(desk.engine(None, ALLOW_SHORTS="true", PORTFOLIO_MAX_NOTIONAL_PER_SYMBOL="5000"))
    desk.step(engine, 6)
    assert (decided(desk, "b"), decided(desk, "c")) == ({3: []}, {5: ["symbol_notional_exceeded"]})
    assert [(order["side"], order["qty"]) for order in desk.orders()] == [("sell", "4000"), ("sell", "1000")]
    assert held(engine) == desk.held() == {"AAPL": Decimal(-5_000)}


def test_a_loss_of_400_on_100000_is_a_drawdown_of_four_thousandths_and_stops_nothing(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": [100, 100, 100, 96, 96, 96, 96]}))
    desk.write(entry(enter_at=1, qty=100))
    engine = desk.ready(desk.engine())
    desk.step(engine, 6)
    account = engine.positions()["account"]
    assert (Decimal(account["day_pnl"]), Decimal(account["drawdown"])) == (-400, Decimal("0.004"))
    assert (engine.status()["trading_state"]["state"], codes(engine)) == ("ACTIVE", [])


def test_not_enabled_in_the_environment_not_even_an_exit_is_made_and_records_go_on(desks: Start) -> None:
    desk = desks(flat())
    desk.write(entry(enter_at=1, exit_at=60))
    first = desk.ready(desk.engine())
    desk.step(first, 2)
    first.stop()
    desk.write(entry("alpha", enter_at=60, exit_at=2), entry("beta", enter_at=2))
    second = desk.engine(None, ENABLED="false")
    until(lambda: second.status().get("phase") == "trading" and held(second) == {"AAPL": Decimal(10)})
    desk.step(second, 3)
    assert [row.is_exit for row in desk.rows("SELECT is_exit FROM order_intents")] == [False]
    assert sides(desk) == [("buy", "filled")]
    assert ("trading_disabled" in decided(desk, "beta")[4], decided(desk)[4]) == (True, ["trading_disabled"])
    until(lambda: len(desk.rows("SELECT 1 FROM decision_inputs WHERE bar_ts > '2026-01-05T14:31:30Z'")) == 6)
    assert second.status()["last_reconcile_at"] is not None


# Stops ----------------------------------------------------------------------------------------------------------------


def test_a_lag_of_7_against_5_reduces_cancels_the_entry_once_is_an_incident_and_clears(
    desks: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks(minute_tape({"AAPL": [100, *[101] * 20]}))
    desk.write(entry(enter_at=1))
    limited = {"EXECUTION_PREFER_LIMIT": "true", "EXECUTION_ORDER_TTL_SECONDS": "3600"}
    engine = desk.ready(desk.engine(None, ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT="5", **limited))
    desk.step(engine)
    until(lambda: sides(desk) == [("buy", "new")])
    seen, looks = Requests(monkeypatch), Evaluations(monkeypatch)
    refuse = {"method": "GET", "path": "/v2/stocks*", "status": 500, "count": 1_000}
    control(desk.simulator, drop_bars=[{"symbol": "AAPL", "count": 1}], http_errors=[refuse])
    for late, found in ((4, []), (7, ["signal_lag_exceeded:7"])):
        before = looks.count
        move_to(desk, engine, BELL + 2 * MINUTE + timedelta(seconds=late))
        until(lambda before=before: looks.count > before)
        until(lambda found=found: codes(engine) == found)
    until(lambda: sides(desk) == [("buy", "canceled")])
    assert engine.status()["trading_state"]["state"] == "REDUCING"
    until(lambda: desk.rows("SELECT 1 FROM incidents") != [])
    (incident,) = desk.rows("SELECT detail, closed_at FROM incidents")
    assert (incident.detail["inputs"]["continuity"], incident.closed_at) == (["signal_lag_exceeded:7"], None)
    assert incident.detail["limits"]["signal_lag_seconds"] == 5
    control(desk.simulator, http_errors=[])
    looks.count = 0
    for _ in range(8):  # the first of them bring back what was lost
        assert (engine.status()["trading_state"]["state"] == "REDUCING") or looks.count >= 3
        desk.step(engine)
    assert engine.status()["trading_state"]["state"] == "ACTIVE"
    until(lambda: desk.rows("SELECT 1 FROM incidents WHERE closed_at IS NULL") == [])
    assert seen.sent == ["cancel"]


# Universe -------------------------------------------------------------------------------------------------------------

FROM_FILE = {"UNIVERSE_SOURCE": "file", "STATIC_SYMBOLS": "", "UNIVERSE_CACHE_SECONDS": "60"}


@pytest.mark.parametrize(
    ("text", "while_it_serves"),
    [pytest.param(None, [], id="missing"), pytest.param("[]", ["symbol_not_allowed"], id="empty")],
)
def test_without_a_universe_file_nothing_is_entered_exits_go_and_one_failed_read_stops_nothing(
    desks: Start, tmp_path: Path, text: str | None, while_it_serves: list[str]
) -> None:
    path = tmp_path / "universe.json"
    path.write_text('["AAPL"]')
    desk = desks(flat())
    desk.write(entry(enter_at=1, exit_at=7), entry("soon", enter_at=4, qty=5), entry("late", enter_at=6))
    engine = desk.ready(desk.engine(None, UNIVERSE_PATH=str(path), UNIVERSE_MAX_STALE_SECONDS="180", **FROM_FILE))
    desk.step(engine, 2)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    desk.step(engine)
    assert codes(engine) == []
    desk.step(engine)
    assert [code for code in decided(desk, "soon")[4] if code == "symbol_not_allowed"] == while_it_serves
    desk.step(engine, 5)
    assert "symbol_not_allowed" in decided(desk, "late")[6]
    assert sides(desk)[-1] == ("sell", "filled")
    assert held(engine) == desk.held() == ({} if while_it_serves else {"AAPL": Decimal(5)})
    assert engine.status()["trading_state"]["state"] == "REDUCING"


def test_a_universe_file_that_was_never_there_lets_nothing_in_and_a_position_out(desks: Start, tmp_path: Path) -> None:
    desk = desks(flat())
    desk.write(entry(enter_at=1))
    first = desk.ready(desk.engine())
    desk.step(first, 2)
    first.stop()
    desk.write(entry(enter_at=60, exit_at=2), entry("more", enter_at=1))
    second = desk.engine(None, UNIVERSE_PATH=str(tmp_path / "gone.json"), **FROM_FILE)
    until(lambda: second.status().get("phase") == "trading" and held(second) == {"AAPL": Decimal(10)})
    desk.step(second, 4)
    assert "symbol_not_allowed" in decided(desk, "more")[3]
    assert sides(desk) == [("buy", "filled"), ("sell", "filled")]
    assert held(second) == desk.held() == {}


# Over a weekend -------------------------------------------------------------------------------------------------------

AFTER = FRIDAY + timedelta(days=3)
"""The Monday that follows."""


def weekend() -> tuple[Tape, datetime, datetime]:
    """The end of Friday, bars of nobody before Monday's bell, and Monday's first minutes; with that close and bell."""
    _, closes_at = bounds(FRIDAY)
    opens_at, _ = bounds(AFTER)
    early = [opens_at - minutes * MINUTE for minutes in (25, 21, 16, 6)]  # they end a minute later
    moments = [*minutes_from(closes_at - 5 * MINUTE, 5), closes_at + MINUTE, *early, *minutes_from(opens_at, 20)]
    return walk({"AAPL": moments}), closes_at, opens_at


def pass_until(desk: Desk, engine: Engine | None, moment: datetime) -> None:
    """Let bars come until a moment; an engine takes note of each."""
    now = _now(desk)
    while now < moment:
        requests.post(f"{desk.simulator.url}/sim/step", json={"events": 1}, timeout=60).raise_for_status()
        now = _now(desk)
        if engine is not None:
            until(lambda now=now: running(engine).loop._clock.now() == now)
            assert engine.settle(60)


def _now(desk: Desk) -> datetime:
    return desk.simulator.call(lambda broker: moment_of(broker.now))


def opening(desk: Desk) -> list[tuple[str, str, str]]:
    return [(order["side"], order["time_in_force"], order["status"]) for order in desk.orders()]


@pytest.fixture
def closed(desks: Start) -> tuple[Desk, Engine, datetime]:
    """A desk whose engine has decided on Friday's close, and Monday's bell."""
    tape, closes_at, opens_at = weekend()
    desk = desks(tape, begins=closes_at - 4 * MINUTE)
    desk.write(entry("daily", base_timeframe="1Day", enter_at=1), entry("minutes", enter_at=1000))
    engine = desk.ready(desk.engine())
    pass_until(desk, engine, closes_at + MINUTE)
    until(lambda: len(desk.rows("SELECT 1 FROM order_intents")) == 1)
    return desk, engine, opens_at


def test_a_daily_decision_on_fridays_close_is_one_opg_order_for_monday_and_none_later(
    closed: tuple[Desk, Engine, datetime],
) -> None:
    desk, engine, opens_at = closed
    pass_until(desk, engine, opens_at - 20 * MINUTE)
    assert opening(desk) == []
    pass_until(desk, engine, opens_at - 15 * MINUTE)
    until(lambda: opening(desk) == [("buy", "opg", "accepted")])
    pass_until(desk, engine, opens_at + MINUTE)
    until(lambda: opening(desk) == [("buy", "opg", "filled")])
    assert desk.orders()[0]["filled_at"].startswith(opens_at.strftime("%Y-%m-%dT%H:%M"))
    pass_until(desk, engine, opens_at + 20 * MINUTE)
    desk.agrees(engine)
    assert opening(desk) == [("buy", "opg", "filled")]
    assert len(desk.rows("SELECT 1 FROM trade_decisions")) == len(desk.rows("SELECT 1 FROM order_intents")) == 1
    assert desk.rows("SELECT 1 FROM incidents") == [], "nothing was late over the weekend"


def test_down_at_0915_and_up_at_0940_one_day_order_goes(closed: tuple[Desk, Engine, datetime]) -> None:
    desk, engine, opens_at = closed
    pass_until(desk, engine, opens_at - 20 * MINUTE)
    engine.stop()
    pass_until(desk, None, opens_at + 10 * MINUTE)
    assert opening(desk) == []
    again = desk.ready(desk.engine())
    pass_until(desk, again, opens_at + 11 * MINUTE)
    until(lambda: [each[:2] for each in opening(desk)] == [("buy", "day")])
    pass_until(desk, again, opens_at + 20 * MINUTE)
    desk.agrees(again)
    desk.stored(again)
    assert opening(desk) == [("buy", "day", "filled")]
    assert len(desk.rows("SELECT 1 FROM trade_decisions")) == 1
    intents = desk.rows("SELECT state, reason FROM order_intents ORDER BY intent_seq")
    assert [tuple(row) for row in intents] == [("canceled", "opening_missed"), ("filled", None)]


# Parts that fail ------------------------------------------------------------------------------------------------------

PARTS = ("lease", "trade_updates", "market_data", "market_facts", "reconciler", "event_writer", "catalog", "probe")


@pytest.mark.parametrize("part", [*PARTS, "trading", "simulator_time"])
def test_a_part_that_fails_once_is_started_again_counted_and_the_engine_trades_on(
    desks: Start, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    desk = desks(flat())
    desk.write(entry(enter_at=1, until=60, pyramid=True, qty=1))
    engine = desk.ready(desk.engine(None, **MANY))
    assert set(engine.components()) >= {*PARTS, "trading", "simulator_time"}
    desk.step(engine, 2)
    beat, failing = Heartbeat.beat, running(engine).supervisor._parts[part].heartbeat
    failed: list[str] = []

    def once(heartbeat: Heartbeat, *arguments: Any) -> None:
        if heartbeat is failing and not failed:
            failed.append(part)
            raise ValueError("once")
        beat(heartbeat, *arguments)

    monkeypatch.setattr(Heartbeat, "beat", once)
    until(lambda: failed == [part])
    name = "torghut_trading_component_restarts_total"
    until(lambda: engine.metrics.registry.get_sample_value(name, {"component": part}) == 1)
    until(lambda: engine.components()[part].state == "ok")
    desk.ready(engine)
    sent = len(desk.orders())
    desk.step(engine, 3)
    assert len(desk.orders()) >= sent + 2
    assert (engine.status()["trading_state"]["state"], codes(engine)) == ("ACTIVE", [])


@pytest.mark.parametrize("minutes", [0, 2], ids=["at-once", "minutes-later"])
@pytest.mark.parametrize("state", ["submitting", "initialised"])
def test_an_exit_that_was_not_sent_goes_once_in_the_next_process(
    desks: Start, monkeypatch: pytest.MonkeyPatch, state: str, minutes: int
) -> None:
    desk = desks(flat())
    desk.write(entry(enter_at=1, exit_at=3))
    first = desk.ready(desk.engine())
    desk.step(first, 2)
    submit, failed = Firewall.submit, list[str]()

    def once(firewall: Firewall, payload: Any, **given: Any) -> Any:
        if payload["side"] == "sell" and not failed:
            failed.append(payload["client_order_id"])
            raise ValueError("in the trading thread")
        return submit(firewall, payload, **given)

    monkeypatch.setattr(Firewall, "submit", once)
    requests.post(f"{desk.simulator.url}/sim/step", json={"events": 1}, timeout=60).raise_for_status()
    until(lambda: len(failed) == 1 and not first.status()["running"])
    first.stop()
    with connect(create_engine(desk.dsn)) as connection:
        given = "state = 'initialised', sent_at = NULL" if state == "initialised" else "state = state"
        connection.execute(sa.text(f"UPDATE order_intents SET {given} WHERE is_exit"))
    if minutes:
        requests.post(f"{desk.simulator.url}/sim/step", json={"events": minutes}, timeout=60).raise_for_status()
    desk.write(entry(enter_at=60))
    second = desk.ready(desk.engine())
    for _ in range(4):
        desk.step(second)
    assert sides(desk) == [("buy", "filled"), ("sell", "filled")]
    assert held(second) == desk.held() == {}


# Records --------------------------------------------------------------------------------------------------------------


def test_with_the_order_feed_off_the_streams_events_are_in_the_tables_with_source_stream(desks: Start) -> None:
    desk = desks(flat())
    desk.write(entry(enter_at=1))
    engine = desk.ready(desk.engine())
    desk.step(engine, 3)
    desk.stored(engine)
    rows = desk.rows("SELECT DISTINCT event_type FROM execution_order_events WHERE source = 'stream'")
    assert {row.event_type for row in rows} >= {"new", "fill"}
