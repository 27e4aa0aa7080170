"""The guard that a command asks: on the database of the environment and the project's artifact store."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

    from torghut_assets.artifacts import ArtifactStore
    from torghut_assets.guard.policy import OrchestrationPolicy
    from torghut_assets.guard.store import Guard


def policy_of(path: Path | None) -> "OrchestrationPolicy":
    """The given policy, else the project's, else the shipped one.

    Raises:
        PolicyError: it cannot be used.
    """
    from torghut_assets.guard.policy import default_policy_path, load_policy

    return load_policy(path or default_policy_path())


def artifact_store() -> "ArtifactStore":
    """The store of the project folder: that of ``TORGHUT_PROJECT``, else the current one."""
    from torghut_assets.artifacts import ArtifactStore

    return ArtifactStore(Path(os.environ.get("TORGHUT_PROJECT") or ".") / "artifacts" / "store")


@contextmanager
def database_engine() -> "Generator[sa.Engine]":
    """An engine on the database ``torghut``.

    Raises:
        StoreUnavailableError: PostgreSQL cannot be started or reached.
    """
    from torghut_runtime.settings import load_settings
    from torghut_runtime.storage.database import create_engine
    from torghut_runtime.storage.embedded import ensure_database

    with ensure_database(load_settings()) as dsn:
        yield create_engine(dsn)


def guard_on(engine: "sa.Engine", policy: "OrchestrationPolicy") -> "Guard":
    """The guard on an engine, with the project's artifacts."""
    from torghut_assets.guard.session import SqlSessions
    from torghut_assets.guard.store import Guard

    return Guard(policy, SqlSessions(engine), artifact_store())
