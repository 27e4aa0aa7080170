"""Feature flags beside the environment (``flags.md`` 8)."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from torghut_runtime.api.documents.values import Document


class FlagSnapshot(Document):
    """What the flag server said last."""

    ok: bool
    version: str | None
    source: str
    fetched_at: datetime | None
    age_seconds: float | None
    stale: bool


class FlagRow(Document):
    """One flag and what it amounts to."""

    model_config = ConfigDict(serialize_by_alias=True)

    key: str
    setting: str
    flag_class: str = Field(serialization_alias="class")
    rule: str
    effective: bool
    env_value: bool
    flag_value: bool | None
    safe_value: bool
    source: str
    version: str | None
    age_seconds: float | None
    reason: str
    owner: str
    expires: str


class Flags(Document):
    """Flags, merged with the environment."""

    enabled: bool
    namespace: str
    entity_id: str
    snapshot: FlagSnapshot
    last_error: Any
    degraded: list[str]
    flags: list[FlagRow]
