"""Resources of the code location: project folder, artifact store, database and clock.

Each is a small Dagster shell around a plain object that the rest of the project knows; tests put others in their place
through ``build_definitions``. Nothing here connects, reads or starts anything before it is used.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from torghut_assets.artifacts import ArtifactStore
from torghut_assets.registration import FOLDER, CandidateRegistration, load_registration, registered
from torghut_runtime.errors import InputError
from torghut_runtime.storage.database import connect, create_engine


class ProjectResource(dg.ConfigurableResource[Path]):
    """The folder with ``config/``: paths of registrations are relative to it."""

    root: str

    @property
    def folder(self) -> Path:
        """Absolute path of the project."""
        return Path(self.root).resolve()

    def registration(self, name: str) -> CandidateRegistration:
        """How candidate ``name`` is registered.

        Raises:
            InputError: it is not, or its registration cannot be used.
        """
        path = self.folder / FOLDER / f"{name}.yaml"
        if not path.exists():
            raise InputError(f"candidate {name} is not registered; write this file", file=path)
        return load_registration(path)

    def registered(self) -> tuple[list[CandidateRegistration], list[InputError]]:
        """All registrations, and what is wrong with the others."""
        return registered(self.folder)

    def research_settings(self, name: str) -> Path | None:
        """The research settings of candidate ``name``: its own, else the project's, else none."""
        given = self.registration(name).research
        if given is not None:
            return self.folder / given
        own = self.folder / "config" / "research.yaml"
        return own if own.is_file() else None

    def bundle_folder(self, name: str) -> Path:
        """Where the bundle of candidate ``name`` is exported."""
        return self.folder / "artifacts" / "candidates" / name


class ArtifactStoreResource(dg.ConfigurableResource[ArtifactStore]):
    """The content-addressed store under ``root``."""

    root: str

    @property
    def store(self) -> ArtifactStore:
        """The store."""
        return ArtifactStore(Path(self.root))


class DatabaseResource(dg.ConfigurableResource[None]):
    """The database ``torghut``; without a DSN nothing is recorded and evidence is the candidate's own."""

    dsn: str | None = None

    @property
    def recorded(self) -> bool:
        """Whether there is a database."""
        return self.dsn is not None

    @contextmanager
    def connection(self) -> Generator[sa.Connection | None]:
        """A connection, or ``None`` when nothing is recorded.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        if self.dsn is None:
            yield None
            return
        engine = create_engine(self.dsn)
        try:
            with connect(engine) as connection:
                yield connection
        finally:
            engine.dispose()


class ClockResource(dg.ConfigurableResource[None]):
    """What time it is; ``fixed`` (RFC 3339 with a zone) stops it."""

    fixed: str | None = None

    def now(self) -> datetime:
        """The present moment in UTC."""
        return datetime.now(UTC) if self.fixed is None else datetime.fromisoformat(self.fixed).astimezone(UTC)
