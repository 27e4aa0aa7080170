"""What every broker must do for the order feed: one specification, run on each of them.

``NEEDS`` names the capabilities without which a specification cannot run; a test lists what each broker misses.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from feed_database import counters, rows
from feed_settings import feed_settings
from order_messages import envelope, history, payload

from torghut_runtime.order_feed.ingestor import OrderFeedIngestor
from torghut_runtime.order_feed.launchers.launcher import BrokerLauncher, Capability
from torghut_runtime.order_feed.log import KafkaLog
from torghut_runtime.order_feed.report import IngestReport, Limits
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.settings import Settings
from torghut_runtime.storage.database import connect, create_engine


@dataclass
class World:
    """A broker, a topic of the test's own, and a database."""

    launcher: BrokerLauncher
    servers: str
    dsn: str
    topic: str

    def settings(self, **more: Any) -> Settings:
        values = {
            "given_dsn": self.dsn,
            "order_feed_enabled": True,
            "order_feed_bootstrap_servers": self.servers,
            "order_feed_topic": self.topic,
            "order_feed_auto_offset_reset": "earliest",
            **more,
        }
        return feed_settings(**values)

    def __post_init__(self) -> None:
        self.admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    def partition_count(self) -> int:
        return len(self.admin.list_topics(self.topic, timeout=30).topics[self.topic].partitions)

    def create(self, partitions: int = 1) -> None:
        settle(self.admin.create_topics([NewTopic(self.topic, partitions, 1)]))
        self.wait_for(
            lambda: len(self.admin.list_topics(self.topic, timeout=30).topics[self.topic].partitions) == partitions
        )

    def recreate(self) -> None:
        settle(self.admin.delete_topics([self.topic]))
        self.wait_for(lambda: self.topic not in self.admin.list_topics(timeout=30).topics)
        self.create()

    def wait_for(self, condition: Callable[[], bool], limit_s: float = 60) -> None:
        until = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.05)

    def produce(self, values: Sequence[bytes | None], partition: int = 0, **more: Any) -> None:
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5, "log_level": 0, **more})
        for value in values:
            producer.produce(self.topic, value=value, key=b"k", partition=partition)
        assert producer.flush(60) == 0

    @contextmanager
    def driver(self, **more: Any) -> Iterator[OrderFeedIngestor]:
        settings = self.settings(**more)
        made = OrderFeedIngestor(settings, ingest_engine(self.dsn), KafkaLog(settings, "test"), "test")
        try:
            yield made
        finally:
            made.close()

    def consume(self, **more: Any) -> IngestReport:
        with self.driver(**more) as made:
            return made.ingest(Limits(until_end=True, seconds=90))

    def query(self, statement: str) -> list[Any]:
        with connect(create_engine(self.dsn)) as connection:
            return rows(connection, statement)

    def counters(self) -> dict[str, int]:
        with connect(create_engine(self.dsn)) as connection:
            return counters(connection)


def settle(futures: Mapping[Any, Any]) -> None:
    for future in futures.values():
        future.result(30)


def some_values(seed: int, count: int = 20) -> list[bytes]:
    generator = random.Random(seed)
    return [value for number in range(count) for value in history(generator, number).values()]


def a_backlog_is_stored_to_the_end_of_the_log(world: World) -> None:
    world.create(3)
    values = some_values(1)
    for partition in range(3):
        world.produce(values[partition::3], partition)
    report = world.consume()
    assert (report.messages, report.stopped_by) == (len(values), "log_end")
    assert sum(int(each["next_offset"]) for each in report.offsets) == len(values)
    assert world.query("SELECT sum(log_end_offset - next_offset) FROM feed_offsets") == [(0,)]
    assert world.consume().messages == 0


def tombstones_and_garbage_become_letters(world: World) -> None:
    world.create()
    world.produce([None, b"{", envelope(payload())])
    report = world.consume()
    assert (report.events_persisted, report.missing_fields) == (1, 2)
    assert world.query("SELECT reason, record_key FROM feed_dead_letters ORDER BY source_offset") == [
        ("invalid_json", b"k"),
        ("invalid_json", b"k"),
    ]


