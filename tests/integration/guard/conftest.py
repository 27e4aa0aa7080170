"""A guard on a database that a module's tests share one after the other, emptied for each of them."""

from collections.abc import Generator
from pathlib import Path

import pytest
import sqlalchemy as sa
from guard_world import World, emptied
from postgres import new_database

from torghut_assets.artifacts import ArtifactStore


@pytest.fixture(scope="module")
def guard_dsn(postgres_port: int) -> Generator[str]:
    with new_database(postgres_port) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def pooled_engine(guard_dsn: str) -> Generator[sa.Engine]:
    """An engine that keeps its connections: what torghut's own engine spares a server costs a test most of its time."""
    engine = sa.create_engine(guard_dsn, connect_args={"options": "-c timezone=UTC"})
    yield engine
    engine.dispose()


@pytest.fixture
def world(pooled_engine: sa.Engine, tmp_path: Path) -> World:
    emptied(pooled_engine)
    return World(pooled_engine, ArtifactStore(tmp_path / "artifacts"))
