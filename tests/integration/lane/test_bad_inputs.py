"""Bad input ends with 2, names file, row and field, and leaves the output folder as it was (trap 7)."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lane_project import ROOT, files, momentum_entry, trending_bars, write_policy
from lane_signals import daily_rows, legacy_entry, write_entries, write_rows

from torghut_assets.cli import cli
from torghut_runtime.command_line import run

Folder = Path
Spoil = Callable[[Folder], None]


def signal(field: str, value: object) -> Spoil:
    def spoil(folder: Folder) -> None:
        rows = json.loads((folder / "signals.json").read_text())
        if field in rows[4]:
            rows[4][field] = value
        else:
            rows[4]["payload"][field] = value
        (folder / "signals.json").write_text(json.dumps(rows))

    return spoil


def entry(**changes: Any) -> Spoil:
    return lambda folder: write_entries(folder / "strategies.yaml", legacy_entry(), legacy_entry(**changes)) and None


def policy(**changes: Any) -> Spoil:
    def spoil(folder: Folder) -> None:
        content = json.loads((folder / "policy.json").read_text())
        (folder / "policy.json").write_text(json.dumps({**content, **changes}))

    return spoil


def research(**changes: Any) -> Spoil:
    return lambda folder: (folder / "research.yaml").write_text(yaml.safe_dump(changes)) and None


def configmap(folder: Folder) -> None:
    (folder / "configmap.yaml").write_text("kind: ConfigMap\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (signal("event_ts", "2020-01-08T21:00:00"), ("signals.json", "row 5", "event_ts")),
        (signal("price", float("nan")), ("signals.json", "row 5")),
        (signal("price", "NaN"), ("signals.json", "row 5", "price")),
        (signal("timeframe", "2Min"), ("signals.json", "row 5", "timeframe")),
        (entry(strategy_id="second", enabled="false"), ("strategies.yaml", "row 2", "enabled")),
        (entry(strategy_id="second", enable=True), ("strategies.yaml", "row 2", "enable")),
        (entry(strategy_id="second", params={"buy_rsi": 3}), ("strategies.yaml", "row 2", "params.buy_rsi")),
        (entry(strategy_id="second", strategy_type="nothing"), ("strategies.yaml", "row 2", "strategy_type")),
        (policy(gate5_live_enabled="false"), ("policy.json", "gate5_live_enabled")),
        (policy(gate1_min_fold=5), ("policy.json", "gate1_min_fold", "gate1_min_folds")),
        (research(capitol=5), ("research.yaml", "capitol")),
        (research(capital=0), ("research.yaml", "capital")),
        (research(folds={"min_folds": "5"}), ("research.yaml", "folds.min_folds")),
        (configmap, ("configmap.yaml",)),
    ],
    ids=[
        "naive time",
        "NaN in JSON",
        "NaN in quotes",
        "timeframe",
        "quoted false",
        "unknown key",
        "unknown parameter",
        "unknown strategy",
        "quoted boolean",
        "misspelt limit",
        "unknown setting",
        "no capital",
        "quoted number",
        "empty ConfigMap",
    ],
)
def test_bad_input_is_2_and_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Spoil, said: tuple[str, ...]
) -> None:
    write_rows(tmp_path / "signals.json", daily_rows(20))
    write_entries(tmp_path / "strategies.yaml", legacy_entry())
    write_policy(tmp_path / "policy.json")
    (tmp_path / "research.yaml").write_text("{}")
    (tmp_path / "configmap.yaml").write_bytes((ROOT / "deploy/k8s/base/strategy-configmap.yaml").read_bytes())
    (tmp_path / "out" / "gates").mkdir(parents=True)
    (tmp_path / "out" / "gates" / "evidence.json").write_text("old")
    spoil(tmp_path)
    before = files(tmp_path)
    code, out, err = lane(tmp_path, capsys, "--signals", "signals.json")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert [word for word in said if word not in err] == []
    assert files(tmp_path) == before


@pytest.mark.parametrize(("column", "value"), [("close", "nan"), ("close", ""), ("high", "1"), ("ts", "2020-01-09 9h")])
def test_bad_bars_are_2_and_name_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, value: str
) -> None:
    import polars as pl

    pl.read_parquet(trending_bars(tmp_path / "bars.parquet", sessions=20)).write_csv(tmp_path / "bars.csv")
    with (tmp_path / "bars.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    rows[9][column] = value
    with (tmp_path / "bars.csv").open("w") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_entries(tmp_path / "strategies.yaml", momentum_entry())
    write_policy(tmp_path / "policy.json")
    (tmp_path / "research.yaml").write_text("{}")
    (tmp_path / "configmap.yaml").write_bytes((ROOT / "deploy/k8s/base/strategy-configmap.yaml").read_bytes())
    code, out, err = lane(tmp_path, capsys, "--bars", "bars.csv", "--timeframe", "1Day")
    assert (code, out) == (2, "")
    assert "bars.csv: row 10: field " in err
    assert column in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--name", "cand-123", "field --name: 'cand-123' is no candidate name"),
        ("--name", "Momentum", "field --name: 'Momentum' is no candidate name"),
        ("--timeframe", "1Day", "field timeframe: is of bars; signals name their own timeframe"),
    ],
)
def test_options_that_do_not_fit_are_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    write_rows(tmp_path / "signals.json", daily_rows(20))
    write_entries(tmp_path / "strategies.yaml", legacy_entry())
    write_policy(tmp_path / "policy.json")
    (tmp_path / "research.yaml").write_text("{}")
    (tmp_path / "configmap.yaml").write_bytes((ROOT / "deploy/k8s/base/strategy-configmap.yaml").read_bytes())
    code, out, err = lane(tmp_path, capsys, "--signals", "signals.json", option, value)
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "out").exists()


def lane(folder: Path, capsys: pytest.CaptureFixture[str], *data: str) -> tuple[int, str, str]:
    words = [str(folder / word) if "." in word else word for word in data]
    options = {
        "--strategy-config": "strategies.yaml",
        "--gate-policy": "policy.json",
        "--research": "research.yaml",
        "--strategy-configmap": "configmap.yaml",
        "--output-dir": "out",
    }
    for option, file in options.items():
        words += [option, str(folder / file)]
    code = run(cli, "torghut", ["lane", "run", *words, "--ledger", "none"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err
