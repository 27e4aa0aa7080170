"""The alerts of the guard are the contract's, name metrics that exist, and have a runbook page each."""

from pathlib import Path
from typing import Any

import yaml

from torghut_runtime.api.orchestration_metrics import OrchestrationTally

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "orchestration.rules.yaml"


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    assert group["name"] == "torghut-orchestration"
    return group["rules"]


def test_the_three_alerts_are_the_contracts() -> None:
    assert [(rule["alert"], rule["expr"], rule["for"], rule["labels"]["severity"]) for rule in rules()] == [
        (
            "TorghutOrchestrationRetryStorm",
            "sum by (stage) (rate(torghut_orchestration_retry_total[15m])) > 0.5",
            "20m",
            "warning",
        ),
        (
            "TorghutOrchestrationFailureSpike",
            "sum by (failure_class) (rate(torghut_orchestration_failure_total[10m])) > 0.2",
            "10m",
            "critical",
        ),
        (
            "TorghutOrchestrationQueueBacklog",
            "max by (stage) (torghut_orchestration_queue_depth) > 10",
            "15m",
            "warning",
        ),
    ]


def test_every_alert_reads_a_metric_that_is_served_and_has_a_runbook() -> None:
    served = {
        f"{family.name}{'_total' if family.type == 'counter' else ''}" for family in OrchestrationTally().families()
    }
    for rule in rules():
        assert any(name in rule["expr"] for name in served)
        page = (ROOT / rule["annotations"]["runbook"]).read_text(encoding="utf-8")
        assert rule["alert"] in page
