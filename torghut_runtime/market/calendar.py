"""The trading calendar: sessions of the New York Stock Exchange with their early closes.

Symbols that contain a slash (``BTC/USD``) trade around the clock and have the UTC date as session. What a bar is and
how it is read belongs elsewhere; nothing outside this module imports ``exchange_calendars``.
"""

import warnings
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

EXCHANGE: Final = "XNYS"
NEW_YORK: Final = "America/New_York"
FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2049, 12, 31)
"""The calendar is laid out for this fixed span, so that no verdict depends on the day of the year it is computed."""

TIME: Final = pl.Datetime("us", "UTC")
"""The one type of times in frames."""


def is_exchange_traded(symbol: str) -> bool:
    """Whether the symbol keeps the exchange's hours; pairs such as ``BTC/USD`` trade around the clock."""
    return "/" not in symbol


class TradingCalendar:
    """Sessions of the exchange, 1970 to 2049; a moment or day beyond that span lies outside every session."""

    def sessions(self, start: date, end: date) -> list[date]:
        """Session dates from ``start`` to ``end``, both included, ascending."""
        return _schedule()["session"].filter(_schedule()["session"].is_between(start, end)).to_list()

    def is_session(self, day: date) -> bool:
        """Whether the exchange is open on ``day``."""
        return day in _hours()

    def session_open(self, day: date) -> datetime | None:
        """UTC time of the opening bell, None when the exchange is closed that day."""
        return _hours()[day][0] if day in _hours() else None

    def session_close(self, day: date) -> datetime | None:
        """UTC time of the close, early closes included; None when the exchange is closed that day."""
        return _hours()[day][1] if day in _hours() else None

    def session_at(self, moment: datetime) -> date | None:
        """The session with open ≤ ``moment`` < close, None outside every session."""
        opens, closes = _bounds()
        at = int(moment.timestamp() * 1_000_000)
        index = int(np.searchsorted(opens, at, side="right")) - 1
        return _schedule()["session"][index] if index >= 0 and at < closes[index] else None

    def next_session(self, moment: datetime) -> date | None:
        """The first session that opens after ``moment``; None beyond the calendar's span."""
        opens, _ = _bounds()
        index = int(np.searchsorted(opens, int(moment.timestamp() * 1_000_000), side="right"))
        return _schedule()["session"][index] if index < len(opens) else None

    def is_exchange_traded(self, symbol: str) -> bool:
        """See :func:`is_exchange_traded`."""
        return is_exchange_traded(symbol)

    def session_starting(self, moments: pl.Series) -> pl.DataFrame:
        """Per moment the session with open ≤ moment < close.

        Args:
            moments: ``Datetime("us", "UTC")``, n values.

        Returns:
            n rows of ``session`` (Date), ``opens_at`` and ``closes_at`` (UTC); null outside every session.
        """
        opens, closes = _bounds()
        at = _microseconds(moments)
        index = np.searchsorted(opens, at, side="right") - 1
        return _hours_at(index, (index >= 0) & (at < closes[index]))

    def session_ending(self, moments: pl.Series) -> pl.DataFrame:
        """Per moment the session with open < moment ≤ close; layout as :meth:`session_starting`."""
        opens, closes = _bounds()
        at = _microseconds(moments)
        index = np.searchsorted(opens, at, side="left") - 1
        return _hours_at(index, (index >= 0) & (at <= closes[index]))

    def session_on(self, days: pl.Series) -> pl.DataFrame:
        """Per day (Date) its session's hours; layout as :meth:`session_starting`, null on days without one."""
        known = _schedule()["session"].to_physical().to_numpy()
        wanted = days.cast(pl.Date).to_physical().to_numpy()
        index = np.searchsorted(known, wanted, side="left")
        index = np.minimum(index, len(known) - 1)
        return _hours_at(index, known[index] == wanted)

    def session_of(self, open_ts: pl.Series, event_ts: pl.Series, symbol: pl.Series) -> pl.Series:
        """Session date of each bar from its start and close (UTC).

        A bar belongs to a session only when all of it lies within the hours; otherwise null. A symbol that trades
        around the clock has the UTC date of the bar's start.
        """
        starting = self.session_starting(open_ts)
        inside = starting["session"].is_not_null() & (event_ts <= starting["closes_at"])
        frame = pl.DataFrame(
            {"exchange": starting["session"], "inside": inside, "utc": open_ts.dt.date(), "symbol": symbol}
        )
        around_the_clock = pl.col("symbol").str.contains("/", literal=True)
        exchange = pl.when(pl.col("inside")).then(pl.col("exchange"))
        session = pl.when(around_the_clock).then(pl.col("utc")).otherwise(exchange)
        return frame.select(session=session)["session"]


def _microseconds(moments: pl.Series) -> NDArray[np.int64]:
    return moments.cast(TIME).to_physical().to_numpy()


def _hours_at(index: NDArray[Any], inside: NDArray[np.bool_]) -> pl.DataFrame:
    """Rows of the schedule by position, null where ``inside`` is false."""
    rows = pl.select(pl.when(pl.Series(inside)).then(pl.Series(index.astype(np.int64)))).to_series()
    return _schedule().select(pl.all().gather(rows))


@cache
def _schedule() -> pl.DataFrame:
    import exchange_calendars  # brings pandas: only paid for by who asks for a session

    with warnings.catch_warnings():
        # exchange_calendars 4.13 uses a pandas 3.1 call that will change its result type; the values are right.
        warnings.filterwarnings("ignore", message=r"Series\.values")
        source: Any = exchange_calendars.get_calendar(EXCHANGE, start=str(FIRST_DAY), end=str(LAST_DAY))
    table: Any = source.schedule

    def moments(column: str) -> pl.Series:
        values: NDArray[Any] = table[column].dt.tz_convert(None).to_numpy().astype("datetime64[us]")
        return pl.Series(values.astype(np.int64)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")

    days: NDArray[Any] = table.index.to_numpy().astype("datetime64[D]")
    return pl.DataFrame({"session": pl.Series(days), "opens_at": moments("open"), "closes_at": moments("close")})


@cache
def _bounds() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return _microseconds(_schedule()["opens_at"]), _microseconds(_schedule()["closes_at"])


@cache
def _hours() -> dict[date, tuple[datetime, datetime]]:
    return {day: (opens.astimezone(UTC), closes.astimezone(UTC)) for day, opens, closes in _schedule().iter_rows()}
