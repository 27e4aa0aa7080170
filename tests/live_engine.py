"""A running engine for tests: real PostgreSQL, the simulator over HTTP and websockets, time moved step by step.

``engines`` starts engines and stops them when the test ends; a :class:`Desk` is one simulator with its database.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import requests
import sqlalchemy as sa
import yaml
from alpaca_streams import until
from engine_world import Timed, minute_tape, settings_of
from feed_settings import feed_settings
from simulator_fixtures import LOCKSTEP

from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.server.launch import RunningSimulator, running_simulator
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.clock import nanoseconds_of
from torghut_runtime.engine.engine import Engine, EngineOptions
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.strategies.registry import default_registry

REGISTRY = default_registry().extended(Timed)
TRADES = {
    "ENABLED": "true",
    "KILL_SWITCH_ENABLED": "false",
    "EXECUTION_PREFER_LIMIT": "false",
    "RECONCILE_MS": "100",
    "POLL_MS": "100",
    "STRATEGY_RELOAD_SECONDS": "1",
    "STATIC_SYMBOLS": "AAPL,MSFT",
}

MANY = {"MAX_ORDERS_PER_SYMBOL_PER_MINUTE": "1000", "MAX_OPEN_ORDERS_PER_SYMBOL": "1000", "MAX_OPEN_ORDERS": "1000"}
"""No cap on the orders of a symbol, nor on open ones."""


@dataclass
class Desk:
    """One simulator in lockstep, one database, one catalog."""

    simulator: RunningSimulator
    dsn: str
    catalog: Path
    stack: ExitStack
    steps: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, *entries: Mapping[str, Any]) -> None:
        """The catalog's file."""
        self.catalog.write_text(yaml.safe_dump([dict(entry) for entry in entries]))

    def engine(self, options: EngineOptions | None = None, *, dsn: str | None = None, **environment: str) -> Engine:
        """A started engine."""
        named = {"SIMULATOR_URL": self.simulator.url, "STRATEGY_CONFIG_PATH": str(self.catalog), **TRADES}
        settings = feed_settings(given_dsn=dsn or self.dsn, **self.settings)
        given = _patient(options or EngineOptions(registry=REGISTRY))
        engine = Engine(settings, settings_of(**{**named, **environment}), given)
        self.stack.callback(engine.stop)
        engine.start()
        return engine

    def ready(self, engine: Engine) -> Engine:
        """Wait until it trades, with the broker's picture."""
        until(lambda: bool(engine.status()["running"]) and not engine.unready_reasons)
        return engine

    def step(self, engine: Engine, minutes: int = 1, symbols: int = 1, heard: int | None = None) -> None:
        """Let minutes pass; every bar is judged, and what the broker did about it is known.

        ``heard``: of how many symbols the engine takes bars, all of them unless said otherwise.
        """
        wanted = symbols if heard is None else heard
        for _ in range(minutes):
            before = engine.status()["metrics"]["bars_taken"]
            answer = requests.post(f"{self.simulator.url}/sim/step", json={"events": symbols}, timeout=60)
            answer.raise_for_status()
            until(lambda before=before: engine.status()["metrics"]["bars_taken"] >= before + wanted)
            self.agrees(engine)

    def agrees(self, engine: Engine) -> None:
        """Wait until the engine's positions are the broker's."""
        until(lambda: held(engine) == self.held())

    def stored(self, engine: Engine) -> None:
        """Wait until all that the broker said is in the tables."""
        assert running(engine).events.drain(60)

    def held(self) -> dict[str, Decimal]:
        """Shares at the broker."""
        documents = requests.get(f"{self.simulator.url}/v2/positions", headers=KEYS, timeout=60).json()
        return {each["symbol"]: Decimal(each["qty"]) for each in documents}

    def orders(self) -> list[dict[str, Any]]:
        """Orders at the broker, oldest first."""
        query = {"status": "all", "limit": "500", "direction": "asc"}
        return requests.get(f"{self.simulator.url}/v2/orders", query, headers=KEYS, timeout=60).json()

    def rows(self, statement: str) -> Sequence[Any]:
        """Rows of the database."""
        with connect(create_engine(self.dsn)) as connection:
            return connection.execute(sa.text(statement)).all()


def _patient(options: EngineOptions) -> EngineOptions:
    """On a busy machine a thread may stand still for longer than a lease lasts or the watchdog waits.

    A lease that is lost begins a new term, and a bar that comes between two terms is history that nobody orders on.
    """
    usual = EngineOptions()
    if options.watchdog_seconds == usual.watchdog_seconds:
        options = replace(options, watchdog_seconds=600.0)
    if options.lease_ttl == usual.lease_ttl:
        options = replace(options, lease_ttl=timedelta(seconds=120))
    return options


KEYS = {"APCA-API-KEY-ID": "simulator", "APCA-API-SECRET-KEY": "simulator"}


def running(engine: Engine) -> Any:
    """The parts of an engine that runs."""
    parts = vars(engine)["_running"]
    assert parts is not None
    return parts


def seen(engine: Engine) -> Any:
    """What it knows of its market now."""
    return running(engine).market.snapshot()


def codes(engine: Engine) -> list[str]:
    """Why it does not trade as it may, latched."""
    return [each["code"] for each in engine.status()["trading_state"]["reasons"]]


def held(engine: Engine) -> dict[str, Decimal]:
    """Shares as the engine sees them."""
    items = engine.positions()["items"]
    return {each["symbol"]: Decimal(each["qty"]) for each in items if Decimal(each["qty"])}


def entry(strategy_id: str = "alpha", **given: Any) -> dict[str, Any]:
    """A catalog entry of the strategy that acts at given bars; what is no key of an entry is a parameter."""
    keys = {
        "enabled",
        "description",
        "priority",
        "universe_symbols",
        "base_timeframe",
        "strategy_type",
        "version",
        "name",
    }
    outer = {key: given.pop(key) for key in list(given) if key in keys}
    params = {"qty": 10, **given}
    return {
        "strategy_id": strategy_id,
        "strategy_type": "timed",
        "universe_symbols": ["AAPL"],
        "params": params,
    } | outer


Start = Callable[..., Desk]


@pytest.fixture
def desks(database_dsn: str, tmp_path: Path) -> Generator[Start]:
    """Opens desks; everything ends with the test."""
    with ExitStack() as stack:
        for name in ("DURABLE_SECONDS", "CANCEL_SECONDS"):  # of a busy machine's database and broker
            stack.enter_context(patch(f"torghut_runtime.engine.operator_desk.{name}", 20.0))

        def start(tape: Tape | None = None, begins: datetime | None = None, **settings: Any) -> Desk:
            played = tape or minute_tape({"AAPL": [100 + number for number in range(60)]})
            start_ns = None if begins is None else nanoseconds_of(begins)
            broker = SimulatedBroker(played, BrokerSettings(start=start_ns))
            simulator = stack.enter_context(running_simulator(broker, LOCKSTEP))
            desk = Desk(simulator, database_dsn, tmp_path / "strategies.yaml", stack, settings=settings)
            desk.write()
            return desk

        yield start


@pytest.fixture
def desk(desks: Start) -> Desk:
    """A desk over an hour of AAPL that rises by a dollar a minute from 100 on."""
    return desks()
