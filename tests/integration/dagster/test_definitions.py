"""The code location: what it holds, that it loads, and that loading it touches nothing."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion

from torghut_assets.automation import LANE
from torghut_assets.definitions import build_definitions, default_resources
from torghut_assets.partitions import CANDIDATES
from torghut_assets.resources import DatabaseResource, ProjectResource
from torghut_runtime.errors import InputError

ROOT = Path(__file__).parents[3]
WATCHED_IMPORT = """
import os, sys

touched = []

def watch(event, details):
    if event in ("socket.connect", "socket.bind", "subprocess.Popen", "os.mkdir", "os.remove", "os.rename"):
        touched.append((event, str(details)))
    if event == "open" and isinstance(details[1], str) and set(details[1]) & set("wxa+"):
        touched.append((event, str(details)))

sys.dont_write_bytecode = True
import dagster, matplotlib.font_manager, polars
sys.addaudithook(watch)
import torghut_assets.definitions as location
assert location.defs is not None
print([each for each in touched if "compiled" not in each[1]])
"""


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(project=ROOT)


def names(values: Sequence[Any]) -> list[str]:
    return sorted(str(value) for value in values)


def asset(graph: Any, key: dg.AssetKey) -> dict[str, Any]:
    node = graph.get(key)
    spec = node.to_asset_spec()
    return {
        "deps": names([each.to_user_string() for each in node.parent_keys]),
        "group": spec.group_name,
        "owners": names(spec.owners),
        "kinds": names(spec.kinds),
        "partitions": getattr(spec.partitions_def, "name", None),
        "freshness": type(spec.freshness_policy).__name__ if spec.freshness_policy else None,
        "automation": spec.automation_condition is not None,
        "description": spec.description,
    }


def check(graph: Any, key: dg.AssetCheckKey) -> dict[str, Any]:
    node = graph.get(key)
    return {
        "blocking": node.blocking,
        "description": node.description,
        "partitions": getattr(node.partitions_def, "name", None),
    }


def test_the_asset_graph_is_as_it_was_reviewed(definitions: dg.Definitions, snapshot: SnapshotAssertion) -> None:
    graph = definitions.resolve_asset_graph()
    keys = sorted(graph.get_all_asset_keys(), key=lambda key: key.path)
    assert {key.to_user_string(): asset(graph, key) for key in keys} == snapshot


def test_the_checks_are_as_they_were_reviewed(definitions: dg.Definitions, snapshot: SnapshotAssertion) -> None:
    graph = definitions.resolve_asset_graph()
    keys = sorted(graph.asset_check_keys, key=lambda key: (key.asset_key.path, key.name))
    assert {key.to_user_string(): check(graph, key) for key in keys} == snapshot


def test_jobs_sensors_and_schedules_are_as_they_were_reviewed(
    definitions: dg.Definitions, snapshot: SnapshotAssertion
) -> None:
    repository = definitions.get_repository_def()
    found = {
        "jobs": {
            job.name: names([key.to_user_string() for key in job.asset_layer.selected_asset_keys])
            for job in repository.get_all_jobs()
            if not job.name.startswith("__")
        },
        "sensors": {
            sensor.name: [
                sensor.minimum_interval_seconds,
                sensor.default_status.value,
                sensor.job_name if sensor.has_jobs else None,
            ]
            for sensor in repository.sensor_defs
        },
        "schedules": {
            schedule.name: [
                schedule.cron_schedule,
                schedule.execution_timezone,
                schedule.default_status.value,
                schedule.job_name,
            ]
            for schedule in repository.schedule_defs
        },
    }
    assert found == snapshot


def test_the_code_location_loads(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


UNMADE = {dg.AssetKey(["execution", "order_events"])}
"""Assets that are reported, not made by code of ours."""


def test_every_asset_says_what_it_is_whose_it_is_and_which_code_makes_it(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.group_name in {"market", "research", "gates", "promotion", "execution"}, spec.key
        assert spec.key in UNMADE or len(spec.code_version or "") == 16, spec.key


def test_no_check_blocks_and_checks_of_the_lane_are_judged_per_candidate(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.asset_check_keys:
        assert not graph.get(key).blocking, key
        assert graph.get(key).partitions_def == (None if key.asset_key.path[0] == "execution" else CANDIDATES), key


def test_the_lane_takes_one_candidate_at_a_time(definitions: dg.Definitions) -> None:
    assert definitions.resolve_job_def(LANE.name).partitions_def == CANDIDATES


def test_importing_needs_no_environment_and_connects_writes_and_starts_nothing(tmp_path: Path) -> None:
    cache = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED_IMPORT],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "XDG_CACHE_HOME": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name not in {".cache", ".config", ".dagster"}] == []


def test_the_project_is_the_variables_folder_or_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORGHUT_PROJECT", raising=False)
    assert build_definitions().resources["project"] == ProjectResource(root=str(tmp_path))
    monkeypatch.setenv("TORGHUT_PROJECT", str(tmp_path / "other"))
    assert build_definitions().resources["project"] == ProjectResource(root=str(tmp_path / "other"))


def test_without_a_dsn_there_is_no_database_and_a_dsn_stays_out_of_the_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DB_DSN", raising=False)
    assert not default_resources(tmp_path)["database"].recorded
    monkeypatch.setenv("DB_DSN", "postgresql://torghut:a-password@db/torghut")
    database = default_resources(tmp_path)["database"]
    assert isinstance(database, DatabaseResource)
    assert "a-password" not in repr(database)


def test_a_candidate_that_is_not_registered_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config/candidates/nobody\.yaml: candidate nobody is not registered"):
        ProjectResource(root=str(tmp_path)).registration("nobody")
