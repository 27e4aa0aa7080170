"""Single values of a broker message: exact numbers, instants and bounded text.

Numbers never pass through binary floating point, and instants keep their nanoseconds. Which field of a message is read
is the envelope's business.
"""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

EXACT: Final = Context(prec=120, rounding=ROUND_HALF_EVEN)
"""Wide enough that products and sums of stored numbers are exact, whatever their order."""

BOUND: Final = Decimal(10) ** 18
PLACES: Final = Decimal("1e-10")
MICROSECOND_NS: Final = 1_000
_SECOND_NS: Final = 1_000_000_000
_LAST_NS: Final = 2**63 - 1
_UNIX_DAY: Final = date(1970, 1, 1).toordinal()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_SHORT: Final = 40
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2}))?",
    re.ASCII,
)


class NumberError(ValueError):
    """A value that is no finite number, or one outside of what is stored; ``reason`` is the dead letter's."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def exact_number(value: object) -> Decimal | None:
    """The number in JSON text or a JSON number, rounded half-even to ten decimals; ``None`` when absent.

    Raises:
        NumberError: ``invalid_number`` for what is no finite number, ``number_out_of_range`` from 10^18 on.
    """
    if isinstance(value, str):
        return _known_text(value) if len(value) <= _SHORT else _of_text(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise NumberError("invalid_number", f"{_shown(value)} is no number")
    return stored_number(Decimal(value), value)


def _of_text(value: str) -> Decimal | None:
    text = value.strip()
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise NumberError("invalid_number", f"{_shown(value)} is no number")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise NumberError("number_out_of_range", f"{_shown(value)} is outside of what is stored") from None
    return stored_number(number, value)


_known_text: Final = lru_cache(maxsize=8192)(_of_text)
"""Prices and quantities come again and again."""


def stored_number(number: Decimal, shown: object = None) -> Decimal:
    """``number`` as numeric(28,10) holds it.

    Raises:
        NumberError: not finite, or 10^18 and more.
    """
    if not number.is_finite():
        raise NumberError("invalid_number", f"{_shown(shown)} is not finite")
    if number and number.adjusted() > 17:
        raise NumberError("number_out_of_range", f"{_shown(shown)} is outside of what is stored")
    exponent = number.as_tuple().exponent if number else 0
    if isinstance(exponent, int) and exponent < -10:
        number = number.quantize(PLACES, context=EXACT)
        if abs(number) >= BOUND:
            raise NumberError("number_out_of_range", f"{_shown(shown)} is outside of what is stored")
    return number or Decimal(0)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@lru_cache(maxsize=8192)
def number_text(number: Decimal | None) -> str | None:
    """``number`` without trailing zeros or exponent: the form that identity hashes."""
    if number is None:
        return None
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text or "0"


@lru_cache(maxsize=512)
def _day_ns(text: str) -> int | None:
    try:
        return (date.fromisoformat(text).toordinal() - _UNIX_DAY) * 86_400 * _SECOND_NS
    except ValueError:
        return None


def instant_ns(value: object) -> int | None:
    """Nanoseconds since 1970 (UTC) of RFC 3339 text or of an epoch in s, ms, us or ns; ``None`` when unusable.

    A time without a zone is UTC. An epoch's unit follows from its magnitude. Usable are 1970 to 2262.
    """
    if isinstance(value, str):
        return _known_instant(value) if len(value) <= _SHORT else _instant_of_text(value)
    if value is None or isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return _epoch_ns(Decimal(value))


def _instant_of_text(value: str) -> int | None:
    match = _TIME.fullmatch(value.strip())
    if match is not None:
        return _rfc3339_ns(match)
    try:
        number = exact_number(value)
    except NumberError:
        return None
    return None if number is None else _epoch_ns(number)


_known_instant: Final = lru_cache(maxsize=1024)(_instant_of_text)
"""A message says one time several times, and an order the same time in every message."""


def _rfc3339_ns(match: re.Match[str]) -> int | None:
    day, hour, minute, second, fraction, _, sign, zone_hours, zone_minutes = match.groups()
    start = _day_ns(day)
    if start is None or int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        return None
    nanoseconds = start + ((int(hour) * 60 + int(minute)) * 60 + int(second)) * _SECOND_NS
    if fraction:
        nanoseconds += int(fraction.ljust(9, "0"))
    if sign:
        if int(zone_hours) > 23 or int(zone_minutes) > 59:
            return None
        offset = (int(zone_hours) * 60 + int(zone_minutes)) * 60 * _SECOND_NS
        nanoseconds += offset if sign == "-" else -offset
    return nanoseconds if 0 <= nanoseconds <= _LAST_NS else None


def _epoch_ns(number: Decimal) -> int | None:
    if not number.is_finite() or number <= 0 or number.adjusted() > 18:
        return None
    for bound, unit in ((10**11, _SECOND_NS), (10**14, 1_000_000), (10**17, MICROSECOND_NS)):
        if number < bound:
            return int(EXACT.multiply(number, Decimal(unit)))
    nanoseconds = int(number)
    return nanoseconds if nanoseconds <= _LAST_NS else None


@lru_cache(maxsize=1024)
def instant(nanoseconds: int | None) -> datetime | None:
    """The same instant cut to microseconds, in UTC."""
    return None if nanoseconds is None else _EPOCH + timedelta(microseconds=nanoseconds // MICROSECOND_NS)


@lru_cache(maxsize=1024)
def instant_text(nanoseconds: int | None) -> str | None:
    """:func:`instant` as PostgreSQL reads it."""
    moment = instant(nanoseconds)
    return None if moment is None else moment.isoformat()


def utc_date(nanoseconds: int) -> date:
    """The UTC date of an instant."""
    return date.fromordinal(_UNIX_DAY + nanoseconds // (86_400 * _SECOND_NS))


def nanoseconds_of(moment: datetime) -> int:
    """Nanoseconds since 1970 of a time with a zone."""
    return ((moment - _EPOCH) // timedelta(microseconds=1)) * MICROSECOND_NS
