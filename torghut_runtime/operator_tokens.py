"""Who may ask what of the runtime: operators by the digest of their token (contract ``runtime.md`` 2).

Tokens themselves are never held: a caller's is hashed and its digest compared with every entry, in constant time.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["viewer", "operator"]


class OperatorToken(BaseModel):
    """One entry of ``TORGHUT_OPERATOR_TOKENS``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)


def entries_of(text: str) -> list[Any]:
    """The entries that a setting's text holds, not validated yet.

    Raises:
        ValueError: it is no JSON list, or a digest stands twice; the text is never shown.
    """
    try:
        found = json.loads(text)
    except ValueError:
        raise ValueError("must be a JSON list of {actor, role, sha256}") from None
    if not isinstance(found, list):
        raise ValueError("must be a JSON list of {actor, role, sha256}")  # noqa: TRY004 - pydantic tells ValueErrors
    entries = cast("list[Any]", found)
    digests = [cast("dict[str, Any]", each).get("sha256") for each in entries if isinstance(each, dict)]
    if any(digests.count(each) > 1 for each in digests):
        raise ValueError("names the same sha256 twice")
    return entries


def bearer_of(header: str | None) -> str | None:
    """The token of an ``Authorization`` header; ``None`` when it carries none."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def operator_of(entries: Sequence[OperatorToken], token: str) -> OperatorToken | None:
    """Whose token it is. Every entry is compared, so that the time taken says nothing."""
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    found = None
    for entry in entries:
        if hmac.compare_digest(entry.sha256, digest):
            found = entry
    return found
