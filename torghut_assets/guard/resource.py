"""Dagster's way to the guard: on the database where there is one, else in memory for the run."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from pydantic import PrivateAttr

from torghut_assets.artifacts import ArtifactStore
from torghut_assets.guard.memory import MemorySessions
from torghut_assets.guard.policy import POLICY_PATH, load_policy
from torghut_assets.guard.retrace import retrace
from torghut_assets.guard.session import Sessions, SqlSessions
from torghut_assets.guard.stages import StageGuard
from torghut_assets.guard.store import Guard
from torghut_assets.shipped_files import shipped
from torghut_runtime.storage.database import create_engine


class GuardResource(dg.ConfigurableResource[None]):
    """The orchestration guard of a project folder."""

    root: str
    dsn: str | None = None
    artifacts_root: str
    _memory: MemorySessions = PrivateAttr(default_factory=MemorySessions)

    def of(self, name: str, actor: str, *, new_run: bool = False) -> StageGuard:
        """The guard for the lane of candidate ``name``.

        Without a database, a candidate that this process has not led is led again as far as its stored artifacts go,
        unless a ``new_run`` of it begins.

        Raises:
            PolicyError: the project's policy, or the shipped one where it has none, cannot be used.
        """
        own = Path(self.root) / POLICY_PATH
        policy = load_policy(own if own.exists() else shipped(POLICY_PATH))
        store = ArtifactStore(Path(self.artifacts_root))
        sessions: Sessions = self._memory if self.dsn is None else SqlSessions(create_engine(self.dsn))
        own = StageGuard(Guard(policy, sessions, store), name, actor)
        if self.dsn is None and not new_run and self._memory.session.find(name) is None:
            retrace(own, store)
        return own

    @property
    def engine(self) -> sa.Engine | None:
        """The database; ``None`` where the guard's state lives in memory."""
        return None if self.dsn is None else create_engine(self.dsn)
