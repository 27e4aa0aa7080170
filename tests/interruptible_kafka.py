"""Kafka brokers that a test can take away and bring back, and what their topics hold.

The embedded broker keeps its log in memory, so that stopping it would lose what it confirmed; a stopped proxy is what a
client sees of a broker that is away, without that. Apache Kafka is stopped itself.
"""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from alpaca_streams import until
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from torghut_runtime.order_feed.launchers.kafka import KafkaLauncher
from torghut_runtime.order_feed.launchers.launcher import BrokerProcess, free_port
from torghut_runtime.order_feed.launchers.tansu import tansu_program


class Proxy:
    """Passes TCP connections on; while stopped it refuses them and has cut those that were open."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._open: set[socket.socket] = set()
        self._mutex = threading.Lock()
        self._listener: socket.socket | None = None
        self.start()

    def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._mutex:
            cut, self._open = self._open, set()
        for side in cut:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._mutex:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


class Kafka:
    """A running broker that a test can take away and bring back."""

    def __init__(self, bootstrap: str, stop: Callable[[], object], start: Callable[[], object]) -> None:
        self.bootstrap = bootstrap
        self.stop = stop
        self.start = start

    def create(self, topic: str, partitions: int = 3) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)

    def records(self, topic: str, partitions: int = 3) -> list[tuple[bytes, bytes]]:
        """(key, value) of everything in the topic, partition by partition, in order."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "test",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        found: list[tuple[bytes, bytes]] = []
        try:
            consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
            ended: set[int] = set()

            def read() -> bool:
                for message in consumer.consume(1000, 0.2):
                    error = message.error()
                    if error is None:
                        found.append((message.key() or b"", message.value() or b""))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition() or 0)
                return len(ended) == partitions

            until(read)
        finally:
            consumer.close()
        return found


@contextmanager
def running_kafka(folder: Path) -> Generator[Kafka]:
    """The embedded broker behind a proxy, on free ports; its output goes to ``folder``."""
    inner, outer = free_port(), free_port()
    command: list[str | Path] = [
        tansu_program(),
        "broker",
        "--listener-url",
        f"tcp://127.0.0.1:{inner}",
        "--advertised-listener-url",
        f"tcp://127.0.0.1:{outer}",
        "--storage-engine",
        "memory://tansu/",
    ]
    process = BrokerProcess(command, folder / "tansu.log", {"RUST_LOG": "error"})
    process.start()
    try:
        until(lambda: _answers(inner))
        proxy = Proxy(outer, inner)
        yield Kafka(f"127.0.0.1:{outer}", proxy.stop, proxy.start)
        proxy.stop()
    finally:
        process.kill()


@contextmanager
def running_apache_kafka(folder: Path) -> Generator[Kafka]:
    """Apache Kafka, which keeps its log when it is stopped."""
    launcher = KafkaLauncher(folder)
    try:
        yield Kafka(launcher.start(), launcher.stop, launcher.start)
    finally:
        launcher.kill()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
