"""The Alpaca adapter with the real alpaca-py client against the simulator over HTTP: answers, refusals, silence."""

from typing import Any

import pytest
from simulator_fixtures import control, simulator, start_simulator, step

from torghut_runtime.broker.alpaca import (
    AlpacaReader,
    AlpacaWriter,
    MutationRefusedError,
    account_fault,
)
from torghut_runtime.broker.protocol import RateLimitedError, RejectedError, UncertainError
from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.errors import InputError
from torghut_runtime.trading_settings import BrokerAccess, load_trading_settings

__all__ = ["simulator", "start_simulator"]

ACCESS = BrokerAccess()
KEYS = {"APCA_API_KEY_ID": "k", "APCA_API_SECRET_KEY": "s"}


def payload(key: str, **changes: str) -> dict[str, str]:
    order = {"symbol": "AAPL", "qty": "3", "side": "buy", "type": "market", "time_in_force": "day"}
    return {**order, "client_order_id": key, **changes}


@pytest.fixture
def reader(simulator: RunningSimulator) -> AlpacaReader:
    return AlpacaReader(ACCESS, simulator.url)


@pytest.fixture
def writer(simulator: RunningSimulator) -> AlpacaWriter:
    return AlpacaWriter(ACCESS, simulator.url, deadline_seconds=0.5)


def test_an_order_goes_its_way(reader: AlpacaReader, writer: AlpacaWriter, simulator: RunningSimulator) -> None:
    step(simulator, 2)
    order = writer.submit(payload("k1"))
    assert (order["client_order_id"], order["qty"], order["status"]) == ("k1", "3", "pending_new")
    step(simulator, 2)
    found = reader.order_by_client_id("k1")
    assert found is not None
    assert (found["id"], found["status"], found["filled_qty"]) == (order["id"], "filled", "3")
    (position,) = reader.positions()
    assert (position["symbol"], position["qty"]) == ("AAPL", "3")
    assert reader.account()["account_number"].startswith("SIM")
    assert reader.order_by_client_id("nobody-knows") is None


def test_an_open_order_is_replaced_and_cancelled(
    reader: AlpacaReader, writer: AlpacaWriter, simulator: RunningSimulator
) -> None:
    step(simulator, 2)
    first = writer.submit(payload("k1", type="limit", limit_price="1"))
    second = writer.replace(first["id"], {"limit_price": "2", "client_order_id": "k2"})
    assert (second["replaces"], second["limit_price"]) == (first["id"], "2")
    assert [order["id"] for order in reader.open_orders()] == [second["id"]]
    writer.cancel(second["id"])
    assert reader.open_orders() == []
    writer.submit(payload("k3", type="limit", limit_price="1"))
    writer.cancel_all()
    assert reader.open_orders() == []
    assert [order["client_order_id"] for order in reader.orders()] == ["k1", "k2", "k3"]
    assert [order["client_order_id"] for order in reader.orders(after=second["submitted_at"])] == ["k3"]


def test_a_list_of_many_orders_has_every_page(
    reader: AlpacaReader, writer: AlpacaWriter, simulator: RunningSimulator
) -> None:
    def many(broker: Any) -> None:
        for number in range(1_203):
            broker.submit(payload(f"k{number}", type="limit", limit_price="1", qty="1"))

    simulator.call(many)
    assert [order["client_order_id"] for order in reader.orders()] == [f"k{number}" for number in range(1_203)]


def test_a_definite_no_has_code_and_message_and_is_not_repeated(
    writer: AlpacaWriter, simulator: RunningSimulator
) -> None:
    step(simulator, 2)
    with pytest.raises(RejectedError) as caught:
        writer.submit(payload("k1", qty="1000000"))
    assert (caught.value.status, caught.value.code) == (403, 40310000)
    assert caught.value.message == "insufficient buying power"
    writer.submit(payload("k2"))
    with pytest.raises(RejectedError) as caught:
        writer.submit(payload("k2"))
    assert caught.value.is_duplicate_key


