"""What bounds an ingest: locks, sessions, memory, a tick's time; and the write path for events that are not Kafka's."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa
from feed_database import counters, execution, intend, rows
from feed_settings import feed_settings
from memory_log import START_NS, MemoryLog, MemoryTopic
from order_messages import ACCOUNT, decoded, envelope, payload

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.event import OrderEvent
from torghut_runtime.order_feed.ingest import Arrival, cursor_of, ingest_batch, ingest_events, ingest_values
from torghut_runtime.order_feed.ingestor import OrderFeedIngestor
from torghut_runtime.order_feed.log import Polled, Record, TopicAndPartition
from torghut_runtime.order_feed.report import Limits
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.storage.database import connect


def arrival(number: int, source: str = "stream") -> Arrival:
    update = payload(order={"id": f"o{number}", "client_order_id": f"c{number}"})
    event: OrderEvent = decoded(update)
    return Arrival(event, envelope(update), source)


def test_event_seq_becomes_visible_in_ascending_order_whoever_starts_first(database_dsn: str) -> None:
    """The second writer waits for the first, so a reader of ``event_seq > cursor`` can miss nothing."""
    engine = ingest_engine(database_dsn)
    with engine.connect() as first, engine.connect() as reader:
        begun = first.begin()
        assert ingest_batch(cursor_of(first), [arrival(1)]).last_seq == 1
        seqs: list[int] = []

        def second() -> None:
            with engine.connect() as connection, connection.begin():
                seqs.append(ingest_batch(cursor_of(connection), [arrival(2)]).last_seq)

        thread = threading.Thread(target=second)
        thread.start()
        waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        while reader.execute(waiting).scalar_one() == 0:
            reader.rollback()
        assert seqs == []
        begun.commit()
        thread.join()
        assert seqs == [2]


def test_a_writer_that_is_kept_waiting_gives_up_and_stores_nothing(database_dsn: str) -> None:
    engine = ingest_engine(database_dsn)
    with engine.connect() as holder, engine.connect() as other:
        begun = holder.begin()
        ingest_batch(cursor_of(holder), [arrival(1)])
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            ingest_events(other, [arrival(2)], "stream")
        begun.rollback()
        assert ingest_events(other, [arrival(2)], "stream").last_seq == 1


@pytest.mark.parametrize("table", ["order_intents", "trade_decisions"])
def test_a_row_that_somebody_holds_on_to_stores_nothing_of_the_batch(database_dsn: str, table: str) -> None:
    """Statements that go to the server together fail as one that goes alone."""
    engine = ingest_engine(database_dsn)
    with connect(engine) as setup:
        intend(setup, "c1")
    with engine.connect() as holder, engine.connect() as other:
        begun = holder.begin()
        holder.execute(sa.text(f"SELECT 1 FROM {table} FOR UPDATE"))
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            ingest_events(other, [arrival(1)], "stream")
        begun.rollback()
        assert other.execute(sa.text("SELECT count(*) FROM execution_order_events")).scalar_one() == 0
        other.rollback()
        assert ingest_events(other, [arrival(1)], "stream").last_seq == 1
        states = other.execute(sa.text("SELECT i.state, d.status FROM order_intents i, trade_decisions d")).all()
        assert [tuple(row) for row in states] == [("accepted", "new")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("synchronous_commit", "on"),
        ("lock_timeout", "2s"),
        ("statement_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("transaction_isolation", "read committed"),
    ],
)
def test_sessions_of_the_ingest_hold_no_lock_for_long(database_dsn: str, name: str, value: str) -> None:
    with ingest_engine(database_dsn).connect() as connection:
        assert connection.execute(sa.text(f"SHOW {name}")).scalar_one() == value


def test_answers_of_the_broker_enter_once_and_leave_the_counters_alone(connection: sa.Connection) -> None:
    decision, intent = intend(connection, "c1")
    before = counters(connection)
    done = ingest_events(connection, [arrival(1), arrival(1, "reconcile")], "submit")
    connection.commit()
    assert (done.persisted, done.duplicates, done.first_seq, done.last_seq) == (1, 1, 1, 1)
    assert ingest_events(connection, [arrival(1)], "reconcile").duplicates == 1
    connection.commit()
    row = execution(connection, "o1")
    assert (row.intent_id, row.trade_decision_id) == (intent, decision)
    assert counters(connection) == before
    assert rows(connection, "SELECT source, source_partition FROM execution_order_events") == [("submit", None)]
    assert rows(connection, "SELECT state FROM order_intents") == [("accepted",)]


def test_messages_of_the_websocket_that_cannot_be_read_are_kept(connection: sa.Connection) -> None:
    done = ingest_values(connection, [envelope(payload()), b"{", b"{"], "stream", ACCOUNT)
    connection.commit()
    assert (done.persisted, done.dead_letters) == (1, 2)
    assert rows(connection, "SELECT source, reason, count(*) FROM feed_dead_letters GROUP BY 1, 2") == [
        ("stream", "invalid_json", 2)
    ]


class EndlessLog(MemoryLog):
    """A million records and more, made when they are asked for."""

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, 1_000_000

    def poll(self, records: int, wait_s: float) -> Polled:
        ((topic, partition), position), *_ = self.positions.items()
        made = tuple(
            Record(topic, partition, offset, None, message(offset), START_NS)
            for offset in range(position, min(1_000_000, position + records))
        )
        self.positions[topic, partition] = position + len(made)
        return Polled(made)

    def at_end(self) -> bool:
        return all(position >= 1_000_000 for position in self.positions.values())

    def end_of(self, topic: str, partition: int) -> int | None:
        return 1_000_000

    def hint(self, positions: Mapping[TopicAndPartition, int]) -> str | None:
        return None


def message(number: int) -> bytes:
    return envelope(payload(order={"id": f"o{number}", "client_order_id": f"c{number}"}))


def endless(dsn: str) -> OrderFeedIngestor:
    settings = feed_settings(order_feed_batch_size=1000, order_feed_auto_offset_reset="earliest")
    return OrderFeedIngestor(settings, ingest_engine(dsn), EndlessLog(MemoryTopic()), "endless")


def test_a_tick_before_a_million_records_ends_by_its_time_with_no_batch_half_done(
    database_dsn: str, connection: sa.Connection
) -> None:
    done = 0
    for _ in range(2):
        driver = endless(database_dsn)
        report = driver.ingest(Limits(seconds=1, rows=100_000, until_end=True))
        driver.close()
        assert report.stopped_by == "time"
        done += report.messages
        assert rows(connection, "SELECT next_offset FROM feed_offsets") == [(done,)]
    assert 0 < done < 1_000_000


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def grown_mib(dsn: str, first: int, last: int) -> float:
    driver = endless(dsn)
    try:
        driver.ingest(Limits(rows=first))
        before = resident_mib()
        driver.ingest(Limits(rows=last - first))
        return resident_mib() - before
    finally:
        driver.close()


@pytest.mark.full
def test_memory_does_not_grow_with_the_events(database_dsn: str) -> None:
    assert grown_mib(database_dsn, 10_000, 40_000) <= 32


@pytest.mark.campaign
def test_memory_after_a_million_events_is_that_after_a_hundred_thousand(database_dsn: str) -> None:
    assert grown_mib(database_dsn, 100_000, 1_000_000) <= 32
