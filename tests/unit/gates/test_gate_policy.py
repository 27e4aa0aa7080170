"""Reading a gate policy: what is refused and how it is told, what null, 0, waivers and live's own limits mean."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from promotion_world import policy, waiver

from torghut_assets.gates.policy import STRICTER, GatePolicy, lint, load_policy, parse_policy, policy_schema
from torghut_assets.gates.retired import RETIRED_KEYS
from torghut_assets.gates.rules import RULES_BY_ID
from torghut_assets.shipped_files import shipped
from torghut_runtime.errors import InputError

SHIPPED = shipped("config/autonomous-gate-policy.json")


def written(folder: Path, content: object, name: str = "policy.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def refusal(content: dict[str, object]) -> InputError:
    with pytest.raises(InputError) as caught:
        parse_policy(content, file=Path("policy.json"))
    return caught.value


def test_the_shipped_file_spells_out_the_built_in_limits_and_adds_only_waivers() -> None:
    loaded = load_policy(SHIPPED)
    assert loaded.model_copy(update={"waivers": ()}).digest == GatePolicy().digest
    assert set(json.loads(SHIPPED.read_text())) == set(GatePolicy.model_fields) - {"retired_keys"}


def test_the_shipped_waivers_stand_for_evidence_that_is_not_measured_yet_and_name_their_issue() -> None:
    loaded = load_policy(SHIPPED)
    assert loaded.waivers
    assert all(item.issue and item.approver and item.reason for item in loaded.waivers)
    assert lint(SHIPPED) == []


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("gate0_max_null_rate", "0.01"),
        ("gate0_max_staleness_ms", "120000"),
        ("gate0_min_symbol_coverage", "1"),
        ("gate0_max_duplicate_ratio", "0.02"),
        ("gate0_max_missing_session_ratio", "0.02"),
        ("gate0_max_outside_session_ratio", "0.01"),
        ("gate1_min_decision_count", "1"),
        ("gate1_min_trade_count", "1"),
        ("gate1_min_net_pnl", "0"),
        ("gate1_max_negative_fold_ratio", "0.5"),
        ("gate1_max_net_pnl_cv", "2"),
        ("gate1_min_folds", "5"),
        ("gate1_min_deflated_sharpe", "0.9"),
        ("gate1_max_pbo", "0.5"),
        ("gate1_max_spa_pvalue", "0.1"),
        ("gate2_max_drawdown", None),
        ("gate2_max_drawdown_fraction", "0.2"),
        ("gate2_max_turnover_ratio", "8"),
        ("gate2_max_cost_bps", "35"),
        ("gate2_max_tca_slippage_bps", "25"),
        ("gate2_max_tca_shortfall_notional", "25"),
        ("gate2_max_tca_churn_ratio", "0.75"),
        ("gate2_max_fragility_score", "0.85"),
        ("gate2_max_stress_loss_fraction", "0.25"),
        ("gate2_min_capacity_notional", "0"),
        ("gate3_max_llm_error_ratio", "0.1"),
        ("gate3_min_forecast_calibration_score", "0.85"),
        ("gate3_min_parity_ratio", "1"),
        ("gate3_min_paper_days", "20"),
        ("gate6_min_market_net_pnl_delta", "0"),
        ("gate6_min_regime_slice_pass_ratio", "0.5"),
        ("gate6_min_return_over_drawdown", "0"),
        ("gate6_min_confidence_samples", "30"),
        ("gate7_target_coverage", "0.9"),
        ("gate7_max_coverage_error_pass", "0.03"),
        ("gate7_max_coverage_error_degrade", "0.05"),
        ("gate7_max_coverage_error_abstain", "0.08"),
        ("gate7_shift_score_degrade", "0.6"),
        ("gate7_shift_score_abstain", "0.8"),
        ("gate7_shift_score_fail", "0.95"),
        ("gate7_max_interval_width_pass", "4"),
        ("gate7_max_interval_width_degrade", "6"),
        ("gate7_degrade_size_multiplier", "0.5"),
        ("promotion_min_stress_case_count", "4"),
        ("rollback_dry_run_max_age_hours", "72"),
    ],
)
def test_limits_have_the_promised_defaults(key: str, default: str | None) -> None:
    value = getattr(GatePolicy(), key)
    assert value is None if default is None else value == Decimal(default)


def test_switches_have_the_promised_defaults() -> None:
    built_in = GatePolicy()
    assert (built_in.gate5_live_enabled, built_in.gate5_require_approval_token) == (False, True)
    assert (built_in.gate1_require_min_track_record, built_in.gate6_require_profitability_evidence) == (True, True)
    assert (built_in.rollback_require_human_approval, built_in.demote_on_failed_reevaluation) == (True, True)
    assert built_in.rollback_human_approval_targets == ("live",)
    assert built_in.policy_version == "v3-gates-1"


@pytest.mark.parametrize(
    "key", [name for name, field in GatePolicy.model_fields.items() if isinstance(field.default, bool)]
)
@pytest.mark.parametrize("value", ["false", "true", "", 0, 1, None, [], "no"])
def test_a_boolean_is_a_boolean_and_nothing_that_looks_like_one(key: str, value: object) -> None:
    error = refusal({key: value})
    assert (error.file, error.field) == ("policy.json", key)
    assert "must be true or false without quotes" in error.message


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "True", "FALSE", '"true"', "y"])
def test_in_yaml_only_true_and_false_are_booleans(tmp_path: Path, word: str) -> None:
    path = written(tmp_path, f"gate5_live_enabled: {word}\n", "policy.yaml")
    with pytest.raises(InputError, match="must be true or false without quotes"):
        load_policy(path)
    assert load_policy(written(tmp_path, "gate5_live_enabled: true\n", "policy.yaml")).gate5_live_enabled is True


@pytest.mark.parametrize(
    ("misspelt", "neighbour"),
    [
        ("gate5_live_enable", "gate5_live_enabled"),
        ("gate1_min_deflated_sharp", "gate1_min_deflated_sharpe"),
        ("gate_1_max_pbo", "gate1_max_pbo"),
        ("waiver", "waivers"),
        ("live_override", "live_overrides"),
    ],
)
def test_a_misspelt_key_is_refused_with_its_neighbour(misspelt: str, neighbour: str) -> None:
    error = refusal({misspelt: True})
    assert error.field == misspelt
    assert error.message == f"unknown key; did you mean '{neighbour}'?"


def test_keys_of_the_model_that_are_not_the_files_are_unknown() -> None:
    assert refusal({"retired_keys": []}).field == "retired_keys"


@pytest.mark.parametrize("value", ["a lot", "", True, [1], {"a": 1}, "NaN", "Infinity", "1e400", "0.12345678901"])
def test_a_limit_that_is_no_usable_number_is_refused(value: object) -> None:
    assert refusal({"gate2_max_cost_bps": value}).field == "gate2_max_cost_bps"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gate0_max_null_rate", "1.01"),
        ("gate0_max_null_rate", -0.01),
        ("gate2_max_cost_bps", -1),
        ("gate1_min_folds", 4.5),
        ("gate1_min_folds", -1),
        ("gate7_target_coverage", 0),
        ("gate7_target_coverage", 1),
        ("gate7_target_coverage", None),
        ("gate7_degrade_size_multiplier", 1.5),
        ("required_feature_schema_version", "3"),
        ("policy_version", ""),
        ("rollback_required_checks", ["killSwitch"]),
        ("rollback_human_approval_targets", ["lvie"]),
        ("promotion_required_artifacts", ["../outside.json"]),
        ("promotion_required_artifacts", ["/etc/passwd"]),
        ("waivers", {"rule_id": "1.pbo"}),
        ("live_overrides", None),
    ],
)
def test_a_value_out_of_range_is_refused_by_field(key: str, value: object) -> None:
    assert (refusal({key: value}).field or "").partition(".")[0] == key


def test_numbers_may_be_quoted_and_keep_every_digit() -> None:
    assert policy(gate1_max_pbo="0.1234567891").gate1_max_pbo == Decimal("0.1234567891")
    assert policy(gate1_max_pbo=0.25).digest == policy(gate1_max_pbo=" 0.250 ").digest


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"gate1_max_pbo": 0.1, "gate1_max_pbo": 0.9}', "gate1_max_pbo"),
        ('{"gate1_max_pbo": NaN}', "NaN"),
        ('{"gate1_max_pbo": }', "row 1"),
        ("[]", "one object"),
        ("[" * 100_000, "JSON"),
        ('{"gate1_min_folds": ' + "9" * 5000 + "}", "JSON"),
        ("\ufeff{}", "JSON"),
    ],
)
def test_text_that_is_not_strict_json_is_refused(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(InputError, match=where) as caught:
        load_policy(written(tmp_path, text))
    assert caught.value.file == str(tmp_path / "policy.json")


@pytest.mark.parametrize(
    "text",
    [
        "gate1_max_pbo: 0.1\ngate1_max_pbo: 0.9\n",
        "waivers:\n- {rule_id: 1.pbo, rule_id: 1.pbo}\n",
        "a: &a [*a]\n",
        "a: [\n",
        "a: !!python/name:os.system\n",
        "gate1_max_pbo: .nan\n",
    ],
)
def test_text_that_is_not_strict_yaml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        load_policy(written(tmp_path, text, "policy.yaml"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_policy(tmp_path / "absent.json")
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"latin\.json"):
        load_policy(tmp_path / "latin.json")


def test_json_and_yaml_of_the_same_content_are_the_same_policy(tmp_path: Path) -> None:
    as_yaml = "live_overrides: {gate1_max_pbo: 0.10}\ngate1_min_folds: 7\ngate1_max_pbo: '0.3'\n"
    as_json = {"gate1_max_pbo": 0.3, "gate1_min_folds": "7", "live_overrides": {"gate1_max_pbo": "0.1"}}
    first = load_policy(written(tmp_path, as_yaml, "policy.yml"))
    assert first.digest == load_policy(written(tmp_path, as_json)).digest


def test_the_digest_changes_with_every_limit() -> None:
    digests = {GatePolicy().digest}
    for key in STRICTER:
        default = GatePolicy.model_fields[key].default
        changed = (not default) if isinstance(default, bool) else None if default is not None else 5
        ladder = {"gate7_max_coverage_error_pass", "gate7_shift_score_degrade"}
        digests.add(parse_policy({key: 0 if key in ladder else changed}).digest)
    assert len(digests) == len(STRICTER) + 1


def test_the_digest_changes_with_a_waiver() -> None:
    assert policy(waivers=[waiver("1.pbo")]).digest != policy().digest
    assert policy(waivers=[waiver("1.pbo")]).digest != policy(waivers=[waiver("1.pbo", "2027-01-01")]).digest


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("gate7_max_coverage_error_pass", "gate7_max_coverage_error_degrade"),
        ("gate7_max_coverage_error_degrade", "gate7_max_coverage_error_abstain"),
        ("gate7_shift_score_degrade", "gate7_shift_score_abstain"),
        ("gate7_shift_score_abstain", "gate7_shift_score_fail"),
        ("gate7_max_interval_width_pass", "gate7_max_interval_width_degrade"),
    ],
)
def test_bands_may_touch_but_not_cross(low: str, high: str) -> None:
    limit = getattr(GatePolicy(), high)
    assert getattr(policy(**{low: str(limit)}), low) == limit
    assert f"{low} ({limit + Decimal('0.001')}) must not be above {high}" in str(
        refusal({low: str(limit + Decimal("0.001"))})
    )


class TestWaivers:
    def test_all_fields_are_read(self) -> None:
        (item,) = policy(waivers=[waiver("1.pbo", "2026-06-30", issue=17)]).waivers
        assert (item.rule_id, item.reason, item.approver, item.issue) == ("1.pbo", "not measured yet", "risk", "17")

    @pytest.mark.parametrize("field", ["rule_id", "reason", "until", "approver"])
    def test_a_missing_field_is_refused(self, field: str) -> None:
        item = waiver("1.pbo")
        del item[field]
        error = refusal({"waivers": [item]})
        assert (error.field, error.message) == (f"waivers.0.{field}", "is required")

    @pytest.mark.parametrize("field", ["reason", "approver"])
    @pytest.mark.parametrize("value", ["", "   ", None, 3])
    def test_nobody_and_no_reason_are_refused(self, field: str, value: object) -> None:
        assert refusal({"waivers": [waiver("1.pbo", **{field: value})]}).field == f"waivers.0.{field}"

    def test_an_unknown_rule_is_refused_with_its_neighbour(self) -> None:
        error = refusal({"waivers": [waiver("1.pbo"), waiver("2.costs_bps")]})
        assert error.field == "waivers.1.rule_id"
        assert error.message == "unknown rule '2.costs_bps'; did you mean '2.cost_bps'?"

    def test_an_unknown_key_is_refused_with_its_neighbour(self) -> None:
        item = waiver("1.pbo", aprover="risk")
        del item["approver"]
        error = refusal({"waivers": [item]})
        assert (error.field, error.message) == ("waivers.0.aprover", "unknown key; did you mean approver?")

    def test_two_waivers_of_one_rule_are_refused(self) -> None:
        assert "rule 1.pbo is waived twice" in str(refusal({"waivers": [waiver("1.pbo"), waiver("1.pbo")]}))

    @pytest.mark.parametrize("until", ["someday", "2026-13-01", 20260630, True, None, "2026-06-30T12:00:00"])
    def test_an_end_that_is_no_date_and_no_time_with_zone_is_refused(self, until: Any) -> None:
        assert (refusal({"waivers": [waiver("1.pbo", until)]}).field or "").startswith("waivers.0.until")

    def test_a_date_holds_to_the_end_of_that_day_in_utc(self) -> None:
        (item,) = policy(waivers=[waiver("1.pbo", "2026-06-30")]).waivers
        midnight = datetime(2026, 7, 1, tzinfo=UTC)
        assert not item.expired(midnight - timedelta(microseconds=1))
        assert item.expired(midnight)

    def test_a_time_is_the_moment_at_which_it_ends(self) -> None:
        (item,) = policy(waivers=[waiver("1.pbo", "2026-06-30T14:00:00+02:00")]).waivers
        noon = datetime(2026, 6, 30, 12, tzinfo=UTC)
        assert not item.expired(noon - timedelta(microseconds=1))
        assert item.expired(noon)

    def test_dates_and_times_that_yaml_reads_by_itself_are_the_same(self, tmp_path: Path) -> None:
        for until in ("2026-06-30", "2026-06-30T14:00:00+02:00"):
            text = f"waivers:\n- {{rule_id: 1.pbo, reason: r, approver: a, until: {until}}}\n"
            quoted = parse_policy({"waivers": [waiver("1.pbo", until, reason="r", approver="a")]})
            assert load_policy(written(tmp_path, text, "policy.yaml")).digest == quoted.digest


class TestLive:
    def test_the_shipped_overrides_hold_for_live_only(self) -> None:
        shipped_policy = load_policy(SHIPPED)
        keys = (
            "gate1_min_deflated_sharpe",
            "gate1_max_pbo",
            "gate1_max_spa_pvalue",
            "gate2_max_drawdown_fraction",
        )
        live = [float(getattr(shipped_policy.for_target("live"), key)) for key in keys]
        paper = [float(getattr(shipped_policy.for_target("paper"), key)) for key in keys]
        assert (live, paper) == ([0.95, 0.2, 0.05, 0.1], [0.9, 0.5, 0.1, 0.2])

    @pytest.mark.parametrize(
        ("key", "general", "override", "live"),
        [
            ("gate1_max_pbo", 0.5, 0.2, 0.2),
            ("gate1_max_pbo", 0.1, 0.2, 0.1),
            ("gate1_max_pbo", None, 0.2, 0.2),
            ("gate1_max_pbo", 0.1, None, 0.1),
            ("gate1_max_pbo", 0.1, 0, 0),
            ("gate1_min_folds", 5, 10, 10),
            ("gate1_min_folds", 5, 3, 5),
            ("gate1_min_folds", 0, None, 0),
            ("gate2_max_drawdown", None, 100, 100),
            ("gate1_require_min_track_record", False, True, True),
            ("gate1_require_min_track_record", True, False, True),
        ],
    )
    def test_the_stricter_of_override_and_general_limit_holds(
        self, key: str, general: object, override: object, live: object
    ) -> None:
        both = policy(**{key: general, "live_overrides": {key: override}}).for_target("live")
        value = getattr(both, key)
        assert value == (Decimal(str(live)) if isinstance(live, float) else live)

    def test_without_overrides_live_has_the_general_limits(self) -> None:
        assert policy(live_overrides={}).for_target("live").gate1_max_pbo == Decimal("0.50")

    def test_live_accepts_no_waiver(self) -> None:
        waived = policy(waivers=[waiver("1.pbo")])
        assert waived.for_target("paper").waiver("1.pbo") is not None
        assert waived.for_target("live").waiver("1.pbo") is None

    @pytest.mark.parametrize("key", ["gate1_max_pob", "gate5_live_enabled", "waivers", "live_overrides"])
    def test_what_cannot_be_stricter_is_no_override(self, key: str) -> None:
        error = refusal({"live_overrides": {key: 0}})
        assert error.field == "live_overrides"
        assert f"'{key}' is no limit that live can have of its own" in error.message

    def test_overrides_of_a_band_are_not_held_against_the_general_limits(self) -> None:
        bands = {"gate7_shift_score_degrade": 0.1, "gate7_shift_score_abstain": 0.2, "gate7_shift_score_fail": 0.3}
        live = policy(live_overrides=bands).for_target("live")
        assert [float(getattr(live, key)) for key in bands] == [0.1, 0.2, 0.3]

    def test_an_override_is_typed_like_its_key(self) -> None:
        assert "gate1_max_pbo must be a number" in str(refusal({"live_overrides": {"gate1_max_pbo": "low"}}))
        assert "true or false" in str(refusal({"live_overrides": {"gate1_require_min_track_record": "true"}}))


class TestRetiredKeys:
    @pytest.mark.parametrize(
        "key",
        [
            *RETIRED_KEYS,
            "promotion_janus_required_artifacts",
            "promotion_benchmark_parity_required_artifacts",
        ],
    )
    def test_they_are_accepted_and_listed_with_what_covers_them(self, key: str) -> None:
        loaded = parse_policy({key: "whatever"})
        assert loaded.retired_keys == (key,)
        (note,) = loaded.notes
        assert note.startswith(f"{key} is no longer a rule, covered by ")

    def test_the_promised_ones_are_among_them(self) -> None:
        assert {
            "gate3_max_forecast_fallback_rate",
            "gate3_max_forecast_latency_ms_p95",
            "gate2_max_fragility_state_rank",
            "gate2_require_stability_mode_under_stress",
            "gate6_max_cost_bps",
            "gate6_max_calibration_error",
            "gate6_min_reproducibility_hashes",
            "promotion_require_patch_targets",
        } <= set(RETIRED_KEYS)

    @pytest.mark.parametrize("text", RETIRED_KEYS.values())
    def test_what_covers_them_exists(self, text: str) -> None:
        named = [word.strip(",:;") for word in text.split() if word[:2] in {f"{number}." for number in "01234567p"}]
        assert set(named) <= set(RULES_BY_ID)

    def test_they_change_no_limit(self) -> None:
        loaded = parse_policy({"gate6_max_cost_bps": 0})
        assert loaded.model_copy(update={"retired_keys": ()}).digest == GatePolicy().digest


def test_lint_tells_what_is_switched_off_without_effect_or_retired(tmp_path: Path) -> None:
    content = {
        "gate2_max_cost_bps": None,
        "live_overrides": {"gate1_max_pbo": 0.9},
        "waivers": [waiver("3.paper_days"), waiver("0.event_order")],
        "gate6_max_cost_bps": 35,
    }
    assert lint(written(tmp_path, content)) == [
        "gate6_max_cost_bps is no longer a rule, covered by 2.cost_bps",
        "gate2_max_cost_bps is null: its rule is switched off",
        "live_overrides.gate1_max_pbo has no effect: the general limit is at least as strict",
        "waiver of 0.event_order has no effect: the rule only warns",
        "waiver of 3.paper_days has no effect: only live needs the rule, and live accepts no waivers",
    ]


def test_the_schema_accepts_the_shipped_policy_and_refuses_unknown_keys() -> None:
    schema = policy_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(SHIPPED.read_text())
    jsonschema.validate(content, schema, cls=jsonschema.Draft202012Validator)
    for wrong in ({"gate1_max_pob": 1}, {"gate5_live_enabled": "false"}, {"waivers": [{"rule_id": "1.pbo"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**content, **wrong}, schema, cls=jsonschema.Draft202012Validator)
    undocumented = [key for key in STRICTER if not schema["properties"][key].get("description")]
    assert undocumented == []
