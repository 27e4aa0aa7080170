"""The patch of a promoted candidate, and its absence: never there where the last verdict is not to promote."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from lane_project import LENIENT, NOW, files, momentum_entry, request_of, write_policy, write_project

from torghut_assets import lane
from torghut_assets.bundle import PATCH
from torghut_assets.cli import cli
from torghut_assets.lane import LaneResult, run_lane
from torghut_runtime.command_line import run
from torghut_runtime.market.features import compute_features
from torghut_runtime.strategies.catalog import load_catalog

SEARCH = {"search": {"lookback_bars": [20, 40]}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", {"test-candidate": {"policy": LENIENT, "entry": SEARCH}})


def judged(project: Path, output: Path, **changes: Any) -> LaneResult:
    return run_lane(request_of(project, output, **changes), clock=lambda: NOW)


def other_policy(project: Path, **changes: Any) -> None:
    write_policy(project / "config" / "test-candidate-policy.json", **{**LENIENT, **changes})


def test_the_patch_of_a_promoted_candidate_carries_what_was_evaluated_and_can_be_applied(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = judged(project, tmp_path / "out")
    assert (result.decision.action, result.decision.reasons) == ("promote", ())
    configmap = project / "deploy/k8s/base/strategy-configmap.yaml"
    before = configmap.read_bytes()
    command = ["promotion", "apply", str(tmp_path / "out" / PATCH), "--configmap", str(configmap), "--in-place"]
    assert run(cli, "torghut", command) == 0
    applied = yaml.safe_load(configmap.read_text())
    entries = {entry.strategy_id: entry for entry in load_catalog(applied["data"]["strategies.yaml"])}
    chosen = result.research.results.report.folds[-1].parameters["lookback_bars"]
    assert entries["test-momentum"].params["lookback_bars"] == chosen
    assert entries["test-momentum"].max_position_pct_equity == 0.5
    assert applied["metadata"]["annotations"]["torghut.proompteng.ai/run-id"] == result.decision.run_id
    assert run(cli, "torghut", ["promotion", "revert", "--configmap", str(configmap)]) == 0
    assert configmap.read_bytes() == before
    capsys.readouterr()


def test_a_patch_of_an_earlier_run_is_gone_after_a_denial(project: Path, tmp_path: Path) -> None:
    assert judged(project, tmp_path / "out").decision.promotion_allowed
    assert (tmp_path / "out" / PATCH).is_file()
    other_policy(project, gate1_min_trade_count=10_000)
    denied = judged(project, tmp_path / "out")
    assert denied.decision.reasons == ("trade_count_below_minimum",)
    assert not (tmp_path / "out" / "paper-candidate").exists()
    assert "strategy-configmap-patch" not in (tmp_path / "out" / "MANIFEST.json").read_text()


def test_an_error_leaves_the_earlier_bundle_with_its_patch(project: Path, tmp_path: Path) -> None:
    judged(project, tmp_path / "out")
    before = files(tmp_path / "out")

    def broken(bars: pl.DataFrame) -> pl.DataFrame:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run_lane(request_of(project, tmp_path / "out"), pipeline=broken)
    assert files(tmp_path / "out") == before


def test_gates_that_pass_make_no_patch_where_a_prerequisite_fails(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def recording(content: dict[str, bytes], *given: Any, **named: Any) -> Any:
        written.extend(content)
        return lane_export(content, *given, **named)

    lane_export = lane.export_bundle
    monkeypatch.setattr(lane, "export_bundle", recording)
    other_policy(project, promotion_required_artifacts=["backtest/never-written.json"])
    result = judged(project, tmp_path / "out")
    assert result.evaluation.targets["paper"].passes
    assert (result.decision.action, result.decision.reasons) == ("deny", ("required_artifacts_missing",))
    assert PATCH not in written
    assert "gates/promotion-decision.json" in written
    assert not list(tmp_path.rglob("strategy-configmap-patch.yaml"))


def test_a_pipeline_that_reads_the_future_is_denied_and_named(project: Path, tmp_path: Path) -> None:
    def leaky(bars: pl.DataFrame) -> pl.DataFrame:
        following = pl.col("close").shift(-1).over("symbol").fill_null(pl.col("close"))
        return compute_features(bars).with_columns(price=following)

    result = run_lane(request_of(project, tmp_path / "out"), pipeline=leaky, clock=lambda: NOW)
    assert "lookahead_detected" in result.decision.reasons
    leak = result.research.report.lookahead.first_leak
    assert leak is not None
    assert leak.feature == "price"
    assert not (tmp_path / "out" / PATCH).exists()


def test_shadow_is_held_and_gets_no_patch(project: Path, tmp_path: Path) -> None:
    result = judged(project, tmp_path / "out", promotion_target="shadow")
    assert (result.decision.action, result.decision.recommended_mode) == ("hold", "paper")
    assert not (tmp_path / "out" / PATCH).exists()


def test_live_is_denied_by_everything_that_is_shipped(project: Path, tmp_path: Path) -> None:
    result = judged(project, tmp_path / "out", promotion_target="live", approval_token="guessed")
    assert result.decision.action == "deny"
    assert {"live_rollout_disabled_by_policy", "kill_switch_drill_missing", "approval_token_mismatch"} <= set(
        result.decision.reasons
    )
    assert not (tmp_path / "out" / PATCH).exists()
    assert "guessed" not in "".join(data.decode(errors="replace") for data in files(tmp_path / "out").values())


def test_without_a_ledger_the_evidence_says_so(project: Path, tmp_path: Path) -> None:
    judged(project, tmp_path / "out")
    evidence = json.loads((tmp_path / "out" / "gates" / "evidence.json").read_text())
    assert (evidence["ledger"], evidence["name"], evidence["trials"]["count"]) == ("none", "test-candidate", 2)
    assert json.loads((tmp_path / "out" / "gates" / "promotion-decision.json").read_text())["ledger"] is None


def test_a_strategy_that_is_there_already_is_replaced_by_the_patch(project: Path, tmp_path: Path) -> None:
    config = project / "config" / "test-candidate-strategies.yaml"
    configmap = project / "deploy/k8s/base/strategy-configmap.yaml"
    known = load_catalog(yaml.safe_load(configmap.read_text())["data"]["strategies.yaml"])[0].strategy_id
    config.write_text(yaml.safe_dump({"strategies": [momentum_entry(known)]}))
    judged(project, tmp_path / "out")
    patch = yaml.safe_load((tmp_path / "out" / PATCH).read_text())
    ids = [entry.strategy_id for entry in load_catalog(patch["data"]["strategies.yaml"])]
    assert ids.count(known) == 1
    assert ids[0] == known
