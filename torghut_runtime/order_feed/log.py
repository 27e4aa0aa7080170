"""The topic as the ingest sees it: partitions with positions, records, and where a partition ends.

:class:`TopicLog` is what a driver needs; :class:`KafkaLog` is Kafka's client behind it. The client never chooses an
offset: positions come from PostgreSQL, and what it would do without one is an error.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
from confluent_kafka import (
    OFFSET_INVALID,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.values import instant_ns
from torghut_runtime.settings import Settings

TopicAndPartition = tuple[str, int]
BATCH_WAIT_S: Final = 0.05
BATCH_GATHER_S: Final = 0.02
"""How long after its first record a batch stays open."""
_ANSWER_S: Final = 5.0
_OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001
_END: Final = KafkaError._PARTITION_EOF  # noqa: SLF001
_QUEUED_KB: Final = 32_768


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of the topic; ``time_ns`` is its own timestamp."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    time_ns: int | None


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition as the broker describes it; ``topic_id`` where it gives topics identities."""

    cluster_id: str
    topic: str
    topic_id: str | None
    number: int


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought; ``out_of_range`` are partitions whose position the broker does not have."""

    records: tuple[Record, ...] = ()
    errors: tuple[str, ...] = ()
    out_of_range: frozenset[TopicAndPartition] = frozenset()


class TopicLog(Protocol):
    """A consumer that is told where to read."""

    def partitions(self, topics: Sequence[str]) -> list[Partition]:
        """All partitions of these topics; a topic that does not exist has none."""
        ...

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset and end of a partition as the broker tells them."""
        ...

    def assign(self, positions: Mapping[TopicAndPartition, int]) -> None:
        """Read these partitions from these offsets."""
        ...

    def poll(self, records: int, wait_s: float) -> Polled:
        """Up to ``records`` records; waits at most ``wait_s`` for the first, and with 0 for none at all."""
        ...

    def at_end(self) -> bool:
        """Whether every assigned partition has been read to its end."""
        ...

    def end_of(self, topic: str, partition: int) -> int | None:
        """The end of a partition as last heard, without asking."""
        ...

    def hint(self, positions: Mapping[TopicAndPartition, int]) -> str | None:
        """Tell the group's offsets to lag tools; returns what went wrong."""
        ...

    def close(self) -> None:
        """Leave the broker."""
        ...


def connection_settings(settings: Settings, driver: str) -> dict[str, Any]:
    """How Kafka's client reaches the brokers."""
    found: dict[str, Any] = {
        "bootstrap.servers": settings.order_feed_bootstrap_servers,
        "client.id": f"{settings.order_feed_client_id}-{driver}-{os.getpid()}",
        "security.protocol": settings.order_feed_security_protocol,
        "log_level": 2,
    }
    if settings.order_feed_security_protocol.startswith("SASL"):
        password = settings.order_feed_sasl_password
        found["sasl.mechanism"] = settings.order_feed_sasl_mechanism
        found["sasl.username"] = settings.order_feed_sasl_username
        found["sasl.password"] = None if password is None else password.get_secret_value()
    if settings.order_feed_ssl_ca_location is not None:
        found["ssl.ca.location"] = str(settings.order_feed_ssl_ca_location)
    return found


