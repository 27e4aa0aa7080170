"""What the service says of itself: who answers, whether it lives, is ready and well (``runtime.md`` 2)."""

from typing import Literal

from torghut_runtime.api.documents.values import Document


class Service(Document):
    """Who answers."""

    service: str
    status: Literal["ok"]
    version: str
    commit: str


class Check(Document):
    """Whether something works, and what is known of it."""

    ok: bool
    detail: str


class DatabaseCheck(Document):
    """The database answered."""

    ok: Literal[True]


class ComponentHealth(Document):
    """A supervised part and the age of its heartbeat."""

    age_seconds: float
    state: str


class Liveness(Document):
    """Whether the process lives."""

    status: Literal["ok", "stale"]
    service: str
    heartbeat_age_seconds: float
    components: dict[str, ComponentHealth]


class Readiness(Document):
    """Whether the process could trade, and why not."""

    status: Literal["ready", "not ready"]
    role: Literal["leader", "standby"]
    reasons: list[str]


class Health(Document):
    """The engine and what it depends on."""

    status: Literal["ok", "degraded"]
    scheduler: Check
    dependencies: dict[str, Check]
