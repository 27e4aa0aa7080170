"""How fast order events enter PostgreSQL, against a raw COPY of the same rows in the same run, and the naive way.

Run with ``uv run python benchmarks/order_feed.py [--events N] [--batch N] [--json PATH]``. PostgreSQL is the embedded
server with its durable settings; the topic is a log in memory, so that the broker's speed is not measured, except in
the paced case, which runs over the embedded broker at 1,000 events/s. ``ratio`` compares with the COPY; percentiles run
from the record's time to its commit, of a batch's own time in the cases that are not paced.
"""

import argparse
import json
import os
import random
import resource
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import sqlalchemy as sa  # noqa: E402
from confluent_kafka import Producer  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from feed_settings import feed_settings  # noqa: E402
from memory_log import TOPIC, MemoryLog, MemoryTopic  # noqa: E402
from order_messages import ACCOUNT, DAY_NS, envelope, payload, rfc3339  # noqa: E402
from postgres import open_folder  # noqa: E402
from sqlalchemy.orm import DeclarativeBase, Session  # noqa: E402

from torghut_runtime.order_feed.envelope import decode  # noqa: E402
from torghut_runtime.order_feed.event import OrderEvent  # noqa: E402
from torghut_runtime.order_feed.ingest import Arrival, Cursor, cursor_of  # noqa: E402
from torghut_runtime.order_feed.ingestor import OrderFeedIngestor  # noqa: E402
from torghut_runtime.order_feed.launchers.launcher import free_port  # noqa: E402
from torghut_runtime.order_feed.launchers.tansu import TansuLauncher  # noqa: E402
from torghut_runtime.order_feed.log import KafkaLog  # noqa: E402
from torghut_runtime.order_feed.report import Limits  # noqa: E402
from torghut_runtime.order_feed.rows import adding_events  # noqa: E402
from torghut_runtime.order_feed.session import ingest_engine  # noqa: E402
from torghut_runtime.settings import embedded_dsn  # noqa: E402
from torghut_runtime.storage.database import connect, create_engine  # noqa: E402
from torghut_runtime.storage.embedded import EmbeddedServer  # noqa: E402
from torghut_runtime.storage.migrations import migrate  # noqa: E402
from torghut_runtime.storage.order_tables import execution_order_events, executions  # noqa: E402

TARGETS = {
    "copy": "",
    "one fill per order, batch 1000": "10,000 events/s and 0.15 of COPY on an idle core; 50 times the naive way",
    "paced 1000/s": "p99 250 ms",
}
NAIVE_EVENTS = 1_000
SIZES = (200, 1000, 5000)


def message(number: int, order: int, part: int, total: int) -> bytes:
    price = f"{100 + number % 997 / 100:.2f}"
    identity = f"{order:08d}-0000-4000-8000-{order:012d}"
    fields = {
        "id": identity,
        "client_order_id": f"client-{order:08d}",
        "qty": str(total),
        "filled_qty": str(part),
        "filled_avg_price": price,
        "submitted_at": rfc3339(DAY_NS),
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
        "padding": "x" * 560,
    }
    done = part == total
    return envelope(
        payload(
            "fill" if done else "partial_fill",
            order=fields | {"status": "filled" if done else "partially_filled"},
            execution_id=f"exec-{number:09d}",
            price=price,
            qty="1",
            timestamp=rfc3339(DAY_NS + number * 1000),
        )
    )


def one_fill(count: int) -> list[bytes | None]:
    return [message(number, number, 1, 1) for number in range(count)]


