"""Patching a ConfigMap file in place and back: byte for byte, and whatever moment the process ends at."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from torghut_assets.promotion.configmap import PatchRefusedError, apply_patch, render_patch
from torghut_assets.promotion.configmap_file import apply_in_place, read_text, revert_in_place
from torghut_assets.shipped_files import shipped
from torghut_runtime.errors import InputError
from torghut_runtime.strategies.catalog import StrategyEntry, load_catalog

SOURCE = shipped("deploy/k8s/base/strategy-configmap.yaml").read_bytes()


def write_patch(folder: Path, source: bytes, strategy_id: str = "candidate") -> Path:
    entry = StrategyEntry.model_validate(
        {"strategy_id": strategy_id, "strategy_type": "legacy_macd_rsi", "version": "1.0.0"}
    )
    text = render_patch(source.decode(), [entry], candidate_id="cand-1", run_id="run-1", mode="paper")
    path = folder / f"{strategy_id}.yaml"
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def configmap(tmp_path: Path) -> Path:
    path = tmp_path / "deploy" / "configmap.yaml"
    path.parent.mkdir()
    path.write_bytes(SOURCE)
    return path


@pytest.mark.parametrize("source", [SOURCE, SOURCE.replace(b"\n", b"\r\n"), SOURCE.rstrip(b"\n")])
def test_revert_restores_every_byte(configmap: Path, tmp_path: Path, source: bytes) -> None:
    configmap.write_bytes(source)
    apply_in_place(configmap, write_patch(tmp_path, source))
    assert configmap.read_bytes() != source
    assert load_catalog(configmap)[-1].strategy_id == "candidate"
    revert_in_place(configmap)
    assert configmap.read_bytes() == source


def test_the_file_gets_what_apply_prints(configmap: Path, tmp_path: Path) -> None:
    patch = write_patch(tmp_path, SOURCE)
    expected = apply_patch(SOURCE.decode(), read_text(patch)).encode()
    apply_in_place(configmap, patch)
    assert configmap.read_bytes() == expected


def test_two_promotions_are_taken_back_one_by_one(configmap: Path, tmp_path: Path) -> None:
    apply_in_place(configmap, write_patch(tmp_path, SOURCE, "one"))
    between = configmap.read_bytes()
    apply_in_place(configmap, write_patch(tmp_path, between, "two"))
    revert_in_place(configmap)
    assert configmap.read_bytes() == between
    revert_in_place(configmap)
    assert configmap.read_bytes() == SOURCE
    with pytest.raises(InputError, match="holds no applied patch"):
        revert_in_place(configmap)


def test_a_refused_patch_changes_nothing(configmap: Path, tmp_path: Path) -> None:
    patch = write_patch(tmp_path, SOURCE)
    edited = SOURCE.replace(b"2500", b"2501")
    configmap.write_bytes(edited)
    with pytest.raises(PatchRefusedError, match="patch_base_changed"):
        apply_in_place(configmap, patch)
    assert configmap.read_bytes() == edited
    assert [path.name for path in configmap.parent.iterdir()] == ["configmap.yaml"]


def test_an_edit_after_the_patch_is_not_thrown_away_by_a_revert(configmap: Path, tmp_path: Path) -> None:
    apply_in_place(configmap, write_patch(tmp_path, SOURCE))
    edited = configmap.read_bytes() + b"# a note\n"
    configmap.write_bytes(edited)
    with pytest.raises(InputError, match="was edited since; nothing was changed"):
        revert_in_place(configmap)
    assert configmap.read_bytes() == edited


def test_a_file_that_is_no_text_is_named(configmap: Path, tmp_path: Path) -> None:
    configmap.write_bytes(b"\xff")
    for act in (lambda: apply_in_place(configmap, configmap), lambda: revert_in_place(configmap)):
        with pytest.raises(InputError, match="cannot be read") as caught:
            act()
        assert caught.value.file == str(configmap)
    with pytest.raises(InputError, match="cannot be read"):
        revert_in_place(tmp_path / "absent.yaml")


def test_mode_and_link_stay_and_git_sees_only_the_configmap(configmap: Path, tmp_path: Path) -> None:
    configmap.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(configmap)
    apply_in_place(link, write_patch(tmp_path, SOURCE))
    assert link.is_symlink()
    assert configmap.stat().st_mode & 0o777 == 0o640
    subprocess.run(["git", "init", "-q", str(configmap.parent)], check=True)
    status = ["git", "-C", str(configmap.parent), "status", "--porcelain", "--untracked-files=all"]
    listed = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    assert listed == "?? configmap.yaml\n"
    revert_in_place(link)
    assert link.read_bytes() == SOURCE


def test_a_write_that_fails_leaves_nothing_behind(
    configmap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = write_patch(tmp_path, SOURCE)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        apply_in_place(configmap, patch)
    assert configmap.read_bytes() == SOURCE
    assert [path for path in configmap.parent.rglob("*") if path.is_file()] == [configmap]


KILLED = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from torghut_assets.promotion.configmap_file import apply_in_place, revert_in_place

    what, patch, folders = sys.argv[1], Path(sys.argv[2]), [Path(each) for each in sys.argv[3:]]

    def act(configmap, last):
        calls = 0
        def until(real):
            def call(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls == last:
                    os._exit(9)
                return real(*args, **kwargs)
            return call
        os.fsync, os.fdopen = until(os.fsync), until(os.fdopen)
        Path.replace, Path.mkdir, Path.chmod = until(Path.replace), until(Path.mkdir), until(Path.chmod)
        apply_in_place(configmap, patch) if what == "apply" else revert_in_place(configmap)

    for last, folder in enumerate(folders, start=1):
        child = os.fork()
        if child == 0:
            act(folder / "configmap.yaml", last)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
)
"""Does the work once per folder, each time in a process that ends one step later."""


@pytest.mark.parametrize(("what", "steps"), [("apply", 20), ("revert", 9)])
def test_a_process_that_ends_anywhere_leaves_the_old_text_or_the_new_and_a_way_back(
    tmp_path: Path, what: str, steps: int
) -> None:
    patch = write_patch(tmp_path, SOURCE)
    applied = apply_patch(SOURCE.decode(), read_text(patch)).encode()
    folders = [tmp_path / f"{last:02}" for last in range(1, steps + 1)]
    for folder in folders:
        folder.mkdir()
        (folder / "configmap.yaml").write_bytes(SOURCE)
        if what == "revert":
            apply_in_place(folder / "configmap.yaml", patch)
    command = [sys.executable, "-c", KILLED, what, str(patch), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    codes = [int(line) for line in done.stdout.split()]
    assert codes == sorted(codes, reverse=True)
    assert {codes[0], codes[-1]} == {9, 0}
    texts = [(folder / "configmap.yaml").read_bytes() for folder in folders]
    old, new = (SOURCE, applied) if what == "apply" else (applied, SOURCE)
    first_new = texts.index(new)
    assert first_new > 2
    assert texts == [old] * first_new + [new] * (steps - first_new)
    for folder, text in zip(folders, texts, strict=True):
        configmap = folder / "configmap.yaml"
        if text == SOURCE:
            apply_in_place(configmap, patch)
            assert configmap.read_bytes() == applied
        revert_in_place(configmap)
        assert configmap.read_bytes() == SOURCE
