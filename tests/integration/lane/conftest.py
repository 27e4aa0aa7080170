"""The lane in process: small signals, pictures left out (they are most of its time, and tested on their own)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from lane_project import LENIENT, NOW, ROOT, write_policy
from lane_signals import Judge, Row, legacy_entry, write_entries, write_rows

from torghut_assets.lane import LaneRequest, LaneResult, run_lane
from torghut_assets.research import tearsheet


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tear sheets without their pictures."""
    blank = dict.fromkeys(("equity", "folds", "months", "sharpe", "costs"), "data:,")
    monkeypatch.setattr(tearsheet, "_pictures", lambda report, walkforward: blank)


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Run the lane on rows of signals; what is not given is lenient, free of charge or the legacy rule."""

    def call(
        rows: Sequence[Row],
        *,
        entry: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        research: dict[str, Any] | None = None,
        **changes: Any,
    ) -> LaneResult:
        settings = {"lookahead_points": 2, **(research or {})}
        (tmp_path / "research.yaml").write_text(yaml.safe_dump(settings))
        request: dict[str, Any] = {
            "signals": write_rows(tmp_path / "signals.json", rows),
            "strategy_config": write_entries(tmp_path / "strategies.yaml", entry or legacy_entry()),
            "gate_policy": write_policy(tmp_path / "policy.json", **{**LENIENT, **(policy or {})}),
            "research": tmp_path / "research.yaml",
            "strategy_configmap": ROOT / "deploy/k8s/base/strategy-configmap.yaml",
            "output_dir": tmp_path / "bundle",
            "name": "signals-candidate",
            "ledger": "none",
            **changes,
        }
        return run_lane(LaneRequest(**request), clock=lambda: NOW)

    return call
