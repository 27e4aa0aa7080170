"""Alert rules: every one has its runbook page; Prometheus itself accepts and runs them."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "order-feed.rules.yaml"


def test_every_alert_names_an_existing_runbook_page_about_it() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} == {
        "TorghutOrderFeedStalled",
        "TorghutOrderFeedDeadLetters",
        "TorghutOrderFeedAccountingBroken",
        "TorghutOrderFeedGap",
        "TorghutForwarderDisconnected",
    }
    for rule in rules:
        assert f"`{rule['alert']}`" in (ROOT / rule["annotations"]["runbook"]).read_text()


def test_rules_read_only_families_that_are_exported() -> None:
    from torghut_runtime.order_feed.ingest import COUNTERS, PREFIX

    exported = {f"{PREFIX}_{name}_total" for name in COUNTERS} | {
        f"{PREFIX}_{name}" for name in ("lag", "last_poll_age_seconds", "dead_letters_open", "gap_offsets_open")
    }
    assert set(re.findall(rf"{PREFIX}_\w+", RULES.read_text())) <= exported


@pytest.mark.full
@pytest.mark.parametrize("command", [["check", "rules", RULES.name], ["test", "rules", "order-feed.tests.yaml"]])
def test_prometheus_accepts_the_rules_and_fires_them_when_it_should(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=RULES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
