"""Every rule of the table, on both sides of every limit and exactly at it, and without its evidence."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import pytest
from promotion_world import ABSENT, NOW, World, policy

from torghut_assets.gates.policy import GatePolicy
from torghut_assets.gates.rule import EVIDENCE, GATE_EVALUATION, REPORT, SPEC, Target
from torghut_assets.gates.rules import ALL_RULES, GATE_RULES, RULES_BY_ID

Sense = Literal["at most", "at least", "more than", "less than"]
POLICY = policy(gate2_max_drawdown=5000, rollback_human_approval_targets=["paper", "live"])
PAPER, LIVE = World(POLICY, "paper"), World(POLICY, "live")
DRILLS = ("kill_switch", "gitops_revert", "strategy_disable")


@dataclass(frozen=True)
class Row:
    """What one rule must say in one world. ``read`` is where the record must say that its value came from."""

    rule_id: str
    world: World
    status: str
    code: str | None
    threshold: object
    read: tuple[str, str]
    observed: object = ABSENT

    @property
    def title(self) -> str:
        seen = "" if self.observed is ABSENT else f" {self.observed}"
        return f"{self.rule_id}{seen} {self.status} {self.code or ''}".strip()


@dataclass(frozen=True)
class Limit:
    """A rule with one number as its limit. ``step`` is the smallest difference that matters."""

    rule_id: str
    artifact: str
    pointer: str
    sense: Sense
    threshold: float
    step: float
    code: str
    target: Target = "paper"

    def rows(self) -> Iterator[Row]:
        world = PAPER if self.target == "paper" else LIVE
        passes = {
            "at most": (True, True, False),
            "at least": (False, True, True),
            "more than": (False, False, True),
            "less than": (True, False, False),
        }[self.sense]
        around = (self.threshold - self.step, self.threshold, self.threshold + self.step)
        read = (self.artifact, self.pointer)
        for value, good in zip(around, passes, strict=True):
            there = world.with_(self.artifact, self.pointer, value)
            status, code = ("pass", None) if good else ("fail", self.code)
            yield Row(self.rule_id, there, status, code, self.threshold, read, pytest.approx(value, rel=1e-12))
        yield from missing(self.rule_id, world, read, (ABSENT, None, "1", True, [1]), self.threshold)


def missing(
    rule_id: str, world: World, read: tuple[str, str], values: tuple[object, ...], threshold: object, code: str = ""
) -> Iterator[Row]:
    """Rows in which the evidence is not there, or is nothing that the rule can read."""
    for value in values:
        yield Row(
            rule_id,
            world.with_(*read, value),
            "missing",
            code or f"{rule_id.partition('.')[2]}_missing",
            threshold,
            read,
            None if value is ABSENT else value,
        )


LIMITS = (
    Limit(
        "0.required_feature_null_rate",
        REPORT,
        "/data_quality/required_feature_null_rate",
        "at most",
        0.01,
        1e-9,
        "required_feature_null_rate_exceeds_threshold",
    ),
    Limit(
        "0.staleness_ms_p95",
        REPORT,
        "/data_quality/staleness_ms_p95",
        "at most",
        120000,
        0.5,
        "feature_staleness_exceeds_budget",
    ),
    Limit(
        "0.symbol_coverage",
        REPORT,
        "/data_quality/symbol_coverage",
        "at least",
        1,
        1e-9,
        "symbol_coverage_below_minimum",
    ),
    Limit(
        "0.duplicate_ratio",
        REPORT,
        "/data_quality/duplicate_ratio",
        "at most",
        0.02,
        1e-9,
        "duplicate_ratio_exceeds_threshold",
    ),
    Limit("0.event_order", REPORT, "/data_quality/backward_steps", "at most", 0, 1, "non_monotonic_progression"),
    Limit(
        "0.missing_session_ratio",
        REPORT,
        "/data_quality/missing_session_ratio",
        "at most",
        0.02,
        1e-9,
        "missing_sessions_exceed_threshold",
    ),
    Limit(
        "0.outside_session_ratio",
        REPORT,
        "/data_quality/outside_session_ratio",
        "at most",
        0.01,
        1e-9,
        "outside_session_bars_exceed_threshold",
    ),
    Limit("1.decision_count", REPORT, "/counts/decision_count", "at least", 1, 1, "decision_count_below_minimum"),
    Limit("1.trade_count", REPORT, "/counts/trade_count", "at least", 1, 1, "trade_count_below_minimum"),
    Limit("1.fold_count", REPORT, "/counts/fold_count", "at least", 5, 1, "fold_count_below_minimum"),
    Limit("1.net_pnl", REPORT, "/performance/net_pnl", "at least", 0, 1e-9, "net_pnl_below_minimum"),
    Limit(
        "1.negative_fold_ratio",
        REPORT,
        "/folds/negative_fold_ratio",
        "at most",
        0.5,
        1e-9,
        "negative_fold_ratio_exceeds_threshold",
    ),
    Limit("1.net_pnl_cv", REPORT, "/folds/net_pnl_cv", "at most", 2, 1e-9, "net_pnl_cv_exceeds_threshold"),
    Limit(
        "1.deflated_sharpe",
        REPORT,
        "/statistics/deflated_sharpe",
        "at least",
        0.9,
        1e-9,
        "deflated_sharpe_below_minimum",
    ),
    Limit(
        "1.pbo",
        REPORT,
        "/statistics/pbo",
        "at most",
        0.5,
        1e-9,
        "backtest_overfitting_probability_exceeds_threshold",
    ),
    Limit("1.spa_pvalue", REPORT, "/statistics/spa_pvalue", "at most", 0.1, 1e-9, "spa_pvalue_exceeds_threshold"),
    Limit(
        "1.track_record",
        REPORT,
        "/statistics/track_record_length",
        "at least",
        300.5,
        0.5,
        "track_record_below_minimum_length",
    ),
    Limit("2.max_drawdown", REPORT, "/performance/max_drawdown", "at most", 5000, 1e-6, "drawdown_exceeds_maximum"),
    Limit(
        "2.drawdown_fraction",
        REPORT,
        "/performance/drawdown_fraction",
        "at most",
        0.2,
        1e-9,
        "drawdown_fraction_exceeds_maximum",
    ),
    Limit(
        "2.turnover_ratio",
        REPORT,
        "/performance/turnover_ratio",
        "at most",
        8,
        1e-8,
        "turnover_ratio_exceeds_maximum",
    ),
    Limit("2.cost_bps", REPORT, "/performance/cost_bps", "at most", 35, 1e-7, "cost_bps_exceeds_maximum"),
    Limit("2.fragility_score", REPORT, "/fragility/score", "at most", 0.85, 1e-9, "fragility_score_exceeds_maximum"),
    Limit("2.tca_slippage_bps", EVIDENCE, "/tca/slippage_bps", "at most", 25, 1e-7, "tca_slippage_exceeds_maximum"),
    Limit(
        "2.tca_shortfall_notional",
        EVIDENCE,
        "/tca/shortfall_notional",
        "at most",
        25,
        1e-7,
        "tca_shortfall_exceeds_maximum",
    ),
    Limit("2.tca_churn_ratio", EVIDENCE, "/tca/churn_ratio", "at most", 0.75, 1e-9, "tca_churn_ratio_exceeds_maximum"),
    Limit(
        "2.stress_loss_fraction",
        REPORT,
        "/stress/worst_loss_fraction",
        "at most",
        0.25,
        1e-9,
        "stress_loss_exceeds_maximum",
    ),
    Limit(
        "2.capacity_notional",
        REPORT,
        "/performance/capacity_notional",
        "at least",
        0,
        1e-6,
        "capacity_below_minimum",
    ),
    Limit(
        "3.llm_error_ratio",
        EVIDENCE,
        "/adviser/error_ratio",
        "at most",
        0.1,
        1e-9,
        "llm_error_ratio_exceeds_threshold",
    ),
    Limit("3.parity_ratio", EVIDENCE, "/parity/ratio", "at least", 1, 1e-9, "decision_parity_below_minimum"),
    Limit("3.paper_days", EVIDENCE, "/paper_days/days", "at least", 20, 1, "paper_duration_below_minimum", "live"),
    Limit(
        "6.net_pnl_delta",
        REPORT,
        "/baselines/net_pnl_delta",
        "more than",
        0,
        1e-9,
        "profitability_market_net_pnl_delta_below_threshold",
    ),
    Limit(
        "6.regime_slice_pass_ratio",
        REPORT,
        "/regimes/slice_pass_ratio",
        "at least",
        0.5,
        1e-9,
        "profitability_regime_slice_ratio_below_threshold",
    ),
    Limit(
        "6.return_over_drawdown",
        REPORT,
        "/performance/return_over_drawdown",
        "at least",
        0,
        1e-9,
        "profitability_return_over_drawdown_below_threshold",
    ),
    Limit(
        "6.confidence_samples",
        REPORT,
        "/counts/trade_count",
        "at least",
        30,
        1,
        "confidence_samples_below_minimum",
    ),
)


def _bands() -> Iterator[Row]:
    """Rules with several limits: the gravest that is crossed speaks; a value inside passes against the mildest."""
    abstain, degrade = "uncertainty_abstain_threshold_exceeded", "uncertainty_degrade_threshold_exceeded"
    failed, slo = "regime_shift_score_fail_threshold_exceeded", "coverage_error_slo_exceeded"
    e = 1e-9
    table: dict[str, tuple[tuple[float, str | None, float], ...]] = {
        "shift_score": (
            (0.6 - e, None, 0.6),
            (0.6, degrade, 0.6),
            (0.8 - e, degrade, 0.6),
            (0.8, abstain, 0.8),
            (0.95 - e, abstain, 0.8),
            (0.95, failed, 0.95),
            (1.0, failed, 0.95),
        ),
        "coverage_error": (
            (0.03, None, 0.03),
            (0.03 + e, slo, 0.03),
            (0.05, slo, 0.03),
            (0.05 + e, degrade, 0.05),
            (0.08, degrade, 0.05),
            (0.08 + e, abstain, 0.08),
        ),
        "interval_width": (
            (4, None, 4),
            (4 + 1e-8, degrade, 4),
            (6, degrade, 4),
            (6 + 1e-8, abstain, 6),
        ),
    }
    for name, bands in table.items():
        rule_id, read = f"7.{name}", (REPORT, f"/uncertainty/{name}")
        for value, code, threshold in bands:
            status = "pass" if code is None else "fail"
            seen = pytest.approx(value, rel=1e-12)
            yield Row(rule_id, PAPER.with_(*read, value), status, code, threshold, read, seen)
        yield from missing(rule_id, PAPER, read, (ABSENT, None, "0.1", False), bands[0][2])

    read = (REPORT, "/uncertainty/coverage_error")
    score = "3.forecast_calibration_score"
    for value, code, seen in ((0.015, None, 0.85), (0.0, None, 1), (0.015 + e, f"{score[2:]}_below_threshold", None)):
        status = "pass" if code is None else "fail"
        observed = ABSENT if seen is None else seen
        yield Row(score, PAPER.with_(*read, value), status, code, 0.85, read, observed)
    for pointer, value in (("coverage_error", ABSENT), ("target_coverage", ABSENT), ("target_coverage", 1)):
        there = PAPER.with_(REPORT, f"/uncertainty/{pointer}", value)
        yield Row(score, there, "missing", f"{score[2:]}_missing", 0.85, read, None)


def _inputs() -> Iterator[Row]:
    rule_id, read = "7.inputs", (REPORT, "/uncertainty")

    def row(name: str, value: object, status: str, code: str | None) -> Row:
        return Row(rule_id, PAPER.with_(REPORT, f"/uncertainty/{name}", value), status, code, 0.9, read)

    yield row("target_coverage", 0.9, "pass", None)
    yield row("target_coverage", 0.9 + 1e-9, "fail", "uncertainty_target_coverage_mismatch")
    for name in ("target_coverage", "coverage_error", "shift_score", "interval_width"):
        yield row(name, -1e-9, "fail", "uncertainty_inputs_out_of_range")
        yield row(name, ABSENT, "missing", "uncertainty_inputs_missing_or_invalid")
        yield row(name, "0.9", "missing", "uncertainty_inputs_missing_or_invalid")
    for name in ("coverage_error", "shift_score"):
        for edge in (0, 1):
            yield row(name, edge, "pass", None)
        yield row(name, 1 + 1e-9, "fail", "uncertainty_inputs_out_of_range")
    yield row("interval_width", 1 + 1e-9, "pass", None)
    yield Row(rule_id, PAPER.with_(*read, ABSENT), "missing", "uncertainty_inputs_missing_or_invalid", 0.9, read, None)


def _statements() -> Iterator[Row]:
    """Rules that compare with a fixed answer, or want a list to be empty."""
    read = (REPORT, "/data_quality/feature_schema_version")
    rule_id = "0.feature_schema_version"
    for version, code in (("3.0.0", None), ("3.9.1", None), ("3", None), ("4.0.0", "x"), ("2.9.9", "x"), ("30.0", "x")):
        status, code = ("pass", None) if code is None else ("fail", "schema_version_incompatible")
        yield Row(rule_id, PAPER.with_(*read, version), status, code, "3.0.0", read, version)
    yield from missing(rule_id, PAPER, read, (ABSENT, None, "", 3), "3.0.0")

    read = (REPORT, "/lookahead/detected")
    yield Row("1.lookahead", PAPER.with_(*read, False), "pass", None, False, read, False)
    yield Row("1.lookahead", PAPER.with_(*read, True), "fail", "lookahead_detected", False, read, True)
    yield from missing("1.lookahead", PAPER, read, (ABSENT, None, "false", 0), False)
    for points in (0, ABSENT):
        there = PAPER.with_(REPORT, "/lookahead/checked_points", points)
        yield Row("1.lookahead", there, "missing", "lookahead_missing", False, read, None)
    one_point = PAPER.with_(REPORT, "/lookahead/checked_points", 1)
    yield Row("1.lookahead", one_point, "pass", None, False, read, False)

    drills = ("kill_switch_dry_run_failed", "rollback_dry_run_failed", "strategy_disable_dry_run_failed")
    for name, code in zip(DRILLS, drills, strict=True):
        rule_id, read = f"4.{name}_drill", (EVIDENCE, f"/drills/{name}/passed")
        yield Row(rule_id, PAPER.with_(*read, True), "pass", None, True, read, True)
        yield Row(rule_id, PAPER.with_(*read, False), "fail", code, True, read, False)
        yield from missing(rule_id, PAPER, read, (ABSENT, None, "true", 1), True)

    lists = (
        ("4.runbooks", (EVIDENCE, "/runbooks/without_page"), "runbook_not_validated", LIVE),
        ("6.baseline_equality", (REPORT, "/baselines/equal_to"), "candidate_equals_baseline", PAPER),
        ("d.drift", (EVIDENCE, "/drift/findings"), "drift_detected", LIVE),
    )
    for rule_id, read, code, world in lists:
        yield Row(rule_id, world.with_(*read, []), "pass", None, None, read, [])
        yield Row(rule_id, world.with_(*read, ["one"]), "fail", code, None, read, ["one"])
        yield from missing(rule_id, world, read, (ABSENT, None, "", 0, False), None)


def _promotion() -> Iterator[Row]:
    for name, code in (("paused", "candidate_paused_for_review"), ("superseded", "candidate_superseded")):
        rule_id, read = f"p.{code}", (EVIDENCE, f"/candidate_state/{name}")
        yield Row(rule_id, PAPER.with_(*read, False), "pass", None, False, read, False)
        yield Row(rule_id, PAPER.with_(*read, True), "fail", code, False, read, True)
        yield from missing(rule_id, PAPER, read, (ABSENT, None, "false"), False)

    read, code = (REPORT, "/data_quality/rows"), "no_signal_window_detected"
    for rows, status in ((0, "fail"), (1, "pass"), (2, "pass")):
        row_code = code if status == "fail" else None
        yield Row(f"p.{code}", PAPER.with_(*read, rows), status, row_code, 1, read, rows)
    yield from missing(f"p.{code}", PAPER, read, (ABSENT, "many"), 1, code)

    read, code = (REPORT, "/stress/case_count"), "stress_metrics_evidence_insufficient"
    for cases, status in ((3, "fail"), (4, "pass"), (5, "pass")):
        row_code = code if status == "fail" else None
        yield Row(f"p.{code}", PAPER.with_(*read, cases), status, row_code, 4, read, cases)
    yield from missing(f"p.{code}", PAPER, read, (ABSENT, True), 4, code)

    bundle = ("bundle", "")
    code = "required_artifacts_missing"
    yield Row(f"p.{code}", PAPER, "pass", None, None, bundle, [])
    for path in (SPEC, REPORT, EVIDENCE, GATE_EVALUATION):
        yield Row(f"p.{code}", replace(PAPER, artifacts={path: ABSENT}), "fail", code, None, bundle, [path])
    code = "required_artifact_digest_mismatch"
    yield Row(f"p.{code}", PAPER, "pass", None, None, bundle, [])
    for path in (SPEC, REPORT, EVIDENCE, GATE_EVALUATION):
        yield Row(f"p.{code}", replace(PAPER, artifacts={path: "f" * 64}), "fail", code, None, bundle, [path])


def _readiness() -> Iterator[Row]:
    read, code = (EVIDENCE, "/drills"), "rollback_checks_missing_or_failed"
    checks = ("killSwitchDryRunPassed", "gitopsRevertDryRunPassed", "strategyDisableDryRunPassed")
    yield Row(f"r.{code}", PAPER, "pass", None, None, read, [])
    for name, check in zip(DRILLS, checks, strict=True):
        failed = PAPER.with_(EVIDENCE, f"/drills/{name}/passed", False)
        yield Row(f"r.{code}", failed, "fail", code, None, read, [check])
        for value in (None, {"passed": "true"}):
            unknown = PAPER.with_(EVIDENCE, f"/drills/{name}", value)
            yield Row(f"r.{code}", unknown, "missing", code, None, read, [check])
    yield Row(f"r.{code}", PAPER.with_(*read, ABSENT), "missing", code, None, read, list(checks))

    read, code = (EVIDENCE, "/rollback_target/source_sha256"), "rollback_target_missing"
    yield Row(f"r.{code}", PAPER, "pass", None, None, read, "a" * 64)
    yield from missing(f"r.{code}", PAPER, read, (ABSENT, None, "", 7), None, code)

    read, stamp, stale = (EVIDENCE, "/drills"), "rollback_dry_run_timestamp_missing", "rollback_dry_run_stale"
    for moment, status in (
        (NOW.isoformat(), "pass"),
        ((NOW + timedelta(microseconds=1)).isoformat(), "fail"),
        (ABSENT, "missing"),
        (None, "missing"),
        ("yesterday", "missing"),
        (NOW.replace(tzinfo=None).isoformat(), "missing"),
    ):
        there = PAPER.with_(EVIDENCE, "/drills/gitops_revert/completed_at", moment)
        yield Row(f"r.{stamp}", there, status, None if status == "pass" else stamp, None, read)
        if status != "pass":
            yield Row(f"r.{stale}", there, "missing", stamp, 72, read, None)
    for age, status in (
        (timedelta(hours=72) - timedelta(microseconds=1), "pass"),
        (timedelta(hours=72), "pass"),
        (timedelta(hours=72) + timedelta(microseconds=1), "fail"),
    ):
        there = PAPER.with_(EVIDENCE, "/drills/kill_switch/completed_at", (NOW - age).isoformat())
        yield Row(f"r.{stale}", there, status, None if status == "pass" else stale, 72, read)

    approval, code = ("approval", ""), "rollback_human_approval_missing"
    yield Row(f"r.{code}", PAPER, "pass", None, True, approval, True)
    yield Row(f"r.{code}", replace(PAPER, token=None), "fail", code, True, approval, False)


def _live() -> Iterator[Row]:
    read, code = ("gate policy", "/gate5_live_enabled"), "live_rollout_disabled_by_policy"
    closed = GatePolicy()
    yield Row("5.live_enabled", LIVE, "pass", None, True, read, True)
    yield Row("5.live_enabled", replace(LIVE, policy=closed), "fail", code, True, read, False)

    approval = ("approval", "")
    yield Row("5.approval", LIVE, "pass", None, None, approval, True)
    second = timedelta(seconds=1)
    faults: tuple[tuple[dict[str, Any], str], ...] = (
        ({"token": None}, "missing"),
        ({"token": ""}, "missing"),
        ({"token": " "}, "missing"),
        ({"token": "b-token-that-was-printed-once"}, "mismatch"),
        ({"grant_changes": {"run_id": "another"}}, "mismatch"),
        ({"grant_changes": {"target": "paper"}}, "mismatch"),
        ({"grant_changes": {"revoked": True}}, "revoked"),
        ({"grant_changes": {"expires_at": NOW}}, "expired"),
        ({"grant_changes": {"expires_at": NOW - second}}, "expired"),
    )
    for change, code in faults:
        status = "missing" if code == "missing" else "fail"
        there = replace(LIVE, **change)
        yield Row("5.approval", there, status, f"approval_token_{code}", None, approval, False)
    one_left = replace(LIVE, grant_changes={"expires_at": NOW + second})
    yield Row("5.approval", one_left, "pass", None, None, approval, True)


ROWS = (
    *(row for limit in LIMITS for row in limit.rows()),
    *_bands(),
    *_inputs(),
    *_statements(),
    *_promotion(),
    *_readiness(),
    *_live(),
)
CONTRACT_CODES = frozenset(
    [
        "schema_version_incompatible",
        "required_feature_null_rate_exceeds_threshold",
        "feature_staleness_exceeds_budget",
        "symbol_coverage_below_minimum",
        "duplicate_ratio_exceeds_threshold",
        "non_monotonic_progression",
        "missing_sessions_exceed_threshold",
        "outside_session_bars_exceed_threshold",
        "decision_count_below_minimum",
        "trade_count_below_minimum",
        "fold_count_below_minimum",
        "net_pnl_below_minimum",
        "negative_fold_ratio_exceeds_threshold",
        "net_pnl_cv_exceeds_threshold",
        "deflated_sharpe_below_minimum",
        "backtest_overfitting_probability_exceeds_threshold",
        "spa_pvalue_exceeds_threshold",
        "track_record_below_minimum_length",
        "lookahead_detected",
        "drawdown_exceeds_maximum",
        "drawdown_fraction_exceeds_maximum",
        "turnover_ratio_exceeds_maximum",
        "cost_bps_exceeds_maximum",
        "fragility_score_exceeds_maximum",
        "tca_slippage_exceeds_maximum",
        "tca_shortfall_exceeds_maximum",
        "tca_churn_ratio_exceeds_maximum",
        "stress_loss_exceeds_maximum",
        "capacity_below_minimum",
        "llm_error_ratio_exceeds_threshold",
        "forecast_calibration_score_below_threshold",
        "decision_parity_below_minimum",
        "paper_duration_below_minimum",
        "kill_switch_dry_run_failed",
        "rollback_dry_run_failed",
        "strategy_disable_dry_run_failed",
        "runbook_not_validated",
        "live_rollout_disabled_by_policy",
        "approval_token_missing",
        "approval_token_expired",
        "approval_token_mismatch",
        "approval_token_revoked",
        "profitability_market_net_pnl_delta_below_threshold",
        "candidate_equals_baseline",
        "profitability_regime_slice_ratio_below_threshold",
        "profitability_return_over_drawdown_below_threshold",
        "confidence_samples_below_minimum",
        "uncertainty_inputs_missing_or_invalid",
        "uncertainty_inputs_out_of_range",
        "uncertainty_target_coverage_mismatch",
        "regime_shift_score_fail_threshold_exceeded",
        "uncertainty_abstain_threshold_exceeded",
        "uncertainty_degrade_threshold_exceeded",
        "coverage_error_slo_exceeded",
        "candidate_paused_for_review",
        "required_artifacts_missing",
        "required_artifact_digest_mismatch",
        "no_signal_window_detected",
        "stress_metrics_evidence_insufficient",
        "candidate_superseded",
        "rollback_checks_missing_or_failed",
        "rollback_dry_run_timestamp_missing",
        "rollback_dry_run_stale",
        "rollback_human_approval_missing",
        "rollback_target_missing",
    ]
)
"""The reason codes that users were promised."""

WARNINGS = {"non_monotonic_progression", "uncertainty_degrade_threshold_exceeded", "coverage_error_slo_exceeded"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_a_rule_says_what_its_row_says(row: Row) -> None:
    record = row.world.records()[row.rule_id]
    assert (record.status, record.reason_code) == (row.status, row.code)
    assert record.threshold == row.threshold
    assert (record.evidence.artifact, record.evidence.pointer) == row.read
    artifact = row.read[0]
    assert record.evidence.sha256 == (
        row.world.sha256(artifact)
        if artifact in row.world.contents
        else row.world.policy.digest
        if artifact == "gate policy"
        else None
    )
    if row.observed is not ABSENT:
        assert record.observed == row.observed
    denies = row.status in {"fail", "missing"} and row.code not in WARNINGS and row.rule_id != "0.event_order"
    assert record.denies == denies
    assert record.severity == ("error" if row.status == "pass" or denies else "warning")


def test_every_rule_has_rows_that_pass_and_rows_that_do_not() -> None:
    assert {row.rule_id for row in ROWS if row.status == "pass"} == set(RULES_BY_ID)
    assert {row.rule_id for row in ROWS if row.status != "pass"} == set(RULES_BY_ID)


def test_every_reason_code_that_a_rule_can_give_is_reached_by_a_row() -> None:
    unreached = {
        (rule.rule_id, code)
        for rule in ALL_RULES
        for code in rule.reason_codes
        if not any(row.rule_id == rule.rule_id and row.code == code for row in ROWS)
    }
    assert unreached == set()


def test_the_promised_reason_codes_are_those_of_the_rules_and_missing_ones() -> None:
    reached = {row.code for row in ROWS if row.code is not None}
    assert reached >= CONTRACT_CODES
    metrics = {rule.metric for rule in ALL_RULES}
    assert {code.removesuffix("_missing") for code in reached - CONTRACT_CODES - {"drift_detected"}} <= metrics


@pytest.mark.parametrize("rule", GATE_RULES, ids=lambda rule: rule.rule_id)
def test_no_gate_rule_is_excused_when_its_document_does_not_exist(rule: Any) -> None:
    if rule.artifact in {SPEC, "gate policy"}:
        return
    world = (
        World(POLICY, "live").without(REPORT)
        if rule.artifact == REPORT
        else replace(
            LIVE, contents={**LIVE.contents, EVIDENCE: {"candidate_id": LIVE.contents[EVIDENCE]["candidate_id"]}}
        )
    )
    record = {record.rule_id: record for record in world.evaluation.records}[rule.rule_id]
    assert record.status == "missing"
    assert record.reason_code == rule.code_when_missing
    assert record.evidence.sha256 == (None if rule.artifact == REPORT else world.sha256(EVIDENCE))


def test_rule_ids_are_unique_and_named_gate_and_metric() -> None:
    assert len({rule.rule_id for rule in ALL_RULES}) == len(ALL_RULES)
    for rule in ALL_RULES:
        assert rule.rule_id == f"{rule.gate.number}.{rule.metric}"
        assert rule.required_for <= rule.gate.required_for
