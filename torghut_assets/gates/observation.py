"""Reading values out of artifact documents: JSON pointers, exact numbers, and the few derived figures.

Nothing here knows a threshold. Absent or malformed values come back as ``None``, which the engine reports as missing.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

from torghut_runtime.canonical import canonical_value


def resolve(content: object, pointer: str) -> object:
    """The value at a JSON pointer (RFC 6901), ``None`` where there is none."""
    value = content
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = cast("Mapping[str, object]", value).get(key)
        elif isinstance(value, Sequence) and not isinstance(value, str) and key.isdecimal():
            items = cast("Sequence[object]", value)
            value = items[int(key)] if int(key) < len(items) else None
        else:
            return None
    return value


def exact(value: object) -> Decimal | None:
    """A number as the decimal that its canonical text says, so that equality with a threshold is meant literally.

    ``None`` for everything that is no finite number; booleans are no numbers.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if not math.isfinite(value):
        return None
    return Decimal(str(canonical_value(value)))


def plain_number(value: Decimal) -> int | float:
    """A decimal as JSON number, whole ones without a fraction."""
    return int(value) if value == value.to_integral_value() else float(value)


def checked_lookahead(report: Mapping[str, Any]) -> object:
    """Whether lookahead was detected; ``None`` when not a single point was checked."""
    points = exact(resolve(report, "/lookahead/checked_points"))
    if points is None or points <= 0:
        return None
    return resolve(report, "/lookahead/detected")


def calibration_score(report: Mapping[str, Any]) -> object:
    """``1 − coverage error / (1 − target coverage)``; ``None`` without either or with a target of 1 and more."""
    coverage_error = exact(resolve(report, "/uncertainty/coverage_error"))
    target = exact(resolve(report, "/uncertainty/target_coverage"))
    if coverage_error is None or target is None or target >= 1:
        return None
    return 1 - coverage_error / (1 - target)


def is_false(value: object) -> bool:
    """Recorded, and recorded as false."""
    return value is False


def says_bars(value: object) -> bool:
    """The data came as bars."""
    return value == "bars"


def is_zero(value: object) -> bool:
    """A recorded count of nothing."""
    return exact(value) == 0


def one_or_none(value: object) -> bool:
    """A recorded count of at most one."""
    count = exact(value)
    return count is not None and count <= 1


def under_two(value: object) -> bool:
    """A recorded count below two."""
    count = exact(value)
    return count is not None and count < 2
