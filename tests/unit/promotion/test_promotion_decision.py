"""The decision: promote, hold or deny; complete reasons; what depends on the time, on both sides of each limit."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from promotion_world import ABSENT, NOW, TOKEN, World, grant, policy, waiver

from torghut_assets.gates.policy import GatePolicy
from torghut_assets.gates.rule import EVIDENCE, REPORT, SPEC, TARGETS, Target
from torghut_assets.promotion.approval import PresentedApproval, approval_fault
from torghut_assets.promotion.decision import PromotionDecision, decide_promotion
from torghut_runtime.canonical import canonical_json
from torghut_runtime.errors import InputError

STEP = timedelta(microseconds=1)


class TestAction:
    @pytest.mark.parametrize(("target", "action"), [("shadow", "hold"), ("paper", "promote"), ("live", "promote")])
    def test_a_candidate_that_meets_everything(self, target: Target, action: str) -> None:
        decision = World(target=target).decision
        assert (decision.action, decision.eligible, decision.promotion_allowed) == (action, True, action == "promote")
        assert decision.reasons == ()
        assert decision.recommended_mode == ("live" if target == "live" else "paper")
        assert decision.cap_multiplier == 1.0
        assert decision.decided_at == NOW

    @pytest.mark.parametrize("target", TARGETS)
    @pytest.mark.parametrize(
        ("artifact", "pointer", "value", "reasons", "denied"),
        [
            (REPORT, "/performance/net_pnl", -1, ("net_pnl_below_minimum",), "shadow paper live"),
            (REPORT, "/statistics/pbo", None, ("pbo_missing",), "paper live"),
            (
                EVIDENCE,
                "/drills/kill_switch",
                None,
                (
                    "kill_switch_drill_missing",
                    "rollback_checks_missing_or_failed",
                    "rollback_dry_run_timestamp_missing",
                ),
                "paper live",
            ),
            (EVIDENCE, "/candidate_state/paused", True, ("candidate_paused_for_review",), "shadow paper live"),
            (EVIDENCE, "/rollback_target", None, ("rollback_target_missing",), "paper live"),
            (EVIDENCE, "/drift/findings", ["performance_net_pnl_below_floor"], ("drift_detected",), "live"),
            (EVIDENCE, "/drift", None, ("drift_missing",), "live"),
            (EVIDENCE, "/paper_days/days", 19, ("paper_duration_below_minimum",), "live"),
        ],
    )
    def test_one_open_rule_denies_the_targets_that_need_it(
        self, target: Target, artifact: str, pointer: str, value: object, reasons: tuple[str, ...], denied: str
    ) -> None:
        decision = World(target=target).with_(artifact, pointer, value).decision
        if target in denied.split():
            assert (decision.action, decision.reasons) == ("deny", reasons)
            assert not decision.promotion_allowed
        else:
            assert (decision.action, decision.reasons) == ("hold" if target == "shadow" else "promote", ())

    def test_reasons_of_all_stages_are_complete_sorted_and_each_stands_once(self) -> None:
        world = World(policy(waivers=[waiver("1.pbo", "2026-01-01")]))
        for artifact, pointer, value in (
            (REPORT, "/performance/net_pnl", -1),
            (REPORT, "/statistics/pbo", 0.9),
            (REPORT, "/uncertainty/shift_score", 0.99),
            (EVIDENCE, "/candidate_state/superseded", True),
            (EVIDENCE, "/drills/gitops_revert/passed", False),
            (EVIDENCE, "/drills/kill_switch/completed_at", "2026-01-01T00:00:00Z"),
        ):
            world = world.with_(artifact, pointer, value)
        assert world.decision.reasons == (
            "candidate_superseded",
            "net_pnl_below_minimum",
            "regime_shift_score_fail_threshold_exceeded",
            "rollback_checks_missing_or_failed",
            "rollback_dry_run_failed",
            "rollback_dry_run_stale",
            "waiver_expired",
        )
        assert world.decision.warnings == ("backtest_overfitting_probability_exceeds_threshold",)

    def test_gates_pass_but_prerequisites_do_not(self) -> None:
        world = replace(World(), artifacts={SPEC: ABSENT})
        decision = world.decision
        assert (decision.gates_passed, decision.prerequisites_passed, decision.rollback_ready) == (True, False, True)
        assert (decision.action, decision.reasons) == ("deny", ("required_artifacts_missing",))

    def test_readiness_that_only_fails_in_time_is_not_ready(self) -> None:
        late = replace(World(), now=NOW + timedelta(days=9))
        assert late.readiness.passed
        assert (late.decision.rollback_ready, late.decision.reasons) == (False, ("rollback_dry_run_stale",))

    def test_other_bytes_than_those_evaluated_deny(self) -> None:
        world = World()
        swapped = world.with_(EVIDENCE, "/paper_days/days", 99).documents
        decision = decide_promotion(
            world.policy, swapped, world.evaluation, world.prerequisites, world.readiness, now=NOW
        )
        assert (decision.action, decision.reasons) == ("deny", ("required_artifact_digest_mismatch",))

    def test_live_needs_everything_at_once(self) -> None:
        assert World(target="live").decision.action == "promote"
        assert World(GatePolicy(), "live").decision.reasons == ("live_rollout_disabled_by_policy",)
        unsigned = replace(World(target="live"), token=None).decision
        assert unsigned.reasons == ("approval_token_missing", "rollback_human_approval_missing")
        assert unsigned.recommended_mode == "paper"

    def test_reports_of_different_runs_or_policies_are_refused(self) -> None:
        world, other = World(), World(policy(gate1_max_pbo=0.4))
        for prerequisites, readiness, path in (
            (other.prerequisites, world.readiness, "gates/promotion-prerequisites.json"),
            (world.prerequisites, other.readiness, "gates/rollback-readiness.json"),
            (world.prerequisites, World(target="live").readiness, "gates/rollback-readiness.json"),
        ):
            with pytest.raises(InputError) as caught:
                decide_promotion(world.policy, world.documents, world.evaluation, prerequisites, readiness, now=NOW)
            assert caught.value.file == path
        with pytest.raises(InputError, match="judged by another gate policy"):
            decide_promotion(
                other.policy, world.documents, world.evaluation, world.prerequisites, world.readiness, now=NOW
            )


class TestUncertainty:
    def test_degrade_is_promoted_with_smaller_caps_and_asks_for_recalibration(self) -> None:
        decision = World().with_(REPORT, "/uncertainty/shift_score", 0.7).decision
        assert (decision.action, decision.uncertainty_action, decision.cap_multiplier) == ("promote", "degrade", 0.5)
        assert decision.recalibration_requested
        assert decision.warnings == ("uncertainty_degrade_threshold_exceeded",)

    def test_the_multiplier_is_the_policys_and_0_is_0(self) -> None:
        degraded = World().with_(REPORT, "/uncertainty/shift_score", 0.7)
        for multiplier in (0, 0.25, 1):
            world = replace(degraded, policy=policy(gate7_degrade_size_multiplier=multiplier))
            assert world.decision.cap_multiplier == multiplier

    def test_abstain_is_not_promoted_and_asks_for_recalibration(self) -> None:
        decision = World().with_(REPORT, "/uncertainty/shift_score", 0.8).decision
        assert (decision.action, decision.uncertainty_action) == ("deny", "abstain")
        assert decision.recalibration_requested
        assert decision.reasons == ("uncertainty_abstain_threshold_exceeded",)

    def test_a_waived_abstention_is_promoted_with_smaller_caps(self) -> None:
        world = World(policy(waivers=[waiver("7.shift_score")])).with_(REPORT, "/uncertainty/shift_score", 0.8)
        assert (world.decision.action, world.decision.cap_multiplier) == ("promote", 0.5)


class TestWaivers:
    WAIVED = World(policy(waivers=[waiver("2.cost_bps", "2026-05-04", issue="77"), waiver("1.pbo")])).with_(
        REPORT, "/performance/cost_bps", 99
    )

    def test_only_those_that_were_needed_are_printed(self) -> None:
        (used,) = self.WAIVED.decision.waivers
        assert used.model_dump() == {
            "rule_id": "2.cost_bps",
            "reason": "not measured yet",
            "until": "2026-05-04",
            "approver": "risk",
            "issue": "77",
            "expired": False,
        }
        assert self.WAIVED.decision.warnings == ("cost_bps_exceeds_maximum",)

    @pytest.mark.parametrize(
        ("now", "reasons"),
        [
            (datetime(2026, 5, 5, tzinfo=UTC) - STEP, ()),
            (datetime(2026, 5, 5, tzinfo=UTC), ("waiver_expired",)),
        ],
    )
    def test_it_ends_with_its_last_day(self, now: datetime, reasons: tuple[str, ...]) -> None:
        decision = replace(self.WAIVED, now=now).decision
        assert decision.reasons == reasons
        assert decision.action == ("deny" if reasons else "promote")
        assert decision.waivers[0].expired == bool(reasons)

    def test_time_changes_the_decision_and_no_report(self) -> None:
        later = replace(self.WAIVED, now=NOW + timedelta(days=1))
        for early, late in (
            (self.WAIVED.evaluation, later.evaluation),
            (self.WAIVED.prerequisites, later.prerequisites),
            (self.WAIVED.readiness, later.readiness),
        ):
            assert canonical_json(early) == canonical_json(late)

    def test_an_expired_one_that_nothing_needs_does_not_deny(self) -> None:
        world = World(policy(waivers=[waiver("1.pbo", "2020-01-01")]))
        assert (world.decision.action, world.decision.waivers) == ("promote", ())

    def test_shadow_needs_no_waiver_for_what_only_paper_asks(self) -> None:
        world = World(policy(waivers=[waiver("1.pbo", "2020-01-01")])).with_(REPORT, "/statistics/pbo", None)
        assert world.decision.reasons == ("waiver_expired",)
        shadow = replace(world, target="shadow").decision
        assert (shadow.action, shadow.waivers, shadow.warnings) == ("hold", (), ("pbo_missing",))

    def test_prerequisites_and_readiness_can_be_waived_too(self) -> None:
        waived = ("p.candidate_paused_for_review", "r.rollback_dry_run_stale")
        world = World(policy(waivers=[waiver(each) for each in waived]), now=NOW + timedelta(days=30))
        decision = world.with_(EVIDENCE, "/candidate_state/paused", None).decision
        assert decision.action == "promote"
        assert {item.rule_id for item in decision.waivers} == set(waived)
        assert decision.warnings == ("candidate_paused_for_review_missing", "rollback_dry_run_stale")

    def test_live_is_denied_by_what_paper_may_waive(self) -> None:
        live = replace(self.WAIVED, target="live").decision
        assert (live.reasons, live.waivers, live.recommended_mode) == (("cost_bps_exceeds_maximum",), (), "paper")


class TestDrillAge:
    DRILLED = datetime(2026, 5, 4, 8, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("now", "reasons"),
        [
            (DRILLED - STEP, ("rollback_dry_run_timestamp_missing",)),
            (DRILLED, ()),
            (DRILLED + timedelta(hours=72), ()),
            (DRILLED + timedelta(hours=72) + STEP, ("rollback_dry_run_stale",)),
        ],
    )
    def test_the_future_fails_and_72_hours_are_the_end(self, now: datetime, reasons: tuple[str, ...]) -> None:
        world = replace(World(), now=now, token=None)
        assert world.decision.reasons == reasons

    def test_the_oldest_required_drill_counts(self) -> None:
        world = World().with_(EVIDENCE, "/drills/strategy_disable/completed_at", "2026-05-01T19:59:59Z")
        assert world.decision.reasons == ("rollback_dry_run_stale",)
        fewer = policy(rollback_required_checks=["killSwitchDryRunPassed"])
        assert replace(world, policy=fewer).decision.reasons == ()

    def test_a_policy_that_requires_no_drill_asks_for_no_time(self) -> None:
        world = World(policy(rollback_required_checks=[])).with_(EVIDENCE, "/drills/kill_switch/completed_at", None)
        assert world.decision.reasons == ()
        assert {r.rule_id: r.note for r in world.decision.records}["r.rollback_dry_run_stale"] == "no drill required"

    def test_a_limit_of_0_hours_is_enforced_and_null_is_none(self) -> None:
        assert World(policy(rollback_dry_run_max_age_hours=0)).decision.reasons == ("rollback_dry_run_stale",)
        forever = World(policy(rollback_dry_run_max_age_hours=None), now=NOW + timedelta(days=999))
        assert forever.decision.reasons == ()

    def test_offsets_are_understood(self) -> None:
        world = World()
        for name in ("kill_switch", "gitops_revert", "strategy_disable"):
            world = world.with_(EVIDENCE, f"/drills/{name}/completed_at", "2026-05-04T10:00:00+02:00")
        assert replace(world, now=self.DRILLED).decision.reasons == ()
        assert replace(world, now=self.DRILLED - STEP).decision.reasons == ("rollback_dry_run_timestamp_missing",)


class TestApproval:
    @pytest.mark.parametrize(
        ("token", "changes", "fault"),
        [
            (TOKEN, {}, None),
            ("", {}, "approval_token_missing"),
            (" ", {}, "approval_token_missing"),
            (f"{TOKEN} ", {}, "approval_token_mismatch"),
            (TOKEN.upper(), {}, "approval_token_mismatch"),
            ("\udcff", {}, "approval_token_mismatch"),
            (TOKEN, {"run_id": "other"}, "approval_token_mismatch"),
            (TOKEN, {"target": "paper"}, "approval_token_mismatch"),
            (TOKEN, {"expires_at": NOW + STEP}, None),
            (TOKEN, {"expires_at": NOW}, "approval_token_expired"),
            (TOKEN, {"expires_at": NOW - timedelta(seconds=1)}, "approval_token_expired"),
            (TOKEN, {"revoked": True}, "approval_token_revoked"),
            (TOKEN, {"revoked": True, "expires_at": NOW}, "approval_token_revoked"),
        ],
    )
    def test_each_fault_has_its_code(self, token: str, changes: dict[str, Any], fault: str | None) -> None:
        presented = PresentedApproval(token, (grant(token_sha256="0" * 64), grant(**changes)))
        assert approval_fault(presented, "run", "live", NOW) == fault

    def test_nothing_presented_and_nothing_granted(self) -> None:
        assert approval_fault(None, "run", "live", NOW) == "approval_token_missing"
        assert approval_fault(PresentedApproval(TOKEN, ()), "run", "live", NOW) == "approval_token_mismatch"

    def test_paper_asks_for_a_person_when_the_policy_says_so(self) -> None:
        asked = policy(rollback_human_approval_targets=["paper"])
        assert World(asked).decision.action == "promote"
        assert World(asked, token=None).decision.reasons == ("rollback_human_approval_missing",)
        off = policy(rollback_human_approval_targets=["paper"], rollback_require_human_approval=False)
        assert World(off, token=None).decision.action == "promote"

    def test_live_without_token_by_policy_still_asks_for_a_person(self) -> None:
        no_token = policy(gate5_require_approval_token=False)
        world = World(no_token, "live", token=None)
        assert world.decision.reasons == ("rollback_human_approval_missing",)
        nobody = policy(gate5_require_approval_token=False, rollback_require_human_approval=False)
        assert World(nobody, "live", token=None).decision.action == "promote"


class TestRecord:
    def test_the_ledger_gets_who_what_and_the_digests(self) -> None:
        world = World()
        body = world.decision.ledger_body()
        assert body["policy_sha256"] == world.policy.digest
        assert body["inputs"][EVIDENCE] == world.sha256(EVIDENCE)
        assert set(body["inputs"]) == {
            SPEC,
            REPORT,
            EVIDENCE,
            "gates/gate-evaluation.json",
            "gates/promotion-prerequisites.json",
            "gates/rollback-readiness.json",
        }
        assert (body["action"], body["promotion_target"], body["reasons"]) == ("promote", "paper", [])

    def test_the_row_is_named_and_nothing_else_changes(self) -> None:
        decision = World().decision
        recorded = decision.recorded(7, "ab" * 32)
        assert recorded.ledger is not None
        assert (recorded.ledger.seq, recorded.ledger.hash) == (7, "ab" * 32)
        assert recorded.model_copy(update={"ledger": None}) == decision

    def test_stored_bytes_read_back_as_the_same_decision(self) -> None:
        stored = canonical_json(TestWaivers.WAIVED.decision.recorded(1, "00"))
        assert canonical_json(PromotionDecision.model_validate_json(stored)) == stored
