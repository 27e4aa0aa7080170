"""Apache Kafka itself, one KRaft node: the pinned release's jars from Maven Central, kept in a cache.

Maven is the client that fetches, so that a machine's own settings (mirrors, proxies) hold. Java 17 or newer runs it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.launchers.launcher import (
    HOST,
    BrokerProcess,
    Capability,
    free_port,
    wait_until_ready,
)

VERSION: Final = "4.1.1"
CACHE: Final = Path("~/.cache/torghut/kafka")
_START_LIMIT_S: Final = 120.0
_FETCH_LIMIT_S: Final = 600
_CLUSTER_ID: Final = "dG9yZ2h1dC1vcmRlci1mZQ"
_POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>torghut</groupId>
  <artifactId>kafka-broker</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
_JAAS: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True)
class Secured:
    """What a broker that asks for SASL_SSL needs: its keystore and a user."""

    keystore: Path
    keystore_password: str
    username: str
    password: str


class KafkaLauncher:
    """One node that is controller and broker; its log outlives it."""

    name = "kafka"
    capabilities: frozenset[Capability] = frozenset(
        {"durable", "exact_watermarks", "read_committed", "retention", "sasl", "tls", "topic_ids"}
    )

    def __init__(self, folder: Path, secured: Secured | None = None) -> None:
        self._folder = folder
        self._secured = secured
        self._port, self._open_port, self._controller_port = free_port(), free_port(), free_port()
        self._classpath = f"{jars()}/*"
        self._configuration = folder / "server.properties"
        command = [java(), "-Xmx512m", "-Xms256m", "-cp", self._classpath, "kafka.Kafka", self._configuration]
        self._process = BrokerProcess(command, folder / "kafka.log")

    @property
    def servers(self) -> str:
        """Where clients connect, secured where it was asked for."""
        return f"{HOST}:{self._port}"

    @property
    def open_servers(self) -> str:
        """The plain listener beside a secured one, for whoever prepares a test."""
        return f"{HOST}:{self._open_port}"

    def start(self) -> str:
        """As :class:`BrokerLauncher` says; the first start formats the log."""
        if not self._configuration.exists():
            self._format()
        self._process.start()
        servers = self.open_servers if self._secured else self.servers
        wait_until_ready(self._process, {"bootstrap.servers": servers}, _START_LIMIT_S)
        return self.servers

    def stop(self) -> None:
        """As :class:`BrokerLauncher` says."""
        self._process.end(signal.SIGTERM, 60)

    def kill(self) -> None:
        """As :class:`BrokerLauncher` says."""
        self._process.kill()

    def _format(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            "".join(f"{key}={value}\n" for key, value in self._properties().items()), encoding="utf-8"
        )
        command = [java(), "-cp", self._classpath, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID]
        command += ["-c", str(self._configuration)]
        if self._secured is not None:
            user = f"name={self._secured.username},password={self._secured.password}"
            command += ["--add-scram", f"SCRAM-SHA-512=[{user}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_START_LIMIT_S)
        if done.returncode != 0:
            raise UpstreamError(f"Kafka's log could not be formatted: {done.stderr.strip().splitlines()[-1:]}")

    def _properties(self) -> Mapping[str, str | int]:
        listeners = f"CLIENT://{self.servers},CONTROLLER://{HOST}:{self._controller_port}"
        protocols = "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT"
        advertised = f"CLIENT://{self.servers}"
        more: dict[str, str | int] = {}
        if self._secured is not None:
            listeners += f",OPEN://{self.open_servers}"
            advertised += f",OPEN://{self.open_servers}"
            protocols = "CLIENT:SASL_SSL,OPEN:PLAINTEXT,CONTROLLER:PLAINTEXT"
            more = {
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.client.scram-sha-512.sasl.jaas.config": _JAAS,
                "ssl.keystore.type": "PKCS12",
                "ssl.keystore.location": str(self._secured.keystore),
                "ssl.keystore.password": self._secured.keystore_password,
                "ssl.key.password": self._secured.keystore_password,
            }
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{self._controller_port}",
            "listeners": listeners,
            "advertised.listeners": advertised,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "OPEN" if self._secured else "CLIENT",
            "listener.security.protocol.map": protocols,
            "log.dirs": str(self._folder / "data"),
            "num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "auto.create.topics.enable": "false",
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 500,
            "log.retention.check.interval.ms": 1000,
            "log.initial.task.delay.ms": 1000,
            **more,
        }


def java() -> str:
    """Java's program.

    Raises:
        UpstreamError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(str(Path(home, "bin", "java"))) if home else shutil.which("java")
    if found is None:
        raise UpstreamError("Apache Kafka needs Java 17 or newer: install a JRE (Debian: openjdk-17-jre-headless)")
    return found


def jars() -> Path:
    """The folder with the release's jars; fetched the first time.

    Raises:
        UpstreamError: Maven is missing or cannot fetch them.
    """
    folder = CACHE.expanduser() / VERSION
    if folder.is_dir():
        return folder
    program = shutil.which("mvn")
    if program is None:
        raise UpstreamError("Apache Kafka's jars are fetched by Maven: install it (Debian: maven)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
        Path(staging, "pom.xml").write_text(_POM, encoding="utf-8")
        target = Path(staging, "jars")
        command = [program, "-B", "-q", "-f", f"{staging}/pom.xml", "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={target}", "-DincludeScope=runtime"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_LIMIT_S)
        if done.returncode != 0 or not any(target.glob("kafka_2.13-*.jar")):
            lines = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
            raise UpstreamError(f"Apache Kafka's jars could not be fetched: {(lines or ['Maven failed'])[0][:300]}")
        try:
            target.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was faster
                raise
    return folder
