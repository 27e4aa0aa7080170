"""What every answer of the HTTP service is made of: decimal text, times, faults and pages of rows.

Which answers there are is told by the modules beside this one; OpenAPI is made from all of them.
"""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from torghut_runtime.canonical import canonical_value

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def _moment_text(given: object) -> object:
    if not isinstance(given, str) or not _MOMENT.fullmatch(given):
        raise ValueError("must be a time with its zone, such as 2026-01-05T14:30:00Z")
    return given


Number = Annotated[Decimal, PlainSerializer(canonical_value, return_type=str)]
"""A decimal number as text, without trailing zeros."""
Moment = Annotated[
    datetime,
    BeforeValidator(_moment_text),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation"),
]
"""A time that a client gives."""
_Row = TypeVar("_Row", bound=BaseModel)


class Document(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="ignore")


class OpenDocument(BaseModel):
    """An answer of the engine's, which may say more than is listed here."""

    model_config = ConfigDict(extra="allow")


class Fault(Document):
    """Why a call was not answered."""

    ok: Literal[False] = False
    error: str = Field(examples=["database_unavailable"])
    detail: Any = None


class Page(Document, Generic[_Row]):
    """Rows from the newest on; ``next_cursor`` is ``null`` at the end."""

    items: list[_Row]
    next_cursor: str | None
