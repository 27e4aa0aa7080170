"""The driver: polls the topic and gives every batch to one transaction, whatever fails in between.

The only consumer of the topic. It owns no state that matters: positions, counters and events are PostgreSQL's, and a
driver that is killed anywhere loses nothing. Two may run at once; the slower one is fenced off and skips forward.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from torghut_runtime.errors import StoreUnavailableError, TorghutError, UpstreamError
from torghut_runtime.order_feed import offsets
from torghut_runtime.order_feed.ahead import ReadAhead
from torghut_runtime.order_feed.batch import Decoded, RefusedError, as_letter, decode_record
from torghut_runtime.order_feed.ingest import Ingested, cursor_of, ingest_batch
from torghut_runtime.order_feed.log import Polled, Record, TopicAndPartition, TopicLog
from torghut_runtime.order_feed.offsets import FencedError, Position
from torghut_runtime.order_feed.report import IngestReport, Limits, Observer, StoppedBy
from torghut_runtime.order_feed.session import Session, kind_of
from torghut_runtime.settings import Settings

logger = logging.getLogger(__name__)

DISCOVERY_S: Final = 60.0
HEARTBEAT_S: Final = 5.0
BACKOFF_S: Final = (0.1, 5.0)


def _nothing(label: str) -> None:
    del label


def _never() -> bool:
    return False


def _always() -> bool:
    return True


class OrderFeedIngestor:
    """Moves records of the topic into PostgreSQL, exactly once.

    Args:
        settings: topic, batch size and where to begin.
        engine: of :func:`session.ingest_engine`.
        log: the topic.
        driver: who this is, for people.
        is_enabled: asked before each batch; a feed that is switched off pauses.
        should_stop: asked before each batch.
        observer: hears of batches and errors.
        passes: hears the label of every step, for tests that die there.
        sleep: waits between tries.
    """

    def __init__(
        self,
        settings: Settings,
        engine: sa.Engine,
        log: TopicLog,
        driver: str,
        *,
        is_enabled: Callable[[], bool] = _always,
        should_stop: Callable[[], bool] = _never,
        observer: Observer | None = None,
        passes: Callable[[str], None] = _nothing,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._session = Session(engine)
        self._log = log
        self._driver = driver
        self._is_enabled = is_enabled
        self._should_stop = should_stop
        self._observer = observer
        self._passes = passes
        self._sleep = sleep
        self._positions: dict[TopicAndPartition, Position] = {}
        self._out_of_range: frozenset[TopicAndPartition] = frozenset()
        self._discovered_at = 0.0
        self._reported_at = 0.0
        self._assigned = False
        self._consumer_errors = 0
        self._failures = 0
        self._report = IngestReport()
        self._ahead = ReadAhead(lambda room: self._log.poll(room, 0.0), self._decoded)

    def ingest(self, limits: Limits | None = None) -> IngestReport:
        """Consume until a limit is reached, with no batch half done.

        Outages of PostgreSQL and Kafka are waited out, within the limit of time where there is one.
        """
        limits = limits or Limits()
        self._report = IngestReport()
        until = None if limits.seconds is None else time.monotonic() + limits.seconds
        while True:
            stopped = self._stop_reason(limits, until)
            if stopped is not None:
                break
            if not self._assigned:
                self._ahead.drop()  # the log is read from the stored offsets again
            try:
                if not self._ready():
                    if limits.until_end:
                        stopped = "log_end"  # a topic that does not exist holds nothing
                        break
                    self._sleep(self._settings.order_feed_poll_ms / 1000)
                    continue
                room = self._settings.order_feed_batch_size
                if limits.rows is not None:
                    room = min(room, limits.rows - self._report.messages)
                polled, decoded = self._ahead.take() or (self._log.poll(room, self._wait(until)), None)
                self._passes("polled")
                self._note(polled)
                if polled.records:
                    self._plan_ahead(limits, len(polled.records), room)
                    self._consume(self._decoded(polled.records) if decoded is None else decoded)
                    self._failures = 0
                else:
                    self._idle()
                    if limits.until_end and not polled.errors and self._log.at_end() and self._positions:
                        stopped = "log_end"
                        break
            except FencedError:
                self._assigned = False
            except (UpstreamError, StoreUnavailableError, psycopg.Error) as error:
                self._failed(error, until)
        if self._ahead.drop():
            self._assigned = False
        self._report.stopped_by = stopped
        self._report.offsets = [
            {"topic": topic, "partition": number, "next_offset": position.next_offset}
            for (topic, number), position in sorted(self._positions.items())
        ]
        return self._report

    def close(self) -> None:
        """Leave broker and database."""
        self._session.drop()
        self._log.close()

    def _stop_reason(self, limits: Limits, until: float | None) -> StoppedBy | None:
        if self._should_stop():
            return "asked"
        if not self._is_enabled():
            return "paused"
        if until is not None and time.monotonic() >= until:
            return "time"
        if limits.rows is not None and self._report.messages >= limits.rows:
            return "rows"
        return None

    def _wait(self, until: float | None) -> float:
        wait = self._settings.order_feed_poll_ms / 1000
        return wait if until is None else max(0.0, min(wait, until - time.monotonic()))

    # positions

    def _ready(self) -> bool:
        """Partitions are known and assigned; asked for again every minute and after every disturbance."""
        now = time.monotonic()
        if self._assigned and now - self._discovered_at < DISCOVERY_S:
            return True
        partitions = self._log.partitions(self._settings.order_feed_topics)
        bounds = {each: self._log.bounds(each.topic, each.number) for each in partitions}
        connection = self._session.connection()
        with connection.begin():
            positions = offsets.resume(
                cursor_of(connection),
                bounds,
                self._settings.order_feed_auto_offset_reset,
                out_of_range=self._out_of_range,
            )
        self._passes("positions")
        self._out_of_range = frozenset()
        self._discovered_at = now
        if not self._assigned or positions != self._positions:
            self._ahead.drop()
            self._log.assign({key: position.next_offset for key, position in positions.items()})
        self._positions = positions
        self._assigned = bool(positions)
        return self._assigned

    def _note(self, polled: Polled) -> None:
        for error in polled.errors:
            logger.warning("order feed consumer: %s", error)
        self._consumer_errors += len(polled.errors)
        if polled.out_of_range:
            self._out_of_range = polled.out_of_range
            self._assigned = False

    def _idle(self) -> None:
        """Write the time of the last poll, and errors of the consumer, at least every 5 s."""
        if self._is_report_due():
            self._report_state(self._positions)
            self._failures = 0

    def _is_report_due(self) -> bool:
        return time.monotonic() - self._reported_at >= HEARTBEAT_S

    def _report_state(self, polled: Iterable[TopicAndPartition]) -> None:
        connection = self._session.connection()
        errors, keys = self._consumer_errors, list(polled)
        with connection.begin():
            cursor = cursor_of(connection)
            if keys:
                positions = [self._positions[key] for key in keys]
                offsets.note_poll(cursor, positions, self._ends(keys), self._driver)
            if errors:
                ingest_batch(cursor, [], consumer_errors=errors)
        self._consumer_errors -= errors
        self._reported_at = time.monotonic()

    def _ends(self, keys: Iterable[TopicAndPartition]) -> dict[tuple[str, int], int | None]:
        return {(self._positions[key].source, key[1]): self._log.end_of(*key) for key in keys if key in self._positions}

    # batches

    def _decoded(self, records: Sequence[Record]) -> list[Decoded]:
        return [
            decode_record(record, self._positions[record.topic, record.partition], self._settings.account_label)
            for record in records
            if self._is_ahead(record)
        ]

    def _consume(self, decoded: list[Decoded]) -> None:
        """Store records, in halves where their content is refused, until each is stored or a dead letter."""
        self._passes("decoded")
        waiting = [decoded] if decoded else []
        while waiting:
            batch = waiting.pop()
            try:
                self._store_twice(batch)
            except RefusedError as refused:
                if len(batch) == 1:
                    self._store([as_letter(batch[0], refused.cause)])
                else:
                    middle = len(batch) // 2
                    waiting.extend((batch[middle:], batch[:middle]))

    def _plan_ahead(self, limits: Limits, records: int, room: int) -> None:
        """Behind a full batch there is probably another: how much of it to read while this one is stored."""
        rest = self._settings.order_feed_batch_size
        if limits.rows is not None:
            rest = min(rest, limits.rows - self._report.messages - records)
        self._ahead.plan(rest if records == room else 0)

    def _is_ahead(self, record: Record) -> bool:
        position = self._positions.get((record.topic, record.partition))
        return position is not None and record.offset >= position.next_offset

    def _store_twice(self, batch: Sequence[Decoded]) -> None:
        """Store a batch; what fails for its content, or twice for no known reason, is refused."""
        try:
            self._store(batch)
            return
        except Exception as error:
            kind = kind_of(error)
            if kind not in {"content", "other"} or isinstance(error, FencedError | UpstreamError):
                raise
            self._observe_error(kind)
            self._session.roll_back()
            if kind == "content":
                raise RefusedError(error) from error
            logger.warning("order feed batch failed, trying once more: %s", type(error).__name__)
        try:
            self._store(batch)
        except Exception as error:
            kind = kind_of(error)
            if kind not in {"content", "other"} or isinstance(error, FencedError | UpstreamError):
                raise
            self._session.roll_back()
            raise RefusedError(error) from error

    def _store(self, batch: Sequence[Decoded]) -> None:
        """One transaction: offsets locked and checked, events, counters, offsets moved."""
        connection = self._session.connection()
        errors = self._consumer_errors
        expected: dict[tuple[str, int], tuple[int, int]] = {}
        done: Ingested | None = None
        kept: list[Decoded] = []
        try:
            with connection.begin():
                cursor = cursor_of(connection)
                kept, expected = self._fenced(cursor, batch)
                self._passes("locked")
                if kept:
                    arrivals = [each.arrival for each in kept if each.arrival is not None]
                    letters = [each.letter for each in kept if each.letter is not None]
                    done = ingest_batch(
                        cursor,
                        arrivals,
                        letters,
                        counted=True,
                        consumer_errors=errors,
                        meanwhile=self._ahead.go_on,
                    )
                    self._passes("written")
                    ends = self._ends({(each.record.topic, each.record.partition) for each in kept})
                    offsets.move_offsets(cursor, expected, ends, self._driver)
                self._passes("before commit")
            self._passes("after commit")
        except (psycopg.OperationalError, StoreUnavailableError):
            if done is None or not self._was_committed(expected):
                raise
        self._settle(kept, expected, done, errors)

    def _settle(
        self,
        kept: Sequence[Decoded],
        moves: dict[tuple[str, int], tuple[int, int]],
        done: Ingested | None,
        errors: int,
    ) -> None:
        """Take a committed batch into memory."""
        for key, position in self._positions.items():
            move = moves.get((position.source, position.partition))
            if move is not None:
                self._positions[key] = Position(position.source, position.partition, move[1])
        if done is None:
            return
        self._consumer_errors -= errors
        self._reported_at = time.monotonic()
        self._report.messages += len(kept)
        self._report.events_persisted += done.persisted
        self._report.duplicates += done.duplicates
        self._report.missing_fields += done.dead_letters
        self._report.batches += 1
        if self._observer is not None:
            now = time.time()
            times = [each.record.time_ns for each in kept if each.record.time_ns is not None]
            self._observer.batch(len(kept), [max(0.0, now - moment / 1e9) for moment in times])
        trouble = self._log.hint({key: position.next_offset for key, position in self._positions.items()})
        if trouble is not None:
            logger.warning("order feed group offset not committed: %s", trouble)

    def _fenced(
        self, cursor: "psycopg.Cursor[Any]", batch: Sequence[Decoded]
    ) -> "tuple[list[Decoded], dict[tuple[str, int], tuple[int, int]]]":
        """The part of a batch that is still to be done, and how offsets move with it."""
        touched = {
            key: self._positions[key] for key in dict.fromkeys((e.record.topic, e.record.partition) for e in batch)
        }
        stored = offsets.lock_offsets(cursor, list(touched.values()))
        for position in touched.values():
            if stored[position.source, position.partition] < position.next_offset:
                raise FencedError("the stored offset went back")
        kept: list[Decoded] = []
        moves: dict[tuple[str, int], tuple[int, int]] = {}
        faster = False
        for each in batch:
            position = touched[each.record.topic, each.record.partition]
            key = (position.source, position.partition)
            if each.record.offset >= stored[key]:
                kept.append(each)
                moves[key] = (stored[key], each.record.offset + 1)
            else:
                faster = True
        if faster:
            self._assigned = False
        return kept, moves

    def _was_committed(self, moves: dict[tuple[str, int], tuple[int, int]]) -> bool:
        """Whether a transaction whose commit got no answer took effect: its offsets say so.

        Raises:
            StoreUnavailableError: the database does not answer yet.
        """
        self._session.drop()
        connection = self._session.connection()
        self._assigned = False
        source, partition = next(iter(moves))
        with connection.begin():
            row = (
                cursor_of(connection)
                .execute(
                    "SELECT next_offset, driver FROM feed_offsets WHERE source = %s AND source_partition = %s",
                    (source, partition),
                )
                .fetchone()
            )
        return row is not None and row[1] == self._driver and int(row[0]) == moves[source, partition][1]

    # trouble

    def _failed(self, error: TorghutError | psycopg.Error, until: float | None) -> None:
        """Roll back, forget positions, wait with full jitter."""
        if isinstance(error, UpstreamError):
            self._consumer_errors += 1
            if self._is_report_due():
                with suppress(StoreUnavailableError, psycopg.Error):
                    self._report_state(())
        else:
            self._observe_error(kind_of(error))
            self._session.drop()
        self._assigned = False
        self._failures += 1
        longest = min(BACKOFF_S[1], BACKOFF_S[0] * 2 ** min(self._failures, 10))
        pause = random.uniform(BACKOFF_S[0], longest)  # noqa: S311 - spreads tries, protects nothing
        if until is not None:
            pause = max(0.0, min(pause, until - time.monotonic()))
        logger.warning(
            "order feed: %s; trying again in %.1f s",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
            pause,
        )
        self._sleep(pause)

    def _observe_error(self, kind: str) -> None:
        if self._observer is not None:
            self._observer.database_error(kind)
