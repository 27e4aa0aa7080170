"""`torghut lane run`, as the predecessor was called: exit codes, what is printed and written, what is left alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from torghut_assets.cli import cli
from torghut_runtime.command_line import run

ROOT = Path(__file__).parents[2]
SIGNALS = ROOT / "tests" / "fixtures" / "walkforward_signals.json"
ALWAYS = {
    "research/candidate-spec.json",
    "backtest/walkforward-results.json",
    "backtest/decisions.parquet",
    "backtest/fills.parquet",
    "backtest/equity.parquet",
    "backtest/evaluation-report.json",
    "backtest/tearsheet.html",
    "gates/evidence.json",
    "gates/gate-evaluation.json",
    "gates/promotion-prerequisites.json",
    "gates/rollback-readiness.json",
    "gates/promotion-decision.json",
    "MANIFEST.json",
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lane_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the predecessor's command from the project's root, with changes; without a database."""
    monkeypatch.chdir(ROOT)

    def call(*extra: str, **changes: Path | None) -> tuple[int, str, str]:
        paths: dict[str, Path | None] = {
            "signals": SIGNALS,
            "strategy_config": Path("config/autonomous-strategy-sample.yaml"),
            "gate_policy": Path("config/autonomous-gate-policy.json"),
            "output_dir": tmp_path / "bundle",
            **changes,
        }
        options = [
            word
            for name, path in paths.items()
            if path is not None
            for word in (f"--{name.replace('_', '-')}", str(path))
        ]
        code = run(cli, "torghut", ["lane", "run", *options, "--ledger", "none", *extra])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_predecessors_command_ends_with_a_clear_denial_and_all_artifacts(lane_run: Run, tmp_path: Path) -> None:
    code, out, err = lane_run("--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert files(tmp_path / "bundle") == ALWAYS
    assert (result["name"], result["promotion_allowed"], result["recommended_mode"]) == (
        "legacy-macd-rsi-v3",
        False,
        None,
    )
    assert {"fold_count_below_minimum", "outside_session_bars_exceed_threshold"} <= set(result["reasons"])
    assert result["paper_patch_path"] is None
    for key in ("output_dir", "gate_report_path", "promotion_decision_path", "manifest_path"):
        assert Path(result[key]).exists()
    decision = json.loads(Path(result["promotion_decision_path"]).read_text())
    assert (decision["run_id"], decision["candidate_id"], decision["reasons"]) == (
        result["run_id"],
        result["candidate_id"],
        result["reasons"],
    )


def test_json_has_the_fields_of_the_contract(lane_run: Run) -> None:
    assert list(json.loads(lane_run("--json")[1])) == [
        "name",
        "run_id",
        "candidate_id",
        "output_dir",
        "gate_report_path",
        "promotion_decision_path",
        "paper_patch_path",
        "manifest_path",
        "promotion_allowed",
        "recommended_mode",
        "reasons",
    ]


def test_people_get_rules_with_observed_value_and_threshold_and_the_reasons(lane_run: Run) -> None:
    code, out, _ = lane_run()
    (row,) = [line.split() for line in out.splitlines() if line.startswith("1.fold_count ")]
    assert code == 0
    assert row == ["1.fold_count", "0", "≥", "5", "fail", "fold_count_below_minimum"]
    assert "legacy-macd-rsi-v3: deny for paper" in out
    assert "    fold_count_below_minimum\n" in out


def test_a_denial_is_3_where_promotion_is_required_and_the_bundle_is_written(lane_run: Run, tmp_path: Path) -> None:
    assert lane_run("--require-promotion")[0] == 3
    assert files(tmp_path / "bundle") == ALWAYS


def _signals(folder: Path, **change: object) -> Path:
    rows = json.loads(SIGNALS.read_text())
    rows[1].update(change)
    path = folder / "signals.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize(
    ("change", "field"),
    [({"event_ts": "2026-01-01T00:02:00"}, "event_ts"), ({"symbol": "no symbol"}, "symbol")],
)
def test_bad_input_is_2_names_the_place_and_leaves_the_folder_alone(
    lane_run: Run, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "old").write_text("old")
    code, out, err = lane_run(signals=_signals(tmp_path, **change))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "signals.json: row 2: field" in err
    assert field in err
    assert {path.name for path in (tmp_path / "bundle").iterdir()} == {"old"}
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "signals.json"}


def test_a_quoted_flag_is_bad_input(lane_run: Run, tmp_path: Path) -> None:
    text = (ROOT / "config/autonomous-strategy-sample.yaml").read_text().replace("enabled: true", 'enabled: "false"')
    (tmp_path / "strategies.yaml").write_text(text)
    code, _, err = lane_run(strategy_config=tmp_path / "strategies.yaml")
    assert code == 2
    assert "strategies.yaml: row 1: field enabled" in err


@pytest.mark.parametrize("changes", [{"bars": Path("bars.parquet")}, {"signals": None}])
def test_signals_and_bars_exclude_each_other(lane_run: Run, changes: dict[str, Path | None]) -> None:
    code, _, err = lane_run(**changes)
    assert (code, err) == (2, "torghut lane run: give either --signals or --bars (see torghut lane run --help)\n")


def test_a_file_that_is_not_there_is_bad_input(lane_run: Run, tmp_path: Path) -> None:
    code, _, err = lane_run(gate_policy=tmp_path / "nowhere.json")
    assert code == 2
    assert "nowhere.json: cannot be read" in err
    assert not (tmp_path / "bundle").exists()
