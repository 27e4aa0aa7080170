"""The gate evaluation: what does not apply, what a waiver does, what is recommended, gate 7's action, identity."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from promotion_world import ABSENT, CODE, World, policy, waiver

from torghut_assets.gates.engine import Document, Documents, RuleRecord, judge
from torghut_assets.gates.evaluation import GateEvaluation, denial_reasons, evaluate_gates, run_id_of, same_verdict
from torghut_assets.gates.observation import resolve
from torghut_assets.gates.policy import STRICTER, GatePolicy
from torghut_assets.gates.rule import EVIDENCE, REPORT, SPEC, TARGETS, Target
from torghut_assets.gates.rules import GATE_RULES, RULES_BY_ID
from torghut_runtime.canonical import canonical_json
from torghut_runtime.errors import InputError

TCA = ("2.tca_slippage_bps", "2.tca_shortfall_notional", "2.tca_churn_ratio")


def rule(world: World, rule_id: str) -> RuleRecord:
    return {record.rule_id: record for record in world.evaluation.records}[rule_id]


def open_rules(world: World, target: Target) -> list[str]:
    return [item.rule_id for item in world.evaluation.targets[target].open]


class TestNotApplicable:
    @pytest.mark.parametrize(
        ("rule_id", "artifact", "pointer", "excuse", "value"),
        [
            ("0.staleness_ms_p95", REPORT, "/data_quality/has_ingest_ts", False, "/data_quality/staleness_ms_p95"),
            ("0.event_order", REPORT, "/data_quality/source", "bars", "/data_quality/backward_steps"),
            (
                "0.missing_session_ratio",
                REPORT,
                "/data_quality/exchange_traded",
                False,
                "/data_quality/missing_session_ratio",
            ),
            (
                "0.outside_session_ratio",
                REPORT,
                "/data_quality/exchange_traded",
                False,
                "/data_quality/outside_session_ratio",
            ),
            ("1.pbo", REPORT, "/search/parameter_points", 1, "/statistics/pbo"),
            ("2.fragility_score", REPORT, "/universe/symbol_count", 1, "/fragility/score"),
            *((each, EVIDENCE, "/executions/count", 0, f"/tca/{each[6:]}") for each in TCA),
            ("3.parity_ratio", EVIDENCE, "/executions/count", 0, "/parity/ratio"),
            ("3.llm_error_ratio", SPEC, "/bounded_llm/enabled", False, "/adviser/error_ratio"),
        ],
    )
    def test_only_a_recorded_fact_excuses_a_rule(
        self, rule_id: str, artifact: str, pointer: str, excuse: object, value: str
    ) -> None:
        holder = REPORT if artifact == REPORT else EVIDENCE
        unmeasured = World().with_(holder, value, ABSENT)
        excused = rule(unmeasured.with_(artifact, pointer, excuse), rule_id)
        assert (excused.status, excused.reason_code) == ("not_applicable", None)
        assert excused.note.startswith("applies to ")
        for unknown in (ABSENT, None, "false", "0", "unknown"):
            record = rule(unmeasured.with_(artifact, pointer, unknown), rule_id)
            assert (record.status, record.reason_code) == ("missing", f"{rule_id[2:]}_missing")

    def test_one_symbol_one_parameter_point_and_no_execution_are_the_borders(self) -> None:
        assert rule(World().with_(REPORT, "/universe/symbol_count", 2), "2.fragility_score").status == "pass"
        assert rule(World().with_(REPORT, "/search/parameter_points", 2), "1.pbo").status == "pass"
        for each in TCA:
            assert rule(World().with_(EVIDENCE, "/executions/count", 1), each).status == "pass"

    def test_live_needs_parity_even_from_a_strategy_that_never_traded(self) -> None:
        never = World(target="live").with_(EVIDENCE, "/executions/count", 0).with_(EVIDENCE, "/parity", None)
        assert rule(never, "3.parity_ratio").reason_code == "parity_ratio_missing"
        assert "3.parity_ratio" in open_rules(never, "live")
        assert "3.parity_ratio" not in open_rules(never, "paper")

    def test_evidence_of_a_database_that_was_down_is_missing_and_not_no_executions(self) -> None:
        down = World().with_(EVIDENCE, "/executions", None).with_(EVIDENCE, "/tca", None)
        assert {rule(down, each).status for each in TCA} == {"missing"}
        assert denial_reasons(down.evaluation) == tuple(sorted(f"{each[2:]}_missing" for each in TCA))

    def test_zero_drawdown_passes_without_a_ratio(self) -> None:
        undefined = World().with_(REPORT, "/performance/return_over_drawdown", None)
        assert rule(undefined, "6.return_over_drawdown").status == "missing"
        flat = undefined.with_(REPORT, "/performance/zero_drawdown", True)
        assert (rule(flat, "6.return_over_drawdown").status, rule(flat, "6.return_over_drawdown").note) == (
            "pass",
            "zero drawdown passes",
        )


class TestSwitchedOff:
    @pytest.mark.parametrize(
        "key",
        [key for key in STRICTER if key.startswith("gate") and not isinstance(getattr(GatePolicy(), key), bool)],
    )
    def test_null_switches_a_limit_off_and_says_so(self, key: str) -> None:
        rules = [each for each in GATE_RULES if key in {level.policy_key for level in each.levels}]
        assert rules
        off = World(policy(**{key: None})).with_(REPORT, "/performance/max_drawdown", 1e9)
        for each in rules:
            record = rule(off, each.rule_id)
            if len(each.levels) == 1:
                assert record.status == "not_applicable"
                assert record.note == f"switched off by the policy ({key} is null)"

    def test_null_of_one_band_leaves_the_others(self) -> None:
        wide = World(policy(gate7_max_coverage_error_abstain=None)).with_(REPORT, "/uncertainty/coverage_error", 0.5)
        assert rule(wide, "7.coverage_error").reason_code == "uncertainty_degrade_threshold_exceeded"
        no_bands = policy(gate7_shift_score_fail=None, gate7_shift_score_abstain=None, gate7_shift_score_degrade=None)
        assert rule(World(no_bands), "7.shift_score").status == "not_applicable"

    def test_false_switches_the_rules_behind_a_switch_off(self) -> None:
        off = World(policy(gate6_require_profitability_evidence=False, gate1_require_min_track_record=False))
        bare = off.with_(REPORT, "/baselines/net_pnl_delta", None).with_(REPORT, "/statistics/track_record_length", 0)
        for rule_id in ("6.net_pnl_delta", "6.regime_slice_pass_ratio", "6.confidence_samples", "1.track_record"):
            assert rule(bare, rule_id).status == "not_applicable"
        equal = bare.with_(REPORT, "/baselines/equal_to", ["legacy_macd_rsi"])
        assert denial_reasons(equal.evaluation) == ("candidate_equals_baseline",)

    @pytest.mark.parametrize(
        ("key", "rule_id", "pointer", "good", "bad"),
        [
            (
                "gate0_max_null_rate",
                "0.required_feature_null_rate",
                "/data_quality/required_feature_null_rate",
                0,
                1e-9,
            ),
            ("gate0_max_duplicate_ratio", "0.duplicate_ratio", "/data_quality/duplicate_ratio", 0, 1e-9),
            ("gate1_max_pbo", "1.pbo", "/statistics/pbo", 0, 1e-9),
            ("gate2_max_drawdown", "2.max_drawdown", "/performance/max_drawdown", 0, 1e-9),
            ("gate2_max_cost_bps", "2.cost_bps", "/performance/cost_bps", 0, 1e-9),
            ("gate1_min_net_pnl", "1.net_pnl", "/performance/net_pnl", 0, -1e-9),
        ],
    )
    def test_a_limit_of_exactly_0_is_enforced(
        self, key: str, rule_id: str, pointer: str, good: float, bad: float
    ) -> None:
        zero = World(policy(**{key: 0}))
        assert rule(zero.with_(REPORT, pointer, good), rule_id).status == "pass"
        record = rule(zero.with_(REPORT, pointer, bad), rule_id)
        assert (record.status, record.threshold) == ("fail", 0)


class TestWaivers:
    def test_a_waived_rule_keeps_its_value_and_code_and_counts_as_a_warning(self) -> None:
        world = World(policy(waivers=[waiver("2.cost_bps")])).with_(REPORT, "/performance/cost_bps", 99)
        record = rule(world, "2.cost_bps")
        assert (record.status, record.severity, record.denies) == ("waived", "warning", False)
        assert (record.observed, record.threshold, record.reason_code) == (99, 35, "cost_bps_exceeds_maximum")
        assert record.note == "waived until 2026-12-31 by risk: not measured yet"
        assert world.evaluation.targets["paper"].passes
        assert world.evaluation.targets["paper"].waived == ("2.cost_bps",)

    def test_live_accepts_none(self) -> None:
        world = World(policy(waivers=[waiver("2.cost_bps")]), "live").with_(REPORT, "/performance/cost_bps", 99)
        assert rule(world, "2.cost_bps").status == "fail"
        assert not world.evaluation.targets["live"].passes
        assert world.evaluation.targets["paper"].passes
        assert world.evaluation.recommended_mode == "paper"

    def test_missing_evidence_is_waived_with_its_own_code(self) -> None:
        world = World(policy(waivers=[waiver("1.pbo")])).with_(REPORT, "/statistics/pbo", None)
        assert (rule(world, "1.pbo").status, rule(world, "1.pbo").reason_code) == ("waived", "pbo_missing")
        assert rule(world, "1.pbo").note == "nobody measured it; waived until 2026-12-31 by risk: not measured yet"

    def test_a_rule_that_passes_or_does_not_apply_is_not_waived(self) -> None:
        world = World(policy(waivers=[waiver("1.pbo"), waiver("2.max_drawdown")]))
        assert rule(world, "1.pbo").status == "pass"
        assert rule(world, "2.max_drawdown").status == "not_applicable"

    def test_a_waiver_covers_its_rule_and_no_other(self) -> None:
        world = World(policy(waivers=[waiver("1.trade_count")])).with_(REPORT, "/counts/trade_count", 0)
        assert open_rules(world, "paper") == ["6.confidence_samples"]

    def test_a_mere_warning_is_not_hidden_by_a_waiver(self) -> None:
        world = World(policy(waivers=[waiver("7.shift_score")])).with_(REPORT, "/uncertainty/shift_score", 0.7)
        assert rule(world, "7.shift_score").status == "fail"
        assert world.evaluation.uncertainty_action == "degrade"


class TestUncertaintyAction:
    @pytest.mark.parametrize(
        ("figures", "action"),
        [
            ({}, "pass"),
            ({"shift_score": 0.6}, "degrade"),
            ({"coverage_error": 0.031}, "degrade"),
            ({"coverage_error": 0.051}, "degrade"),
            ({"interval_width": 4.1}, "degrade"),
            ({"shift_score": 0.8}, "abstain"),
            ({"coverage_error": 0.081}, "abstain"),
            ({"interval_width": 6.1}, "abstain"),
            ({"interval_width": 6.1, "shift_score": 0.6}, "abstain"),
            ({"shift_score": 0.95}, "fail"),
            ({"shift_score": 0.95, "interval_width": 6.1}, "fail"),
            ({"shift_score": 1.5}, "fail"),
            ({"target_coverage": 0.8}, "fail"),
            ({"coverage_error": ABSENT}, "fail"),
        ],
    )
    def test_the_gravest_band_speaks(self, figures: dict[str, object], action: str) -> None:
        world = World()
        for name, value in figures.items():
            world = world.with_(REPORT, f"/uncertainty/{name}", value)
        assert world.evaluation.uncertainty_action == action
        assert world.evaluation.recalibration_requested == (action in {"degrade", "abstain"})
        gate = {gate.gate_id: gate for gate in world.evaluation.gates}["gate7_uncertainty_calibration"]
        assert gate.passed == (action in {"pass", "degrade"})

    ALL_WAIVED = ("7.inputs", "7.shift_score", "7.coverage_error", "7.interval_width", "3.forecast_calibration_score")

    def test_nothing_measured_and_waived_calls_for_nothing(self) -> None:
        world = World(policy(waivers=[waiver(each) for each in self.ALL_WAIVED])).with_(REPORT, "/uncertainty", None)
        assert world.evaluation.uncertainty_action is None
        assert world.evaluation.targets["paper"].passes

    @pytest.mark.parametrize("figure", [{"shift_score": 0.85}, {"shift_score": 0.99}, {"coverage_error": 0.5}])
    def test_a_waived_abstention_still_degrades(self, figure: dict[str, float]) -> None:
        world = World(policy(waivers=[waiver(each) for each in self.ALL_WAIVED]))
        for name, value in figure.items():
            world = world.with_(REPORT, f"/uncertainty/{name}", value)
        assert world.evaluation.uncertainty_action == "degrade"
        assert world.evaluation.targets["paper"].passes

    def test_waived_inputs_do_not_undo_what_the_rest_says(self) -> None:
        world = World(policy(waivers=[waiver("7.inputs")])).with_(REPORT, "/uncertainty/target_coverage", 0.8)
        assert world.with_(REPORT, "/uncertainty/shift_score", 0.85).evaluation.uncertainty_action == "abstain"


class TestTargets:
    def test_each_target_is_judged_with_its_own_limits(self) -> None:
        world = World().with_(REPORT, "/statistics/pbo", 0.3)
        assert [world.evaluation.targets[each].passes for each in TARGETS] == [True, True, False]
        assert rule(world, "1.pbo").threshold == 0.5
        assert rule(replace(world, target="live"), "1.pbo").threshold == 0.2
        assert world.evaluation.recommended_mode == "paper"

    @pytest.mark.parametrize(
        ("pointer", "value", "mode"),
        [
            ("/statistics/pbo", 0.1, "live"),
            ("/statistics/pbo", 0.3, "paper"),
            ("/statistics/pbo", 0.6, "shadow"),
            ("/statistics/pbo", None, "shadow"),
            ("/performance/net_pnl", -1, None),
        ],
    )
    def test_the_highest_target_whose_gates_pass_is_recommended(
        self, pointer: str, value: object, mode: str | None
    ) -> None:
        for target in TARGETS:
            assert World(target=target).with_(REPORT, pointer, value).evaluation.recommended_mode == mode

    def test_live_disabled_by_the_policy_is_never_recommended(self) -> None:
        assert World(GatePolicy()).evaluation.recommended_mode == "paper"
        assert World(GatePolicy(), "live").evaluation.targets["live"].open[0].reason_code == (
            "live_rollout_disabled_by_policy"
        )

    @pytest.mark.parametrize(("target", "required"), [("shadow", "012"), ("paper", "0123467"), ("live", "01234567")])
    def test_gates_are_required_as_promised(self, target: Target, required: str) -> None:
        gates = World(target=target).evaluation.gates
        assert "".join(gate.gate_id[4] for gate in gates if gate.required) == required
        assert [gate.gate_id[4] for gate in gates] == list("01234567")

    def test_a_rule_that_the_target_does_not_need_is_a_warning(self) -> None:
        world = World(target="shadow").with_(REPORT, "/statistics/deflated_sharpe", 0)
        assert (rule(world, "1.deflated_sharpe").status, rule(world, "1.deflated_sharpe").severity) == (
            "fail",
            "warning",
        )
        gate = {gate.gate_id: gate for gate in world.evaluation.gates}["gate1_statistical_robustness"]
        assert (gate.passed, gate.open, gate.warnings) == (True, (), ("1.deflated_sharpe",))
        assert gate.passes_for == {"shadow": True, "paper": False, "live": False}

    def test_reasons_are_sorted_and_each_stands_once(self) -> None:
        world = (
            World().with_(REPORT, "/uncertainty/coverage_error", 0.09).with_(REPORT, "/uncertainty/shift_score", 0.9)
        )
        assert denial_reasons(world.evaluation) == (
            "forecast_calibration_score_below_threshold",
            "uncertainty_abstain_threshold_exceeded",
        )


class TestIdentity:
    def test_the_run_is_candidate_policy_evidence_and_code(self) -> None:
        base = World()
        assert base.evaluation.run_id == run_id_of(
            base.evaluation.candidate_id, base.policy, base.sha256(EVIDENCE), CODE
        )
        assert len(base.evaluation.run_id) == 24
        others = (
            replace(base, policy=policy(gate1_max_pbo=0.4)),
            base.with_(EVIDENCE, "/paper_days/days", 31),
        )
        ids = {base.evaluation.run_id, *(other.evaluation.run_id for other in others)}
        ids.add(evaluate_gates(base.policy, base.documents, "paper", code_version="other").run_id)
        assert len(ids) == 4

    def test_equal_inputs_give_equal_bytes_in_any_order(self) -> None:
        world = World()
        again = evaluate_gates(world.policy, reversed(world.documents), world.target, code_version=CODE)
        assert canonical_json(again) == canonical_json(world.evaluation)
        stored = json.loads(canonical_json(again))
        assert same_verdict(stored, world.evaluation)
        assert not same_verdict({**stored, "run_id": "another"}, world.evaluation)

    def test_stored_bytes_read_back_as_the_same_evaluation(self) -> None:
        stored = canonical_json(World().evaluation)
        assert canonical_json(GateEvaluation.model_validate_json(stored)) == stored

    def test_the_verdict_names_policy_inputs_and_retired_keys(self) -> None:
        world = World(policy(gate6_max_cost_bps=1))
        assert world.evaluation.policy.sha256 == world.policy.digest
        assert world.evaluation.inputs == {path: world.sha256(path) for path in (SPEC, REPORT, EVIDENCE)}
        assert world.evaluation.notes == ("gate6_max_cost_bps is no longer a rule, covered by 2.cost_bps",)

    def test_without_a_report_everything_it_held_is_missing_and_nothing_is_raised(self) -> None:
        evaluation = World().without(REPORT).evaluation
        assert evaluation.recommended_mode is None
        statuses = {r.status for r in evaluation.records if r.evidence.artifact == REPORT}
        assert statuses == {"missing", "not_applicable"}
        assert [r.rule_id for r in evaluation.records if r.status == "not_applicable"] == ["2.max_drawdown"]

    @pytest.mark.parametrize("path", [REPORT, EVIDENCE])
    def test_documents_of_two_candidates_are_refused(self, path: str) -> None:
        with pytest.raises(InputError, match="belongs to another candidate") as caught:
            _ = World().with_(path, "/candidate_id", "cand-ffffffffffff").evaluation
        assert (caught.value.file, caught.value.field) == (path, "candidate_id")

    @pytest.mark.parametrize("path", [SPEC, EVIDENCE])
    def test_a_specification_and_frozen_evidence_are_needed(self, path: str) -> None:
        with pytest.raises(InputError) as caught:
            _ = World().without(path).evaluation
        assert caught.value.file == path


class TestObservation:
    @pytest.mark.parametrize(
        ("pointer", "value"),
        [
            ("", {"a": [{"b/c": 1, "d~e": 2}]}),
            ("/a/0/b~1c", 1),
            ("/a/0/d~0e", 2),
            ("/a/1", None),
            ("/a/-1", None),
            ("/a/b", None),
            ("/a/0/b~1c/x", None),
            ("/x", None),
        ],
    )
    def test_pointers_are_those_of_rfc_6901(self, pointer: str, value: object) -> None:
        assert resolve({"a": [{"b/c": 1, "d~e": 2}]}, pointer) == value

    def judged(self, value: object) -> RuleRecord:
        report = Document.of(REPORT, {"performance": {"cost_bps": value}})
        return judge(RULES_BY_ID["2.cost_bps"], policy(), Documents([report]), "paper").record

    def test_equality_is_that_of_the_canonical_text(self) -> None:
        assert self.judged(35 * (1 + 1e-15)).status == "pass"
        assert self.judged(35.0000001).status == "fail"
        assert self.judged(0.1 + 0.2).observed == 0.3

    @pytest.mark.parametrize("value", [Decimal("35.5"), 35.5])
    def test_a_number_and_its_text_are_not_the_same(self, value: Any) -> None:
        assert self.judged(value).status == ("missing" if isinstance(value, Decimal) else "fail")

    @pytest.mark.parametrize("data", [b"{", b"[]", b'{"a": NaN}', b'{"a": Infinity}', b"\xff", b"[" * 100_000])
    def test_bytes_that_are_no_json_object_are_refused(self, data: bytes) -> None:
        with pytest.raises(InputError) as caught:
            Document.parse(REPORT, data)
        assert caught.value.file == REPORT

    def test_a_document_read_back_is_the_one_that_was_written(self) -> None:
        written = Document.of(REPORT, {"a": 0.1, "b": [1, None]})
        assert Document.parse(REPORT, canonical_json({"b": [1, None], "a": 0.1})) == written
