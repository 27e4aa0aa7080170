"""What every launched broker has in common: how it is started, stopped, killed, and what it can do.

A test that needs more than a broker has says so by the capability's name; it is listed, never silently skipped.
"""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from torghut_runtime.errors import UpstreamError

Capability = Literal["durable", "exact_watermarks", "read_committed", "retention", "sasl", "tls", "topic_ids"]
HOST: Final = "127.0.0.1"
_POLL_S: Final = 0.05


class BrokerLauncher(Protocol):
    """A broker of one node on 127.0.0.1."""

    name: str
    capabilities: frozenset[Capability]

    def start(self) -> str:
        """Start it and wait until it answers; returns its bootstrap servers.

        Raises:
            UpstreamError: it cannot be started; says why.
        """
        ...

    def stop(self) -> None:
        """End it in an orderly way."""
        ...

    def kill(self) -> None:
        """End it as a power cut would."""
        ...


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, below the range that clients are given.

    A client that keeps trying a port of that range while nobody listens may connect to itself, and so keep the server
    from coming back.
    """
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311 - spreads servers, protects nothing
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


@dataclass
class BrokerProcess:
    """A broker's operating-system process, in a session of its own."""

    command: Sequence[str | Path]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it; what it says goes to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )

    def ended(self) -> bool:
        """Whether it does not run."""
        return self._process is None or self._process.poll() is not None

    def end(self, signal_number: int, limit_s: float) -> None:
        """Send a signal and wait; what is left after the limit is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal_number)
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.end(signal.SIGKILL, 30)

    def said(self) -> str:
        """The last lines of its log."""
        return " | ".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])


def _silent(error: object) -> None:
    del error


def wait_until_ready(process: BrokerProcess, client: Mapping[str, Any], limit_s: float) -> None:
    """Wait until a client gets the cluster's description.

    Raises:
        UpstreamError: the process ended, or does not answer in time.
    """
    configuration: dict[str, Any] = {**client, "log_level": 0, "error_cb": _silent}
    admin = AdminClient(configuration)
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if process.ended():
            raise UpstreamError(f"the broker ended at its start: {process.said()}")
        try:
            if admin.list_topics(timeout=1).brokers:
                return
        except KafkaException:
            time.sleep(_POLL_S)
    raise UpstreamError(f"the broker did not answer within {limit_s:.0f} s: {process.said()}")
