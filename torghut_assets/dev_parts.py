"""Parts of ``torghut dev``: processes in sessions of their own, services that others started, and how each is.

Which parts there are, and what follows when one ends, is :mod:`torghut_assets.dev`'s business.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal, cast

import httpx

State = Literal["starting", "ready", "does not answer", "ended", "stopped"]
Say = Callable[[str], None]
"""Prints one line of the terminal view."""

PATIENCE: Final = 30.0
_NAME_WIDTH: Final = 10
_TOLD: Final = ("symbol", "strategy_id", "reasons", "reason", "order_id", "trace_id")
"""Fields of a log line that are shown beside its message."""


def line_of(name: str, text: str) -> str:
    """A line of a part, as the terminal shows it."""
    return f"{name:<{_NAME_WIDTH}} | {text}"


def listens(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def answers_http(url: str) -> bool:
    """Whether a web server answers there; an error status is an answer."""
    try:
        httpx.get(url, timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


def readable(line: str) -> str:
    """A JSON log line as people read it; any other line as it is."""
    if not line.startswith("{"):
        return line
    try:
        found: Any = json.loads(line)
    except ValueError:
        return line
    entry = cast("dict[str, Any]", found)
    if "message" not in entry or "level" not in entry:
        return line
    told = [f"{name}={entry[name]}" for name in _TOLD if entry.get(name)]
    error = str(entry.get("error", "")).strip().splitlines()
    return " ".join([str(entry["level"]), str(entry["message"]), *told, *error[-1:]])


@dataclass
class Service:
    """Something that runs without being a child of ours, or is watched by its answers alone."""

    name: str
    address: str
    answers: Callable[[], bool]
    state: State = "starting"

    def look(self) -> None:
        """See how it is."""
        if self.answers():
            self.state = "ready"
        elif self.state == "ready":
            self.state = "does not answer"


@dataclass
class Part:
    """A process of ours; its output goes to the terminal and, as it is, to a log file."""

    name: str
    address: str
    command: Sequence[str]
    environment: Mapping[str, str]
    answers: Callable[[], bool]
    folder: Path
    log: Path
    ask: signal.Signals = signal.SIGTERM
    """How it is asked to stop."""
    state: State = "starting"
    process: "subprocess.Popen[str] | None" = None
    _reader: threading.Thread | None = field(default=None, repr=False)
    _asked: bool = False

    def start(self, say: Say) -> None:
        """Start it in a session of its own."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            list(self.command),
            cwd=self.folder,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._show, args=(self.process.stdout, say), daemon=True)
        self._reader.start()

    def _show(self, lines: IO[str] | None, say: Say) -> None:
        with self.log.open("w", encoding="utf-8") as log:
            for line in lines or ():
                log.write(line)
                log.flush()
                say(line_of(self.name, readable(line.rstrip())))

    @property
    def code(self) -> int | None:
        """What it has ended with; None while it runs."""
        return None if self.process is None else self.process.poll()

    def look(self) -> None:
        """See how it is."""
        if self.code is not None:
            self.state = "ended"
        elif self.answers():
            self.state = "ready"
        elif self.state == "ready":
            self.state = "does not answer"

    def ask_to_stop(self) -> None:
        """Tell it, without waiting."""
        if self.process is not None:
            self._asked = True
            _signal_group(self.process.pid, self.ask)

    def stop(self, patience: float = PATIENCE) -> None:
        """End it with everything it started."""
        if self.process is None:
            return
        if not self._asked:
            self.ask_to_stop()
        if not _group_ended(self.process, patience):
            stop_group(self.process, patience)
        self.process.wait()
        if self._reader is not None:
            self._reader.join(timeout=PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.state = "stopped"


def stop_group(process: "subprocess.Popen[str]", patience: float = PATIENCE) -> None:
    """End a session leader and all its children: asked first, then made to.

    Dagster takes SIGINT as the wish to stop and may ignore SIGTERM.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(process.pid, number) or _group_ended(process, patience):
            break
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _group_ended(process: "subprocess.Popen[str]", patience: float) -> bool:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        process.poll()
        if not _group_lives(process.pid):
            return True
        time.sleep(0.05)
    return False


def _group_lives(group: int) -> bool:
    """Whether any process of the group still runs.

    Where nobody collects orphans, in many containers, dead ones stay in the group for ever: those do not count.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    if not Path("/proc/self/stat").exists():
        return True
    return any(_runs_in(group, entry) for entry in Path("/proc").glob("[0-9]*/stat"))


def _runs_in(group: int, stat: Path) -> bool:
    try:
        state, _, its_group = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:3]
    except OSError:
        return False  # it ended meanwhile
    return int(its_group) == group and state not in {"Z", "X"}