def test_a_wash_trade_names_the_order_that_stands_against_it(writer: AlpacaWriter, simulator: RunningSimulator) -> None:
    step(simulator, 2)
    writer.submit(payload("k1"))
    step(simulator, 2)
    resting = writer.submit(payload("k2", side="sell", type="limit", limit_price="900"))
    with pytest.raises(RejectedError) as caught:
        writer.submit(payload("k3"))
    assert caught.value.existing_order_id == resting["id"]


def test_no_answer_is_no_rejection(reader: AlpacaReader, writer: AlpacaWriter, simulator: RunningSimulator) -> None:
    step(simulator, 2)
    control(simulator, lose_response=1)
    with pytest.raises(UncertainError):
        writer.submit(payload("lost"))
    found = reader.order_by_client_id("lost")
    assert found is not None
    control(simulator, http_errors=[{"method": "POST", "path": "/v2/orders", "status": 503, "count": 1}])
    with pytest.raises(UncertainError, match="503"):
        writer.submit(payload("k2"))
    assert reader.order_by_client_id("k2") is None


def test_too_many_requests_say_how_long_to_wait_and_are_not_repeated(
    reader: AlpacaReader, writer: AlpacaWriter, simulator: RunningSimulator
) -> None:
    errors = [{"method": "POST", "path": "/v2/orders", "status": 429, "count": 1, "retry_after": 7}]
    control(simulator, http_errors=errors)
    with pytest.raises(RateLimitedError) as caught:
        writer.submit(payload("k1"))
    assert caught.value.retry_after == 7.0
    assert reader.order_by_client_id("k1") is None


def test_a_reading_client_cannot_change_anything(reader: AlpacaReader, simulator: RunningSimulator) -> None:
    inner: Any = reader._client
    for send in (
        lambda: inner.post("/orders", payload("k1")),
        lambda: inner.patch("/orders/x", {}),
        lambda: inner.delete("/orders"),
        lambda: inner.close_all_positions(),
    ):
        with pytest.raises(MutationRefusedError):
            send()
    assert reader.orders() == []


def test_a_broker_that_is_down_gives_no_certain_answer() -> None:
    dead = "http://127.0.0.1:9"
    with pytest.raises(UncertainError):
        AlpacaWriter(ACCESS, dead).submit(payload("k1"))
    with pytest.raises(UncertainError):
        AlpacaReader(ACCESS, dead).account()


PAPER, LIVE, LOCAL = "https://paper-api.alpaca.markets", "https://api.alpaca.markets", "http://127.0.0.1:8282"


@pytest.mark.parametrize(
    ("number", "url", "mode", "fine"),
    [
        ("PA123", PAPER, "paper", True),
        ("SIM123", LOCAL, "paper", True),
        ("123", PAPER, "paper", False),
        ("PA123", LIVE, "paper", False),
        ("PA123", "http://broker.example", "paper", False),
        ("123", LIVE, "live", True),
        ("124", LIVE, "live", False),
        ("123", PAPER, "live", False),
    ],
)
def test_orders_go_only_to_an_account_that_fits_the_mode(number: str, url: str, mode: str, fine: bool) -> None:
    fault = account_fault({"account_number": number}, url, mode, "123")
    assert (fault is None) == fine


def test_a_live_account_must_be_named() -> None:
    assert account_fault({"account_number": ""}, LIVE, "live", None) is not None


def test_the_address_follows_adapter_and_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="TRADING_SIMULATOR_URL"):
        _ = load_trading_settings().broker_url
    monkeypatch.setenv("TRADING_SIMULATOR_URL", LOCAL)
    assert load_trading_settings().broker_url == LOCAL
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRADING_EXECUTION_ADAPTER", "alpaca")
    assert load_trading_settings().broker_url == PAPER
    monkeypatch.setenv("TRADING_MODE", "live")
    monkeypatch.setenv("TRADING_LIVE_ENABLED", "true")
    assert load_trading_settings().broker_url == LIVE
