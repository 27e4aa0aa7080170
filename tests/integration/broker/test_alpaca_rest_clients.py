"""Every method of alpaca-py's REST clients that the simulator serves, through the real clients."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import CorporateActionsRequest
from alpaca.trading.client import TradingClient
from alpaca_cases import CASES, Case, World
from simulator_fixtures import LOCKSTEP, StartSimulator, control, step

from torghut_runtime.broker.simulator.server.app import ServerSettings
from torghut_runtime.broker.simulator.server.credentials import Credentials
from torghut_runtime.broker.simulator.server.launch import RunningSimulator


def world_of(simulator: RunningSimulator) -> World:
    def until(condition: Callable[[], bool]) -> None:
        for _ in range(50):
            if condition():
                return
            step(simulator, 2)
        raise AssertionError("did not become so within 50 steps")

    keys = {"api_key": "key", "secret_key": "secret", "url_override": simulator.url}
    return World(
        TradingClient(**keys), StockHistoricalDataClient(**keys), CorporateActionsClient(**keys), "AAPL", until
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_alpacas_client(case: Case, simulator: RunningSimulator) -> None:
    step(simulator, 10)
    case(world_of(simulator))


def test_a_split_is_announced_to_the_corporate_actions_client(simulator: RunningSimulator) -> None:
    control(simulator, split=[{"symbol": "AAPL", "ratio": 4, "effective": "2026-01-06"}])
    control(simulator, split=[{"symbol": "MSFT", "ratio": 0.5, "effective": "2026-01-06"}])
    found = cast("Any", world_of(simulator).actions.get_corporate_actions(CorporateActionsRequest()))
    [forward], [reverse] = found.data["forward_splits"], found.data["reverse_splits"]
    assert (forward.symbol, forward.new_rate, forward.old_rate, str(forward.ex_date)) == ("AAPL", 4, 1, "2026-01-06")
    assert (reverse.symbol, reverse.new_rate, reverse.old_rate) == ("MSFT", 1, 2)


def test_wrong_keys_are_refused(start_simulator: StartSimulator) -> None:
    server = ServerSettings(pace=LOCKSTEP.pace, credentials=Credentials("right", "secret"))
    simulator = start_simulator(server=server)
    assert requests.get(f"{simulator.url}/v2/account", timeout=10).status_code == 401
    wrong = TradingClient("right", "wrong", url_override=simulator.url)
    with pytest.raises(APIError) as caught:
        wrong.get_account()
    assert (caught.value.status_code, caught.value.message) == (403, "forbidden.")
    TradingClient("right", "secret", url_override=simulator.url).get_account()


def test_asked_for_errors_come_instead_of_acting_and_only_so_often(simulator: RunningSimulator) -> None:
    headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}

    def submit() -> requests.Response:
        return requests.post(f"{simulator.url}/v2/orders", json=order, headers=headers, timeout=10)

    control(
        simulator,
        http_errors=[
            {"method": "POST", "path": "/v2/orders", "status": 429, "count": 1, "retry_after": 3},
            {"method": "POST", "path": "/v2/*", "status": 500, "count": 1},
        ],
    )
    answers = [submit() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 500, 200]
    assert answers[0].headers["Retry-After"] == "3"
    assert answers[0].json()["code"] == 42910000
    listed = requests.get(f"{simulator.url}/v2/orders?status=all", headers=headers, timeout=10)
    assert len(listed.json()) == 1


def test_a_lost_answer_leaves_an_order_that_the_client_id_finds(simulator: RunningSimulator) -> None:
    headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    control(simulator, lose_response=1)
    order = {
        "symbol": "AAPL",
        "qty": "1",
        "side": "buy",
        "type": "market",
        "time_in_force": "day",
        "client_order_id": "lost",
    }
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(f"{simulator.url}/v2/orders", json=order, headers=headers, timeout=0.5)
    client = TradingClient("k", "s", url_override=simulator.url)
    found = cast("Any", client.get_order_by_client_id("lost"))
    assert found.client_order_id == "lost"
    shown = requests.get(f"{simulator.url}/sim/control", timeout=10).json()
    assert shown == {"controls": {}, "applied": {"lose_response": 1}}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/sim/control", {"no_such_key": 1}, 422),
        ("POST", "/sim/control", {"latency_ms": "slow"}, 422),
        ("POST", "/sim/step", {"events": 0}, 422),
        ("POST", "/sim/step", {"events": True}, 422),
        ("POST", "/v2/orders", "not an object", 422),
        ("GET", "/v2/orders?limit=501", None, 422),
        ("GET", "/v2/orders?status=some", None, 422),
        ("GET", "/v2/orders/no-such-order", None, 404),
        ("GET", "/v2/nothing", None, 404),
        ("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=1Week", None, 400),
        ("GET", "/v2/stocks/bars?timeframe=1Min", None, 400),
        ("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=1Min&page_token=x", None, 400),
        ("GET", "/v2/account/portfolio/history?timeframe=2D", None, 422),
    ],
)
def test_bad_requests_get_an_error_body_and_no_stack_trace(
    simulator: RunningSimulator, method: str, path: str, body: Any, status: int
) -> None:
    headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    answer = requests.request(method, simulator.url + path, json=body, headers=headers, timeout=10)
    assert answer.status_code == status
    assert answer.json()["message"]


def test_history_comes_in_pages_that_join(simulator: RunningSimulator) -> None:
    step(simulator, 20)
    headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    url = f"{simulator.url}/v2/stocks/bars?symbols=MSFT,AAPL&timeframe=1Min&start=2026-01-05"
    whole = requests.get(url, headers=headers, timeout=10).json()
    assert {symbol: len(rows) for symbol, rows in whole["bars"].items()} == {"AAPL": 10, "MSFT": 10}
    joined: dict[str, list[Any]] = {}
    token: str | None = ""
    while token is not None:
        page = requests.get(f"{url}&limit=3&page_token={token}", headers=headers, timeout=10).json()
        for symbol, rows in page["bars"].items():
            joined.setdefault(symbol, []).extend(rows)
        token = page["next_page_token"]
    assert joined == whole["bars"]


def test_more_requests_than_allowed_get_429(start_simulator: StartSimulator) -> None:
    simulator = start_simulator(server=ServerSettings(pace=LOCKSTEP.pace, requests_per_minute=2))
    headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    answers = [requests.get(f"{simulator.url}/v2/clock", headers=headers, timeout=10) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
