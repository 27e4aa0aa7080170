"""Laws of the gates: better never hurts, less evidence never helps, a waiver hides nothing, live asks for no less."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from promotion_world import ABSENT, World, policy, waiver

from torghut_assets.gates.engine import Document, Documents, Judgement, judge
from torghut_assets.gates.policy import STRICTER, GatePolicy
from torghut_assets.gates.rule import EVIDENCE, REPORT, SPEC, TARGETS, Rule
from torghut_assets.gates.rules import ALL_RULES, GATE_RULES

ORDERED = tuple(
    rule
    for rule in ALL_RULES
    if rule.comparator in {"<=", ">=", "<", ">"} and rule.artifact in {REPORT, EVIDENCE} and rule.pointer != "/drills"
)
WAIVABLE = tuple(rule.rule_id for rule in GATE_RULES if rule.gate.number != "5")
FIGURES: tuple[tuple[str, str], ...] = (
    *sorted({(rule.artifact, rule.pointer) for rule in GATE_RULES if rule.artifact in {REPORT, EVIDENCE}}),
    (REPORT, "/uncertainty/target_coverage"),
    (REPORT, "/statistics/min_track_record_length"),
    (REPORT, "/lookahead/checked_points"),
    (REPORT, "/performance/zero_drawdown"),
    (REPORT, "/data_quality/has_ingest_ts"),
    (REPORT, "/data_quality/exchange_traded"),
    (REPORT, "/data_quality/source"),
    (REPORT, "/universe/symbol_count"),
    (REPORT, "/search/parameter_points"),
    (EVIDENCE, "/executions/count"),
    (SPEC, "/bounded_llm/enabled"),
)
VALUES = st.sampled_from([0, 1, 2, 5, 30, 0.01, 0.05, 0.2, 0.5, 0.9, 0.95, 35, -1, 1e9, True, False, "bars", [], ["x"]])
CHANGES = st.dictionaries(st.sampled_from([figure for figure in FIGURES if figure[1] != "/uncertainty"]), VALUES)
NUMBERS = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False) | st.integers(-10, 200)
GRAVITY = {None: 0, "degrade": 1, "abstain": 2, "fail": 3}


def world(changes: Mapping[tuple[str, str], object], gate_policy: GatePolicy | None = None) -> World:
    made = World(gate_policy or policy())
    for (artifact, pointer), value in changes.items():
        made = made.with_(artifact, pointer, value)
    return made


def alone(rule: Rule, value: object) -> Judgement:
    """One rule judged on a report and evidence in which everything else is fine."""
    content = world({(rule.artifact, rule.pointer): value}, policy(gate2_max_drawdown=5000))
    return judge(rule, content.policy, Documents(content.documents), "live" if rule.gate.number == "3" else "paper")


def gravity(judgement: Judgement) -> tuple[int, int]:
    record = judgement.record
    return (0 if record.status == "pass" else 2 if record.denies else 1, GRAVITY[judgement.action])


@settings(deadline=None)
@given(rule=st.sampled_from(ORDERED), first=NUMBERS, second=NUMBERS)
def test_a_better_value_never_gives_a_worse_verdict(rule: Rule, first: float, second: float) -> None:
    low, high = sorted((first, second))
    upwards = rule.comparator in {">=", ">"} and rule.rule_id != "3.forecast_calibration_score"
    worse, better = (low, high) if upwards else (high, low)
    assert gravity(alone(rule, better)) <= gravity(alone(rule, worse))


@settings(deadline=None)
@given(rule=st.sampled_from(ORDERED), value=st.none() | st.text(max_size=3) | st.booleans() | st.just([]))
def test_what_is_no_number_is_missing_under_every_rule(rule: Rule, value: object) -> None:
    record = alone(rule, value).record
    assert (record.status, record.reason_code) == ("missing", rule.code_when_missing)


@settings(deadline=None)
@given(changes=CHANGES, removed=st.sets(st.sampled_from(FIGURES), max_size=8))
def test_taking_evidence_away_never_helps(changes: Mapping[tuple[str, str], object], removed: set[Any]) -> None:
    before = world(changes)
    after = before
    for artifact, pointer in sorted(removed, key=lambda figure: -len(figure[1])):
        after = after.with_(artifact, pointer, ABSENT)
    for old, new in zip(before.evaluation.records, after.evaluation.records, strict=True):
        assert not (old.status in {"fail", "missing"} and new.status in {"pass", "not_applicable"}), new
        assert not (old.denies and not new.denies), new
    for target in TARGETS:
        assert before.evaluation.targets[target].passes >= after.evaluation.targets[target].passes


@settings(deadline=None)
@given(changes=CHANGES, rule_ids=st.sets(st.sampled_from(WAIVABLE), min_size=1, max_size=6))
def test_a_waiver_changes_the_status_of_its_own_denial_and_nothing_else(
    changes: Mapping[tuple[str, str], object], rule_ids: set[str]
) -> None:
    plain = world(changes)
    waived = world(changes, policy(waivers=[waiver(rule_id) for rule_id in sorted(rule_ids)]))
    for old, new in zip(plain.evaluation.records, waived.evaluation.records, strict=True):
        if old.evidence.artifact == "gate policy":
            continue
        kept = ("rule_id", "observed", "threshold", "reason_code", "evidence", "comparator", "unit")
        assert [getattr(old, name) for name in kept] == [getattr(new, name) for name in kept]
        if old.rule_id in rule_ids and old.denies:
            assert (new.status, new.severity) == ("waived", "warning")
        else:
            assert new == old
    assert waived.evaluation.targets["live"] == plain.evaluation.targets["live"]
    for target in ("shadow", "paper"):
        assert waived.evaluation.targets[target].passes >= plain.evaluation.targets[target].passes


@settings(deadline=None)
@given(changes=CHANGES, rule_ids=st.sets(st.sampled_from(WAIVABLE), max_size=6))
def test_who_passes_for_a_higher_target_passes_for_the_lower_ones(
    changes: Mapping[tuple[str, str], object], rule_ids: set[str]
) -> None:
    made = world(changes, policy(waivers=[waiver(rule_id) for rule_id in sorted(rule_ids)]))
    passes = [made.evaluation.targets[target].passes for target in TARGETS]
    assert passes == sorted(passes, reverse=True)


OVERRIDABLE = sorted(key for key in STRICTER if key.startswith("gate") and key != "gate5_require_approval_token")


@settings(deadline=None)
@given(
    changes=CHANGES,
    overrides=st.dictionaries(st.sampled_from(OVERRIDABLE), st.sampled_from([None, 0, 1, "0.5", 0.02]), max_size=6),
)
def test_limits_of_its_own_never_make_live_easier(
    changes: Mapping[tuple[str, str], object], overrides: dict[str, object]
) -> None:
    typed = {
        key: value is not None if isinstance(GatePolicy.model_fields[key].default, bool) else value
        for key, value in overrides.items()
    }
    whole = {
        key: int(float(str(value)))
        if isinstance(GatePolicy.model_fields[key].default, int) and value is not None and not isinstance(value, bool)
        else value
        for key, value in typed.items()
    }
    plain = world(changes, policy(live_overrides={}))
    stricter = world(changes, policy(live_overrides=whole))
    open_before = {rule.rule_id for rule in plain.evaluation.targets["live"].open}
    assert open_before <= {rule.rule_id for rule in stricter.evaluation.targets["live"].open}


@settings(deadline=None)
@given(changes=CHANGES)
def test_the_verdict_is_a_function_of_the_documents(changes: Mapping[tuple[str, str], object]) -> None:
    made = world(changes)
    parsed = [Document(each.path, each.sha256, dict(reversed(each.content.items()))) for each in made.documents]
    again = [judge(rule, made.policy, Documents(parsed), "paper") for rule in GATE_RULES if rule.gate.number != "5"]
    assert [item.record for item in again] == [
        record for record in made.evaluation.records if not record.rule_id.startswith("5.")
    ]
