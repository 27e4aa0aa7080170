"""A topic in memory that behaves like Kafka's log towards the ingest, and can misbehave on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.log import Partition, Polled, Record, TopicAndPartition

TOPIC = "torghut.trade-updates.v1"
START_NS = 1_760_000_000_000_000_000


@dataclass
class MemoryTopic:
    """What brokers keep; shared by the logs of all drivers."""

    partitions: int = 1
    topic_id: str | None = "id-1"
    cluster_id: str = "cluster"
    name: str = TOPIC
    records: dict[int, list[Record]] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    down: bool = False

    def append(
        self, *values: bytes | None, partition: int = 0, time_ns: int | None = 1_760_000_000_000_000_000
    ) -> None:
        held = self.records.setdefault(partition, [])
        start = self.first.get(partition, 0)
        for value in values:
            held.append(Record(self.name, partition, start + len(held), b"key", value, time_ns))

    def recreate(self, *, topic_id: str | None = "id-2") -> None:
        self.records.clear()
        self.first.clear()
        self.topic_id = topic_id

    def expire(self, count: int, partition: int = 0) -> None:
        """Retention removes the oldest records."""
        self.first[partition] = self.first.get(partition, 0) + count
        self.records[partition] = self.records[partition][count:]

    def end(self, partition: int = 0) -> int:
        return self.first.get(partition, 0) + len(self.records.get(partition, ()))


@dataclass
class MemoryLog:
    """One driver's view of a topic."""

    topic: MemoryTopic
    positions: dict[TopicAndPartition, int] = field(default_factory=dict)
    polls: int = 0
    hints: list[Mapping[TopicAndPartition, int]] = field(default_factory=list)

    def partitions(self, topics: Sequence[str]) -> list[Partition]:
        self._answer()
        topic = self.topic
        if topic.name not in topics:
            return []
        return [Partition(topic.cluster_id, topic.name, topic.topic_id, n) for n in range(topic.partitions)]

    def _answer(self) -> None:
        if self.topic.down:
            raise UpstreamError("Kafka: _TRANSPORT: down")

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        self._answer()
        return self.topic.first.get(partition, 0), self.topic.end(partition)

    def assign(self, positions: Mapping[TopicAndPartition, int]) -> None:
        self.positions = dict(positions)

    def poll(self, records: int, wait_s: float) -> Polled:
        self.polls += 1
        if self.topic.down:
            return Polled(errors=("_TRANSPORT: down",))
        found: list[Record] = []
        beyond: set[TopicAndPartition] = set()
        for key in self.positions:
            first, end = self.bounds(*key)
            position = self.positions[key]
            if not first <= position <= end:
                beyond.add(key)
                continue
            taken = self.topic.records.get(key[1], [])[position - first :][: records - len(found)]
            found.extend(taken)
            if taken:
                self.positions[key] = taken[-1].offset + 1
        errors = tuple("_AUTO_OFFSET_RESET: out of range" for _ in beyond)
        return Polled(tuple(found), errors, frozenset(beyond))

    def at_end(self) -> bool:
        return all(position >= self.topic.end(key[1]) for key, position in self.positions.items())

    def end_of(self, topic: str, partition: int) -> int | None:
        return self.topic.end(partition)

    def hint(self, positions: Mapping[TopicAndPartition, int]) -> str | None:
        self.hints.append(dict(positions))
        return None

    def close(self) -> None:
        self.positions = {}
