"""Processes that trade as far as their stops go (``stop_world``), as fixtures, and what their tests send."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any

import pytest
from simulator_fixtures import step
from stop_world import StopWorld

from torghut_runtime.broker.simulator.server.launch import RunningSimulator

Begin = Callable[..., StopWorld]


@pytest.fixture
def begin(database_dsn: str, simulator: RunningSimulator) -> Generator[Begin]:
    """Starts processes; all are ended when the test ends."""
    step(simulator, 2)
    with ExitStack() as stack:

        def started(**options: Any) -> StopWorld:
            world = StopWorld(database_dsn, simulator, **options)
            stack.callback(world.close)
            return world.start()

        yield started


@pytest.fixture
def world(begin: Begin) -> StopWorld:
    """A leader that knows what is stored."""
    return begin().restored()


def keys_at_broker(simulator: RunningSimulator) -> list[str]:
    """Client order ids of every order that has reached the broker."""
    return simulator.call(lambda broker: [order.client_order_id for order in broker.desk.book])


def payload(key: str) -> dict[str, str]:
    """A buy that nobody meets."""
    order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1", "time_in_force": "day"}
    return {**order, "client_order_id": key}
