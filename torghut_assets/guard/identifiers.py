"""Names and ids that the guard accepts; each matches as a whole."""

import re
from typing import Final

from torghut_assets.guard.errors import GuardInputError

_NAME: Final = re.compile(r"(?!cand-)[a-z0-9][a-z0-9-]{2,62}")
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{5,62}")


def check_id(value: str, field: str) -> str:
    """A candidate id or run id.

    Raises:
        GuardInputError: ``invalid_id``.
    """
    if not _ID.fullmatch(value):
        raise GuardInputError(
            "invalid_id", f"must be 6 to 63 of a-z, 0-9 and -, not beginning with -, was {value!r}", field=field
        )
    return value


def check_name(value: str, field: str) -> str:
    """A candidate's name: Dagster's partition key and the guard's key.

    Raises:
        GuardInputError: ``invalid_id``.
    """
    if not _NAME.fullmatch(value):
        message = f"must be 3 to 63 of a-z, 0-9 and -, not beginning with - or cand-, was {value!r}"
        raise GuardInputError("invalid_id", message, field=field)
    return value


def check_name_or_id(value: str, field: str) -> str:
    """What a command in database mode takes for a candidate.

    Raises:
        GuardInputError: ``invalid_id``.
    """
    return value if _NAME.fullmatch(value) else check_id(value, field)
