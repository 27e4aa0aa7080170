"""The lane in the real ``torghut dev``: launched over GraphQL, judged by what Dagster's pages are told."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from dagster_dev import DENIED, PROMOTED, SHIPPED, DevServer

pytestmark = [pytest.mark.full, pytest.mark.e2e]

GATE_EVALUATION, DECISION = ["gates", "gate_evaluation"], ["gates", "promotion_decision"]
PATCH = ["paper_candidate", "strategy_configmap_patch"]
_MATERIALIZED = """
query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { assetPartitionStatuses {
  ... on DefaultPartitionStatuses { materializedPartitions } } } } }
"""


def document(dev: DevServer, candidate: str, path: str) -> dict[str, Any]:
    return json.loads((dev.project / "artifacts" / "candidates" / candidate / path).read_text())


def materialized(dev: DevServer, key: list[str]) -> list[str]:
    node = dev.graphql(_MATERIALIZED, key={"path": key})["assetNodeOrError"]
    return node["assetPartitionStatuses"]["materializedPartitions"]


def rows(markdown: str) -> Iterator[list[str]]:
    """Cells of a Markdown table, without its head."""
    for line in markdown.splitlines()[2:]:
        yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_a_denied_candidate_has_a_red_check_with_observed_value_and_limit(dev: DevServer) -> None:
    check = dev.check(GATE_EVALUATION, "gate1_statistical_robustness", DENIED)
    trades = document(dev, DENIED, "backtest/evaluation-report.json")["counts"]["trade_count"]
    assert (check["success"], check["severity"], check["partition"]) == (False, "ERROR", DENIED)
    assert check["description"] == "1.trade_count: trade_count_below_minimum"
    assert check["metadata"]["denied_by"] == [
        {"rule": "1.trade_count", "observed": f"{trades} trades", "must be": ">= 100,000"}
    ]
    (row,) = [row for row in rows(check["metadata"]["rules"]) if row[0] == "1.trade_count"]
    assert row[1:4] == [f"{trades} trades", ">=", "100,000"]


def test_checks_are_kept_per_candidate(dev: DevServer) -> None:
    assert dev.check(GATE_EVALUATION, "gate1_statistical_robustness", PROMOTED)["success"]
    assert dev.check(DECISION, "promotion_decision", PROMOTED)["success"]
    assert not dev.check(DECISION, "promotion_decision", DENIED)["success"]


def test_only_the_promoted_candidate_has_a_patch(dev: DevServer) -> None:
    assert materialized(dev, PATCH) == [PROMOTED]
    assert set(materialized(dev, DECISION)) == {PROMOTED, DENIED, SHIPPED}
    patches = list((dev.project / "artifacts" / "candidates").rglob("strategy-configmap-patch.yaml"))
    assert [path.parts[-3] for path in patches] == [PROMOTED]


def test_the_patch_of_a_denied_candidate_alone_fails_with_the_reason(dev: DevServer) -> None:
    run_id, status = dev.run(DENIED, PATCH)
    assert status == "FAILURE"
    (failure,) = dev.failure(run_id)
    assert f"no patch for {DENIED}" in failure
    assert "trade_count_below_minimum" in failure


def test_the_shipped_candidate_is_judged_as_its_bundle_says(dev: DevServer) -> None:
    evaluation = document(dev, SHIPPED, "gates/gate-evaluation.json")
    for gate in evaluation["gates"]:
        check = dev.check(GATE_EVALUATION, gate["gate_id"], SHIPPED)
        expected = {
            record["rule_id"]: record["reason_code"] or ""
            for record in evaluation["records"]
            if record["gate_id"] == gate["gate_id"]
        }
        assert {row[0]: row[6].strip("`") for row in rows(check["metadata"]["rules"])} == expected
        if gate["required"]:
            assert check["success"] == gate["passes_for"][evaluation["promotion_target"]]


def test_every_decision_is_in_the_ledger(dev: DevServer) -> None:
    for name in (PROMOTED, DENIED, SHIPPED):
        decision = document(dev, name, "gates/promotion-decision.json")
        assert decision["ledger"]["seq"] > 0
