"""What ``torghut gates explain`` and the page about gates say is what the rules say."""

import pytest
from promotion_world import policy, waiver

from torghut_assets.gates.policy import GatePolicy
from torghut_assets.gates.reference import PAGE, explain, rule_table, with_rule_table
from torghut_assets.gates.rules import ALL_RULES, RULES_BY_ID
from torghut_runtime.errors import InputError


def row_of(rule_id: str) -> str:
    (line,) = [line for line in rule_table().splitlines() if line.startswith(f"| `{rule_id}`<br>")]
    return line


def test_the_page_is_what_make_docs_writes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_rule_table(page) == page


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(InputError, match="needs the markers"):
        with_rule_table("# Gates\n")


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.rule_id)
def test_every_rule_has_a_row_with_all_that_it_reads_needs_and_says(rule) -> None:
    row = row_of(rule.rule_id)
    keys = [level.policy_key for level in rule.levels if level.policy_key] + ([rule.switch] if rule.switch else [])
    targets = [target for target in ("shadow", "paper", "live") if target in rule.required_for]
    for text in (rule.artifact, rule.pointer, rule.meaning, *rule.reason_codes, *keys, ", ".join(targets)):
        assert text in row
    assert row.count(" | ") == 4
    explained = explain(rule.rule_id)
    for text in (rule.artifact, rule.meaning, *rule.reason_codes, *keys):
        assert text in explained


@pytest.mark.parametrize(
    ("rule_id", "text"),
    [
        ("2.cost_bps", "≤ 35 bps (gate2_max_cost_bps)"),
        ("6.net_pnl_delta", "> 0 currency (gate6_min_market_net_pnl_delta)"),
        ("2.max_drawdown", "no limit (gate2_max_drawdown is null)"),
        ("0.event_order", "≤ 0 steps (warning)"),
        ("1.lookahead", "is false"),
        ("6.baseline_equality", "nothing is listed"),
        ("1.track_record", "≥ the value at /statistics/min_track_record_length"),
        ("0.feature_schema_version", "same major version as 3.0.0 (required_feature_schema_version)"),
        ("7.shift_score", "< 0.8 (gate7_shift_score_abstain), else abstain"),
        ("7.interval_width", "≤ 4 standard deviations (gate7_max_interval_width_pass), else degrade (warning)"),
        ("6.return_over_drawdown", "or: zero drawdown passes"),
        ("6.confidence_samples", "off when gate6_require_profitability_evidence is false"),
    ],
)
def test_limits_are_told_as_they_are_judged(rule_id: str, text: str) -> None:
    assert text in row_of(rule_id)
    assert text in explain(rule_id)


def test_what_live_asks_for_more_is_in_the_table() -> None:
    assert "| `gate1_max_pbo` | 0.5 | 0.2 |" in rule_table()
    assert rule_table().count("\n| `gate") == len(GatePolicy().live_overrides)


def test_a_rule_is_explained_with_the_limits_and_waivers_of_a_policy() -> None:
    text = explain("2.cost_bps", policy(gate2_max_cost_bps="12.50", waivers=[waiver("2.cost_bps", "2026-06-30")]))
    assert "≤ 12.5 bps (gate2_max_cost_bps)" in text
    assert text.endswith("waived     until 2026-06-30 by risk: not measured yet")


def test_an_unknown_rule_is_answered_with_its_neighbours() -> None:
    with pytest.raises(InputError, match=r"unknown rule 'cost_bps'; did you mean .*2\.cost_bps"):
        explain("cost_bps")
    with pytest.raises(InputError, match="lists them all"):
        explain("#")
    assert set(RULES_BY_ID) == {rule.rule_id for rule in ALL_RULES}
