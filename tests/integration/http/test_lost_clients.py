"""A client that is killed within its request is no failure of the server's, of the service nor of the simulator."""

import asyncio
from datetime import date
from typing import Any

import pytest
from fastapi import FastAPI
from http_world import OPERATOR, KeptEngine, app_of, bearer

from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.server.app import create_app
from torghut_runtime.broker.simulator.tape import synthetic_tape

KEYS = {"APCA-API-KEY-ID": "simulator", "APCA-API-SECRET-KEY": "simulator"}


def status_of_half_a_request(app: FastAPI, method: str, path: str) -> int:
    """What is answered when the connection ends within the body."""
    parts: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"reason', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = list[Any]()
    headers = {**bearer(OPERATOR), **KEYS, "content-type": "application/json", "content-length": "100"}
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }

    async def receive() -> dict[str, Any]:
        return parts.pop(0) if len(parts) > 1 else parts[0]

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"]


@pytest.mark.parametrize("path", ["/trading/halt", "/trading/flatten"])
def test_the_service_does_nothing_and_does_not_fail(database_dsn: str, path: str) -> None:
    kept = KeptEngine(database_dsn)
    before = kept.trading.state
    assert status_of_half_a_request(app_of(kept.dsn, kept), "POST", path) == 400
    assert kept.trading.state == before


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v2/orders"), ("PATCH", "/v2/orders/one"), ("POST", "/sim/control")]
)
def test_the_simulator_does_nothing_and_does_not_fail(method: str, path: str) -> None:
    broker = SimulatedBroker(synthetic_tape(["AAPL"], seed=1, first=date(2026, 1, 5), sessions=1))
    assert status_of_half_a_request(create_app(broker), method, path) == 400
    assert list(broker.desk.book) == []