class KafkaLog:
    """Kafka's client with assigned partitions, without subscription, group membership or automatic commits."""

    def __init__(self, settings: Settings, driver: str) -> None:
        self._heard: list[str] = []
        connection: Any = {**connection_settings(settings, driver), "error_cb": self._hear}
        self._consumer = Consumer(
            {
                **connection,
                "group.id": settings.order_feed_group_id,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": _QUEUED_KB,
                "fetch.wait.max.ms": 50,
            }
        )
        self._admin: Any = AdminClient(connection)
        self._ends: dict[TopicAndPartition, int] = {}
        self._open: set[TopicAndPartition] = set()

    def _hear(self, error: KafkaError) -> None:
        """Errors of the whole client (no broker, refused credentials) come back with the next poll."""
        self._heard.append(f"{error.name()}: {error.str()}")

    def partitions(self, topics: Sequence[str]) -> list[Partition]:
        """As :class:`TopicLog` says.

        Raises:
            UpstreamError: the brokers do not answer, or refuse.
        """
        try:
            cluster = self._admin.list_topics(timeout=_ANSWER_S)
            known = [topic for topic in topics if topic in cluster.topics]
            ids = self._topic_ids(known)
        except KafkaException as error:
            raise UpstreamError(f"Kafka: {_told(error)}") from None
        cluster_id = str(getattr(cluster, "cluster_id", None) or "unknown")
        return [
            Partition(cluster_id, topic, ids.get(topic), number)
            for topic in known
            for number in sorted(cluster.topics[topic].partitions)
        ]

    def _topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        if not topics:
            return {}
        found: dict[str, str] = {}
        answers: Any = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=_ANSWER_S)
        for topic, future in answers.items():
            try:
                identifier = str(future.result().topic_id)
            except KafkaException:
                continue  # an older broker gives topics no identity
            if identifier.strip("A"):
                found[topic] = identifier
        return found

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """As :class:`TopicLog` says.

        Raises:
            UpstreamError: the brokers do not answer.
        """
        try:
            found: Any = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ANSWER_S)
        except KafkaException as error:
            raise UpstreamError(f"Kafka: {_told(error)}") from None
        if found is None:
            raise UpstreamError(f"Kafka: no answer about {topic}-{partition} within {_ANSWER_S:.0f} s")
        return int(found[0]), int(found[1])

    def assign(self, positions: Mapping[TopicAndPartition, int]) -> None:
        """As :class:`TopicLog` says."""
        self._consumer.assign([TopicPartition(*key, offset) for key, offset in positions.items()])
        self._open = set(positions)
        self._ends = {key: end for key, end in self._ends.items() if key in positions}

    def poll(self, records: int, wait_s: float) -> Polled:
        """As :class:`TopicLog` says; what the client reports as an error is part of the answer."""
        found = list[Record]()
        errors = list[str]()
        beyond = set[TopicAndPartition]()
        try:
            messages: list[Any] = list(self._consumer.consume(1 if wait_s > 0 else records, wait_s))
            self._take(messages, found, errors, beyond)
            until = time.monotonic() + (_rest_of_wait(found) if wait_s > 0 else 0.0)
            while messages and found and len(found) < records and (rest := until - time.monotonic()) > 0:
                messages = list(self._consumer.consume(records - len(found), rest))
                self._take(messages, found, errors, beyond)
        except KafkaException as error:
            errors.append(_told(error))
        errors.extend(self._heard)
        self._heard.clear()
        return Polled(tuple(found), tuple(errors), frozenset(beyond))

    def _take(
        self, messages: Sequence[Any], found: list[Record], errors: list[str], beyond: set[TopicAndPartition]
    ) -> None:
        for message in messages:
            error = message.error()
            key = (message.topic(), message.partition())
            if error is None:
                kind, milliseconds = message.timestamp()
                moment = None if kind == TIMESTAMP_NOT_AVAILABLE else instant_ns(milliseconds)
                found.append(Record(*key, message.offset(), message.key(), message.value(), moment))
                self._open.add(key)
            elif error.code() == _END:
                self._open.discard(key)
                self._ends[key] = message.offset()
            else:
                if error.code() in _OUT_OF_RANGE:
                    beyond.add(key)
                errors.append(f"{error.name()}: {error.str()}")

    def at_end(self) -> bool:
        """As :class:`TopicLog` says."""
        return not self._open

    def end_of(self, topic: str, partition: int) -> int | None:
        """As :class:`TopicLog` says."""
        heard = self._ends.get((topic, partition), -1)
        try:
            marks: Any = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        except KafkaException:
            marks = None
        end = max(heard, -1 if marks is None or marks[1] == OFFSET_INVALID else int(marks[1]))
        return end if end >= 0 else None

    def hint(self, positions: Mapping[TopicAndPartition, int]) -> str | None:
        """As :class:`TopicLog` says."""
        try:
            self._consumer.commit(
                offsets=[TopicPartition(*key, offset) for key, offset in positions.items()], asynchronous=True
            )
        except KafkaException as error:
            return _told(error)
        return None

    def close(self) -> None:
        """As :class:`TopicLog` says."""
        self._consumer.close()


def _rest_of_wait(found: Sequence[Record]) -> float:
    """How long a batch still waits for more: it closes 50 ms after its first record was written, not after it was seen.

    Records that waited while the batch before was stored wait no longer than it takes to fetch their neighbours.
    """
    written_ns = found[0].time_ns if found else None
    age = 0.0 if written_ns is None else max(0.0, time.time() - written_ns / 1e9)
    return max(BATCH_GATHER_S, BATCH_WAIT_S - age)


def _told(error: KafkaException) -> str:
    detail: Any = error.args[0] if error.args else error
    return f"{detail.name()}: {detail.str()}" if isinstance(detail, KafkaError) else str(error)
