"""Is a socket that is open and silent mute? Pure.

Every minute of a session something is due: a bar, a quote or a trade of one of the symbols. A connection that stood
before a minute ended and has brought nothing since then is given up; each time in a row it is given twice as long,
because a few thin symbols can be silent honestly.
"""

from datetime import datetime, timedelta
from typing import Final

from torghut_runtime.market.hours import SessionHours

MUTE_AFTER: Final = timedelta(seconds=15)
_LONGEST: Final = timedelta(minutes=8)


class MuteWatch:
    """Judges one connection."""

    def __init__(self, hours: SessionHours) -> None:
        self._hours = hours
        self._in_a_row = 0

    def heard(self) -> None:
        """The socket is not mute."""
        self._in_a_row = 0

    def is_mute(self, now: datetime, connected_at: datetime | None, heard_at: datetime | None) -> bool:
        """Whether the connection should be given up; true is counted."""
        session = self._hours.at(now)
        if session is None or connected_at is None:
            return False
        due = now.replace(second=0, microsecond=0)
        since = connected_at if heard_at is None else max(connected_at, heard_at)
        patience = min(MUTE_AFTER * 2**self._in_a_row, _LONGEST)
        first_due = since.replace(second=0, microsecond=0) + timedelta(minutes=1)
        first_due = max(first_due, session.opens_at + timedelta(minutes=1))
        if due < first_due or now - first_due < patience:
            return False
        self._in_a_row += 1
        return True
