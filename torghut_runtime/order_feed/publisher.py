"""From the outbox to Kafka: rows are produced in order and forgotten when their delivery is confirmed."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from torghut_runtime.order_feed.forwarder_metrics import ForwarderMetrics
from torghut_runtime.order_feed.outbox import Outbox, OutboxBrokenError, Row

log = logging.getLogger(__name__)

Checkpoint = Callable[[str], None]
"""Called at labelled points of the way of an event; tests stop the process there."""

PRODUCER_SETTINGS: Final[dict[str, Any]] = {
    "enable.idempotence": True,
    "acks": "all",
    "message.timeout.ms": 0,  # retries without end
    "linger.ms": 5,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 20_000,
    "message.max.bytes": 2_000_000,
}
FLUSH_SECONDS: Final = 10.0
_AT_ONCE: Final = 1000
_POLL_SECONDS: Final = 0.05
_REST_SECONDS: Final = 1.0


def nothing(label: str) -> None:
    """The checkpoint of every process but tests'."""
    del label


class Publisher:
    """A thread that moves rows from the outbox to a topic, at least once and in the order of their numbers."""

    def __init__(
        self,
        outbox: Outbox,
        connection: Mapping[str, Any],
        topic: str,
        metrics: ForwarderMetrics,
        checkpoint: Checkpoint = nothing,
    ) -> None:
        self._outbox = outbox
        self._connection = dict(connection)
        self._topic = topic
        self._metrics = metrics
        self._checkpoint = checkpoint
        self._stopping = threading.Event()
        self._appended = threading.Event()
        self._produced = 0
        self._confirmed: list[int] = []
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="forwarder-publisher", daemon=True)

    def start(self) -> None:
        """Begin with the oldest row."""
        self._thread.start()

    def wake(self) -> None:
        """There are new rows."""
        self._appended.set()

    def stop(self, seconds: float = FLUSH_SECONDS) -> None:
        """Send what is there for at most so long; the rest stays in the outbox."""
        self._stopping.set()
        self._appended.set()
        self._thread.join(seconds + 2 * _REST_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            producer = Producer({**PRODUCER_SETTINGS, **self._connection, "error_cb": _told})
            self._produced, self._broken = 0, False
            try:
                self._publish(producer)
            except (KafkaException, OutboxBrokenError) as error:
                log.warning("publisher starts again: %s", error)
            finally:
                # What is on its way when a producer is given up is sent again by the next one.
                producer.flush(FLUSH_SECONDS if self._stopping.is_set() else 0)
                with suppress(OutboxBrokenError):
                    self._forget()
                producer.purge()
            if self._broken:
                self._stopping.wait(_REST_SECONDS)

    def _publish(self, producer: Producer) -> None:
        while not self._broken:
            ending = self._stopping.is_set()  # asked first: what was appended before the end is still read
            rows = self._outbox.pending(self._produced, _AT_ONCE)
            for row in rows:
                if not self._broken:
                    self._produce(producer, row)
            producer.poll(0 if rows else _POLL_SECONDS)
            self._forget()
            if not rows:
                if ending:
                    return
                if not len(producer):
                    self._appended.wait(_REST_SECONDS)
                    self._appended.clear()

    def _produce(self, producer: Producer, row: Row) -> None:
        self._checkpoint("before_produce")
        while True:
            try:
                producer.produce(self._topic, row.value, row.key, on_delivery=self._delivered(row.seq))
            except BufferError:
                if self._stopping.is_set():
                    self._broken = True
                    return
                producer.poll(_POLL_SECONDS)
                self._forget()
            else:
                break
        self._produced = row.seq
        self._checkpoint("after_produce")

    def _delivered(self, seq: int) -> Callable[[KafkaError | None, object], None]:
        def confirm(error: KafkaError | None, message: object) -> None:
            del message
            if error is None:
                self._confirmed.append(seq)
                return
            self._metrics.delivery_errors.inc()
            self._broken = True
            log.warning("delivery of row %d failed: %s", seq, error)

        return confirm

    def _forget(self) -> None:
        if not self._confirmed:
            return
        self._checkpoint("after_delivery")
        confirmed, self._confirmed = self._confirmed, []
        self._outbox.remove(confirmed)
        self._checkpoint("after_removal")


def _told(error: KafkaError) -> None:
    log.info("kafka: %s", error)
