"""Every command of the README is executed, in its order, in a copy of the project."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lane_project import LENIENT, ROOT, request_of, write_project

from torghut_assets.cli import cli
from torghut_assets.lane import run_lane
from torghut_runtime.command_line import run
from torghut_runtime.strategies.registry import default_registry

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = ("config", "deploy/k8s", "torghut_assets/sample_data")
BESIDE = {
    "make demo",
    "make dev",
    "make setup",
    ". .venv/bin/activate",
    "cd ~/my-strategies && pip install --editable .",
}
"""What is not run here; `tests/unit/docs` holds targets to the Makefile, and `torghut dev` has tests of its own."""


def commands() -> list[list[str]]:
    """Words of every `torghut` command in the README's shell blocks; all other commands must be known."""
    found: list[list[str]] = []
    others: set[str] = set()
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            text = line.partition(" #")[0].strip()
            if text.startswith("torghut "):
                found.append(shlex.split(text)[1:])
            else:
                others.add(text)
    assert others == BESIDE
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_dsn: str) -> Iterator[Path]:
    """A home folder with a copy of the project below it as the current folder; imports of the user's package undone."""
    for name in PROJECT:
        shutil.copytree(ROOT / name, tmp_path / "torghut" / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DB_DSN", database_dsn)
    monkeypatch.chdir(tmp_path / "torghut")
    yield tmp_path
    for module in [name for name in sys.modules if name.partition(".")[0] == "my_strategies"]:
        del sys.modules[module]
    default_registry.cache_clear()


def install(project: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pip install --editable .` leaves: the project on the path, its entry point in the metadata."""
    information = site / "my_strategies-0.1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-strategies\nVersion: 0.1.0\n")
    (section,) = re.findall(
        r'^\[project\.entry-points\."(torghut\.strategies)"\]\n(\w+) = "([^"]+)"',
        (project / "pyproject.toml").read_text(),
        re.MULTILINE,
    )
    (information / "entry_points.txt").write_text("[{}]\n{} = {}\n".format(*section))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(project))
    default_registry.cache_clear()


def promote(folder: Path, output: Path) -> None:
    """The bundle of a candidate that is promoted, which the shipped one need not be."""
    project = write_project(folder, {"allowed": {"policy": LENIENT}})
    configmap = Path("deploy/k8s/base/strategy-configmap.yaml")
    result = run_lane(request_of(project, output, "allowed", strategy_configmap=configmap))
    assert result.decision.action == "promote"


def test_the_readmes_commands_work_one_after_the_other(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: dict[str, str] = {}
    configmap = Path("deploy/k8s/base/strategy-configmap.yaml").read_bytes()
    for words in commands():
        arguments = [str(home / word[2:]) if word.startswith("~/") else word for word in words]
        name = " ".join(words[:2])
        if name == "promotion show":
            promote(home / "allowed", Path("artifacts/daily-momentum"))
        if name == "backtest --bars" and name in said:
            install(home / "my-strategies", home / "site", monkeypatch)
            monkeypatch.chdir(home / "my-strategies")
        assert run(cli, "torghut", arguments) == 0, (words, capsys.readouterr().err)
        said[name] = capsys.readouterr().out
        if name == "promotion apply":
            assert Path("deploy/k8s/base/strategy-configmap.yaml").read_bytes() != configmap
        if name == "promotion revert":
            assert Path("deploy/k8s/base/strategy-configmap.yaml").read_bytes() == configmap
    assert "daily-momentum: " in said["lane run"]
    assert "strategy           test-momentum" in said["promotion show"]
    assert "passes if" in said["gates explain"]
    assert "promotion" in said["ledger history"]
    assert "out of sample, after costs" in said["backtest --bars"]
