"""The start of an engine: it waits for what is down and says so, and goes on where an earlier one ended."""

from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal

import httpx
import sqlalchemy as sa
from alpaca_streams import until
from interruptible_kafka import Proxy
from live_engine import Desk, desk, desks, entry, held
from postgres import free_port

from torghut_runtime.settings import database_url
from torghut_runtime.storage.database import connect, create_engine

__all__ = ["desk", "desks"]


def behind(dsn: str, proxy: Proxy) -> str:
    return database_url(dsn).set(port=proxy.port).render_as_string(hide_password=False)


@contextmanager
def proxied(target: int) -> Generator[Proxy]:
    proxy = Proxy(free_port(), target)
    proxy.stop()
    try:
        yield proxy
    finally:
        proxy.stop()


def test_with_the_database_down_it_waits_says_why_and_trades_when_it_comes(desk: Desk) -> None:
    port = database_url(desk.dsn).port
    assert port is not None
    desk.write(entry(enter_at=1))
    with proxied(port) as proxy:
        running = desk.engine(dsn=behind(desk.dsn, proxy))
        until(lambda: "database_unavailable" in running.unready_reasons)
        assert running.role == "standby"
        assert not running.status()["running"]
        until(lambda: str(running.status()["last_error"]).find("PostgreSQL at 127.0.0.1") > 0)
        proxy.start()
        desk.ready(running)
        desk.step(running, 2)
        assert held(running) == {"AAPL": Decimal(10)}
        running.stop()


def test_with_the_broker_down_it_waits_says_why_and_trades_when_it_comes(desk: Desk) -> None:
    desk.write(entry(enter_at=1))
    with proxied(desk.simulator.port) as proxy:
        running = desk.engine(SIMULATOR_URL=f"http://127.0.0.1:{proxy.port}")
        until(lambda: running.unready_reasons == ("broker_unavailable",) and running.dependencies()["postgres"].ok)
        assert not running.dependencies()["alpaca"].ok
        proxy.start()
        desk.ready(running)
        desk.step(running, 2)
        assert held(running) == {"AAPL": Decimal(10)}
        running.stop()


def test_a_database_that_is_behind_is_named(empty_database_dsn: str, desk: Desk) -> None:
    running = desk.engine(dsn=empty_database_dsn)
    until(lambda: "migrations_behind" in running.unready_reasons)
    assert desk.orders() == []


def test_a_database_that_goes_away_stops_trading_until_it_is_back_and_compared(desk: Desk) -> None:
    port = database_url(desk.dsn).port
    assert port is not None
    desk.write(entry(enter_at=2, until=60, pyramid=True))
    with proxied(port) as proxy:
        proxy.start()
        running = desk.ready(desk.engine(dsn=behind(desk.dsn, proxy)))
        desk.step(running, 1)
        proxy.stop()
        httpx.post(f"{desk.simulator.url}/sim/step", json={"events": 1}, timeout=60).raise_for_status()
        until(lambda: running.status()["trading_state"]["state"] == "HALTED")
        assert [each["code"] for each in running.status()["trading_state"]["reasons"]] == ["database_unavailable"]
        assert desk.orders() == []
        proxy.start()
        desk.ready(running)
        assert running.status()["trading_state"]["state"] == "ACTIVE"
        desk.step(running, 3)
        assert held(running) == desk.held() != {}
        running.stop()


def test_a_new_process_goes_on_with_positions_and_their_age(desk: Desk) -> None:
    desk.write(entry(enter_at=2, exits={"max_bars": 6}))
    first = desk.ready(desk.engine())
    desk.step(first, 4)
    assert held(first) == {"AAPL": Decimal(10)}
    age = first.positions()["items"][0]["by_strategy"][0]["bars_held"]
    first.stop()
    second = desk.ready(desk.engine())
    assert held(second) == {"AAPL": Decimal(10)}
    assert second.positions()["items"][0]["by_strategy"][0]["bars_held"] == age
    assert second.positions()["items"][0]["by_strategy"][0]["avg_entry_price"] == str(filled_at(desk))
    desk.step(second, 8 - age)
    assert held(second) == desk.held() == {}
    assert [row.is_exit for row in desk.rows("SELECT is_exit FROM order_intents ORDER BY created_at")] == [False, True]


def filled_at(desk: Desk) -> Decimal:
    return Decimal(desk.orders()[0]["filled_avg_price"]).normalize()


def test_an_intent_that_was_sent_without_an_answer_is_found_by_the_next_process(desk: Desk) -> None:
    desk.write(entry(enter_at=1))
    first = desk.ready(desk.engine())
    desk.step(first, 1)
    first.stop()
    key = desk.orders()[0]["client_order_id"]
    with connect(create_engine(desk.dsn)) as connection:
        connection.execute(sa.text("TRUNCATE executions, execution_order_events CASCADE"))
        connection.execute(sa.text("UPDATE order_intents SET state = 'submitting'"))
    second = desk.ready(desk.engine())
    desk.stored(second)
    assert [row.client_order_id for row in desk.rows("SELECT client_order_id FROM executions")] == [key]
    assert len(desk.orders()) == 1
    assert held(second) == desk.held()


def test_a_foreign_account_gets_no_order(desk: Desk) -> None:
    desk.write(entry(enter_at=1))
    httpx.post(f"{desk.simulator.url}/sim/control", json={"account": {"account_number": "12345"}}, timeout=60)
    running = desk.engine()
    until(lambda: "account_mismatch" in running.unready_reasons)
    until(lambda: running.status()["phase"] == "trading")
    httpx.post(f"{desk.simulator.url}/sim/step", json={"events": 1}, timeout=60).raise_for_status()
    until(lambda: len(desk.rows("SELECT * FROM trade_decisions")) == 1)
    assert desk.orders() == []
    assert running.status()["trading_state"]["state"] == "HALTED"
    assert [row.state for row in desk.rows("SELECT state FROM trading_state")] == ["HALTED"]
