"""Python's search for garbage in cycles, kept out of moments in which something waits for an answer."""

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

YOUNG: Final = 700
"""So many objects more than at the last search make one worth it: Python's own number."""
SEARCHES: Final = 10
"""So many searches of one generation make one of the next worth it: Python's own number, too."""
MOST_YOUNG: Final = 20_000
"""So many more begin a search at once, whatever waits."""
WHOLE_EVERY_SECONDS: Final = 6 * 3600.0


@contextmanager
def collection_paused() -> Generator[None]:
    """No cycle collection in the block, in any thread of the process: half of a fold's time went into looking."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class IdleCollector:
    """Searches of the whole process, begun by one thread when it has nothing else to do.

    A search stops every thread: those of young objects for a fraction of a millisecond, those of all of them for some
    hundred. What has outlived one of all is left out of the next ones, until :meth:`begin` or for six hours.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._before: tuple[int, int, int] | None = None
        self._whole_at = 0.0

    def begin(self) -> None:
        """Search everything, which takes its time, and from now on when :meth:`idle` is told."""
        if self._before is None:
            self._before = gc.get_threshold()
            gc.set_threshold(MOST_YOUNG, *self._before[1:])
        gc.unfreeze()
        self._search_old()
        self._whole_at = self._monotonic()

    def idle(self) -> None:
        """Nothing waits: search what is worth it."""
        if self._before is None:
            return
        young, middle, old = gc.get_count()
        if young < YOUNG:
            return
        if self._monotonic() - self._whole_at >= WHOLE_EVERY_SECONDS:
            self.begin()
        elif middle < SEARCHES:
            gc.collect(0)
        elif old < SEARCHES:
            gc.collect(1)
        else:
            self._search_old()

    def end(self) -> None:
        """Leave it to Python again."""
        if self._before is not None:
            gc.set_threshold(*self._before)
            gc.unfreeze()
            self._before = None

    def _search_old(self) -> None:
        gc.collect()
        gc.freeze()
