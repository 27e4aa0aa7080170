"""Runs the parts of the engine in threads of their own, restarts one that fails, and tells when it fails too often.

A part is a function that runs until it is told to stop and beats its heart while it works. What follows from too many
failures is the engine's business.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from torghut_runtime.engine.heartbeat import Heartbeat, Monotonic
from torghut_runtime.engine.surface import Component, ComponentState

log = logging.getLogger(__name__)

STALE_SECONDS: Final = 15.0
FAILURES: Final = 3
WINDOW_SECONDS: Final = 60.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0

Body = Callable[[Heartbeat, threading.Event], None]
"""Runs until the event is set."""
FailedOften = Callable[[str], None]


@dataclass
class _Part:
    name: str
    body: Body
    heartbeat: Heartbeat
    stop: threading.Event = field(default_factory=threading.Event)
    state: ComponentState = "starting"
    restarts: int = 0
    error: str | None = None
    failures: deque[float] = field(default_factory=deque[float])
    thread: threading.Thread | None = None


class Supervisor:
    """The parts of one engine."""

    def __init__(
        self,
        failed_often: FailedOften,
        *,
        restarted: Callable[[str], None] = lambda _: None,
        monotonic: Monotonic = time.monotonic,
        first_pause: float = _FIRST_PAUSE,
        longest_pause: float = _LONGEST_PAUSE,
    ) -> None:
        self._failed_often = failed_often
        self._restarted = restarted
        self._monotonic = monotonic
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._parts: dict[str, _Part] = {}

    def add(self, name: str, body: Body) -> Heartbeat:
        """A further part; it runs from :meth:`start` on."""
        heartbeat = Heartbeat(self._monotonic)
        self._parts[name] = _Part(name, body, heartbeat)
        return heartbeat

    def start(self) -> None:
        """Start every part that does not run yet."""
        for part in self._parts.values():
            if part.thread is None:
                part.heartbeat.beat()
                part.thread = threading.Thread(target=self._keep_up, args=(part,), name=part.name, daemon=True)
                part.thread.start()

    def ask_to_stop(self, *names: str) -> None:
        """Tell parts to end, all of them where none is named."""
        for name in names or tuple(self._parts):
            self._parts[name].stop.set()

    def join(self, name: str, seconds: float) -> bool:
        """Wait for the end of a part; whether it has ended."""
        thread = self._parts[name].thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def components(self) -> Mapping[str, Component]:
        """Every part as it is seen now."""
        return {name: Component(part.heartbeat.age, _state(part)) for name, part in self._parts.items()}

    def restarts(self) -> Mapping[str, int]:
        """How often each part was started again."""
        return {name: part.restarts for name, part in self._parts.items()}

    def errors(self) -> Mapping[str, str]:
        """The last failure of each part that ever failed."""
        return {name: part.error for name, part in self._parts.items() if part.error is not None}

    def _keep_up(self, part: _Part) -> None:
        pause = self._first_pause
        while not part.stop.is_set():
            part.state = "ok"
            began = self._monotonic()
            try:
                part.body(part.heartbeat, part.stop)
                if part.stop.is_set():
                    break
                raise RuntimeError("ended by itself")
            except Exception as error:
                part.state = "restarting"
                part.error = f"{type(error).__name__}: {error}"
                log.exception("component %s failed", part.name)
            self._count(part)
            if self._monotonic() - began > WINDOW_SECONDS:
                pause = self._first_pause
            part.stop.wait(pause)
            pause = min(pause * 2, self._longest_pause)
            part.restarts += 1
            self._restarted(part.name)
        part.state = "stopped"

    def _count(self, part: _Part) -> None:
        now = self._monotonic()
        part.failures.append(now)
        while part.failures[0] <= now - WINDOW_SECONDS:
            part.failures.popleft()
        if len(part.failures) >= FAILURES:
            part.state = "failed"
            try:
                self._failed_often(part.name)
            except Exception:
                log.exception("the failure of component %s could not be acted on", part.name)


def _state(part: _Part) -> ComponentState:
    return "stale" if part.state == "ok" and part.heartbeat.age > STALE_SECONDS else part.state
