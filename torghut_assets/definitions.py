"""The one code location: assets, checks, jobs, sensor, schedules and resources (``torghut_assets.definitions``).

:func:`build_definitions` makes it from parts, so that tests and commands build a fresh one with other resources.
Nothing connects, reads a file or starts anything when this module is imported.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from torghut_assets.automation import CHECKS, LANE, candidate_registrations, daily_reevaluation
from torghut_assets.execution.assets import EXECUTION_ASSETS, execution_automation
from torghut_assets.execution.checks import EXECUTION_CHECKS
from torghut_assets.execution.resource import OrderFeedResource
from torghut_assets.execution.sensor import order_feed_sensor
from torghut_assets.gates.assets import GATE_ASSETS
from torghut_assets.gates.checks import gate_checks
from torghut_assets.guard.checks import GUARD_CHECKS
from torghut_assets.guard.resource import GuardResource
from torghut_assets.guard.sensors import guard_run_failure_sensor
from torghut_assets.io_manager import ArtifactIOManager
from torghut_assets.market.assets import MARKET_ASSETS
from torghut_assets.market.checks import signals_check
from torghut_assets.promotion.assets import PROMOTION_ASSETS
from torghut_assets.promotion.checks import decision_check, prerequisites_check, readiness_check
from torghut_assets.research.assets import RESEARCH_ASSETS
from torghut_assets.resources import ArtifactStoreResource, ClockResource, DatabaseResource, ProjectResource
from torghut_assets.retention import event_log_retention, weekly_retention

PROJECT_VARIABLE = "TORGHUT_PROJECT"

ASSETS = [*MARKET_ASSETS, *RESEARCH_ASSETS, *GATE_ASSETS, *PROMOTION_ASSETS, *EXECUTION_ASSETS]
ASSET_CHECKS = [
    signals_check,
    gate_checks,
    prerequisites_check,
    readiness_check,
    decision_check,
    *GUARD_CHECKS,
    *EXECUTION_CHECKS,
]


def default_resources(project: Path) -> dict[str, Any]:
    """Resources of a project folder; the database is the one of ``DB_DSN``, none where that is not set."""
    store = str(project / "artifacts" / "store")
    return {
        "project": ProjectResource(root=str(project)),
        "artifacts": ArtifactStoreResource(root=store),
        "io_manager": ArtifactIOManager(root=store),
        "database": DatabaseResource(dsn=dg.EnvVar("DB_DSN")) if os.environ.get("DB_DSN") else DatabaseResource(),
        "clock": ClockResource(),
        "order_feed": OrderFeedResource(),
    }


def build_definitions(*, project: Path | None = None, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The code location of a project.

    Args:
        project: folder with ``config/``; that of ``TORGHUT_PROJECT``, or the current one, when left out.
        resources: put in the place of the default ones.
    """
    folder = (project or Path(os.environ.get(PROJECT_VARIABLE) or ".")).resolve()
    merged = {**default_resources(folder), **(resources or {})}
    own_guard = GuardResource(root=str(folder), dsn=merged["database"].dsn, artifacts_root=merged["artifacts"].root)
    return dg.Definitions(
        assets=ASSETS,
        asset_checks=ASSET_CHECKS,
        jobs=[LANE, CHECKS, event_log_retention],
        sensors=[candidate_registrations, guard_run_failure_sensor, order_feed_sensor, execution_automation],
        schedules=[daily_reevaluation, weekly_retention],
        resources={"guard": own_guard, **merged},
        executor=dg.in_process_executor,
    )


defs = build_definitions()
