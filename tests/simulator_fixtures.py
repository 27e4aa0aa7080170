"""Fixtures of the broker simulator's server: import them into a ``conftest.py`` or a test module.

``simulator`` starts a server in lockstep on a free port over two made-up symbols; ``start_simulator`` starts any.
"""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from datetime import date

import pytest
import requests

from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.server.app import ServerSettings
from torghut_runtime.broker.simulator.server.launch import RunningSimulator, running_simulator
from torghut_runtime.broker.simulator.server.pacing import Pace
from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape

LOCKSTEP = ServerSettings(pace=Pace(lockstep=True))
StartSimulator = Callable[..., RunningSimulator]


@pytest.fixture
def start_simulator() -> Generator[StartSimulator]:
    """Starts servers; all are stopped when the test ends."""
    with ExitStack() as stack:

        def start(
            tape: Tape | None = None, settings: BrokerSettings | None = None, server: ServerSettings = LOCKSTEP
        ) -> RunningSimulator:
            day = tape or synthetic_tape(["AAPL", "MSFT"], seed=1, first=date(2026, 1, 5), sessions=2)
            return stack.enter_context(running_simulator(SimulatedBroker(day, settings), server))

        yield start


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> RunningSimulator:
    """A server in lockstep over two sessions of made-up minutes of AAPL and MSFT."""
    return start_simulator()


def step(simulator: RunningSimulator, events: int = 1) -> dict[str, object]:
    """Move a lockstep server on."""
    answer = requests.post(f"{simulator.url}/sim/step", json={"events": events}, timeout=60)
    answer.raise_for_status()
    return answer.json()


def control(simulator: RunningSimulator, **changes: object) -> None:
    """Set fault controls."""
    answer = requests.post(f"{simulator.url}/sim/control", json=changes, timeout=60)
    assert answer.status_code == 200, answer.text
