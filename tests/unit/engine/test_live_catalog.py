"""The catalog of a running engine: merge and sync, reload by digest, and files or entries that cannot be used."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_world import Timed, settings_of

from torghut_runtime.clock import SystemClock
from torghut_runtime.engine.live_catalog import LiveCatalog, LoadedCatalog, merged, without_attestations
from torghut_runtime.engine.market_system import features_of
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import default_registry


def entry(name: str, **given: Any) -> dict[str, Any]:
    return {"name": name, "strategy_type": "timed", "universe_symbols": ["AAPL"], **given}


def write(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(list(entries)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "strategies.yaml"


def catalog(path: Path | None, mode: str = "merge", *, required: bool = False) -> LiveCatalog:
    environment = {} if path is None else {"STRATEGY_CONFIG_PATH": str(path)}
    settings = settings_of(STRATEGY_CONFIG_MODE=mode, **environment).strategies
    registry = default_registry().extended(Timed)
    provenance = without_attestations(required=required)
    return LiveCatalog(settings, features_of, SystemClock(), provenance, registry=registry)


def states(loaded: LoadedCatalog) -> dict[str, bool]:
    return {each.strategy_id: each.enabled for each in loaded.strategies}


def stored(loaded: LoadedCatalog) -> list[dict[str, Any]]:
    return [each.document for each in loaded.strategies]


def test_merge_keeps_what_the_file_does_not_name_and_sync_disables_it(path: Path) -> None:
    write(path, entry("a"), entry("b"))
    first = catalog(path).load([])
    write(path, entry("b"), entry("c"))
    assert states(catalog(path).load(stored(first))) == {"a": True, "b": True, "c": True}
    assert states(catalog(path, "sync").load(stored(first))) == {"a": False, "b": True, "c": True}


def test_a_name_that_moves_to_another_id_ends_the_old_strategy() -> None:
    old = StrategyEntry.model_validate(entry("a", strategy_id="one"))
    new = StrategyEntry.model_validate(entry("a", strategy_id="two"))
    found = merged([old], [new], "merge")
    assert {(each.strategy_id, each.enabled) for each in found} == {("one", False), ("two", True)}
    assert len({each.name for each in found}) == 2


def test_without_a_file_what_was_stored_runs(path: Path) -> None:
    write(path, entry("a"))
    before = catalog(path).load([])
    assert states(catalog(None).load(stored(before))) == {"a": True}


def test_a_stored_entry_is_the_one_that_was_given(path: Path) -> None:
    exact = {"qty": 0.12345678901234567, "exits": {"stop_pct": 0.1}}
    write(path, entry("a", params=exact, max_notional_per_trade="1000.25", priority=3))
    before = catalog(path).load([])
    after = catalog(None).load(stored(before))
    assert after.strategies[0].entry == before.strategies[0].entry
    assert after.strategies[0].sha256 == before.strategies[0].sha256


def test_the_file_is_read_again_when_its_bytes_are_others(path: Path) -> None:
    write(path, entry("a"))
    live = catalog(path)
    first = live.load([])
    assert not live.reload()
    write(path, entry("a", enabled=False), entry("b"))
    assert live.reload()
    assert states(live.current) == {"a": False, "b": True}
    assert live.current.digest != first.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- name: a\n  strategy_type: timed\n  enabld: true\n", "did you mean enabled"),
        ("- name: a\n  strategy_type: timed\n  enabled: 'yes'\n", "enabled"),
        ("- {name: a, strategy_type: timed}\n- {name: a, strategy_type: timed}\n", "is the name of entry 1 too"),
        ("- name: [\n", "is not YAML"),
    ],
)
def test_an_invalid_file_leaves_the_old_catalog_and_says_why(path: Path, text: str, said: str) -> None:
    write(path, entry("a"))
    live = catalog(path)
    before = live.load([])
    path.write_text(text)
    assert not live.reload()
    assert live.current is before
    assert said in str(live.error)
    assert live.errors_total == 1
    assert not live.reload()
    assert live.errors_total == 1
    write(path, entry("b"))
    assert live.reload()
    assert live.error is None


def test_a_file_that_is_invalid_or_missing_at_the_start_leaves_what_was_stored(path: Path) -> None:
    write(path, entry("a"))
    before = catalog(path).load([])
    path.write_text("- nonsense")
    live = catalog(path)
    assert states(live.load(stored(before))) == {"a": True}
    assert live.error is not None
    path.unlink()
    live = catalog(path)
    assert states(live.load(stored(before))) == {"a": True}
    assert "cannot be read" in str(live.error)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"strategy_type": "timd"}, "unknown_strategy"),
        ({"version": "9.9.9"}, "unknown_version"),
        ({"params": {"enter_att": 1}}, "invalid_params"),
    ],
)
def test_an_entry_that_cannot_run_is_disabled_alone(path: Path, given: dict[str, Any], reason: str) -> None:
    write(path, entry("a", **given), entry("b"))
    live = catalog(path)
    loaded = live.load([])
    assert [each.entry.strategy_id for each in loaded.running(["a"])] == ["b"]
    assert str(loaded.strategies[0].error).startswith(reason)
    assert loaded.refusals("a") == ("strategy_disabled",)
    assert loaded.refusals("b") == ()


def test_a_disabled_strategy_is_asked_only_while_it_holds_something(path: Path) -> None:
    write(path, entry("a", enabled=False), entry("b"))
    loaded = catalog(path).load([])
    assert [each.entry.strategy_id for each in loaded.running([])] == ["b"]
    assert [each.entry.strategy_id for each in loaded.running(["a"])] == ["a", "b"]
    assert loaded.refusals("a") == loaded.refusals("never-heard-of") == ("strategy_disabled",)


@pytest.mark.parametrize("required", [False, True])
def test_without_anybody_who_verifies_an_attestation_that_is_required_is_missing(path: Path, required: bool) -> None:
    write(path, entry("a"))
    loaded = catalog(path, required=required).load([])
    assert loaded.refusals("a") == (("provenance_missing",) if required else ())
