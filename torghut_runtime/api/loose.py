"""Values of documents that promise no shape, taken as what they turn out to be."""

from collections.abc import Mapping, Sequence
from typing import Any, cast


def mapping_of(value: object) -> Mapping[str, Any] | None:
    """The value if it has names, else ``None``."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else None


def sequence_of(value: object) -> Sequence[Any] | None:
    """The value if it is a list, else ``None``."""
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else None
