"""Ids follow content and code: nothing else changes them, and every change of content does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from lane_project import trending_bars
from lane_signals import daily_rows, legacy_entry, write_entries, write_rows

from torghut_assets.lane import read_settings
from torghut_assets.market.data import market_signals, read_market_bars
from torghut_assets.research import candidate
from torghut_assets.research.candidate import CandidateSpec, slug, specify
from torghut_assets.research.strategies import load_strategies
from torghut_runtime.errors import InputError

SETTINGS = {"capital": 50_000, "folds": {"min_folds": 3, "mode": "anchored"}, "seed": 7}
ENTRY = legacy_entry(params={"buy_rsi_threshold": 30, "sell_rsi_threshold": 70}, description="a rule")


def spec_of(folder: Path, name: str = "some-candidate") -> CandidateSpec:
    """Whatever data, strategies and settings stand in the folder."""
    (data,) = folder.glob("data.*")
    bars = None if data.suffix == ".json" else read_market_bars(data, "1Day")
    signals = market_signals(bars, data if bars is None else None)
    (strategies,) = folder.glob("strategies.*")
    return specify(name, signals, load_strategies(strategies, signals), read_settings(folder / "research.yaml"))


def inputs(
    folder: Path, *, entry: Mapping[str, Any] = ENTRY, settings: Mapping[str, Any] = SETTINGS, rows: Any = None
) -> Path:
    folder.mkdir()
    write_rows(folder / "data.json", daily_rows(30) if rows is None else rows)
    write_entries(folder / "strategies.yaml", entry)
    (folder / "research.yaml").write_text(yaml.safe_dump(dict(settings)))
    return folder


def test_white_space_key_order_and_the_format_of_files_keep_every_id(tmp_path: Path) -> None:
    plain = inputs(tmp_path / "plain")
    other = tmp_path / "other"
    other.mkdir()
    rows = [dict(reversed(row.items())) for row in daily_rows(30)]
    (other / "data.json").write_text("\n".join(json.dumps(row, separators=(" ,", " : ")) for row in rows))
    turned = {key: ENTRY[key] for key in reversed(ENTRY)}
    turned["params"] = {"sell_rsi_threshold": 70.0, "buy_rsi_threshold": 30.0}
    (other / "strategies.json").write_text(json.dumps([turned], indent=7))
    (other / "research.yaml").write_text(
        "seed: 7\n\nfolds:\n  mode: 'anchored'  # grows\n  min_folds: 3\ncapital: 5.0e+4\n"
    )
    assert spec_of(other) == spec_of(plain)


def test_bars_have_one_id_as_parquet_and_as_csv_in_any_order(tmp_path: Path) -> None:
    plain = inputs(tmp_path / "plain")
    (plain / "data.json").unlink()
    frame = pl.read_parquet(trending_bars(plain / "data.parquet", sessions=40))
    other = inputs(tmp_path / "other")
    (other / "data.json").unlink()
    frame.sort("symbol", "ts").select(reversed(frame.columns)).write_csv(other / "data.csv")
    assert spec_of(other) == spec_of(plain)


def changed_price(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows[17]["payload"]["price"] += 0.0001
    return rows


@pytest.mark.parametrize(
    "change",
    [
        {"rows": changed_price(daily_rows(30))},
        {"rows": daily_rows(29)},
        {"entry": {**ENTRY, "params": {"buy_rsi_threshold": 31, "sell_rsi_threshold": 70}}},
        {"entry": {**ENTRY, "search": {"buy_rsi_threshold": [30, 31]}}},
        {"entry": {**ENTRY, "max_position_pct_equity": 0.9}},
        {"entry": {**ENTRY, "priority": 99}},
        {"entry": {**ENTRY, "strategy_id": "another"}},
        {"settings": {**SETTINGS, "seed": 8}},
        {"settings": {**SETTINGS, "costs": {"default_half_spread_bps": 2}}},
    ],
    ids=["a price", "a row", "a parameter", "the search", "a cap", "priority", "strategy id", "the seed", "costs"],
)
def test_every_change_of_content_is_another_candidate(tmp_path: Path, change: dict[str, Any]) -> None:
    before, after = spec_of(inputs(tmp_path / "before")), spec_of(inputs(tmp_path / "after", **change))
    assert after.candidate_id != before.candidate_id
    assert (after.dataset.dataset_id != before.dataset.dataset_id) == ("rows" in change)


def test_a_change_of_code_is_another_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = inputs(tmp_path / "inputs")
    before = spec_of(folder)
    monkeypatch.setattr(candidate, "code_digest", lambda *modules: "0" * 64)
    after = spec_of(folder)
    assert after.candidate_id != before.candidate_id
    assert after.dataset == before.dataset


def test_a_name_is_no_part_of_the_identity(tmp_path: Path) -> None:
    folder = inputs(tmp_path / "inputs")
    one, other = spec_of(folder, "one-name"), spec_of(folder, "other-name")
    assert one.candidate_id == other.candidate_id
    assert other == one.model_copy(update={"name": "other-name"})


def test_ids_have_the_form_of_the_contract(tmp_path: Path) -> None:
    spec = spec_of(inputs(tmp_path / "inputs"))
    assert spec.candidate_id.startswith("cand-")
    assert len(spec.candidate_id) == len("cand-") + 12
    int(spec.candidate_id.removeprefix("cand-"), 16)
    assert len(spec.dataset.dataset_id) == 64


@pytest.mark.parametrize(
    ("strategy_id", "name"),
    [
        ("legacy_macd_rsi@v3", "legacy-macd-rsi-v3"),
        ("Daily Momentum", "daily-momentum"),
        ("__a..b__", "a-b"),
        ("x" * 62 + "-y", "x" * 62),
        ("y" * 80, "y" * 63),
    ],
)
def test_a_name_is_made_of_the_first_strategy(strategy_id: str, name: str) -> None:
    assert slug(strategy_id) == name


@pytest.mark.parametrize("strategy_id", ["a", "äöü", "cand-1234", "--", ""])
def test_where_no_name_can_be_made_one_is_asked_for(strategy_id: str) -> None:
    with pytest.raises(InputError, match="give --name"):
        slug(strategy_id)
