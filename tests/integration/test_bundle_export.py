import json
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from torghut_assets import artifacts, directory_exchange
from torghut_assets.artifacts import MANIFEST, export_bundle
from torghut_runtime.errors import InputError

IDS = {"name": "sample", "candidate_id": "cand-0", "run_id": "0" * 24}
OLD = {"research/candidate-spec.json": b"old", "paper-candidate/strategy-configmap-patch.yaml": b"old patch"}
NEW = {"research/candidate-spec.json": b"new", "gates/promotion-decision.json": b"deny"}
EXPORT = """
import os, signal, sys
from pathlib import Path
from torghut_assets import directory_exchange
from torghut_assets.artifacts import export_bundle
from test_bundle_export import IDS, NEW

target, label, plain = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "plain"
if plain:
    directory_exchange.exchange = lambda first, second: False

def end(point):
    print(point, flush=True)
    if point == label:
        os.kill(os.getpid(), signal.SIGKILL)

export_bundle(NEW, target, ids=IDS, checkpoint=end)
"""
POINTS = ["cleaned", f"written {MANIFEST}", *(f"written {path}" for path in sorted(NEW)), "staged"]
AFTER = ["in place", "done"]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bundle(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, MANIFEST: artifacts.manifest_of(files, IDS)}


def run_until(target: Path, point: str, *, plain: bool) -> None:
    run = subprocess.run(
        [sys.executable, "-c", EXPORT, str(target), point, "plain" if plain else "exchange"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert run.stdout.splitlines()[-1] == point


def test_the_folder_holds_the_files_and_their_manifest(tmp_path: Path):
    exported = export_bundle(NEW, tmp_path / "deep" / "lane", ids=IDS)
    assert content(exported.folder) == bundle(NEW)
    manifest = json.loads(exported.manifest.read_bytes())
    assert manifest["candidate_id"] == "cand-0"
    assert manifest["files"] == {
        "gates/promotion-decision.json": {"sha256": sha256(b"deny").hexdigest(), "size": 4, "reproducible": False},
        "research/candidate-spec.json": {"sha256": sha256(b"new").hexdigest(), "size": 3, "reproducible": True},
    }


@pytest.mark.parametrize("plain", [False, True], ids=["exchange", "two moves"])
def test_nothing_of_an_earlier_bundle_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool):
    if plain:
        monkeypatch.setattr(directory_exchange, "exchange", lambda first, second: False)
    export_bundle(OLD, tmp_path / "lane", ids=IDS)
    export_bundle(NEW, tmp_path / "lane", ids=IDS)
    assert content(tmp_path / "lane") == bundle(NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["lane"]


def test_a_patch_without_manifest_is_gone_after_a_denial(tmp_path: Path):
    stale = tmp_path / "lane" / "paper-candidate" / "strategy-configmap-patch.yaml"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"stale")
    export_bundle(NEW, tmp_path / "lane", ids=IDS)
    assert content(tmp_path) == {f"lane/{path}": data for path, data in bundle(NEW).items()}


def test_a_killed_export_leaves_the_old_bundle_or_the_new_one(tmp_path: Path):
    for number, point in enumerate([*POINTS, "exchanged", *AFTER]):
        parent = tmp_path / str(number)
        export_bundle(OLD, parent / "lane", ids=IDS)
        run_until(parent / "lane", point, plain=False)
        assert content(parent / "lane") == bundle(OLD if point in POINTS else NEW), point
        export_bundle(NEW, parent / "lane", ids=IDS)
        assert content(parent / "lane") == bundle(NEW), point
        assert [path.name for path in parent.iterdir()] == ["lane"], point


def test_a_killed_first_export_leaves_nothing_or_the_bundle(tmp_path: Path):
    for number, point in enumerate([*POINTS, *AFTER]):
        parent = tmp_path / str(number)
        run_until(parent / "lane", point, plain=False)
        assert content(parent / "lane") == ({} if point in POINTS else bundle(NEW)), point


def test_without_an_exchange_of_directories_the_next_export_mends_the_gap(tmp_path: Path):
    export_bundle(OLD, tmp_path / "lane", ids=IDS)
    run_until(tmp_path / "lane", "moved aside", plain=True)
    directory_exchange.restore(tmp_path / "lane", aside=tmp_path / ".lane.torghut-old")
    assert content(tmp_path / "lane") == bundle(OLD)
    run_until(tmp_path / "lane", "moved aside", plain=True)
    export_bundle(NEW, tmp_path / "lane", ids=IDS)
    assert content(tmp_path / "lane") == bundle(NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["lane"]


def test_a_folder_with_other_files_is_moved_aside_whole(tmp_path: Path):
    (tmp_path / "lane").mkdir()
    (tmp_path / "lane" / "thesis.txt").write_bytes(b"my notes")
    exported = export_bundle(NEW, tmp_path / "lane", ids=IDS)
    assert content(tmp_path / "lane") == bundle(NEW)
    assert exported.displaced == tmp_path / "lane.displaced-1"
    assert content(exported.displaced) == {"thesis.txt": b"my notes"}


def test_other_files_survive_a_kill_right_after_the_exchange(tmp_path: Path):
    (tmp_path / "lane").mkdir()
    (tmp_path / "lane" / "thesis.txt").write_bytes(b"my notes")
    run_until(tmp_path / "lane", "exchanged", plain=False)
    export_bundle(NEW, tmp_path / "lane", ids=IDS)
    assert content(tmp_path / "lane.displaced-1") == {"thesis.txt": b"my notes"}
    assert content(tmp_path / "lane") == bundle(NEW)


def test_a_symbolic_link_stays_and_its_folder_is_exchanged(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "lane").symlink_to(tmp_path / "real")
    export_bundle(NEW, tmp_path / "lane", ids=IDS)
    assert (tmp_path / "lane").is_symlink()
    assert content(tmp_path / "real") == bundle(NEW)


def test_a_failed_write_leaves_the_folder_as_it_was(tmp_path: Path):
    def full(point: str) -> None:
        if point == "staged":
            raise OSError(28, "No space left on device")

    export_bundle(OLD, tmp_path / "lane", ids=IDS)
    with pytest.raises(OSError, match="No space left"):
        export_bundle(NEW, tmp_path / "lane", ids=IDS, checkpoint=full)
    assert content(tmp_path) == {f"lane/{path}": data for path, data in bundle(OLD).items()}


def test_a_file_in_the_way_is_bad_input(tmp_path: Path):
    (tmp_path / "lane").write_bytes(b"a file")
    with pytest.raises(InputError, match="is a file"):
        export_bundle(NEW, tmp_path / "lane", ids=IDS)
    assert (tmp_path / "lane").read_bytes() == b"a file"


def test_the_working_directory_and_repositories_are_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "work" / "deep").mkdir(parents=True)
    (tmp_path / "clone" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "deep")
    for folder in (tmp_path / "work" / "deep", tmp_path / "work", tmp_path / "clone", Path(), Path.home()):
        with pytest.raises(InputError, match="folder of its own"):
            export_bundle(NEW, folder, ids=IDS)


@pytest.mark.parametrize("path", ["notes.txt", "gates/../../up.json", "MANIFEST.json", "/etc/passwd"])
def test_only_paths_of_a_bundle_are_exported(tmp_path: Path, path: str):
    with pytest.raises(ValueError, match="is no path of a bundle"):
        export_bundle({path: b""}, tmp_path / "lane", ids=IDS)
