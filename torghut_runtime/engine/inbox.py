"""What the trading thread has to do: commands, order updates and bars, each kind bounded, none ever dropped.

Commands come first, then what happened to orders, then bars; within a kind the order is that of arrival. A full inbox
makes who puts wait (back-pressure). Who puts what, and what is done with it, is not this module's business.
"""

import threading
from collections import deque
from typing import Final, Generic, Literal, TypeVar

Kind = Literal["commands", "order_updates", "bars"]
KINDS: Final[tuple[Kind, ...]] = ("commands", "order_updates", "bars")
CAPACITY: Final = 10_000
_Item = TypeVar("_Item")


class Inbox(Generic[_Item]):
    """Bounded queues with one reader."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._queues: dict[Kind, deque[_Item]] = {kind: deque() for kind in KINDS}
        self._changed = threading.Condition()
        self._refused: set[Kind] = set()

    def put(self, kind: Kind, item: _Item) -> bool:
        """Add an item, after waiting for room; False where this kind is not taken now."""
        with self._changed:
            queue = self._queues[kind]
            while kind not in self._refused and len(queue) >= self._capacity:
                self._changed.wait()
            if kind in self._refused:
                return False
            queue.append(item)
            self._changed.notify_all()
            return True

    def get(self, seconds: float) -> _Item | None:
        """The next item, None when none has come within so many seconds."""
        with self._changed:
            if not self._changed.wait_for(self._filled, seconds):
                return None
            queue = next(queue for queue in self._queues.values() if queue)
            item = queue.popleft()
            self._changed.notify_all()
            return item

    def take(self, kind: Kind) -> _Item | None:
        """The next item of a kind without waiting."""
        with self._changed:
            queue = self._queues[kind]
            if not queue:
                return None
            item = queue.popleft()
            self._changed.notify_all()
            return item

    def refuse(self, *kinds: Kind) -> None:
        """Take no more of these kinds, forget what waits, and let go whoever waits for room."""
        with self._changed:
            self._refused.update(kinds)
            for kind in kinds:
                self._queues[kind].clear()
            self._changed.notify_all()

    def accept(self, *kinds: Kind) -> None:
        """Take these kinds again."""
        with self._changed:
            self._refused.difference_update(kinds)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._filled()

    def depth(self, kind: Kind) -> int:
        """How many items wait."""
        return len(self._queues[kind])

    def _filled(self) -> bool:
        return any(self._queues.values())
