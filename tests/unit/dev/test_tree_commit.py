"""The ledger of a campaign names the code that ran, also in a clean clone, and owns up to changes."""

import subprocess
from pathlib import Path

import pytest
from tree_commit import tree_commit


def git(place: Path, *words: str) -> str:
    name = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *name, *words], cwd=place, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q")
    (origin / "code.py").write_text("first\n")
    git(origin, "add", "code.py")
    git(origin, "commit", "-q", "-m", "first")
    git(tmp_path, "clone", "-q", str(origin), "clone")
    return tmp_path / "clone"


def test_a_clean_clone_is_its_commit_also_from_elsewhere_and_with_results_beside_it(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "results.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert tree_commit(clone) == git(clone, "rev-parse", "HEAD")


def test_changed_code_is_told_apart_from_its_commit(clone: Path) -> None:
    (clone / "code.py").write_text("second\n")
    assert tree_commit(clone) == git(clone, "rev-parse", "HEAD") + "+changes"


def test_what_is_no_clone_has_no_commit_that_could_be_put_in(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        tree_commit(tmp_path)