def a_partition_added_later_is_read_from_its_beginning(world: World) -> None:
    world.create()
    world.produce([envelope(payload())])
    world.consume()
    settle(world.admin.create_partitions([NewPartitions(world.topic, 2)]))
    world.wait_for(lambda: len(world.admin.list_topics(world.topic, timeout=30).topics[world.topic].partitions) == 2)
    world.produce([envelope(payload(order={"id": "other"}))], 1)
    assert world.consume(order_feed_auto_offset_reset="latest").messages == 1


def latest_over_a_backlog_leaves_a_gap(world: World) -> None:
    world.create()
    values = some_values(2, 4)
    world.produce(values)
    assert world.consume(order_feed_auto_offset_reset="latest").messages == 0
    assert world.query("SELECT reason, from_offset, to_offset FROM feed_gaps") == [("latest_start", 0, len(values))]


def a_topic_made_again_is_a_new_incarnation(world: World) -> None:
    world.create()
    values = some_values(3, 4)
    world.produce(values)
    world.consume()
    world.recreate()
    world.produce([*values[:2], envelope(payload(order={"id": "later"}))])
    world.consume()
    assert world.query("SELECT incarnation, active, next_offset FROM feed_offsets ORDER BY incarnation") == [
        (0, False, len(values)),
        (1, True, 3),
    ]
    assert world.counters()["duplicates"] == 2


def records_that_were_deleted_leave_a_gap(world: World) -> None:
    world.create()
    values = some_values(4, 6)
    world.produce(values[:5])
    world.consume()
    world.produce(values[5:])
    settle(world.admin.delete_records([TopicPartition(world.topic, 0, 9)]))
    world.consume()
    assert world.query("SELECT reason, from_offset, to_offset FROM feed_gaps") == [("retention", 5, 9)]
    assert world.query("SELECT next_offset FROM feed_offsets") == [(len(values),)]


def an_aborted_transaction_is_never_read(world: World) -> None:
    world.create()
    producer = Producer({"bootstrap.servers": world.servers, "transactional.id": world.topic, "log_level": 0})
    producer.init_transactions(30)
    for commit, order in ((False, "aborted"), (True, "committed")):
        producer.begin_transaction()
        producer.produce(world.topic, value=envelope(payload(order={"id": order})))
        if commit:
            producer.commit_transaction(30)
        else:
            producer.flush(30)
            producer.abort_transaction(30)
    assert world.consume().messages == 1
    assert world.query("SELECT alpaca_order_id FROM executions") == [("committed",)]


def a_restarted_broker_is_waited_for(world: World) -> None:
    world.create()
    values = some_values(5, 10)
    world.produce(values[:6])
    with world.driver(order_feed_batch_size=4) as driver:
        driver.ingest(Limits(rows=4))
        world.launcher.kill()
        world.launcher.start()
        world.produce(values[6:])
        report = driver.ingest(Limits(until_end=True, seconds=90))
    assert report.stopped_by == "log_end"
    assert world.counters()["messages"] == len(values)


SPECIFICATION: dict[Callable[[World], None], frozenset[Capability]] = {
    a_backlog_is_stored_to_the_end_of_the_log: frozenset(),
    tombstones_and_garbage_become_letters: frozenset(),
    a_partition_added_later_is_read_from_its_beginning: frozenset({"retention"}),
    latest_over_a_backlog_leaves_a_gap: frozenset({"exact_watermarks"}),
    a_topic_made_again_is_a_new_incarnation: frozenset({"topic_ids"}),
    records_that_were_deleted_leave_a_gap: frozenset({"retention"}),
    an_aborted_transaction_is_never_read: frozenset({"read_committed"}),
    a_restarted_broker_is_waited_for: frozenset({"durable"}),
}


def runnable(capabilities: frozenset[Capability]) -> list[Callable[[World], None]]:
    return [each for each, needs in SPECIFICATION.items() if needs <= capabilities]


def left_out(capabilities: frozenset[Capability]) -> dict[str, list[str]]:
    return {
        each.__name__: sorted(needs - capabilities) for each, needs in SPECIFICATION.items() if needs - capabilities
    }


@contextmanager
def running(launcher: BrokerLauncher) -> Iterator[str]:
    try:
        yield launcher.start()
    finally:
        launcher.stop()
