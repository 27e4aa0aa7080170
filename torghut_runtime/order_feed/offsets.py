"""Where a driver reads next: the rows of ``feed_offsets``, their fencing, and the gaps that were found.

PostgreSQL is the only truth about positions. A topic that was deleted and made again becomes a new incarnation; what
its events were is known by their identity.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg

from torghut_runtime.order_feed.log import Partition, TopicAndPartition

Cursor = psycopg.Cursor[Any]
Reset = Literal["latest", "earliest"]
_LOCK: Final = 0x746F726766656564  # "torgfeed"


class FencedError(Exception):
    """Another driver moved these partitions; positions have to be read again."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a partition is read from and under which name its records are stored."""

    source: str
    partition: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class _Stored:
    source: str
    topic_id: str | None
    incarnation: int
    next_offset: int
    log_end_offset: int | None


def source_name(cluster_id: str, topic: str, incarnation: int) -> str:
    """The name under which the records of one incarnation of a topic are stored."""
    return f"{cluster_id}/{topic}/{incarnation}"


def resume(
    cursor: Cursor,
    partitions: Mapping[Partition, tuple[int, int]],
    reset: Reset,
    *,
    out_of_range: frozenset[TopicAndPartition] = frozenset(),
) -> dict[TopicAndPartition, Position]:
    """Positions of all partitions, in the caller's transaction; new ones get a row, lost stretches a gap.

    Args:
        cursor: in an open transaction.
        partitions: as the broker describes them now, with first offset and end.
        reset: where a topic begins of which nothing is stored.
        out_of_range: partitions whose stored position the broker refused.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    stored = _stored(cursor, list(partitions))
    known_topics = {(cluster, topic) for cluster, topic, _ in stored}
    positions: dict[TopicAndPartition, Position] = {}
    for partition, bounds in partitions.items():
        row = stored.get((partition.cluster_id, partition.topic, partition.number))
        if row is None:
            is_new = (partition.cluster_id, partition.topic) not in known_topics
            position = _begin(cursor, partition, bounds, reset if is_new else "earliest")
        else:
            refused = (partition.topic, partition.number) in out_of_range
            position = _continue(cursor, partition, row, bounds, refused=refused)
        positions[partition.topic, partition.number] = position
    return positions


def _stored(cursor: Cursor, partitions: Sequence[Partition]) -> dict[tuple[str, str, int], _Stored]:
    """The active rows of these topics, locked in the order of their keys."""
    cursor.execute(
        """
        SELECT cluster_id, topic, source_partition, source, topic_id, incarnation, next_offset, log_end_offset
        FROM feed_offsets WHERE active AND (cluster_id, topic) IN
            (SELECT * FROM unnest(%s::text[], %s::text[]))
        ORDER BY source, source_partition FOR UPDATE
        """,
        ([each.cluster_id for each in partitions], [each.topic for each in partitions]),
    )
    return {(row[0], row[1], row[2]): _Stored(*row[3:]) for row in cursor}


def _begin(cursor: Cursor, partition: Partition, bounds: tuple[int, int], policy: Reset) -> Position:
    first, end = bounds
    start = end if policy == "latest" else first
    source = source_name(partition.cluster_id, partition.topic, 0)
    _insert(cursor, partition, source, 0, start, policy, bounds)
    if policy == "latest" and end > first:
        _note_gap(cursor, source, partition.number, first, end, "latest_start")
    return Position(source, partition.number, start)


def _continue(
    cursor: Cursor, partition: Partition, row: _Stored, bounds: tuple[int, int], *, refused: bool
) -> Position:
    first, end = bounds
    renamed = row.topic_id is not None and partition.topic_id is not None and row.topic_id != partition.topic_id
    if renamed or (refused and row.next_offset > end):
        return _begin_again(cursor, partition, row, bounds)
    if row.next_offset < first:
        _note_gap(cursor, row.source, partition.number, row.next_offset, first, "retention")
        cursor.execute(
            "UPDATE feed_offsets SET next_offset = %s, log_start_offset = %s, updated_at = now()"
            " WHERE source = %s AND source_partition = %s",
            (first, first, row.source, partition.number),
        )
        return Position(row.source, partition.number, first)
    return Position(row.source, partition.number, row.next_offset)


def _begin_again(cursor: Cursor, partition: Partition, row: _Stored, bounds: tuple[int, int]) -> Position:
    """The topic is another one under the same name: a new incarnation from its first record on."""
    lost = max(row.next_offset, row.log_end_offset or 0)
    _note_gap(cursor, row.source, partition.number, row.next_offset, lost, "topic_recreated")
    cursor.execute(
        "UPDATE feed_offsets SET active = false, updated_at = now() WHERE source = %s AND source_partition = %s",
        (row.source, partition.number),
    )
    incarnation = row.incarnation + 1
    source = source_name(partition.cluster_id, partition.topic, incarnation)
    _insert(cursor, partition, source, incarnation, bounds[0], "earliest", bounds)
    return Position(source, partition.number, bounds[0])


def _insert(
    cursor: Cursor,
    partition: Partition,
    source: str,
    incarnation: int,
    start: int,
    policy: str,
    bounds: tuple[int, int],
) -> None:
    cursor.execute(
        """
        INSERT INTO feed_offsets (source, source_partition, cluster_id, topic, topic_id, incarnation, active,
            start_offset, start_policy, next_offset, log_start_offset, log_end_offset, last_polled_at)
        VALUES (%s, %s, %s, %s, %s, %s, true, %s, %s, %s, %s, %s, now())
        """,
        (
            source,
            partition.number,
            partition.cluster_id,
            partition.topic,
            partition.topic_id,
            incarnation,
            start,
            policy,
            start,
            *bounds,
        ),
    )


def _note_gap(cursor: Cursor, source: str, partition: int, start: int, end: int, reason: str) -> None:
    cursor.execute(
        """
        INSERT INTO feed_gaps (id, source, source_partition, from_offset, to_offset, reason, since_ts, detected_at)
        VALUES (%s, %s, %s, %s, %s, %s,
            (SELECT event_ts FROM execution_order_events WHERE source = %s AND source_partition = %s
             ORDER BY source_offset DESC LIMIT 1), now())
        ON CONFLICT (source, source_partition, from_offset) DO NOTHING
        """,
        (uuid.uuid4(), source, partition, start, end, reason, source, partition),
    )


def lock_offsets(cursor: Cursor, positions: Sequence[Position]) -> dict[tuple[str, int], int]:
    """Stored next offsets of these partitions, locked in the order of their keys.

    Raises:
        FencedError: a row is gone or no longer active.
    """
    cursor.execute(
        """
        SELECT source, source_partition, next_offset FROM feed_offsets
        WHERE active AND (source, source_partition) IN (SELECT * FROM unnest(%s::text[], %s::integer[]))
        ORDER BY source, source_partition FOR UPDATE
        """,
        ([each.source for each in positions], [each.partition for each in positions]),
    )
    found = {(row[0], row[1]): int(row[2]) for row in cursor}
    if len(found) != len({(each.source, each.partition) for each in positions}):
        raise FencedError("a partition has another incarnation now")
    return found


def move_offsets(
    cursor: Cursor,
    moves: Mapping[tuple[str, int], tuple[int, int]],
    ends: Mapping[tuple[str, int], int | None],
    driver: str,
) -> None:
    """Advance offsets from where they were read to where the batch ends; the last statement of a transaction.

    Raises:
        FencedError: a row was not where the batch started.
    """
    keys = list(moves)
    cursor.execute(
        """
        UPDATE feed_offsets o SET next_offset = m.new, log_end_offset = greatest(m.log_end, m.new),
            last_polled_at = now(), driver = %s, updated_at = now()
        FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[])
            m(source, partition, start, new, log_end)
        WHERE o.source = m.source AND o.source_partition = m.partition AND o.active AND o.next_offset = m.start
        """,
        (
            driver,
            [key[0] for key in keys],
            [key[1] for key in keys],
            [moves[key][0] for key in keys],
            [moves[key][1] for key in keys],
            [ends.get(key) for key in keys],
        ),
    )
    if cursor.rowcount != len(keys):
        raise FencedError("another driver has moved an offset")


def note_poll(
    cursor: Cursor, positions: Sequence[Position], ends: Mapping[tuple[str, int], int | None], driver: str
) -> None:
    """Say that these partitions were polled, and how far their logs reach."""
    cursor.execute(
        """
        UPDATE feed_offsets o SET log_end_offset = greatest(m.log_end, o.next_offset), last_polled_at = now(),
            driver = %s, updated_at = now()
        FROM unnest(%s::text[], %s::integer[], %s::bigint[]) m(source, partition, log_end)
        WHERE o.source = m.source AND o.source_partition = m.partition AND o.active
        """,
        (
            driver,
            [each.source for each in positions],
            [each.partition for each in positions],
            [ends.get((each.source, each.partition)) for each in positions],
        ),
    )
