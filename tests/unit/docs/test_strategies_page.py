"""The page on strategies is true: its code runs, its tables are complete, its example is the one that init creates."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from torghut_assets.shipped_files import SAMPLE_BARS
from torghut_runtime.market.features import FEATURES
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import COMMON_TAGS, MAX_TAGS, Exits, StrategyParams
from torghut_runtime.strategies.purity import _BUILTINS  # pyright: ignore[reportPrivateUsage]
from torghut_runtime.strategies.registry import BUILT_INS, MAX_SEARCH_POINTS, StrategyRegistry, resolve_all

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
TEMPLATE = (ROOT / "torghut_assets/project_template/package/strategies.py").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The first block of the page as an installed module."""
    (tmp_path / "page_example.py").write_text(blocks(PAGE, "python")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("page_example")
    sys.modules.pop("page_example")


def test_page_readme_and_template_show_one_strategy() -> None:
    assert blocks(PAGE, "python")[0] == TEMPLATE
    assert TEMPLATE in blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")


def test_the_entry_point_and_the_catalog_entry_fit_the_example(example: ModuleType) -> None:
    (toml,) = blocks(PAGE, "toml")
    assert toml in (ROOT / "README.md").read_text(encoding="utf-8")
    (text,) = blocks(PAGE, "yaml")
    entries = [StrategyEntry.model_validate(each) for each in yaml.safe_load(text)["strategies"]]
    (bound,) = resolve_all(entries, frozenset({"rsi14"}), StrategyRegistry.of(example.RsiReversion))
    assert len(bound.grid()) == 6


def test_the_code_for_notebooks_and_tests_runs(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, notebook, unit_test = blocks(PAGE, "python")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / SAMPLE_BARS.name).symlink_to(SAMPLE_BARS)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"RsiReversion": example.RsiReversion}
    exec(unit_test, names)
    exec(notebook, names)
    result = names["result"]
    assert result.fills.height > 0
    assert set(result.decisions["reason"].unique()) >= {"entry", "exit_signal"}


def test_every_feature_and_parameter_and_exit_is_explained() -> None:
    documented = set(re.findall(r"`([a-z0-9_.*]+)`", PAGE))
    wanted = {*FEATURES, *COMMON_TAGS, *(f"exits.{name}" for name in Exits.model_fields)}
    wanted |= set(StrategyParams.model_fields) - {"exits"}
    assert wanted - documented == set()


def test_every_built_in_is_listed_with_its_version() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+\.\d+\.\d+) \|", PAGE, re.MULTILINE))
    assert rows == {each.type: each.version for each in BUILT_INS}


def test_the_reasons_and_limits_are_those_of_the_code() -> None:
    source = "".join(
        (ROOT / "torghut_runtime" / "strategies" / name).read_text(encoding="utf-8")
        for name in ("contract.py", "registry.py", "purity.py", "probe.py")
    )
    raised = set(re.findall(r'StrategyError\(\s*"(\w+)"', source)) | {"impure_step"}
    assert raised - set(re.findall(r"`(\w+)`", PAGE)) == set()
    assert f"at most {MAX_SEARCH_POINTS:,}" in PAGE
    assert f"at most {MAX_TAGS}" in PAGE
    assert f"`{' '.join(sorted(_BUILTINS))}`" in " ".join(PAGE.split())
