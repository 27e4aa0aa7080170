"""One project with three candidates, judged once in Dagster; and small projects of a test's own."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dagster_projects import (
    ALLOWED,
    DENIED,
    IMPOSSIBLE,
    SIGNALLED,
    JudgedProject,
    no_tear_sheet_pictures,
    opened,
    write_signals_candidate,
)
from lane_project import LENIENT, DagsterProject, write_project


@pytest.fixture(autouse=True)
def no_pictures() -> Generator[None]:
    """Tear sheets without their pictures, for the test only."""
    with no_tear_sheet_pictures():
        yield


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Generator[JudgedProject]:
    """The shared project."""
    folder = tmp_path_factory.mktemp("judged")
    write_project(folder, {ALLOWED: {"policy": LENIENT}, DENIED: {"policy": IMPOSSIBLE}})
    write_signals_candidate(folder, SIGNALLED)
    with ExitStack() as stack:
        project = opened(stack, folder)
        with no_tear_sheet_pictures():
            runs = {name: project.run(name) for name in (ALLOWED, DENIED, SIGNALLED)}
        yield JudgedProject(project, runs)


@pytest.fixture
def own_project(tmp_path: Path) -> Generator[Callable[..., DagsterProject]]:
    """Open a project of the test's own, with one lenient candidate named ``allowed``."""
    with ExitStack() as stack:

        def call(candidates: dict[str, Any] | None = None, **resources: Any) -> DagsterProject:
            folder = write_project(tmp_path / "project", candidates or {ALLOWED: {"policy": LENIENT}})
            return opened(stack, folder, **resources)

        yield call
