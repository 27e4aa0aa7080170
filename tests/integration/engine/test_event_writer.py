"""The writer of the broker's events: nobody waits for it, nothing is lost with it, and one bad event stops no other."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from alpaca_streams import until
from event_sinks import event_writer, written_by
from order_cases import ACCOUNT
from order_messages import envelope, payload
from postgres import free_port

from torghut_runtime.engine.event_writer import BATCH, CAPACITY, MOST, EventWriter
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.settings import embedded_dsn
from torghut_runtime.storage.database import connect


def rows(engine: sa.Engine, statement: str) -> Sequence[Any]:
    with connect(engine) as connection:
        return connection.execute(sa.text(statement)).all()


def word(order: str, symbol: str = "AAPL") -> bytes:
    """The broker's word on an order of its own."""
    return envelope(payload("new", order={"id": order, "client_order_id": f"key-{order}", "symbol": symbol}))


def stored(engine: sa.Engine) -> list[tuple[str, str]]:
    """Orders and sources of the stored events, in the order of their numbers."""
    found = rows(engine, "SELECT alpaca_order_id, source FROM execution_order_events ORDER BY event_seq")
    return [(row.alpaca_order_id, row.source) for row in found]


def test_what_has_gathered_is_stored_in_its_order_with_its_sources(engine: sa.Engine, database_dsn: str) -> None:
    writer = EventWriter(database_dsn, ACCOUNT)
    writer.take([word("a"), word("b")], "submit")
    writer.take([word("c")], "stream")
    writer.take([word("a")], "reconcile")
    assert (writer.waiting, writer.taken, writer.stored) == (4, 4, 0)
    with written_by(writer):
        assert writer.drain(60)
    assert stored(engine) == [("a", "submit"), ("b", "submit"), ("c", "stream")]
    assert (writer.waiting, writer.stored, writer.age_seconds) == (0, 4, 0.0)
    assert len(rows(engine, "SELECT DISTINCT xmin::text FROM execution_order_events")) == 1


def test_more_than_a_batch_is_stored_without_a_gap(engine: sa.Engine, database_dsn: str) -> None:
    with event_writer(database_dsn) as writer:
        writer.take([word(str(number)) for number in range(2 * BATCH + 1)], "stream")
        assert writer.drain(60)
    assert [order for order, _ in stored(engine)] == [str(number) for number in range(2 * BATCH + 1)]
    assert rows(engine, "SELECT last_event_seq FROM event_seq_head") == [(2 * BATCH + 1,)]


def test_while_a_driver_is_frozen_events_wait_and_nobody_waits_with_them(engine: sa.Engine, database_dsn: str) -> None:
    with engine.connect() as frozen, event_writer(database_dsn) as writer:
        frozen.execute(sa.text("SELECT 1 FROM event_seq_head FOR UPDATE"))
        writer.take([word("a")], "submit")
        until(lambda: writer.age_seconds > 2.5)
        writer.take([word("b")], "stream")
        assert (writer.waiting, writer.is_full, writer.drain(0.0)) == (2, False, False)
        frozen.rollback()
        assert writer.drain(60)
    assert stored(engine) == [("a", "submit"), ("b", "stream")]


def test_a_connection_that_is_cut_in_the_middle_of_a_transaction_costs_nothing(
    engine: sa.Engine, database_dsn: str
) -> None:
    cuts: list[Any] = []

    def cut(point: str) -> None:
        if point == "storing" and not cuts:
            cuts.extend(
                rows(
                    engine,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                )
            )

    with event_writer(database_dsn, reached=cut) as writer:
        writer.take([word("a"), word("b")], "submit")
        assert writer.drain(60)
    assert cuts
    assert stored(engine) == [("a", "submit"), ("b", "submit")]


def test_what_the_database_refuses_is_a_dead_letter_alone(
    engine: sa.Engine, database_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(engine) as connection:
        connection.execute(sa.text("ALTER TABLE execution_order_events ADD CHECK (symbol <> 'MSFT')"))
    with event_writer(database_dsn) as writer:
        writer.take([word("a"), word("b", "MSFT"), b"{", word("c")], "stream")
        assert writer.drain(60)
    assert stored(engine) == [("a", "stream"), ("c", "stream")]
    letters = rows(engine, "SELECT reason, source, record_value FROM feed_dead_letters ORDER BY reason")
    assert [(row.reason, row.source, bytes(row.record_value)) for row in letters] == [
        ("database_rejected", "stream", word("b", "MSFT")),
        ("invalid_json", "stream", b"{"),
    ]
    assert (writer.refused, writer.stored) == (1, 4)
    assert "refused by the database" in caplog.text


def test_from_its_capacity_on_it_is_full_and_beyond_its_bound_trading_ends(database_dsn: str) -> None:
    writer = EventWriter(database_dsn, ACCOUNT)
    writer.take([b"{"] * (CAPACITY - 1), "stream")
    assert not writer.is_full
    writer.take([b"{"], "stream")
    assert writer.is_full
    writer.take([b"{"] * (MOST - CAPACITY), "stream")
    with pytest.raises(StoreUnavailableError, match=f"{MOST + 1} events of orders wait"):
        writer.take([b"{"], "stream")
    assert writer.waiting == MOST + 1


def test_told_to_stop_without_a_database_it_ends_and_keeps_what_waits(caplog: pytest.LogCaptureFixture) -> None:
    writer, beat, stop = EventWriter(embedded_dsn(free_port()), ACCOUNT), Heartbeat(), threading.Event()
    thread = threading.Thread(target=writer.run, args=(beat, stop))
    writer.take([word("a")], "submit")
    thread.start()
    until(lambda: "events of orders wait" in caplog.text)
    stop.set()
    thread.join(60)
    assert (thread.is_alive(), writer.waiting, writer.drain(0.0)) == (False, 1, False)
