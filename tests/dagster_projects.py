"""Dagster projects for tests: what a shared one with three candidates holds, and how one of a test's own is opened."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from lane_project import LENIENT, NOW, DagsterProject, write_policy
from lane_signals import daily_rows, legacy_entry, write_entries, write_rows

from torghut_assets.research import tearsheet
from torghut_assets.resources import ClockResource, DatabaseResource

ALLOWED, DENIED, SIGNALLED = "allowed", "denied", "signalled"
IMPOSSIBLE = {**LENIENT, "gate1_min_trade_count": 10_000}


@dataclass(frozen=True)
class JudgedProject:
    """The shared project and the lane's run of each candidate. Tests only look at it."""

    project: DagsterProject
    runs: dict[str, dg.ExecuteInProcessResult]


@contextmanager
def no_tear_sheet_pictures() -> Iterator[None]:
    """Pictures are most of a run's time; those in metadata stay."""
    blank = dict.fromkeys(("equity", "folds", "months", "sharpe", "costs"), "data:,")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tearsheet, "_pictures", lambda report, walkforward: blank)
        yield


def write_signals_candidate(folder: Path, name: str) -> None:
    """A candidate that is registered with signals."""
    write_rows(folder / "signals.json", daily_rows(120))
    write_entries(folder / "config" / f"{name}-strategies.yaml", legacy_entry())
    write_policy(folder / "config" / f"{name}-policy.json")
    registration = {
        "name": name,
        "signals": "signals.json",
        "strategy_config": f"config/{name}-strategies.yaml",
        "gate_policy": f"config/{name}-policy.json",
    }
    (folder / "config" / "candidates" / f"{name}.yaml").write_text(yaml.safe_dump(registration))


def opened(stack: ExitStack, folder: Path, **resources: Any) -> DagsterProject:
    """A project with an instance of its own, a stopped clock and no database."""
    instance = stack.enter_context(dg.DagsterInstance.ephemeral())
    given = {"clock": ClockResource(fixed=NOW.isoformat()), "database": DatabaseResource(), **resources}
    return DagsterProject(folder, instance, **given)
