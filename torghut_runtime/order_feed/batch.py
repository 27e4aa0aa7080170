"""Records between the poll and the transaction: decoded, or the dead letters that they become."""

import msgspec

from torghut_runtime.order_feed.envelope import Rejected, decode
from torghut_runtime.order_feed.ingest import Arrival, Letter
from torghut_runtime.order_feed.log import Record
from torghut_runtime.order_feed.offsets import Position


class RefusedError(Exception):
    """PostgreSQL, or the fold, cannot take a batch because of what is in it."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(str(cause))


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A record as an event, or as the letter that it becomes."""

    record: Record
    arrival: Arrival | None = None
    letter: Letter | None = None


def _letter(record: Record, position: Position, rejected: Rejected) -> Letter:
    return Letter(
        position.source,
        record.partition,
        record.offset,
        record.time_ns,
        record.key,
        record.value,
        rejected.reason,
        rejected.detail,
    )


def as_letter(refused: Decoded, cause: Exception) -> Decoded:
    """A record that PostgreSQL refuses, as a dead letter."""
    assert refused.arrival is not None
    arrival, record = refused.arrival, refused.record
    state = getattr(cause, "sqlstate", None)
    lines = str(cause).splitlines() or [type(cause).__name__]
    letter = Letter(
        arrival.source,
        record.partition,
        record.offset,
        record.time_ns,
        record.key,
        record.value,
        "database_rejected",
        f"{state or type(cause).__name__}: {lines[0]}",
    )
    return Decoded(record, letter=letter)


def decode_record(record: Record, position: Position, account_label: str) -> Decoded:
    """Read one record of a partition whose name is the position's."""
    event = decode(record.value, account_label=account_label, record_ns=record.time_ns)
    if isinstance(event, Rejected):
        return Decoded(record, letter=_letter(record, position, event))
    arrival = Arrival(event, record.value or b"", position.source, record.partition, record.offset, record.time_ns)
    return Decoded(record, arrival=arrival)
