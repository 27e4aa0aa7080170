"""What the data cannot do to a verdict: repeat itself, come in another order, lack a row, be longer."""

import math
from typing import Any

import polars as pl
import pytest
from lane_signals import Judge, daily_rows, legacy_entry, wave

from torghut_assets.gates.engine import RuleRecord
from torghut_assets.lane import LaneResult

FREE = {"default_half_spread_bps": 0, "impact_bps_at_full_participation": 0, "sec_fee_rate": 0, "taf_per_share": 0}


def frames(result: LaneResult) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    found = result.research.results
    return found.decisions, found.fills, found.equity


def records(result: LaneResult) -> dict[str, RuleRecord]:
    return {record.rule_id: record for record in result.evaluation.records}


def outcome(record: RuleRecord) -> tuple[object, ...]:
    return record.observed, record.status, record.reason_code


def test_prices_that_stay_make_no_profit_before_costs_whatever_vwap_says(judge: Judge) -> None:
    rows = daily_rows(120, price=lambda _: 100)
    for index, row in enumerate(rows):
        row["payload"]["vwap"] = {"session": 999 if index % 2 else 1, "w5m": 1 if index % 2 else 999}
    report = judge(rows).research.report
    assert report.counts.trade_count > 5
    assert report.performance.gross_pnl == pytest.approx(0, abs=1e-9)
    assert report.performance.net_pnl == pytest.approx(-report.costs.total, abs=1e-9)
    assert report.costs.total > 0


def test_a_spread_of_five_on_a_price_of_100_costs_250_bps_on_every_fill(judge: Judge) -> None:
    fills = judge(daily_rows(120, price=lambda _: 100, spread=5)).research.results.fills
    share = fills["half_spread_cost"] / (fills["qty"] * fills["price"])
    assert fills.height > 10
    assert share.to_list() == pytest.approx([0.025] * fills.height, rel=1e-12)
    assert not fills["assumed_inputs"].any()


def test_repeated_rows_give_the_same_result_and_are_counted_by_gate_0(judge: Judge) -> None:
    rows = daily_rows()
    plain = judge(rows)
    repeated = judge([*rows[:50], *rows[40:50], *rows[50:]])
    assert all(one.equals(other) for one, other in zip(frames(plain), frames(repeated), strict=True))
    assert repeated.research.spec == plain.research.spec
    assert outcome(records(plain)["0.duplicate_ratio"]) == (0.0, "pass", None)
    ratio = records(repeated)["0.duplicate_ratio"]
    assert outcome(ratio) == (pytest.approx(10 / 210), "fail", "duplicate_ratio_exceeds_threshold")
    assert "duplicate_ratio_exceeds_threshold" in repeated.decision.reasons


def test_rows_out_of_order_give_the_same_result_and_a_warning_about_the_file(judge: Judge) -> None:
    rows = daily_rows()
    plain = judge(rows)
    shuffled = judge([*rows[100:], *rows[:100]])
    assert all(one.equals(other) for one, other in zip(frames(plain), frames(shuffled), strict=True))
    assert shuffled.research.spec.candidate_id == plain.research.spec.candidate_id
    assert records(plain)["0.event_order"].status == "pass"
    order = records(shuffled)["0.event_order"]
    assert (order.observed, order.reason_code, order.severity) == (1, "non_monotonic_progression", "warning")
    assert "non_monotonic_progression" not in shuffled.decision.reasons


def test_one_incomplete_row_in_200_is_skipped_and_changes_no_other_gate(judge: Judge) -> None:
    rows = daily_rows()
    plain = judge(rows)
    del rows[150]["payload"]["rsi14"]
    incomplete = judge(rows)
    before, after = records(plain), records(incomplete)
    assert outcome(after.pop("0.required_feature_null_rate")) == (0.005, "pass", None)
    assert outcome(before.pop("0.required_feature_null_rate")) == (0.0, "pass", None)
    assert {name: outcome(record) for name, record in after.items()} == {
        name: outcome(record) for name, record in before.items()
    }


def test_ten_times_the_history_has_the_same_turnover_per_year_and_drawdown(judge: Judge) -> None:
    def periodic(index: int) -> float:
        return 100 + 8 * math.sin(index * math.pi / 15)

    short, long = (
        judge(daily_rows(count, price=periodic), research={"costs": FREE}).research.report.performance
        for count in (250, 2500)
    )
    assert short.turnover_ratio is not None
    assert long.turnover_ratio == pytest.approx(short.turnover_ratio, rel=0.05)
    assert long.drawdown_fraction == pytest.approx(short.drawdown_fraction, rel=0.05)
    assert long.cost_bps == short.cost_bps == 0


def test_rows_of_a_timeframe_that_nobody_trades_are_counted(judge: Judge) -> None:
    rows = daily_rows(60)
    other = [{**row, "timeframe": "1Hour"} for row in rows[:7]]
    quality = judge([*rows, *other]).research.report.data_quality
    assert quality.unused_timeframe_rows == 7


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"strategy_id": "quite-another-name"}, "candidate_equals_baseline"),
        ({"params": {"sell_rsi_threshold": 65, "buy_rsi_threshold": 35}}, "candidate_equals_baseline"),
        ({"params": {"buy_rsi_threshold": 40, "sell_rsi_threshold": 60}}, "candidate_equals_baseline"),
        ({"max_position_pct_equity": 0.3}, "candidate_equals_baseline"),
        ({"max_position_pct_equity": None, "max_notional_per_trade": 5000}, "candidate_equals_baseline"),
        ({"params": {"qty": 7}}, "candidate_equals_baseline"),
        ({"params": {"buy_rsi_threshold": 15, "sell_rsi_threshold": 95}}, None),
    ],
    ids=[
        "other name",
        "other order",
        "other values of no effect",
        "other cap",
        "notional",
        "quantity",
        "never anything",
    ],
)
def test_whoever_repeats_a_baseline_is_denied_whatever_he_calls_himself(
    judge: Judge, rules: dict[str, Any], reason: str | None
) -> None:
    result = judge(daily_rows(), entry=legacy_entry(**rules), policy={"gate6_require_profitability_evidence": True})
    equal = records(result)["6.baseline_equality"]
    if reason is None:
        assert equal.observed == ["cash"]
    else:
        assert equal.observed == ["legacy_macd_rsi"]
    assert equal.reason_code == "candidate_equals_baseline"
    assert "candidate_equals_baseline" in result.decision.reasons


def test_another_exit_makes_another_candidate_than_the_baseline(judge: Judge) -> None:
    entry = legacy_entry(params={"exits": {"max_bars": 3}})
    result = judge(daily_rows(price=wave), entry=entry)
    assert records(result)["6.baseline_equality"].observed == []
    assert "candidate_equals_baseline" not in result.decision.reasons
