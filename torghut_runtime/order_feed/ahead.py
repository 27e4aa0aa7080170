"""The batch after the one that is being stored: read at once, decoded in slices while the server is busy.

What is read ahead is only in memory; whoever gives positions up gives it up too and reads it again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from torghut_runtime.order_feed.batch import Decoded
from torghut_runtime.order_feed.log import Polled, Record

SLICES: Final = 2
"""In how many turns a batch is decoded: as many as a transaction has waits that are worth it."""


@dataclass(slots=True)
class ReadAhead:
    """One batch at most; ``poll`` takes the records that are there already, at most so many."""

    poll: Callable[[int], Polled]
    decode: Callable[[Sequence[Record]], list[Decoded]]
    _room: int = 0
    _polled: Polled | None = None
    _decoded: list[Decoded] = field(default_factory=list[Decoded])
    _taken: int = 0
    """Records of the batch that were decoded."""

    def plan(self, room: int) -> None:
        """Say how many records may be read while the next batch is stored."""
        self._room = room

    def go_on(self) -> None:
        """Read, and decode the next slice."""
        if self._polled is None:
            if self._room <= 0:
                return
            polled = self.poll(self._room)
            self._room = 0
            if not (polled.records or polled.errors or polled.out_of_range):
                return
            self._polled = polled
        self._decode(-(-len(self._polled.records) // SLICES))

    def take(self) -> tuple[Polled, list[Decoded]] | None:
        """What was read, all of it decoded; nothing is kept."""
        if self._polled is None:
            return None
        self._decode(len(self._polled.records))
        taken = self._polled, self._decoded
        self.drop()
        return taken

    def drop(self) -> bool:
        """Give up what was read; whether there was anything."""
        had = self._polled is not None
        self._polled, self._decoded, self._taken = None, [], 0
        return had

    def _decode(self, count: int) -> None:
        if self._polled is not None:
            self._decoded += self.decode(self._polled.records[self._taken : self._taken + count])
            self._taken += count
