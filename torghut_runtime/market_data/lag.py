"""How long the next expected bar is overdue, by the calendar. Pure.

Time while the exchange is closed does not count for bars of a session: a symbol whose last minute had no trade is not
late all weekend. A daily bar is due a while after the close, and late until it comes.
"""

from datetime import datetime, timedelta
from typing import Final

from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market.timeframe import DAILY

DAILY_GRACE: Final = timedelta(minutes=5)
"""How long after the close a daily bar may take."""


def due_at(last_close: datetime, timeframe: str, hours: SessionHours) -> datetime:
    """When the bar that follows one which ended at ``last_close`` is due."""
    due = hours.next_close(last_close, timeframe)
    return due + DAILY_GRACE if timeframe == DAILY else due


def lag_seconds(last_close: datetime, timeframe: str, now: datetime, hours: SessionHours) -> float:
    """Seconds by which the next bar is overdue, 0 before it is due."""
    due = due_at(last_close, timeframe, hours)
    if now <= due:
        return 0.0
    return (now - due).total_seconds() if timeframe == DAILY else hours.open_seconds(due, now)
