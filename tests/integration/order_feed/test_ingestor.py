"""The driver over a log in memory and a real PostgreSQL: offsets, fencing, gaps, poison, outages."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from feed_database import counters, rows, stored_state
from feed_settings import feed_settings
from memory_log import MemoryLog, MemoryTopic
from order_messages import envelope, history, payload

from torghut_runtime.order_feed.ingestor import OrderFeedIngestor
from torghut_runtime.order_feed.report import IngestReport, Limits
from torghut_runtime.order_feed.session import ingest_engine

END = Limits(until_end=True)


def driver(dsn: str, topic: MemoryTopic, name: str = "one", *, batch: int = 200, **options: Any) -> OrderFeedIngestor:
    settings = feed_settings(order_feed_batch_size=batch, order_feed_auto_offset_reset=options.pop("reset", "earliest"))
    options.setdefault("sleep", lambda seconds: None)
    return OrderFeedIngestor(settings, ingest_engine(dsn), MemoryLog(topic), name, **options)


def consume(dsn: str, topic: MemoryTopic, *, limits: Limits = END, **options: Any) -> IngestReport:
    made = driver(dsn, topic, **options)
    try:
        return made.ingest(limits)
    finally:
        made.close()


def offsets(connection: sa.Connection) -> list[Any]:
    return rows(connection, "SELECT * FROM feed_offsets ORDER BY source, source_partition")


def histories(seed: int, count: int) -> list[bytes]:
    generator = random.Random(seed)
    return [value for number in range(count) for value in history(generator, number).values()]


POISON: list[tuple[bytes | None, str]] = [
    (None, "invalid_json"),
    (b"", "invalid_json"),
    (b"{", "invalid_json"),
    (b"\xff\xfe", "invalid_json"),
    (b"[1]", "invalid_json"),
    (b"7", "invalid_json"),
    (b'{"order": {"id": "x", "filled_qty": NaN}}', "invalid_json"),
    (b'{"order": {"id": "x", "filled_qty": Infinity}}', "invalid_json"),
    (b'{"channel": "trade_updates", "payload": 3}', "missing_trade_update_payload"),
    (b'{"stream": "listening", "data": {}}', "missing_trade_update_payload"),
    (envelope(payload(order={"id": None, "client_order_id": None})), "missing_order_identity"),
    (envelope(payload(), version=3), "unsupported_version"),
    (envelope(payload(order={"filled_qty": "NaN"})), "invalid_number"),
    (envelope(payload(order={"filled_qty": "x"})), "invalid_number"),
    (envelope(payload(order={"filled_qty": "1e18"})), "number_out_of_range"),
    (envelope(payload(order={"filled_qty": "-1"})), "number_out_of_range"),
    (envelope(payload(order={"symbol": "A" * 65})), "field_too_long"),
    (envelope(payload(order={"legs": "\0"})), "nul_character"),
    (b'{"order": {"id": "x"}, "pad": "' + b"x" * 1_048_577 + b'"}', "record_too_large"),
    (b'{"order": {"id": "big"}, "pad": 1e400000}', "database_rejected"),
]


def test_a_batch_with_every_kind_of_poison_stores_the_rest(database_dsn: str, connection: sa.Connection) -> None:
    good = [envelope(payload(order={"id": f"o{n}", "client_order_id": f"c{n}"})) for n in range(180)]
    values: list[bytes | None] = [*good, *(value for value, _ in POISON)]
    random.Random(5).shuffle(values)
    topic = MemoryTopic()
    topic.append(*values)
    report = consume(database_dsn, topic)
    assert (report.messages, report.events_persisted, report.missing_fields) == (200, 180, len(POISON))
    assert report.stopped_by == "log_end"
    letters = rows(connection, "SELECT record_value, reason, record_key, source_offset FROM feed_dead_letters")
    found = {None if row.record_value is None else bytes(row.record_value): row.reason for row in letters}
    assert found == dict(POISON)
    assert all(values[row.source_offset] == (row.record_value and bytes(row.record_value)) for row in letters)
    assert counters(connection)["missing_fields"] == len(POISON)
    (row,) = offsets(connection)
    assert (row.next_offset, row.log_end_offset, row.source) == (200, 200, "cluster/torghut.trade-updates.v1/0")


def test_long_symbols_are_stored_unshortened(database_dsn: str, connection: sa.Connection) -> None:
    topic = MemoryTopic()
    for number, symbol in enumerate(("AAPL250321P00200000", "BTC/USD")):
        topic.append(envelope(payload(order={"id": f"o{number}", "client_order_id": f"c{number}", "symbol": symbol})))
    consume(database_dsn, topic)
    assert sorted(row[0] for row in rows(connection, "SELECT symbol FROM executions")) == [
        "AAPL250321P00200000",
        "BTC/USD",
    ]


@pytest.mark.parametrize(
    "values", [[None] * 5, [b"{"] * 5, [envelope(payload())] * 5], ids=["tombstones", "bad", "same"]
)
def test_batches_without_new_events_move_the_offset_once(
    database_dsn: str, connection: sa.Connection, values: list[bytes | None]
) -> None:
    topic = MemoryTopic()
    topic.append(*values)
    consume(database_dsn, topic, batch=2)
    before = counters(connection)
    assert before["messages"] == 5
    assert consume(database_dsn, topic, batch=2).messages == 0
    assert counters(connection) == before
    assert offsets(connection)[0].next_offset == topic.end()


class KilledError(BaseException):
    """Stands for kill -9: nothing of the driver runs after it."""


def test_a_driver_killed_at_every_step_loses_and_repeats_nothing(database_dsn: str, connection: sa.Connection) -> None:
    values = [*histories(1, 12), None, b"{"]
    topic = MemoryTopic()
    topic.append(*values)
    labels = ["positions", "polled", "decoded", "locked", "written", "before commit", "after commit"]
    for label in labels:
        made = driver(database_dsn, topic, batch=3, passes=killer(label, 2))
        with pytest.raises(KilledError):
            made.ingest(END)
        made.close()
    consume(database_dsn, topic, batch=3)
    assert_complete(connection, topic, len(set(values)))


def killer(label: str, times: int) -> Callable[[str], None]:
    left = [times]

    def passes(passed: str) -> None:
        if passed == label:
            left[0] -= 1 if label != "positions" else times
            if left[0] <= 0:
                raise KilledError(label)

    return passes


def assert_complete(connection: sa.Connection, topic: MemoryTopic, distinct: int) -> None:
    found = counters(connection)
    total = sum(len(held) for held in topic.records.values())
    assert found["messages"] == total == found["events_persisted"] + found["duplicates"] + found["missing_fields"]
    assert found["events_persisted"] + found["missing_fields"] == distinct
    seqs = [row[0] for row in rows(connection, "SELECT event_seq FROM execution_order_events ORDER BY event_seq")]
    assert seqs == list(range(1, len(seqs) + 1))
    assert [row.next_offset for row in offsets(connection)] == [topic.end(n) for n in range(topic.partitions)]


def test_two_drivers_that_overlap_apply_everything_once(database_dsn: str, connection: sa.Connection) -> None:
    values = histories(2, 30)
    topic = MemoryTopic()
    topic.append(*values)
    first = driver(database_dsn, topic, "one", batch=7)
    second = driver(database_dsn, topic, "two", batch=5)
    for _ in range(40):
        first.ingest(Limits(rows=7, until_end=True))
        second.ingest(Limits(rows=5, until_end=True))
        if offsets(connection)[0].next_offset == topic.end():
            break
    first.close()
    second.close()
    assert_complete(connection, topic, len(values))


def test_a_fenced_driver_drops_what_was_done_and_stores_the_rest(database_dsn: str, connection: sa.Connection) -> None:
    values = histories(3, 10)
    topic = MemoryTopic()
    topic.append(*values)
    overtaken: list[bool] = []

    def overtake(label: str) -> None:
        if label == "decoded" and not overtaken:
            overtaken.append(True)
            consume(database_dsn, topic, limits=Limits(rows=4), batch=4, name="fast")

    consume(database_dsn, topic, batch=10, name="slow", passes=overtake)
    assert_complete(connection, topic, len(values))


def test_a_restored_database_is_read_again_from_its_offset(database_dsn: str, connection: sa.Connection) -> None:
    topic = MemoryTopic()
    topic.append(*histories(4, 5))
    made = driver(database_dsn, topic, batch=4)
    made.ingest(Limits(rows=8))
    connection.execute(sa.text("UPDATE feed_offsets SET next_offset = 2"))
    connection.commit()
    made.ingest(END)
    made.close()
    assert offsets(connection)[0].next_offset == topic.end()
    assert counters(connection)["duplicates"] == 6


def test_a_database_error_at_commit_loses_no_record(database_dsn: str, connection: sa.Connection) -> None:
    values = histories(5, 8)
    topic = MemoryTopic()
    topic.append(*values)
    failed: list[bool] = []

    def fail(label: str) -> None:
        if label == "before commit" and not failed:
            failed.append(True)
            connection.execute(
                sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                        " AND datname = current_database()")
            )  # fmt: skip
            connection.commit()

    report = consume(database_dsn, topic, batch=6, passes=fail)
    assert report.messages == len(values)
    assert_complete(connection, topic, len(values))


def test_kafka_down_is_waited_out_and_counted(database_dsn: str, connection: sa.Connection) -> None:
    topic = MemoryTopic()
    topic.append(*histories(6, 4))
    topic.down = True
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        topic.down = len(naps) < 4

    consume(database_dsn, topic, sleep=sleep)
    assert counters(connection)["consumer_errors"] == 4
    assert all(0.1 <= nap <= 5 for nap in naps)
    assert_complete(connection, topic, len(topic.records[0]))


def test_a_recreated_topic_starts_a_new_incarnation_and_known_events_are_duplicates(
    database_dsn: str, connection: sa.Connection
) -> None:
    values = histories(7, 6)
    topic = MemoryTopic()
    topic.append(*values)
    consume(database_dsn, topic)
    topic.recreate()
    topic.append(*values[:3], envelope(payload(order={"id": "later"})))
    consume(database_dsn, topic)
    old, new = offsets(connection)
    assert (old.active, new.active, new.incarnation, new.next_offset) == (False, True, 1, 4)
    found = counters(connection)
    assert (found["duplicates"], found["events_persisted"]) == (3, len(values) + 1)
    ((reason, start),) = rows(connection, "SELECT reason, from_offset FROM feed_gaps")
    assert (reason, start) == ("topic_recreated", len(values))


def test_a_truncated_log_without_topic_ids_is_noticed_by_its_end(database_dsn: str, connection: sa.Connection) -> None:
    topic = MemoryTopic(topic_id=None)
    topic.append(*histories(8, 6))
    consume(database_dsn, topic)
    topic.recreate(topic_id=None)
    topic.append(envelope(payload(order={"id": "later"})))
    consume(database_dsn, topic)
    assert [row.next_offset for row in offsets(connection) if row.active] == [1]
    assert [row[0] for row in rows(connection, "SELECT reason FROM feed_gaps")] == ["topic_recreated"]


def test_records_lost_to_retention_leave_a_gap(database_dsn: str, connection: sa.Connection) -> None:
    values = histories(9, 6)
    topic = MemoryTopic()
    topic.append(*values)
    consume(database_dsn, topic, limits=Limits(rows=3), batch=3)
    topic.expire(5)
    consume(database_dsn, topic)
    ((reason, start, end, since),) = rows(connection, "SELECT reason, from_offset, to_offset, since_ts FROM feed_gaps")
    assert (reason, start, end) == ("retention", 3, 5)
    assert since is not None
    assert offsets(connection)[0].next_offset == len(values)


def test_latest_over_a_backlog_leaves_a_gap_and_a_later_partition_starts_at_its_beginning(
    database_dsn: str, connection: sa.Connection
) -> None:
    topic = MemoryTopic()
    topic.append(*histories(10, 3))
    backlog = topic.end()
    assert consume(database_dsn, topic, reset="latest").messages == 0
    ((reason, start, end),) = rows(connection, "SELECT reason, from_offset, to_offset FROM feed_gaps")
    assert (reason, start, end) == ("latest_start", 0, backlog)
    topic.partitions = 2
    topic.append(envelope(payload(order={"id": "second"})), partition=1)
    assert consume(database_dsn, topic, reset="latest").messages == 1
    assert [row.start_offset for row in offsets(connection)] == [backlog, 0]


def test_a_topic_that_does_not_exist_holds_nothing_and_is_waited_for(database_dsn: str) -> None:
    topic = MemoryTopic(name="another")
    topic.append(*histories(15, 2))
    assert consume(database_dsn, topic).stopped_by == "log_end"
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            topic.name = "torghut.trade-updates.v1"
            topic.recreate()
            topic.append(*histories(15, 2))

    report = consume(database_dsn, topic, sleep=sleep, limits=Limits(rows=5))
    assert (report.messages, len(naps)) == (5, 3)


def test_latest_over_an_empty_log_is_no_gap(database_dsn: str, connection: sa.Connection) -> None:
    consume(database_dsn, MemoryTopic(), reset="latest")
    assert rows(connection, "SELECT 1 FROM feed_gaps") == []


def test_a_tick_ends_at_its_time_and_the_next_one_goes_on(database_dsn: str, connection: sa.Connection) -> None:
    topic = MemoryTopic()
    topic.append(*histories(12, 20))
    assert consume(database_dsn, topic, limits=Limits(seconds=0.0, rows=100)).stopped_by == "time"
    report = consume(database_dsn, topic, limits=Limits(seconds=60, rows=5, until_end=True), batch=3)
    assert (report.stopped_by, report.messages, report.batches) == ("rows", 5, 2)
    consume(database_dsn, topic)
    assert_complete(connection, topic, topic.end())


def test_a_paused_feed_stops_after_its_batch_and_resumes(database_dsn: str, connection: sa.Connection) -> None:
    topic = MemoryTopic()
    topic.append(*histories(13, 6))
    asked: list[int] = []

    def enabled() -> bool:
        asked.append(1)
        return len(asked) < 3

    report = consume(database_dsn, topic, batch=2, is_enabled=enabled)
    assert (report.stopped_by, report.messages) == ("paused", 4)
    consume(database_dsn, topic)
    assert_complete(connection, topic, topic.end())


def test_the_same_event_under_other_clothes_is_one_row(database_dsn: str, connection: sa.Connection) -> None:
    update = payload("fill", execution_id="f", price="1", qty="1", order={"filled_qty": "1", "qty": "1"})
    numbers = payload("fill", execution_id="f", price="1.0", qty=1, order={"filled_qty": "1.00", "qty": 1})
    snake = json.loads(envelope(update))
    for camel, name in {"ingestTs": "ingest_ts", "eventTs": "event_ts", "accountLabel": "account_label"}.items():
        snake[name] = snake.pop(camel)
    topic = MemoryTopic(partitions=2)
    topic.append(envelope(update), envelope(update, seq=99), envelope(numbers), json.dumps(snake).encode())
    topic.append(
        envelope(update, version=2),
        json.dumps({"stream": "trade_updates", "data": update}).encode(),
        json.dumps(update).encode(),
        partition=1,
    )
    consume(database_dsn, topic)
    assert counters(connection)["events_persisted"] == 1
    assert counters(connection)["duplicates"] == 6


def test_state_after_kills_equals_state_without(
    database_dsn: str, connection: sa.Connection, postgres_port: int
) -> None:
    from postgres import new_database

    from torghut_runtime.storage.database import connect, create_engine

    values = histories(14, 15)
    random.Random(1).shuffle(values)
    topic = MemoryTopic()
    topic.append(*values)
    for label in ("written", "after commit", "before commit"):
        made = driver(database_dsn, topic, batch=4, passes=killer(label, 3))
        with pytest.raises(KilledError):
            made.ingest(END)
        made.close()
    consume(database_dsn, topic, batch=4)
    with new_database(postgres_port) as dsn, connect(create_engine(dsn)) as other:
        consume(dsn, topic, batch=1000)
        assert stored_state(other) == stored_state(connection)
        assert counters(other) == counters(connection)


@pytest.mark.parametrize("stop", ["rows", "asked"])
def test_records_read_ahead_are_read_again_after_a_stop(
    database_dsn: str, connection: sa.Connection, stop: str
) -> None:
    """Behind a full batch the next one is read while it is stored; a stop between them must not skip it."""
    topic = MemoryTopic()
    topic.append(*histories(17, 8))
    stops = iter([False, stop == "asked", False])
    made = driver(database_dsn, topic, batch=5, should_stop=lambda: next(stops, False))
    first = made.ingest(Limits(rows=5 if stop == "rows" else None, until_end=True))
    assert (first.stopped_by, first.messages) == (stop, 5)
    assert made.ingest(END).messages == topic.end() - 5
    made.close()
    assert_complete(connection, topic, topic.end())


def test_records_read_ahead_of_a_driver_that_was_overtaken_are_given_up(
    database_dsn: str, connection: sa.Connection
) -> None:
    topic = MemoryTopic()
    topic.append(*histories(19, 8))
    overtaking = iter([True])

    def overtake(label: str) -> None:
        if label == "after commit" and next(overtaking, False):
            consume(database_dsn, topic, name="two", limits=Limits(rows=7), batch=7)

    report = consume(database_dsn, topic, batch=5, passes=overtake)
    assert report.messages == topic.end() - 7
    assert_complete(connection, topic, topic.end())


def test_poison_in_a_batch_that_was_read_ahead_leaves_its_neighbours(
    database_dsn: str, connection: sa.Connection
) -> None:
    topic = MemoryTopic()
    values: list[bytes | None] = [*histories(23, 8)]
    values[7] = b"{"
    topic.append(*values)
    consume(database_dsn, topic, batch=5)
    assert_complete(connection, topic, topic.end())
    assert counters(connection)["missing_fields"] == 1
