"""A small project folder for tests of the lane: its own configuration, bars quick to judge, a policy of choice."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import yaml

from torghut_assets.artifacts import ArtifactStore
from torghut_assets.definitions import build_definitions
from torghut_assets.gates.policy import load_policy
from torghut_assets.gates.rules import GATE_RULES
from torghut_assets.lane import LaneRequest
from torghut_runtime.market.calendar import TradingCalendar

ROOT = Path(__file__).parents[1]
SHIPPED_POLICY = ROOT / "config" / "autonomous-gate-policy.json"
NOW = datetime(2026, 11, 25, 18, tzinfo=UTC)
LENIENT: Mapping[str, Any] = {
    "gate6_require_profitability_evidence": False,
    "gate2_max_drawdown_fraction": 1,
    "gate2_max_turnover_ratio": None,
    "gate1_max_net_pnl_cv": None,
    "gate1_min_net_pnl": None,
    "gate1_max_negative_fold_ratio": None,
    "gate2_max_tca_slippage_bps": None,
    "gate2_max_tca_shortfall_notional": None,
    "gate2_max_tca_churn_ratio": None,
}
"""Limits with which the test's candidate passes: what a test of the way to a patch needs, and no user gets."""


def trending_bars(path: Path, *, sessions: int = 420, symbols: tuple[str, ...] = ("AAA", "BBB"), seed: int = 7) -> Path:
    """Daily bars of a seeded random walk with a drift, on sessions of the exchange."""
    days = TradingCalendar().sessions(date(2020, 1, 2), date(2030, 1, 1))[:sessions]
    rng = np.random.default_rng(seed)
    frames: list[pl.DataFrame] = []
    for symbol in symbols:
        close = 100 * np.exp(np.cumsum(rng.normal(0.001, 0.015, sessions)))
        opened = np.concatenate(([100.0], close[:-1]))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "ts": days,
                    "open": opened,
                    "high": np.maximum(opened, close) * 1.001,
                    "low": np.minimum(opened, close) * 0.999,
                    "close": close,
                    "volume": 1e6,
                }
            )
        )
    pl.concat(frames).sort("ts", "symbol").write_parquet(path)
    return path


def write_policy(path: Path, **changes: Any) -> Path:
    """The shipped policy with changes."""
    content = json.loads(SHIPPED_POLICY.read_text())
    path.write_text(json.dumps({**content, **changes}))
    load_policy(path)
    return path


def momentum_entry(strategy_id: str = "test-momentum", **changes: Any) -> dict[str, Any]:
    """A strategy that trades the test's bars."""
    return {
        "strategy_id": strategy_id,
        "strategy_type": "daily_momentum",
        "version": "1.0.0",
        "base_timeframe": "1Day",
        "max_position_pct_equity": 0.5,
        "params": {"lookback_bars": 20, "skip_bars": 2, "vol_halflife": 5.0},
        **changes,
    }


def write_project(folder: Path, candidates: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """A project with one registration per candidate; ``policy`` and ``entry`` of a candidate change its files."""
    (folder / "config" / "candidates").mkdir(parents=True)
    (folder / "deploy" / "k8s" / "base").mkdir(parents=True)
    shutil.copy(ROOT / "deploy/k8s/base/strategy-configmap.yaml", folder / "deploy/k8s/base/strategy-configmap.yaml")
    (folder / "config" / "research.yaml").write_text("folds: {min_folds: 5}\nlookahead_points: 2\n")
    trending_bars(folder / "bars.parquet")
    for name, given in (candidates or {"test-candidate": {}}).items():
        write_policy(folder / "config" / f"{name}-policy.json", **given.get("policy", {}))
        entry = momentum_entry(**given.get("entry", {}))
        (folder / "config" / f"{name}-strategies.yaml").write_text(yaml.safe_dump({"strategies": [entry]}))
        registration = {
            "name": name,
            "bars": "bars.parquet",
            "timeframe": "1Day",
            "strategy_config": f"config/{name}-strategies.yaml",
            "gate_policy": f"config/{name}-policy.json",
            "promotion_target": given.get("target", "paper"),
        }
        (folder / "config" / "candidates" / f"{name}.yaml").write_text(yaml.safe_dump(registration))
    return folder


def request_of(folder: Path, output_dir: Path, name: str = "test-candidate", **changes: Any) -> LaneRequest:
    """The command line's request for a registered candidate."""
    given: dict[str, Any] = {
        "bars": folder / "bars.parquet",
        "timeframe": "1Day",
        "strategy_config": folder / "config" / f"{name}-strategies.yaml",
        "gate_policy": folder / "config" / f"{name}-policy.json",
        "research": folder / "config" / "research.yaml",
        "strategy_configmap": folder / "deploy/k8s/base/strategy-configmap.yaml",
        "output_dir": output_dir,
        "name": name,
        "ledger": "none",
        **changes,
    }
    return LaneRequest(**given)


class DagsterProject:
    """A project folder with a Dagster instance of its own."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **resources: Any) -> None:
        self.folder = folder
        self.instance = instance
        self.definitions = build_definitions(project=folder, resources=resources)
        self.store = ArtifactStore(folder / "artifacts" / "store")
        names = [path.stem for path in sorted((folder / "config" / "candidates").glob("*.yaml"))]
        instance.add_dynamic_partitions("candidate", names)

    def run(self, name: str, *assets: dg.AssetKey, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        """The lane of one candidate, or some of its assets."""
        job = self.definitions.resolve_job_def("lane")
        return job.execute_in_process(
            partition_key=name,
            instance=self.instance,
            asset_selection=list(assets) or None,
            raise_on_error=raise_on_error,
        )

    def bundle(self, name: str) -> dict[str, bytes]:
        """Files of the exported bundle, by path."""
        return files(self.folder / "artifacts" / "candidates" / name)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


RULE_IDS = {rule.rule_id for rule in GATE_RULES}
