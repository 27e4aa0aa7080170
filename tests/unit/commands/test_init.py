"""`torghut init`: what the project holds, and what is refused."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from torghut_assets.commands.init import create_project, project_name
from torghut_assets.gates.policy import load_policy
from torghut_assets.registration import load_registration
from torghut_assets.shipped_files import shipped
from torghut_runtime.errors import InputError
from torghut_runtime.strategies.catalog import load_catalog
from torghut_runtime.strategies.contract import Strategy
from torghut_runtime.strategies.registry import StrategyRegistry, resolve_all


def test_every_file_that_the_candidate_names_is_there(tmp_path: Path) -> None:
    create_project(tmp_path / "desk")
    candidate = load_registration(tmp_path / "desk" / "config" / "candidates" / "rsi-reversion.yaml")
    named = (candidate.bars, candidate.strategy_config, candidate.gate_policy, candidate.research)
    assert all(path is not None and (tmp_path / "desk" / path).is_file() for path in named)
    assert (tmp_path / "desk" / candidate.strategy_configmap).is_file()


def test_the_policy_is_the_shipped_one(tmp_path: Path) -> None:
    create_project(tmp_path / "desk")
    copied = load_policy(tmp_path / "desk" / "config" / "autonomous-gate-policy.json")
    assert copied.digest == load_policy(shipped("config/autonomous-gate-policy.json")).digest


def test_the_entry_point_leads_to_the_strategy_that_the_configuration_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_project(tmp_path / "My Desk 2")
    project = tomllib.loads((tmp_path / "My Desk 2" / "pyproject.toml").read_text())["project"]
    module, _, attribute = project["entry-points"]["torghut.strategies"]["rsi_reversion"].partition(":")
    assert (project["name"], module) == ("my-desk-2", "my_desk_2.strategies")
    monkeypatch.syspath_prepend(str(tmp_path / "My Desk 2"))
    plugin: type[Strategy] = getattr(import_module(module), attribute)
    entries = load_catalog(tmp_path / "My Desk 2" / "config" / "strategies" / "rsi-reversion.yaml")
    (bound,) = resolve_all(entries, frozenset({"rsi14"}), StrategyRegistry.of(plugin))
    assert bound.params.buy_below == 35.0
    assert [point["buy_below"] for point in bound.grid()] == [30, 35, 40]


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path: Path) -> None:
    target = tmp_path / "desk"
    target.mkdir()
    before = target.stat().st_ino
    files = create_project(target)
    assert target.stat().st_ino == before
    assert sorted(p.relative_to(target) for p in target.rglob("*") if p.is_file()) == files


def test_a_folder_with_anything_in_it_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / ".keep").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        create_project(tmp_path / "desk")
    assert [path.name for path in tmp_path.rglob("*")] == ["desk", ".keep"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "desk").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        create_project(tmp_path / "desk")
    assert (tmp_path / "desk").read_text() == "mine"


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = Path.write_bytes, []

    def fails_at_the_third(self: Path, data: bytes) -> int:
        calls.append(self)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", fails_at_the_third)
    with pytest.raises(InputError, match="No space left on device"):
        create_project(tmp_path / "desk")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("folder", "name"), [("Desk", "desk"), ("my_desk.v2", "my-desk-v2"), ("2-fast", "fast")])
def test_the_project_is_called_after_the_folder(folder: str, name: str) -> None:
    assert project_name(Path(folder)) == name


def test_a_folder_without_a_letter_is_refused() -> None:
    with pytest.raises(InputError, match="needs a letter"):
        project_name(Path("2026"))
