"""The last resort when the process hangs: a thread that needs nothing of what hangs, cancels all orders and ends it.

It cancels and stores from its own thread, each with its own deadline, and the process exits whether that worked or not:
orders that stay open are found by the next process.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from torghut_runtime.engine.heartbeat import Heartbeat

log = logging.getLogger(__name__)

LIMIT_SECONDS: Final = 10.0
LOOP_STALLED: Final = "loop_stalled"
_LAST_WORDS_SECONDS: Final = 8.0

LastWord = Callable[[str], None]
"""Gets the name of what hangs."""


def end_process() -> None:
    """Exit with 1 at once: nothing of a process that hangs can be trusted to end in order."""
    os._exit(1)


class Watchdog:
    """Watches heartbeats; ``last_words`` are done side by side before the end."""

    def __init__(
        self,
        heartbeats: Mapping[str, Heartbeat],
        last_words: Sequence[LastWord],
        *,
        limit_seconds: float = LIMIT_SECONDS,
        end: Callable[[], None] = end_process,
    ) -> None:
        self._heartbeats = heartbeats
        self._last_words = last_words
        self._limit = limit_seconds
        self._end = end
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_LAST_WORDS_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(min(self._limit / 10, 0.5)):
            stalled = [name for name, each in dict(self._heartbeats).items() if each.age > self._limit]
            if stalled:
                log.critical("%s has not gone on for %g s: cancelling all orders and ending", stalled[0], self._limit)
                self._say(stalled[0])
                self._end()
                return

    def _say(self, name: str) -> None:
        threads = [threading.Thread(target=_tried, args=(word, name), daemon=True) for word in self._last_words]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_LAST_WORDS_SECONDS)


def _tried(word: LastWord, name: str) -> None:
    try:
        word(name)
    except Exception:
        log.exception("a last word before the end failed")
