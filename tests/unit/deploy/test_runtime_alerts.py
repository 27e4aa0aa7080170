"""Alerts of the runtime: each has a page that names it, reads families that exist, and is tried on both sides."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.registry import Collector

from torghut_runtime.api.trading_rows import TradingRows
from torghut_runtime.engine import metric_labels
from torghut_runtime.engine.metrics import TradingMetrics

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "runtime.rules.yaml"
TESTS = ROOT / "deploy" / "prometheus" / "tests" / "runtime.test.yaml"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_a_page_that_names_it_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    page = (ROOT / rule["annotations"]["runbook"]).read_text()
    assert f"`{rule['alert']}`" in page.splitlines()[0]
    for part in ("**What it means.**", "**Look.**", "**Then.**", "**Done when**"):
        assert part in page
    index = (ROOT / "docs/runbooks/README.md").read_text()
    assert f"`{rule['alert']}`" in index
    assert Path(rule["annotations"]["runbook"]).name in index


def test_rules_read_only_families_that_are_exported() -> None:
    sources: list[Collector | TradingRows] = [TradingMetrics().registry, TradingRows("paper")]  # type: ignore[list-item]
    exported = {"torghut_db_up"}
    for source in sources:
        for family in source.families() if isinstance(source, TradingRows) else source.collect():
            suffixes = {"counter": ("_total",), "histogram": ("_bucket",)}.get(family.type, ("",))
            exported |= {family.name + suffix for suffix in suffixes}
    read = set(re.findall(r"torghut_\w+", " ".join(rule["expr"] for rule in rules())))
    assert len(read) >= 19
    assert read <= exported


def test_label_values_in_rules_are_of_the_closed_sets() -> None:
    known = {
        *metric_labels.STATES,
        *metric_labels.SILENCES,
        *metric_labels.WEBHOOK_OUTCOMES,
        metric_labels.OTHER,
        "adviser",
    }
    matched = re.findall(r'\{\w+!?=~?"([^"]+)"', " ".join(rule["expr"] for rule in rules()))
    assert {value for text in matched for value in text.split("|")} <= known


def test_the_warnings_before_a_limit_read_it_from_the_runtime() -> None:
    expressions = {rule["alert"]: rule["expr"] for rule in rules()}
    assert "/ torghut_trading_daily_loss_limit) >= 0.8" in expressions["TorghutDailyLossNearLimit"]
    assert "/ torghut_trading_drawdown_limit) >= 0.8" in expressions["TorghutDrawdownNearLimit"]


def test_every_alert_is_tried_silent_and_firing() -> None:
    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


def test_counters_that_alerts_watch_begin_at_zero() -> None:
    metrics = TradingMetrics()
    metrics.process.parts_are(["market_data"], ["bars"])
    metrics.strategies.are(["momentum"])
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    for sample in (
        ("torghut_webhook_total", "trading_halted", "failed"),
        ("torghut_trading_component_restarts_total", "market_data"),
        ("torghut_trading_queue_dropped_total", "bars"),
        ("torghut_trading_strategy_errors_total", "momentum"),
        ("torghut_trading_broker_errors_total", "uncertain"),
        ("torghut_trading_catalog_errors_total",),
        ("torghut_operator_auth_failures_total",),
    ):
        assert shown[sample] == 0
