"""The promotion decision (``gates/promotion-decision.json``): the one verdict on a candidate.

Gates, prerequisites and rollback readiness come in as stored; only what depends on the time of day is judged here: the
age of drills, the expiry of approvals and waivers. The clock is the caller's. Writing the ledger row and the patch is
not this module's business.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from torghut_assets.gates.engine import (
    Document,
    Documents,
    EvidenceReference,
    Finding,
    Observation,
    Record,
    RuleRecord,
    conclude,
    judge,
)
from torghut_assets.gates.evaluation import GateEvaluation, PolicyReference, UncertaintyAction, denial_reasons
from torghut_assets.gates.policy import GatePolicy
from torghut_assets.gates.rule import GATE_EVALUATION, Target
from torghut_assets.gates.rules import RULES_BY_ID
from torghut_assets.promotion.approval import PresentedApproval, approval_fault
from torghut_assets.promotion.prerequisites import PromotionPrerequisites
from torghut_assets.promotion.readiness import RollbackReadiness, judge_readiness_in_time
from torghut_runtime.canonical import canonical_json, sha256_hex, utc_text
from torghut_runtime.errors import InputError

SCHEMA = "torghut.promotion-decision.v1"
PREREQUISITES_PATH = "gates/promotion-prerequisites.json"
READINESS_PATH = "gates/rollback-readiness.json"
DECISION_PATH = "gates/promotion-decision.json"
WAIVER_EXPIRED = "waiver_expired"
DIGEST_MISMATCH = "required_artifact_digest_mismatch"

PromotionAction = Literal["promote", "hold", "deny"]
_APPROVAL = RULES_BY_ID["5.approval"]
_DRIFT = RULES_BY_ID["d.drift"]


class UsedWaiver(Record):
    """A waiver that stands in for a rule of this verdict."""

    rule_id: str
    reason: str
    until: str
    approver: str
    issue: str | None
    expired: bool


class GuardAnswer(Record):
    """Whether the orchestration guard lets the run enter paper trading."""

    allowed: bool
    reason: str


class LedgerReference(Record):
    """The governance-ledger row of this decision."""

    seq: int
    hash: str


class PromotionDecision(Record):
    """``gates/promotion-decision.json``; carries a time, so it is the one report that is not reproducible."""

    schema_: Literal["torghut.promotion-decision.v1"] = Field(default=SCHEMA, alias="schema")
    name: str
    candidate_id: str
    run_id: str
    promotion_target: Target
    action: PromotionAction
    eligible: bool
    promotion_allowed: bool = Field(description="action is promote: a patch may be published")
    recommended_mode: Target | None = Field(description="highest target whose required gates pass")
    reasons: tuple[str, ...] = Field(description="everything that denies, sorted; empty unless denied")
    warnings: tuple[str, ...] = Field(description="reason codes that do not deny, waived ones included; sorted")
    gates_passed: bool
    prerequisites_passed: bool
    rollback_ready: bool
    records: tuple[RuleRecord, ...] = Field(description="rules that depend on the time of day or on live")
    guard: GuardAnswer | None = Field(description="the guard's answer; null when it was not asked")
    waivers: tuple[UsedWaiver, ...]
    uncertainty_action: UncertaintyAction | None
    cap_multiplier: float = Field(description="factor on the patch's notional caps")
    recalibration_requested: bool
    policy: PolicyReference
    inputs: Mapping[str, str] = Field(description="sha256 of the artifacts decided on, by path")
    decided_at: datetime
    ledger: LedgerReference | None

    def recorded(self, seq: int, row_hash: str) -> "PromotionDecision":
        """The same decision, naming its row in the ledger."""
        return self.model_copy(update={"ledger": LedgerReference(seq=seq, hash=row_hash)})

    def ledger_body(self) -> dict[str, Any]:
        """What the ledger keeps of it."""
        kept = {"name", "candidate_id", "run_id", "promotion_target", "action", "recommended_mode", "reasons"}
        return {
            **self.model_dump(mode="json", include=kept),
            "policy_sha256": self.policy.sha256,
            "inputs": dict(self.inputs),
            "waived_rules": [waiver.rule_id for waiver in self.waivers],
        }


def decide_promotion(
    policy: GatePolicy,
    documents: Iterable[Document],
    evaluation: GateEvaluation,
    prerequisites: PromotionPrerequisites,
    readiness: RollbackReadiness,
    *,
    now: datetime,
    approval: PresentedApproval | None = None,
    guard: GuardAnswer | None = None,
) -> PromotionDecision:
    """Decide on the target that the evaluation was made for.

    Args:
        policy: the policy that the evaluation was judged by.
        documents: the documents that the evaluation read; any other bytes are a reason to deny.
        evaluation: the gates.
        prerequisites: judged for the same run and target.
        readiness: judged for the same run and target.
        now: the moment of the decision, aware.
        approval: the token somebody presented.
        guard: what the orchestration guard says about entering paper trading, which is no matter of shadow; ``None``
            where there is nobody to ask, as in a notebook. The patch asks again.

    Raises:
        InputError: the reports belong to different runs or targets, or the policy is another one.
    """
    _same_run(policy, evaluation, prerequisites, readiness)
    known = Documents(documents)
    target = evaluation.promotion_target
    records = _judge_in_time(policy, known, evaluation, now, approval)
    everything = (*evaluation.records, *prerequisites.records, *readiness.records, *records)
    waivers = _used_waivers(policy, everything, now)
    gates_passed = evaluation.targets[target].passes
    reasons = set(standing_reasons(evaluation, prerequisites, readiness, records, waivers))
    if known.digests != evaluation.inputs:
        reasons.add(DIGEST_MISMATCH)
    if guard is not None and not guard.allowed and target != "shadow" and not reasons:
        reasons.add(guard.reason)  # where gates or reports deny, the guard only follows them
    eligible = gates_passed and not reasons
    action: PromotionAction = "deny" if not eligible else "hold" if target == "shadow" else "promote"
    degraded = evaluation.uncertainty_action == "degrade"
    return PromotionDecision(
        schema=SCHEMA,
        name=evaluation.name,
        candidate_id=evaluation.candidate_id,
        run_id=evaluation.run_id,
        promotion_target=target,
        action=action,
        eligible=eligible,
        promotion_allowed=action == "promote",
        recommended_mode=_recommended_mode(evaluation, records),
        reasons=tuple(sorted(reasons)),
        warnings=_warnings(everything),
        gates_passed=gates_passed,
        prerequisites_passed=prerequisites.passed,
        rollback_ready=readiness.passed and not any(item.denies for item in records if item.rule_id.startswith("r.")),
        records=records,
        guard=guard,
        waivers=waivers,
        uncertainty_action=evaluation.uncertainty_action,
        cap_multiplier=float(policy.gate7_degrade_size_multiplier) if degraded else 1.0,
        recalibration_requested=evaluation.recalibration_requested,
        policy=evaluation.policy,
        inputs=decided_on(evaluation, prerequisites, readiness),
        decided_at=now,
        ledger=None,
    )


def decided_on(
    evaluation: GateEvaluation, prerequisites: PromotionPrerequisites, readiness: RollbackReadiness
) -> dict[str, str]:
    """sha256, by path, of every artifact that a decision rests on."""
    return {
        **evaluation.inputs,
        GATE_EVALUATION: sha256_hex(canonical_json(evaluation)),
        PREREQUISITES_PATH: sha256_hex(canonical_json(prerequisites)),
        READINESS_PATH: sha256_hex(canonical_json(readiness)),
    }


def standing_reasons(
    evaluation: GateEvaluation,
    prerequisites: PromotionPrerequisites,
    readiness: RollbackReadiness,
    records: Sequence[RuleRecord],
    waivers: Iterable[UsedWaiver],
) -> Iterable[str]:
    """Every reason code in the reports and in the rules judged in time that denies, in no order."""
    yield from denial_reasons(evaluation)
    for record in (*prerequisites.records, *readiness.records, *records):
        if record.denies and record.reason_code is not None:
            yield record.reason_code
    if any(waiver.expired for waiver in waivers):
        yield WAIVER_EXPIRED


def _same_run(
    policy: GatePolicy,
    evaluation: GateEvaluation,
    prerequisites: PromotionPrerequisites,
    readiness: RollbackReadiness,
) -> None:
    for path, other in ((PREREQUISITES_PATH, prerequisites), (READINESS_PATH, readiness)):
        if (other.run_id, other.promotion_target) != (evaluation.run_id, evaluation.promotion_target):
            raise InputError(
                f"is of run {other.run_id} for {other.promotion_target}, the gate evaluation is of run "
                f"{evaluation.run_id} for {evaluation.promotion_target}",
                file=path,
            )
    if policy.digest != evaluation.policy.sha256:
        raise InputError("was judged by another gate policy", file=GATE_EVALUATION, field="policy.sha256")


def _judge_in_time(
    policy: GatePolicy,
    documents: Documents,
    evaluation: GateEvaluation,
    now: datetime,
    approval: PresentedApproval | None,
) -> tuple[RuleRecord, ...]:
    target = evaluation.promotion_target
    fault = approval_fault(approval, evaluation.run_id, target, now)
    records: list[RuleRecord] = []
    if target != "shadow":
        records += judge_readiness_in_time(policy, documents, target, now=now, approved=fault is None)
    if target == "live":
        records.append(_approval_record(policy, target, fault))
        records.append(judge(_DRIFT, policy, documents, target).record)
    return tuple(records)


def _approval_record(policy: GatePolicy, target: Target, fault: str | None) -> RuleRecord:
    if not policy.gate5_require_approval_token:
        finding = Finding("not_applicable", note="switched off by the policy (gate5_require_approval_token is false)")
    elif fault is None:
        finding = Finding("pass")
    else:
        finding = Finding("missing" if fault == _APPROVAL.code_when_missing else "fail", reason_code=fault)
    reference = EvidenceReference(artifact=_APPROVAL.artifact, sha256=None, pointer=_APPROVAL.pointer)
    return conclude(_APPROVAL, policy, target, Observation(fault is None, reference), finding).record


def _warnings(records: Sequence[RuleRecord]) -> tuple[str, ...]:
    codes = {
        record.reason_code for record in records if record.severity == "warning" and record.reason_code is not None
    }
    return tuple(sorted(codes))


def _used_waivers(policy: GatePolicy, records: Sequence[RuleRecord], now: datetime) -> tuple[UsedWaiver, ...]:
    waived = {record.rule_id for record in records if record.status == "waived"}
    return tuple(
        UsedWaiver(
            rule_id=waiver.rule_id,
            reason=waiver.reason,
            until=utc_text(waiver.until) if isinstance(waiver.until, datetime) else waiver.until.isoformat(),
            approver=waiver.approver,
            issue=waiver.issue,
            expired=waiver.expired(now),
        )
        for waiver in policy.waivers
        if waiver.rule_id in waived
    )


def _recommended_mode(evaluation: GateEvaluation, records: Sequence[RuleRecord]) -> Target | None:
    """The evaluation's mode; live only when it was asked for and its approval and drift rules hold."""
    live_holds = evaluation.promotion_target == "live" and not any(
        record.denies for record in records if record.rule_id in {_APPROVAL.rule_id, _DRIFT.rule_id}
    )
    order: tuple[Target, ...] = ("live", "paper", "shadow") if live_holds else ("paper", "shadow")
    for target in order:
        if evaluation.targets[target].passes:
            return target
    return None
