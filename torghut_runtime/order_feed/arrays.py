"""Arrays on their way to PostgreSQL, as one text each: adapting them element by element takes ten times as long.

The statement says the type, ``%s::text[]``; which values are put in is the caller's business.
"""

from collections.abc import Collection, Iterable
from typing import cast


def texts(values: Collection[str | None]) -> str:
    """A ``text[]``, or an array of any type with a text form that holds neither quotes nor backslashes."""
    if not values:
        return "{}"
    if None in values:
        return "{" + ",".join("NULL" if value is None else f'"{_escaped(value)}"' for value in values) + "}"
    inner = '","'.join(cast("Collection[str]", values))
    if "\\" in inner or inner.count('"') != 2 * (len(values) - 1):
        inner = '","'.join(_escaped(value) for value in values if value is not None)
    return f'{{"{inner}"}}'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def digests(values: Iterable[bytes]) -> str:
    """A ``bytea[]`` of values that are not empty."""
    inner = '","\\\\x'.join([value.hex() for value in values])
    return f'{{"\\\\x{inner}"}}' if inner else "{}"
