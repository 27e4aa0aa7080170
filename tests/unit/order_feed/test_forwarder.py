"""The forwarder over a broker and a publisher of our own: back-fills, their order, and what faults do."""

import json
import sqlite3
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alpaca_streams import until

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.broker_answers import Answer
from torghut_runtime.order_feed.forwarder import Forwarder
from torghut_runtime.order_feed.forwarder_metrics import ForwarderMetrics
from torghut_runtime.order_feed.outbox import DATABASE, SMALLEST_BOUND, Outbox
from torghut_runtime.order_feed.publisher import nothing

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)


class Broker:
    """Answers from lists, and keeps what it was asked."""

    def __init__(self) -> None:
        self.submitted: list[Answer] = []
        self.open: list[Answer] = []
        self.known: dict[str, Answer] = {}
        self.activities: list[Answer] = []
        self.failures = 0
        self.asked: list[tuple[str, Any]] = []

    def now(self) -> datetime:
        if self.failures:
            self.failures -= 1
            raise UpstreamError("broker: away")
        return NOW

    def orders(self, since: datetime, until: datetime) -> Iterator[Answer]:
        self.asked.append(("orders", since))
        return iter(self.submitted)

    def open_orders(self) -> Iterator[Answer]:
        return iter(self.open)

    def order(self, order_id: str) -> Answer:
        raise AssertionError(order_id)

    def known_order(self, order_id: str) -> Answer | None:
        self.asked.append(("order", order_id))
        return self.known.get(order_id)

    def fills(self, since: datetime, until: datetime) -> Iterator[Answer]:
        return iter(self.activities)


class Publisher:
    """Publishes nothing."""

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self, seconds: float = 0) -> None: ...


class Running:
    def __init__(self, folder: Path, bound: int = SMALLEST_BOUND, checkpoint: Callable[[str], None] = nothing) -> None:
        self.outbox = Outbox(folder, bound)
        self.metrics = ForwarderMetrics(self.outbox)
        self.broker = Broker()
        publisher: Any = Publisher()
        self.forwarder = Forwarder(
            outbox=self.outbox,
            broker=self.broker,
            publisher=publisher,
            metrics=self.metrics,
            account_label="paper",
            checkpoint=checkpoint,
        )
        self.forwarder.start()

    def stored(self) -> list[tuple[str, str, str]]:
        """(source, event, order id) of every row."""
        rows = [json.loads(row.value) for row in self.outbox.pending(0, 1000)]
        return [(row["source"], row["payload"]["event"], row["payload"]["order"]["id"]) for row in rows]

    def await_rows(self, count: int) -> None:
        until(lambda: self.outbox.rows == count)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"torghut_forwarder_{name}", labels)


@pytest.fixture
def running(tmp_path: Path) -> Generator[Running]:
    run = Running(tmp_path)
    yield run
    run.forwarder.stop(5)
    run.outbox.close()


def update(order: str, event: str = "new", status: str = "new", at: str = "2026-01-05T14:59:00Z") -> dict[str, Any]:
    return {"event": event, "timestamp": at, "order": {"id": order, "symbol": "AAPL", "status": status}}


def order(order_id: str, status: str = "filled", at: str = "2026-01-05T14:58:00Z") -> Answer:
    return {"id": order_id, "status": status, "updated_at": at, "symbol": "AAPL"}


def activity(number: str, order_id: str) -> Answer:
    return {
        "id": number,
        "order_id": order_id,
        "transaction_time": "2026-01-05T14:58:00Z",
        "price": "1",
        "qty": "2",
        "cum_qty": "2",
        "side": "buy",
        "symbol": "AAPL",
    }


def test_a_back_fill_comes_before_the_frames_that_follow_the_connection(running: Running) -> None:
    running.broker.submitted = [order("a")]
    running.broker.open = [order("b", "new")]
    running.broker.activities = [activity("act-1", "a")]
    running.forwarder.connected()
    running.forwarder.accept(update("c"))
    running.await_rows(4)
    assert running.stored() == [
        ("rest", "order_snapshot", "a"),
        ("rest", "order_snapshot", "b"),
        ("rest", "activity_fill", "a"),
        ("ws", "new", "c"),
    ]
    assert running.broker.asked == [("orders", NOW - timedelta(hours=24))]
    until(lambda: running.forwarder.readiness().ready)
    assert running.metric("backfill_events_total") == 3
    assert running.metric("events_total", source="rest") == 3
    assert running.metric("events_total", source="ws") == 1
    assert running.metric("connected") == 1
    assert running.metric("outbox_rows") == 4


def test_a_later_back_fill_begins_five_minutes_before_the_newest_event_and_asks_for_every_open_order(
    running: Running,
) -> None:
    running.forwarder.connected()
    running.forwarder.accept(update("old", at="2026-01-05T14:40:00Z"))
    running.forwarder.accept(update("gone", at="2026-01-05T14:39:00Z"))
    running.forwarder.accept(update("done", "fill", "filled", at="2026-01-05T14:38:00Z"))
    running.await_rows(3)
    running.forwarder.disconnected()
    assert running.forwarder.readiness().reasons == ("not_listening",)
    running.broker.known = {"old": order("old", "canceled")}
    running.broker.asked.clear()
    running.forwarder.connected()
    running.await_rows(4)
    assert running.broker.asked == [
        ("orders", datetime(2026, 1, 5, 14, 35, tzinfo=UTC)),
        ("order", "gone"),
        ("order", "old"),
    ]
    assert running.stored()[-1] == ("rest", "order_snapshot", "old")
    until(lambda: running.outbox.open_orders == [])
    assert running.metric("reconnects_total") == 1


