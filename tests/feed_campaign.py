"""The fault campaign: real Kafka, real PostgreSQL, drivers that die at labelled points, and a model that does not.

Everything that is decided is decided by the seed. What is compared afterwards comes from the generator of the orders,
which has never heard of the ingest.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from order_messages import ACCOUNT, History, envelope, history, payload
from tree_commit import tree_commit

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.launchers.kafka import KafkaLauncher
from torghut_runtime.order_feed.launchers.launcher import free_port
from torghut_runtime.order_feed.status import verify
from torghut_runtime.settings import embedded_dsn
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.embedded import EmbeddedServer
from torghut_runtime.storage.migrations import migrate

LABELS = ["positions", "polled", "decoded", "locked", "written", "before commit", "after commit"]
TOPIC = "campaign"
PARTITIONS = 3
DRIVER = Path(__file__).with_name("feed_campaign_driver.py")
POISON: dict[str, list[bytes | None]] = {
    "invalid_json": [None, b"", b"{", b"\xff\xfe", b"[]", b'{"order": {"id": "x", "filled_qty": NaN}}'],
    "missing_trade_update_payload": [b'{"stream": "listening", "data": {}}'],
    "missing_order_identity": [envelope(payload(order={"id": None, "client_order_id": None}))],
    "unsupported_version": [envelope(payload(), version=7)],
    "invalid_number": [envelope(payload(order={"filled_qty": "NaN"})), envelope(payload(order={"filled_qty": "?"}))],
    "number_out_of_range": [envelope(payload(order={"filled_qty": "1e18"}))],
    "field_too_long": [envelope(payload(order={"symbol": "A" * 65}))],
    "nul_character": [envelope(payload(order={"legs": "\0"}))],
    "record_too_large": [b'{"order": {"id": "x"}, "pad": "' + b"x" * 1_048_577 + b'"}'],
    "database_rejected": [b'{"order": {"id": "big"}, "pad": 1e400000}'],
}


@dataclass(frozen=True)
class Plan:
    """How much goes wrong."""

    seed: int
    events: int
    kills: int
    restarts: int
    batch: int = 100


@dataclass
class Ledger:
    """What happened; printed at the end."""

    seed: int
    commit: str
    records: int = 0
    distinct_events: int = 0
    duplicates: int = 0
    poison: dict[str, int] = field(default_factory=dict)
    driver_kills: dict[str, int] = field(default_factory=dict)
    postgres_restarts: dict[str, int] = field(default_factory=dict)
    kafka_restarts: dict[str, int] = field(default_factory=dict)
    topic_recreated: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    orders: int = 0
    fills: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Stream:
    """What is sent, partition by partition, and where it leads."""

    histories: list[History]
    first: list[tuple[int, bytes | None]]
    second: list[tuple[int, bytes | None]]
    poison: Counter[str]
    distinct: int


def make_stream(plan: Plan) -> Stream:
    """Orders of a known end, 10 % of the messages sent twice, 10 % out of order, every kind of poison among them."""
    generator = random.Random(plan.seed)
    histories: list[History] = []
    keyed: list[tuple[int, bytes | None]] = []
    while len(keyed) < plan.events:
        made = history(generator, len(histories))
        histories.append(made)
        keyed.extend((len(histories) % PARTITIONS, value) for value in made.values())
    distinct = len(keyed)
    window = 400
    for start in range(0, len(keyed), window):  # orders of a window run beside each other
        part = keyed[start : start + window]
        by_time = sorted(range(len(part)), key=lambda index: (index % 23, index))
        keyed[start : start + window] = [part[index] for index in by_time]
    for _ in range(distinct // 10):
        a = generator.randrange(len(keyed))
        b = min(len(keyed) - 1, a + generator.randint(1, 30))
        keyed[a], keyed[b] = keyed[b], keyed[a]
    for _ in range(distinct // 10):
        at = generator.randrange(len(keyed))
        keyed.insert(min(len(keyed), at + generator.randint(0, 500)), keyed[at])
    poison: Counter[str] = Counter()
    kinds = [(reason, value) for reason, values in POISON.items() for value in values]
    for number in range(max(len(kinds), distinct // 100)):
        reason, value = kinds[number % len(kinds)]
        if reason == "record_too_large" and poison[reason] >= 5:
            continue
        poison[reason] += 1
        keyed.insert(generator.randrange(len(keyed)), (generator.randrange(PARTITIONS), value))
    half = len(keyed) * 6 // 10
    again = [keyed[generator.randrange(half)] for _ in range(50)]
    again = [each for each in again if each[1] is not None and b"accountLabel" in each[1] and is_good(each[1])]
    return Stream(histories, keyed[:half], again + keyed[half:], poison, distinct)


def is_good(value: bytes) -> bool:
    return not any(value in values for values in POISON.values())


class Postgres:
    """A server that keeps what it committed, and can be restarted or killed."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedServer.at(folder)
        self._port = free_port()
        self._used: AbstractContextManager[int] | None = None
        self.dsn = embedded_dsn(self._port)

    def start(self) -> None:
        self._used = self._server.used(self._port)
        self._used.__enter__()

    def stop(self) -> None:
        if self._used is not None:
            self._used.__exit__(None, None, None)
            self._used = None

    def kill(self) -> None:
        os.kill(int((self._server.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
        self.stop()


class Campaign:
    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.generator = random.Random(plan.seed + 1)
        self.kafka = KafkaLauncher(folder / "kafka")
        self.postgres = Postgres(folder / "postgres")
        self.ledger = Ledger(plan.seed, tree_commit())
        self.stream = make_stream(plan)
        self._log = (folder / "drivers.log").open("ab")
        self._broken: list[BaseException] = []

    def run(self) -> Ledger:
        started = time.monotonic()
        self.postgres.start()
        migrate(create_engine(self.postgres.dsn))
        self.servers = self.kafka.start()
        self.admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        try:
            self._create_topic()
            share = 0.5
            self._phase(self.stream.first, int(self.plan.kills * share), round(self.plan.restarts * share))
            self._recreate_topic()
            self._phase(
                self.stream.second,
                self.plan.kills - sum(self.ledger.driver_kills.values()),
                self.plan.restarts - sum(self.ledger.postgres_restarts.values()),
            )
            self._judge()
        finally:
            self.kafka.stop()
            self.postgres.stop()
            self._log.close()
        self.ledger.seconds = round(time.monotonic() - started, 1)
        return self.ledger

    def _create_topic(self) -> None:
        for future in self.admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values():
            future.result(60)

    def _recreate_topic(self) -> None:
        for future in self.admin.delete_topics([TOPIC]).values():
            future.result(60)
        wait_for(lambda: TOPIC not in self.admin.list_topics(timeout=10).topics)
        self._create_topic()
        self.ledger.topic_recreated += 1

    def _phase(self, values: list[tuple[int, bytes | None]], kills: int, restarts: int) -> None:
        """Send while two drivers die again and again and the servers under them are restarted; then let one finish."""
        sender = threading.Thread(target=self._guarded, args=(self._send, values))
        breaker = threading.Thread(target=self._guarded, args=(self._break, restarts))
        sender.start()
        breaker.start()
        self._kill_drivers(kills)
        sender.join()
        breaker.join()
        while not self._broken and self._drive("-", 1).wait() != 0:
            pass
        if self._broken:
            raise self._broken[0]

    def _guarded(self, work: Callable[[Any], None], argument: Any) -> None:
        try:
            work(argument)
        except BaseException as error:
            self._broken.append(error)
            raise

    def _send(self, values: list[tuple[int, bytes | None]]) -> None:
        """Evenly over the kills that are planned, so that they meet a moving log."""
        producer = Producer(
            {
                "bootstrap.servers": self.servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "compression.type": "lz4",
                "message.max.bytes": 4_000_000,
                "log_level": 0,
                "message.timeout.ms": 0,
            }
        )
        pause = max(1, len(values) // 200)
        for number, (partition, value) in enumerate(values):
            while True:
                try:
                    producer.produce(TOPIC, value=value, partition=partition)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % pause == 0:
                producer.poll(0.05)
        assert producer.flush(300) == 0
        self.ledger.records += len(values)

    def _break(self, restarts: int) -> None:
        """Restart PostgreSQL and Kafka in turn, cleanly and by kill -9 in turn."""
        generator = random.Random(self.plan.seed + 2)
        for number in range(restarts):
            killed = (len(self.ledger.postgres_restarts) + number) % 2 == 1
            time.sleep(generator.uniform(0.5, 2))
            (self.postgres.kill if killed else self.postgres.stop)()
            self.postgres.start()
            time.sleep(generator.uniform(0.5, 2))
            (self.kafka.kill if killed else self.kafka.stop)()
            self.kafka.start()
            for counted in (self.ledger.postgres_restarts, self.ledger.kafka_restarts):
                kind = "killed" if killed else "clean"
                counted[kind] = counted.get(kind, 0) + 1

    def _kill_drivers(self, kills: int) -> None:
        """Two drivers side by side; each dies at a point of its own and is followed by another."""
        running: list[tuple[subprocess.Popen[bytes], str]] = []
        killed = 0
        while killed < kills and not self._broken:
            while len(running) < 2:
                label = LABELS[self.generator.randrange(len(LABELS))]
                nth = 1 if label == "positions" else self.generator.randint(1, 4)
                running.append((self._drive(label, nth), label))
            for each in list(running):
                process, label = each
                code = process.poll()
                if code is None:
                    continue
                running.remove(each)
                if code == -signal.SIGKILL:
                    killed += 1
                    self.ledger.driver_kills[label] = self.ledger.driver_kills.get(label, 0) + 1
            if running and killed < kills and not self._moves():
                victim, label = running.pop()  # the log has ended before its point: kill it where it waits
                victim.kill()
                victim.wait()
                killed += 1
                self.ledger.driver_kills["waiting"] = self.ledger.driver_kills.get("waiting", 0) + 1
            time.sleep(0.02)
        for process, _ in running:
            process.kill()
            process.wait()

    def _moves(self) -> bool:
        """Whether drivers still have something to do; asked at most once in a few seconds."""
        now = time.monotonic()
        if now - getattr(self, "_asked", 0.0) < 8:
            return True
        self._asked = now
        before = getattr(self, "_before", -1)
        with suppress(StoreUnavailableError), connect(create_engine(self.postgres.dsn)) as connection:
            self._before = int(
                connection.execute(sa.text("SELECT coalesce(sum(next_offset), 0) FROM feed_offsets")).scalar_one()
            )
            return self._before != before
        return True

    def _drive(self, label: str, nth: int) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "DB_DSN": self.postgres.dsn,
            "TRADING_ORDER_FEED_ENABLED": "true",
            "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS": self.servers,
            "TRADING_ORDER_FEED_TOPIC": TOPIC,
            "TRADING_ORDER_FEED_AUTO_OFFSET_RESET": "earliest",
            "TRADING_ORDER_FEED_BATCH_SIZE": str(self.plan.batch),
        }
        command = [sys.executable, str(DRIVER), label, str(nth)]
        return subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)

    # judgement

    def _judge(self) -> None:
        ledger, stream = self.ledger, self.stream
        with connect(create_engine(self.postgres.dsn)) as connection:
            query: Callable[[str], list[Any]] = lambda text: list(connection.execute(sa.text(text)).all())  # noqa: E731
            names = "SELECT name, value FROM durable_counters"
            ledger.counters = {row.name.removeprefix("torghut_trading_order_feed_"): row.value for row in query(names)}
            letters = Counter(
                {row[0]: row[1] for row in query("SELECT reason, count(*) FROM feed_dead_letters GROUP BY 1")}
            )
            ledger.poison = dict(letters)
            found = {
                row.alpaca_order_id: (row.status, row.filled_qty, row.avg_fill_price)
                for row in query("SELECT alpaca_order_id, status, filled_qty, avg_fill_price FROM executions")
            }
            fills = {
                row.broker_execution_id: (row.price, row.qty)
                for row in query("SELECT broker_execution_id, price, qty FROM order_fills WHERE state = 'counted'")
            }
            behind = query("SELECT count(*) FROM feed_offsets WHERE active AND next_offset <> log_end_offset")[0][0]
            gaps = query("SELECT coalesce(sum(to_offset - from_offset), 0) FROM feed_gaps")[0][0]
            seqs = query("SELECT count(*), max(event_seq) FROM execution_order_events")[0]
            accounts = [tuple(row) for row in query("SELECT DISTINCT alpaca_account_label FROM execution_order_events")]
        ledger.distinct_events = stream.distinct
        ledger.orders, ledger.fills = len(found), len(fills)
        ledger.duplicates = ledger.counters["duplicates_total"]
        expected = {each.order_id: (each.status, each.filled, each.average) for each in stream.histories}
        expected_fills = {key: fill for each in stream.histories for key, fill in each.fills.items()}
        claims = {
            "every order ended as its broker ended it": found == expected,
            "every fill is there once": fills == expected_fills,
            "every event was stored once": seqs[0] == seqs[1] == stream.distinct,
            "every poison record is a letter with its reason": letters == stream.poison,
            "every record was counted": ledger.counters["messages_total"] == ledger.records,
            "the sums agree": ledger.counters["messages_total"]
            == ledger.counters["events_persisted_total"]
            + ledger.counters["duplicates_total"]
            + ledger.counters["missing_fields_total"],
            "offsets are at the log's end": behind == 0,
            "no gap lost a record": gaps == 0,
            "accounts are as sent": accounts == [(ACCOUNT,)],
        }
        ledger.violations = [claim for claim, holds in claims.items() if not holds]
        with create_engine(self.postgres.dsn).connect() as connection:
            ledger.violations += [f"{each.kind}: {each.detail}" for each in verify(connection)]


def wait_for(condition: Callable[[], bool], limit_s: float = 120) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)
