"""What a user sees in the browser. Each test keeps a picture in ``test-artifacts``."""

from pathlib import Path

import pytest
from dagster_dev import DENIED, PROMOTED, SHIPPED, DevServer
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.full, pytest.mark.e2e]

GROUPS = ("market", "research", "gates", "promotion")
_LOADED = "picture => picture.complete && picture.naturalWidth"


def test_the_asset_graph_shows_the_groups_and_their_assets(dev: DevServer, page: Page, screenshots: Path) -> None:
    page.goto(f"{dev.url}/asset-groups")
    for group in GROUPS:
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    page.screenshot(path=screenshots / "asset-groups.png", animations="disabled")


def test_the_graph_of_the_lane_shows_every_asset(dev: DevServer, page: Page, screenshots: Path) -> None:
    page.set_viewport_size({"width": 2000, "height": 1120})
    page.goto(f"{dev.url}/locations/torghut/jobs/lane")
    # the first group: what lies outside the picture is not drawn at all
    expect(page.get_by_text("market", exact=True).first).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.keyboard.press("Alt+KeyE")  # expands all groups and shows the whole graph
    for name in ("bars", "signals", "candidate_spec", "evaluation_report", "gate_evaluation", "promotion_decision"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    page.screenshot(path=screenshots / "asset-graph.png", animations="disabled")


def test_a_failed_check_shows_observed_value_limit_and_the_whole_rule_table(
    dev: DevServer, page: Page, screenshots: Path
) -> None:
    page.goto(f"{dev.url}/assets/gates/gate_evaluation?view=checks&checkDetail=gate6_profitability_evidence")
    denied = page.locator("tr", has_text="denied_by").last
    expect(denied).to_contain_text("6.net_pnl_delta")
    expect(denied).to_contain_text("> 0")
    page.screenshot(path=screenshots / "failed-check.png", animations="disabled")
    page.locator("tr", has_text="rules").get_by_text("[Show Markdown]").first.click()
    table = page.get_by_role("dialog").locator("table")
    expect(table.locator("tr", has_text="6.net_pnl_delta")).to_contain_text("fail")
    expect(table.locator("tr", has_text="6.regime_slice_pass_ratio")).to_contain_text("waived")
    page.screenshot(path=screenshots / "failed-check-rules.png", animations="disabled")


def test_the_equity_curve_is_drawn_on_the_report_of_a_candidate(dev: DevServer, page: Page, screenshots: Path) -> None:
    page.goto(f"{dev.url}/assets/backtest/evaluation_report?view=events&partition={SHIPPED}")
    row = page.locator("tr", has_text="equity").filter(has=page.get_by_text("[Show Markdown]")).first
    page.screenshot(path=screenshots / "evaluation-report.png", animations="disabled")
    row.get_by_text("[Show Markdown]").click()
    picture = page.get_by_role("dialog").locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate(_LOADED) > 600
    page.screenshot(path=screenshots / "equity.png", animations="disabled")


def test_the_lane_asks_for_a_candidate(dev: DevServer, page: Page, screenshots: Path) -> None:
    page.goto(f"{dev.url}/locations/torghut/jobs/lane")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("Select a partition").click()
    for candidate in (PROMOTED, DENIED, SHIPPED):
        expect(page.get_by_text(candidate, exact=True).first).to_be_visible()
    page.screenshot(path=screenshots / "pick-a-candidate.png", animations="disabled")
