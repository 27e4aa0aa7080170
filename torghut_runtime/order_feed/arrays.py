"""Arrays on their way to PostgreSQL, as one text each: a driver that adapts them element by element takes ten times as long.

The statement says the type, ``%s::text[]``; which values are put in is the caller's business.
"""

from collections.abc import Collection, Iterable
from uuid import UUID


def texts(values: Collection[str | None]) -> str:
    """A ``text[]``, or an array of any type with a text form that holds neither quotes nor backslashes."""
    try:
        inner = '","'.join(values)  # pyright: ignore[reportArgumentType] - None is the rare case, told by the error
    except TypeError:
        return "{" + ",".join("NULL" if value is None else f'"{_escaped(value)}"' for value in values) + "}"
    if "\\" in inner or inner.count('"') != max(0, 2 * (len(values) - 1)):
        inner = '","'.join(_escaped(value or "") for value in values)
    return f'{{"{inner}"}}' if values else "{}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def uuids(values: Iterable[UUID]) -> str:
    """A ``uuid[]``."""
    return "{" + ",".join([value.hex for value in values]) + "}"


def digests(values: Iterable[bytes]) -> str:
    """A ``bytea[]`` of values that are not empty."""
    inner = '","\\\\x'.join([value.hex() for value in values])
    return f'{{"\\\\x{inner}"}}' if inner else "{}"
