"""Values of policy files read strictly: numbers without loss, booleans that are booleans, ends of promises.

The validators raise ``ValueError``, which pydantic turns into the fault of a field. Texts are ``strict_text``'s
business, the fields ``gates.policy``'s.
"""

from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator, Field

from torghut_runtime.canonical import SIGNIFICANT_DIGITS

LARGEST_MAGNITUDE = 30
"""Decimal places before or after the point beyond which a limit is a slip of the keyboard."""


def decimal_limit(value: object) -> object:
    """A limit as it stands in a file, exactly; null stays null. ``ValueError`` says what it must be."""
    if value is None or isinstance(value, Decimal):
        number = value
    elif isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be a number, or a number in quotes, was {value!r}")
    else:
        try:
            number = Decimal(str(value).strip())
        except InvalidOperation:
            raise ValueError(f"must be a number, or a number in quotes, was {value!r}") from None
    if number is not None and not number.is_finite():
        raise ValueError(f"must be finite, was {value!r}")
    if number is not None and len(number.normalize().as_tuple().digits) > SIGNIFICANT_DIGITS:
        raise ValueError(f"must have at most {SIGNIFICANT_DIGITS} significant digits, was {value!r}")
    if number and abs(number.adjusted()) > LARGEST_MAGNITUDE:
        raise ValueError(f"must lie between 1e-{LARGEST_MAGNITUDE} and 1e{LARGEST_MAGNITUDE}, was {value!r}")
    return number


def whole_limit(value: object) -> object:
    """A limit that counts."""
    number = decimal_limit(value)
    if isinstance(number, Decimal):
        if number != number.to_integral_value():
            raise ValueError(f"must be a whole number, was {value!r}")
        return int(number)
    return number


def plain_boolean(value: object) -> object:
    """A boolean, and nothing that only looks like one."""
    if isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false without quotes, was {value!r}")


def date_or_time(value: object) -> object:
    """The end of a promise: a day, or a moment. Texts are ISO 8601."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value) if "T" in value or " " in value else date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"must be a date, or a time with its zone, was {value!r}") from None
    if isinstance(value, date):
        return value
    raise ValueError(f"must be a date, or a time with its zone, was {value!r}")


Number = Annotated[Decimal | None, BeforeValidator(decimal_limit)]
Ratio = Annotated[Annotated[Decimal, Field(ge=0, le=1)] | None, BeforeValidator(decimal_limit)]
Share = Annotated[Annotated[Decimal, Field(ge=0, le=1)], BeforeValidator(decimal_limit)]
"""A ratio that cannot be switched off."""
NotNegative = Annotated[Annotated[Decimal, Field(ge=0)] | None, BeforeValidator(decimal_limit)]
Count = Annotated[int | None, BeforeValidator(whole_limit)]
Boolean = Annotated[bool, BeforeValidator(plain_boolean)]