def partials(count: int) -> list[bytes | None]:
    return [message(number, number // 100, number % 100 + 1, 100) for number in range(count)]


def duplicates(count: int) -> list[bytes | None]:
    return [message(0, 0, 1, 1)] * count


def poisoned(count: int) -> list[bytes | None]:
    values = one_fill(count)
    for number in random.Random(1).sample(range(count), count // 100):
        values[number] = b"{"
    return values


def intend_all(dsn: str, count: int) -> None:
    """A decision and an intent per order, as the runtime writes them before it calls the broker."""
    with connect(create_engine(dsn)) as connection:
        connection.execute(
            sa.text("""
            WITH d AS (
                INSERT INTO trade_decisions (id, decision_hash, strategy_id, alpaca_account_label, symbol, timeframe,
                    bar_ts, decided_at, decision_json)
                SELECT gen_random_uuid(), 'client-' || lpad(n::text, 8, '0'), 's', 'paper', 'AAPL', '1Min', now(),
                    now(), '{}' FROM generate_series(0, :count - 1) n RETURNING id, decision_hash)
            INSERT INTO order_intents (id, trade_decision_id, intent_seq, alpaca_account_label, client_order_id,
                strategy_id, adapter, symbol, side, order_type, time_in_force, qty, extended_hours, arrival_price,
                submit_payload, state, sent_at)
            SELECT gen_random_uuid(), id, 0, 'paper', decision_hash, 's', 'simulator', 'AAPL', 'buy', 'limit', 'day', 1,
                false, 100, '{}', 'submitting', now() FROM d"""),
            {"count": count},
        )
        connection.execute(sa.text("ANALYZE order_intents"))


class Delays:
    """Hears of batches; keeps what the percentiles are made of."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def batch(self, rows: int, event_to_commit_s: Sequence[float]) -> None:  # noqa: ARG002
        self.seconds.extend(event_to_commit_s)

    def database_error(self, kind: str) -> None:
        raise AssertionError(kind)


def rss_mib() -> float:
    with Path("/proc/self/statm").open() as stream:
        return int(stream.read().split()[1]) * resource.getpagesize() / 2**20


def percentile(values: Sequence[float], share: float) -> float | None:
    ordered = sorted(values)
    return None if not ordered else ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def server_cpu_s(folder: Path) -> float:
    """CPU seconds of the server's processes so far; the backends of closed connections are the postmaster's."""
    postmaster = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    tick = os.sysconf("SC_CLK_TCK")
    total = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.parent.name) == postmaster:
            total += sum(int(field) for field in fields[11:15])
        elif int(fields[1]) == postmaster:
            total += int(fields[11]) + int(fields[12])
    return total / tick


class Bench:
    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._number = 0
        self.results: list[dict[str, Any]] = []
        self._copy_rate: float | None = None

    def database(self, count_of_intents: int = 0) -> str:
        self._number += 1
        name = f"bench_{self._number}"
        engine = create_engine(embedded_dsn(self._port)).execution_options(isolation_level="AUTOCOMMIT")
        with connect(engine) as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        dsn = embedded_dsn(self._port, name)
        migrate(create_engine(dsn))
        if count_of_intents:
            intend_all(dsn, count_of_intents)
        return dsn

    def measure(self, case: str, events: int, work: Callable[[], Sequence[float]]) -> None:
        before, server, started, cpu = rss_mib(), server_cpu_s(self._folder), time.perf_counter(), time.process_time()
        delays = work()
        wall = time.perf_counter() - started
        rate = events / wall
        if case == "copy":
            self._copy_rate = rate
        result = {
            "case": case,
            "events": events,
            "events_per_s": round(rate),
            "ratio": None if self._copy_rate is None else round(rate / self._copy_rate, 3),
            "p50_ms": percentile(delays, 0.50),
            "p95_ms": percentile(delays, 0.95),
            "p99_ms": percentile(delays, 0.99),
            "cpu_ms_per_event": round((time.process_time() - cpu) / events * 1000, 4),
            "server_cpu_ms_per_event": round((server_cpu_s(self._folder) - server) / events * 1000, 4),
            "rss_start": round(before, 1),
            "rss_end": round(rss_mib(), 1),
            "target": TARGETS.get(case, ""),
        }
        self.results.append(result)
        show(result)

    def copy(self, values: Sequence[bytes | None]) -> None:
        """The same rows by COPY into the same table with its indexes, rows prepared before."""
        arrivals = []
        for number, value in enumerate(values):
            event = decode(value, account_label=ACCOUNT)
            assert isinstance(event, OrderEvent)
            arrivals.append((Arrival(event, value or b"", "s/t/0", 0, number), number + 1))
        dsn = self.database()

        def work() -> Sequence[float]:
            with ingest_engine(dsn).connect() as connection:
                for start in range(0, len(arrivals), 1000):
                    with connection.begin(), adding_events(cursor_of(connection), arrivals[start : start + 1000]):
                        pass
            return ()

        self.measure("copy", len(values), work)

    def ingest(self, case: str, values: Sequence[bytes | None], batch: int, *, intents: bool = True) -> str:
        topic = MemoryTopic()
        topic.append(*values)
        dsn = self.database(len(values) if intents else 0)
        settings = feed_settings(order_feed_batch_size=batch, order_feed_auto_offset_reset="earliest")
        batches: list[float] = []

        class Batches:
            last = time.perf_counter()

            def batch(self, rows: int, event_to_commit_s: Sequence[float]) -> None:  # noqa: ARG002
                now = time.perf_counter()
                batches.append(now - self.last)
                self.last = now

            def database_error(self, kind: str) -> None:
                raise AssertionError(kind)

        def work() -> Sequence[float]:
            ingestor = OrderFeedIngestor(settings, ingest_engine(dsn), MemoryLog(topic), "bench", observer=Batches())
            report = ingestor.ingest(Limits(until_end=True))
            ingestor.close()
            assert report.messages == len(values)
            return batches

        self.measure(case, len(values), work)
        return dsn

    def rows_alone(self, source: str) -> None:
        """What an ingest left behind in ``source``, by COPY and two plain UPDATEs: no ingest costs less."""
        tables = {
            "execution_order_events": "event_seq",
            "executions": "last_event_seq",
            "order_fills": "event_seq",
            "execution_tca_metrics": "(SELECT e.last_event_seq FROM executions e WHERE e.id = execution_id)",
        }
        moves = "SELECT id, trade_decision_id, alpaca_order_id FROM order_intents ORDER BY client_order_id"
        dsn = self.database()
        with connect(create_engine(source)) as old, connect(create_engine(dsn)) as new, new.begin():
            lines = {
                name: copied(cursor_of(old), f"SELECT * FROM {name} ORDER BY {order}") for name, order in tables.items()
            }
            ids = cursor_of(old).execute(moves).fetchall()
            for name in ("trade_decisions", "order_intents"):
                pasted(cursor_of(new), name, copied(cursor_of(old), f"SELECT * FROM {name}"))
            cursor_of(new).execute("UPDATE order_intents SET state = 'submitting', alpaca_order_id = NULL")
            cursor_of(new).execute("UPDATE trade_decisions SET status = 'planned', executed_at = NULL")

        def work() -> Sequence[float]:
            with ingest_engine(dsn).connect() as connection:
                for start in range(0, len(ids), 1000):
                    chunk = ids[start : start + 1000]
                    with connection.begin():
                        cursor = cursor_of(connection)
                        for name in tables:
                            pasted(cursor, name, lines[name][start : start + 1000])
                        cursor.execute(
                            "UPDATE order_intents i SET state = 'filled', alpaca_order_id = n.order_id,"
                            " updated_at = now() FROM unnest(%s::uuid[], %s::text[]) n(id, order_id) WHERE i.id = n.id",
                            ([row[0] for row in chunk], [row[2] for row in chunk]),
                        )
                        cursor.execute(
                            "UPDATE trade_decisions SET status = 'filled', executed_at = now(), updated_at = now()"
                            " WHERE id = ANY(%s)",
                            ([row[1] for row in chunk],),
                        )
            return ()

        self.measure("all rows of one fill per order, alone", len(ids), work)

    def naive(self, values: Sequence[bytes | None]) -> None:
        """Row by row with an ORM: look up, insert, change the order, commit."""
        dsn = self.database()

        class Base(DeclarativeBase):
            pass

        class Event(Base):
            __table__ = execution_order_events

        class Execution(Base):
            __table__ = executions

        def work() -> Sequence[float]:
            engine = create_engine(dsn)
            with Session(engine) as session:
                for number, value in enumerate(values, start=1):
                    event = decode(value, account_label=ACCOUNT)
                    assert isinstance(event, OrderEvent)
                    if session.get(Event, event.fingerprint) is not None:
                        continue
                    session.add(naive_event(Event, event, value or b"", number))
                    found = session.execute(
                        sa.select(Execution).where(
                            executions.c.alpaca_account_label == event.account,
                            executions.c.alpaca_order_id == event.order_id,
                        )
                    ).scalar_one_or_none()
                    if found is None:
                        found = naive_execution(Execution, event)
                        session.add(found)
                    found.status, found.filled_qty, found.last_event_seq = event.status, event.claimed_qty, number
                    session.commit()
            return ()

        self.measure("naive ORM, row by row", len(values), work)

    def paced(self, folder: Path, seconds: int, rate: int = 1000) -> None:
        """The continuous driver over the embedded broker, fed evenly."""
        dsn = self.database(seconds * rate)
        values = one_fill(seconds * rate)
        launcher = TansuLauncher(folder)
        servers = launcher.start()
        try:
            admin = AdminClient({"bootstrap.servers": servers})
            for future in admin.create_topics([NewTopic(TOPIC, 1, 1)]).values():
                future.result(30)
            settings = feed_settings(
                order_feed_bootstrap_servers=servers,
                order_feed_batch_size=1000,
                order_feed_auto_offset_reset="earliest",
            )
            delays = Delays()
            ingestor = OrderFeedIngestor(
                settings, ingest_engine(dsn), KafkaLog(settings, "bench"), "b", observer=delays
            )

            def send() -> None:
                producer = Producer({"bootstrap.servers": servers, "linger.ms": 5})
                started = time.perf_counter()
                for number, value in enumerate(values):
                    ahead = number / rate - (time.perf_counter() - started)
                    if ahead > 0.002:
                        time.sleep(ahead)
                    producer.produce(TOPIC, value=value, timestamp=time.time_ns() // 1_000_000)
                    producer.poll(0)
                producer.flush(30)

            def work() -> Sequence[float]:
                sender = threading.Thread(target=send)
                sender.start()
                ingestor.ingest(Limits(rows=len(values)))
                sender.join()
                ingestor.close()
                return delays.seconds

            self.measure("paced 1000/s", len(values), work)
        finally:
            launcher.stop()

    def memory(self, events: int) -> None:
        """Memory after 100,000 events and after all of them."""
        topic = MemoryTopic()
        dsn = self.database()
        settings = feed_settings(order_feed_batch_size=1000, order_feed_auto_offset_reset="earliest")
        ingestor = OrderFeedIngestor(settings, ingest_engine(dsn), MemoryLog(topic), "bench")
        sizes: dict[int, float] = {}
        step = 20_000
        for start in range(0, events, step):
            topic.records[0] = []
            topic.first[0] = start
            topic.append(*(message(number, number, 1, 1) for number in range(start, start + step)))
            ingestor.ingest(Limits(until_end=True))
            topic.records[0] = []
            topic.first[0] = start + step
            sizes[start + step] = rss_mib()
        ingestor.close()
        growth = sizes[events] - sizes[min(events, 100_000)]
        result = {"case": "memory", "events": events, "growth_mib": round(growth, 1), "target": "at most 32 MiB"}
        self.results.append(result)
        show(result)


def copied(cursor: Cursor, query: str) -> list[bytes]:
    """The lines of COPY for what a query finds."""
    with cursor.copy(f"COPY ({query}) TO STDOUT".encode()) as copy:
        return [bytes(line) for line in copy]


def pasted(cursor: Cursor, table: str, lines: Sequence[bytes]) -> None:
    """Lines of COPY put into a table."""
    with cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
        copy.write(b"".join(lines))


def naive_event(model: type[Any], event: OrderEvent, raw: bytes, seq: int) -> Any:
    return model(
        event_fingerprint=event.fingerprint,
        event_seq=seq,
        trading_date=time.strftime("%Y-%m-%d"),
        source="naive",
        source_partition=0,
        source_offset=seq,
        event_ts_ns=event.time_ns,
        alpaca_account_label=event.account,
        alpaca_order_id=event.order_id,
        client_order_id=event.client_order_id,
        symbol=event.symbol,
        event_type=event.event_type,
        status=event.status,
        broker_execution_id=event.execution_id,
        fill_price=event.fill_price,
        fill_qty=event.fill_qty,
        filled_qty=event.claimed_qty,
        content_sha256=event.content_sha256,
        raw_event=json.loads(raw),
    )


def naive_execution(model: type[Any], event: OrderEvent) -> Any:
    return model(
        id=uuid.uuid4(),
        alpaca_account_label=event.account,
        alpaca_order_id=event.order_id,
        client_order_id=event.client_order_id,
        symbol=event.symbol,
        side=event.side,
        fills_complete=True,
        pending_cancel=False,
        pending_replace=False,
    )


def show(result: Mapping[str, Any]) -> None:
    parts = [f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in result.items()]
    print("  ".join(part for part in parts if not part.endswith(("=None", "="))), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--batch", type=int, action="append", help="batch sizes of the main case; 200, 1000 and 5000")
    parser.add_argument("--memory-events", type=int, default=1_000_000, help="0 leaves the memory case out")
    parser.add_argument("--paced-seconds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        server = EmbeddedServer.at(folder / "postgres")
        port = stack.enter_context(server.used(free_port()))
        bench = Bench(server.folder, port)
        values = one_fill(arguments.events)
        bench.copy(values)
        done = [bench.ingest(f"one fill per order, batch {size}", values, size) for size in arguments.batch or SIZES]
        bench.rows_alone(done[0])
        bench.ingest("100 partials per order, batch 1000", partials(arguments.events), 1000)
        bench.ingest("unknown orders, batch 1000", values, 1000, intents=False)
        bench.ingest("all duplicates, batch 1000", duplicates(arguments.events), 1000)
        bench.ingest("1 % poison, batch 1000", poisoned(arguments.events), 1000)
        bench.naive(values[:NAIVE_EVENTS])
        if arguments.paced_seconds:
            bench.paced(folder / "tansu", arguments.paced_seconds)
        if arguments.memory_events:
            bench.memory(arguments.memory_events)
    if arguments.json:
        arguments.json.write_text(json.dumps(bench.results, indent=2) + "\n")


if __name__ == "__main__":
    main()
