"""Forwarder campaigns: the websocket is cut, Kafka goes away, the forwarder is killed at labelled points.

Whatever happens, Kafka ends up knowing of every order what the broker knows: status, filled quantity, price and every
single fill, and the events of an order that came live stand in the broker's order.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from alpaca_streams import until
from forwarder_child import LABELS
from interruptible_kafka import Kafka, running_apache_kafka, running_kafka
from simulated_days import OPEN
from simulator_fixtures import StartSimulator, control, step

from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.instants import SECOND
from torghut_runtime.broker.simulator.market_event import MarketBar
from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.order_feed.envelope import Rejected, decode
from torghut_runtime.order_feed.event import OrderEvent
from torghut_runtime.order_feed.outbox import DATABASE
from torghut_runtime.order_feed.state import fold

TOPIC = "torghut.trade-updates.v1"
PARTITIONS = 3
ORDERS_PER_ROUND = 20
CHILD = Path(__file__).parents[2] / "forwarder_child.py"


@dataclass
class Plan:
    """What goes wrong in which round."""

    rounds: int
    cuts: set[int] = field(default_factory=set[int])
    outages: dict[int, int] = field(default_factory=dict[int, int])
    """Round in which Kafka goes away -> round in which it is back."""
    kills: dict[int, str] = field(default_factory=dict[int, str])
    """Round in which a forwarder is started that dies at a point -> that point."""


def plan_of(seed: int, events: int, *, cuts: int, kills: int, outages: int) -> Plan:
    """A plan that spreads its faults over about so many events; equal arguments give equal plans."""
    draw = random.Random(seed)
    rounds = max(events // (3 * ORDERS_PER_ROUND), cuts + 2 * kills + 4)
    places = draw.sample(range(2, rounds - 2), min(rounds - 4, cuts + kills + outages))
    points = {
        place: f"{LABELS[index % len(LABELS)]}:{draw.randint(1, 2)}" for index, place in enumerate(places[:kills])
    }
    away = {place: min(rounds - 1, place + draw.randint(1, 3)) for place in places[kills + cuts :]}
    return Plan(rounds, set(places[kills : kills + cuts]), away, points)


class Child:
    """The forwarder's process, started again whenever it is dead."""

    def __init__(self, folder: Path, simulator: RunningSimulator, kafka: Kafka, topic: str) -> None:
        self._simulator = simulator
        self.outbox = folder / "outbox"
        self._log = (folder / "forwarder.log").open("ab")
        self._environment = {
            **os.environ,
            "APCA_API_KEY_ID": "key",
            "APCA_API_SECRET_KEY": "secret",
            "TRADING_SIMULATOR_URL": simulator.url,
            "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "TRADING_ORDER_FEED_TOPIC": topic,
            "PYTHONPATH": str(CHILD.parent),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._doomed = False
        self.deaths = 0

    def start(self, kill: str = "") -> None:
        self._doomed = bool(kill)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(CHILD), str(self.outbox)],
            env={**self._environment, "FORWARDER_KILL": kill},
            stdout=self._log,
            stderr=self._log,
        )

    def is_dead(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def up(self) -> None:
        """Wait until it listens, or died on the way there."""
        until(lambda: self.is_dead() or self._listening() == 1)

    def revive(self) -> None:
        """Start it again if it died."""
        if self.is_dead():
            self.stop()
            self.start()
            self.up()

    def stop(self) -> int:
        """End it, if it has not died before, and wait until the broker has noticed."""
        assert self._process is not None
        if self._doomed:
            self._process.kill()  # it has not come to its point: here is as good
        else:
            self._process.terminate()
        code = self._process.wait(60)
        self.deaths += code == -signal.SIGKILL
        until(lambda: self._listening() == 0)
        return code

    def _listening(self) -> int:
        return requests.get(f"{self._simulator.url}/sim/status", timeout=10).json()["listening"]["trading"]

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
        self._log.close()

    def rows(self) -> int:
        return self._asked("SELECT count(*) FROM events") or 0

    def watermark(self) -> int | None:
        return self._asked("SELECT watermark_ns FROM state")

    def _asked(self, question: str) -> int | None:
        with closing(sqlite3.connect(self.outbox / DATABASE, timeout=10)) as connection:
            return connection.execute(question).fetchone()[0]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Generator[Kafka]:
    with running_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


def submit_round(broker: SimulatedBroker, number: int, draw: random.Random) -> None:
    """Orders that fill at once, in parts, or rest until the end of the day or a cancel."""
    for index in range(ORDERS_PER_ROUND):
        order: dict[str, Any] = {
            "symbol": "AAPL",
            "qty": str(draw.randint(1, 9)),
            "side": "buy",
            "type": "market",
            "time_in_force": "day",
            "client_order_id": f"r{number}-{index}",
        }
        if draw.random() < 0.1:
            order |= {"type": "limit", "limit_price": "1", "time_in_force": "gtc"}
        broker.submit(order)
    resting = [order for order in broker.desk.book.open_orders() if order.terms.time_in_force == "gtc"]
    for order in resting[: len(resting) // 3]:
        broker.cancel(order.id)


def day_of(rounds: int) -> Tape:
    """Bars of ten seconds in one session, enough for every round and some more."""
    bars = [
        MarketBar("AAPL", OPEN + at * 10 * SECOND, OPEN + (at + 1) * 10 * SECOND, 10, 10, 10, 10, 1e9)
        for at in range(rounds + 20)
    ]
    return Tape(tuple(bars), "1Sec")


def run(plan: Plan, seed: int, folder: Path, start_simulator: StartSimulator, kafka: Kafka) -> int:
    """Play a plan, verify what Kafka holds and return how many records that is."""
    draw = random.Random(seed)
    topic = f"{TOPIC}.{seed}"
    simulator = start_simulator(day_of(plan.rounds), BrokerSettings(seed=seed, cash=Decimal(10**9)))
    control(simulator, partial_fill={"probability": 0.3, "parts": 3})
    kafka.create(topic, PARTITIONS)
    child = Child(folder, simulator, kafka, topic)
    back_at: int | None = None
    try:
        child.start()
        child.up()
        for number in range(plan.rounds):
            if number in plan.kills:
                child.stop()
                child.start(plan.kills[number])
                child.up()
            child.revive()
            if number in plan.outages:
                kafka.stop()
                back_at = plan.outages[number]
            if back_at == number:
                kafka.start()
                back_at = None
            if number in plan.cuts:
                control(simulator, disconnect=[{"stream": "trading", "seconds": 0.5}])
            simulator.call(lambda broker, number=number: submit_round(broker, number, draw))
            step(simulator, 1)
            if number in plan.cuts:
                child.up()
        if back_at is not None:
            kafka.start()
        child.stop()
        child.start()
        child.up()
        simulator.call(lambda broker: broker.cancel_all())
        marker = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
        last = simulator.call(lambda broker: broker.submit(marker))["id"]
        step(simulator, 1)
        filled_at = simulator.call(lambda broker: broker.desk.existing(last).filled_at)
        until(lambda: (child.watermark() or 0) >= (filled_at or 0))
        assert child.stop() == 0
        assert child.rows() == 0
        assert child.deaths == len(plan.kills)
        return verify(simulator, kafka, topic)
    finally:
        child.close()


def verify(simulator: RunningSimulator, kafka: Kafka, topic: str) -> int:
    records = kafka.records(topic, PARTITIONS)
    events: dict[str, list[OrderEvent]] = defaultdict(list)
    live: dict[str, list[str]] = defaultdict(list)
    for key, value in records:
        event = decode(value, account_label="other")
        assert not isinstance(event, Rejected)
        assert event.account == "paper"
        assert key == f"paper:{event.order_id}".encode()
        events[event.order_id or ""].append(event)
        document = json.loads(value)
        if document["source"] == "ws":
            live[event.order_id or ""].append(document["payload"]["event_id"])
    orders = {order.id: order for order in simulator.call(lambda broker: list(broker.desk.book))}
    assert set(events) == set(orders)
    for order_id, order in orders.items():
        state = fold(events[order_id])
        assert (state.status, state.filled_qty) == (order.status, order.filled_qty)
        assert state.avg_fill_price == order.average_price
        counted = [(fill.cum_qty, fill.qty, fill.price) for fill in state.fills if fill.state == "counted"]
        assert sorted(counted) == sorted((fill.cum_qty, fill.qty, fill.price) for fill in order.fills)
        # First appearances of live events stand in the broker's order; its event ids ascend.
        seen = list(dict.fromkeys(live[order_id]))
        assert seen == sorted(seen)
    return len(records)


def test_a_small_campaign(tmp_path: Path, start_simulator: StartSimulator, kafka: Kafka) -> None:
    plan = Plan(rounds=9, cuts={2}, outages={3: 5}, kills={6: "after_produce:3"})
    run(plan, 1, tmp_path, start_simulator, kafka)


@pytest.fixture
def apache(tmp_path: Path) -> Generator[Kafka]:
    with running_apache_kafka(tmp_path / "kafka") as broker:
        yield broker


@pytest.mark.full
def test_five_thousand_events_with_apache_kafka_stopped_and_restarted(
    tmp_path: Path, start_simulator: StartSimulator, apache: Kafka
) -> None:
    plan = plan_of(12, 5_000, cuts=5, kills=4, outages=2)
    assert run(plan, 12, tmp_path, start_simulator, apache) >= 5_000


@pytest.mark.full
def test_five_thousand_events(tmp_path: Path, start_simulator: StartSimulator, kafka: Kafka) -> None:
    plan = plan_of(11, 5_000, cuts=10, kills=8, outages=4)
    assert run(plan, 11, tmp_path, start_simulator, kafka) >= 5_000


@pytest.mark.campaign
def test_a_hundred_thousand_events(tmp_path: Path, start_simulator: StartSimulator, kafka: Kafka) -> None:
    plan = plan_of(3, 100_000, cuts=50, kills=20, outages=10)
    assert run(plan, 3, tmp_path, start_simulator, kafka) >= 100_000
