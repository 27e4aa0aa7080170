"""Moments of the simulation: integer nanoseconds since 1970 (UTC), because the broker's times carry nine decimals."""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from torghut_runtime.market.calendar import NEW_YORK

SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000
MICROSECOND: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NEW_YORK_ZONE: Final = ZoneInfo(NEW_YORK)


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds of an aware time."""
    elapsed = moment - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * SECOND + elapsed.microseconds * MICROSECOND


def moment_of(ns: int) -> datetime:
    """The time in UTC, cut to microseconds."""
    return datetime.fromtimestamp(ns // SECOND, UTC).replace(microsecond=ns % SECOND // MICROSECOND)


@lru_cache(maxsize=4096)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(ns: int) -> str:
    """RFC 3339 in UTC with as many decimals as there are, at most nine."""
    seconds, rest = divmod(ns, SECOND)
    text = _second_text(seconds)
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else f"{text}Z"


def optional_rfc3339(ns: int | None) -> str | None:
    """As :func:`rfc3339`; null stays null."""
    return None if ns is None else rfc3339(ns)


def new_york(ns: int) -> datetime:
    """The time in New York."""
    return moment_of(ns).astimezone(NEW_YORK_ZONE)


def in_new_york(day: date, hour: int, minute: int) -> int:
    """Nanoseconds of a wall-clock time in New York."""
    return nanoseconds(datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK_ZONE))


def parse_moment(text: str) -> int:
    """Nanoseconds of an RFC 3339 time or of the start of a day in UTC.

    Raises:
        ValueError: neither of the two, or a time without a zone.
    """
    if len(text) == len("2026-01-02"):
        day = date.fromisoformat(text)
        return nanoseconds(datetime(day.year, day.month, day.day, tzinfo=UTC))
    whole, dot, rest = text.strip().replace(" ", "+").partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789")) if dot else 0
    zone = rest[digits:]
    moment = datetime.fromisoformat(whole + zone if dot else whole)
    if moment.tzinfo is None:
        raise ValueError(f"a time needs a time zone, was {text!r}")
    fraction = int(rest[:digits][:9].ljust(9, "0")) if dot and digits else 0
    return nanoseconds(moment) + fraction
