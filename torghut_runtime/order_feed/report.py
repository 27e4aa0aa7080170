"""What bounds a driver and what it tells: limits, report, observer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

StoppedBy = Literal["log_end", "time", "rows", "asked", "paused"]


class Observer(Protocol):
    """Who wants to know what a driver does, beside the tables."""

    def batch(self, rows: int, event_to_commit_s: Sequence[float]) -> None:
        """A batch was committed; the delays run from the records' own times."""
        ...

    def database_error(self, kind: str) -> None:
        """A transaction failed."""
        ...


@dataclass(slots=True)
class IngestReport:
    """What a driver did; ``offsets`` are the positions where it stopped."""

    messages: int = 0
    events_persisted: int = 0
    duplicates: int = 0
    missing_fields: int = 0
    batches: int = 0
    stopped_by: StoppedBy = "asked"
    offsets: list[dict[str, str | int]] = field(default_factory=list[dict[str, str | int]])

    def add(self, later: "IngestReport") -> None:
        """Go on with what the same driver did after a pause."""
        self.messages += later.messages
        self.events_persisted += later.events_persisted
        self.duplicates += later.duplicates
        self.missing_fields += later.missing_fields
        self.batches += later.batches
        self.stopped_by, self.offsets = later.stopped_by, later.offsets


@dataclass(frozen=True, slots=True)
class Limits:
    """When a driver stops by itself; ``until_end``: at the end of the log and one empty poll."""

    seconds: float | None = None
    rows: int | None = None
    until_end: bool = False