def test_frames_wait_until_the_broker_answers(running: Running) -> None:
    running.broker.failures = 3
    running.broker.submitted = [order("a")]
    running.forwarder.connected()
    running.forwarder.accept(update("b"))
    running.await_rows(2)
    assert [row[0] for row in running.stored()] == ["rest", "ws"]
    assert running.broker.failures == 0


def test_a_full_outbox_deletes_nothing_and_a_back_fill_precedes_the_next_append(tmp_path: Path) -> None:
    running = Running(tmp_path)
    try:
        running.forwarder.connected()
        big = update("big")
        big["padding"] = "x" * 900_000
        running.forwarder.accept(big)
        running.await_rows(1)
        assert running.forwarder.readiness().reasons == ("outbox_filling",)
        running.forwarder.accept({**update("lost"), "padding": "x" * 200_000})
        until(lambda: running.forwarder.readiness().reasons == ("outbox_full",))
        running.broker.submitted = [order("lost")]
        assert running.outbox.rows == 1
        running.outbox.remove([1])
        until(lambda: running.stored() == [("rest", "order_snapshot", "lost")])
        running.forwarder.accept(update("next"))
        running.await_rows(2)
        assert running.forwarder.readiness().ready
    finally:
        running.forwarder.stop(5)
        running.outbox.close()


def test_a_failing_append_is_named_and_made_good(running: Running, tmp_path: Path) -> None:
    running.forwarder.connected()
    running.forwarder.accept(update("a"))
    running.await_rows(1)
    other = sqlite3.connect(tmp_path / DATABASE)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    other.commit()
    running.broker.open = [order("lost", "new")]
    running.broker.known = {"a": order("a", "new")}
    running.forwarder.accept(update("lost"))
    until(lambda: running.forwarder.readiness().reasons == ("outbox_error",))
    other.execute("DROP TRIGGER full")
    other.commit()
    other.close()
    running.await_rows(3)
    assert sorted(running.stored()[1:]) == [("rest", "order_snapshot", "a"), ("rest", "order_snapshot", "lost")]
    until(lambda: running.forwarder.readiness().ready)


def test_what_arrived_before_the_end_is_recorded(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.forwarder.connected()
    until(lambda: running.forwarder.readiness().ready)
    for index in range(200):
        running.forwarder.accept(update(f"order-{index}"))
    running.forwarder.stop(10)
    assert [row[2] for row in running.stored()] == [f"order-{index}" for index in range(200)]
    running.outbox.close()


def test_frames_after_a_gap_that_was_not_filled_do_not_move_the_watermark(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.forwarder.connected()
    running.forwarder.accept(update("before", at="2026-01-05T10:00:00Z"))
    running.await_rows(1)
    before = running.outbox.watermark_ns
    running.forwarder.disconnected()
    running.broker.failures = 1_000_000
    running.forwarder.connected()
    running.forwarder.accept(update("after", at="2026-01-05T14:00:00Z"))
    until(lambda: running.broker.failures < 1_000_000)
    running.forwarder.stop(10)
    assert [row[2] for row in running.stored()] == ["before"]
    assert running.outbox.watermark_ns == before
    running.outbox.close()


def test_a_connection_that_replaces_one_whose_back_fill_failed_fills_the_whole_gap(running: Running) -> None:
    running.forwarder.connected()
    running.forwarder.accept(update("before", at="2026-01-05T10:00:00Z"))
    running.await_rows(1)
    running.broker.failures = 1_000_000
    running.forwarder.connected()
    running.forwarder.accept(update("between", at="2026-01-05T14:00:00Z"))
    until(lambda: running.broker.failures < 1_000_000)
    running.broker.asked.clear()
    running.forwarder.connected()
    running.broker.submitted = [order("between")]
    running.broker.failures = 0
    running.forwarder.accept(update("live"))
    until(lambda: ("ws", "new", "live") in running.stored())
    assert running.broker.asked[0] == ("orders", datetime(2026, 1, 5, 9, 55, tzinfo=UTC))
    assert ("rest", "order_snapshot", "between") in running.stored()
    assert ("ws", "new", "between") not in running.stored()


def test_a_back_fill_moves_the_watermark_when_it_is_complete(tmp_path: Path) -> None:
    seen: list[int | None] = []

    def checkpoint(label: str) -> None:
        if label == "backfill_part":
            seen.append(running.outbox.watermark_ns)

    running = Running(tmp_path, 10 * SMALLEST_BOUND, checkpoint)
    try:
        # The newest comes first: a process that dies after the first part must not believe that it has read all.
        running.broker.submitted = [order("newest", at="2026-01-05T14:59:00Z")]
        running.broker.submitted += [order(f"order-{index}") for index in range(1200)]
        running.forwarder.connected()
        running.await_rows(1201)
        until(lambda: running.forwarder.readiness().ready)
        newest = int(datetime(2026, 1, 5, 14, 59, tzinfo=UTC).timestamp()) * 10**9
        assert seen == [None, None, newest]
    finally:
        running.forwarder.stop(10)
        running.outbox.close()
