"""Canonical JSON and digests: the one form in which torghut hashes and stores what it concludes.

Equal values give equal bytes on every machine: keys sorted, floats rounded to ten significant digits, no NaN or
infinity, times in UTC with a ``Z``. Two layouts exist: :func:`canonical_json` for artifacts that people read and
:func:`compact_json` for what is only hashed. Files, directories and stores are not this module's business.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, cast

import numpy as np
from pydantic import BaseModel

SIGNIFICANT_DIGITS = 10


def canonical_value(value: object) -> Any:
    """Return ``value`` as plain JSON types, normalised.

    Raises:
        TypeError: a type that has no canonical form.
        ValueError: NaN, an infinity, or a naive time.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is dict:
        return _canonical_mapping(cast("Mapping[object, object]", value))
    if isinstance(value, str | bool):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, np.generic):
        return canonical_value(cast("object", value.item()))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _canonical_float(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"no canonical form for {value}")
        text = f"{value.normalize():f}"
        return "0" if text == "-0" else text
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, BaseModel):
        return canonical_value(value.model_dump(mode="python", by_alias=True))
    return _canonical_container(value)


def _canonical_container(value: object) -> Any:
    if isinstance(value, Mapping):
        return _canonical_mapping(cast("Mapping[object, object]", value))
    if isinstance(value, np.ndarray):
        return canonical_value(cast("Any", value).tolist())
    if isinstance(value, AbstractSet):
        return sorted(canonical_value(item) for item in cast("AbstractSet[object]", value))
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [canonical_value(item) for item in cast("Sequence[object]", value)]
    raise TypeError(f"no canonical form for {type(value).__name__}")


def _canonical_mapping(items: Mapping[object, object]) -> dict[str, Any]:
    for key in items:
        if not isinstance(key, str):
            raise TypeError(f"canonical JSON has text keys only, was {key!r}")
    return {cast("str", key): canonical_value(item) for key, item in items.items()}


def _canonical_float(value: float) -> float | int:
    if not math.isfinite(value):
        raise ValueError(f"canonical JSON has no {value}")
    rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return 0.0 if rounded == 0 else rounded


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC with a ``Z``; microseconds only where there are any."""
    if moment.tzinfo is None:
        raise ValueError(f"a time needs a time zone, was {moment.isoformat()}")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def canonical_json(value: object) -> bytes:
    """Artifact layout: two-space indent, one newline at the end, UTF-8."""
    text = json.dumps(canonical_value(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def compact_json(value: object) -> bytes:
    """Hash layout: no white space, UTF-8."""
    text = json.dumps(
        canonical_value(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def sha256_hex(data: bytes) -> str:
    """Lower-case hexadecimal sha256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def digest(value: object) -> str:
    """sha256 of the compact canonical JSON of ``value``."""
    return sha256_hex(compact_json(value))
