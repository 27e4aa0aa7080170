"""The reporter's cursor: which stored events have been reported to Dagster, by trading date.

Pure logic over rows that somebody else read. Rows are exactly once because PostgreSQL holds the offsets; reports are at
least once because the cursor is saved after them. A cursor that cannot be read starts again, which only repeats.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

FIRST_DATE: Final = date(2020, 1, 1)
REPORTED_AGAIN: Final = 7
"""How many of the newest dates are reported again when the database was restored from an older state."""


def read_cursor(text: str | None) -> int:
    """The last ``event_seq`` that was reported; 0 when there is none, or none that can be read."""
    if text is None or not text.isascii() or not text.isdigit():
        return 0
    return int(text)


@dataclass(frozen=True)
class DateCount:
    """Stored events of one trading date within a range of ``event_seq``."""

    trading_date: date
    events: int
    fills: int
    orders_changed: int
    event_seq_from: int
    event_seq_to: int
    max_event_ts: datetime | None


@dataclass(frozen=True)
class Report:
    """One materialization: a partition and what it says."""

    partition: str
    metadata: Mapping[str, Any]


def partition_of(trading_date: date, today: date) -> tuple[date, bool]:
    """The partition of a trading date, and whether it had to be another: before the first or after today."""
    if FIRST_DATE <= trading_date <= today:
        return trading_date, False
    return today, True


def reports(counts: Iterable[DateCount], today: date, shared: Mapping[str, Any]) -> list[Report]:
    """One report per touched partition, oldest first.

    Args:
        counts: what is to be reported.
        today: the newest partition.
        shared: metadata that every report of a tick carries.
    """
    grouped: dict[date, list[tuple[DateCount, bool]]] = {}
    for count in counts:
        partition, moved = partition_of(count.trading_date, today)
        grouped.setdefault(partition, []).append((count, moved))
    return [
        Report(partition.isoformat(), {**_totals([count for count, _ in members]), **shared, **_moved(members)})
        for partition, members in sorted(grouped.items())
    ]


def _totals(members: Sequence[DateCount]) -> dict[str, Any]:
    times = [each.max_event_ts for each in members if each.max_event_ts is not None]
    return {
        "events": sum(each.events for each in members),
        "fills": sum(each.fills for each in members),
        "orders_changed": sum(each.orders_changed for each in members),
        "event_seq_from": min(each.event_seq_from for each in members),
        "event_seq_to": max(each.event_seq_to for each in members),
        "max_event_ts": max(times).isoformat() if times else "none",
    }


def _moved(members: Sequence[tuple[DateCount, bool]]) -> dict[str, Any]:
    dates = sorted(count.trading_date.isoformat() for count, moved in members if moved)
    return {"date_out_of_range": ", ".join(dates)} if dates else {}
