"""Rollback readiness: the drills have been run and passed, and there is something to go back to.

Judged without a clock (``gates/rollback-readiness.json``). How old a drill is and whether a person has approved is
judged in the promotion decision, with :func:`judge_readiness_in_time`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

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
from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.gates.observation import resolve
from torghut_assets.gates.policy import ROLLBACK_CHECKS, GatePolicy
from torghut_assets.gates.rule import EVIDENCE, Rule, Target
from torghut_assets.gates.rules import RULES_BY_ID

SCHEMA = "torghut.rollback-readiness.v1"
_CHECKS = RULES_BY_ID["r.rollback_checks_missing_or_failed"]
_TARGET = RULES_BY_ID["r.rollback_target_missing"]
_TIME = RULES_BY_ID["r.rollback_dry_run_timestamp_missing"]
_STALE = RULES_BY_ID["r.rollback_dry_run_stale"]
_APPROVAL = RULES_BY_ID["r.rollback_human_approval_missing"]


class RollbackReadiness(Record):
    """``gates/rollback-readiness.json``."""

    schema_: Literal["torghut.rollback-readiness.v1"] = Field(default=SCHEMA, alias="schema")
    name: str
    candidate_id: str
    run_id: str
    promotion_target: Target
    passed: bool
    missing_checks: tuple[str, ...]
    failed_checks: tuple[str, ...]
    records: tuple[RuleRecord, ...]


def judge_rollback_readiness(
    policy: GatePolicy, evaluation: GateEvaluation, documents: Iterable[Document]
) -> RollbackReadiness:
    """Judge presence and outcome of the drills, and the rollback target, for the evaluation's target."""
    known = Documents(documents)
    target = evaluation.promotion_target
    outcomes = {
        check: known.value(EVIDENCE, f"/drills/{ROLLBACK_CHECKS[check]}/passed")
        for check in policy.rollback_required_checks
    }
    failed = tuple(check for check, passed in outcomes.items() if passed is False)
    missing = tuple(check for check, passed in outcomes.items() if not isinstance(passed, bool))
    code = _CHECKS.levels[0].reason_code
    if failed:
        finding = Finding("fail", reason_code=code, note=f"failed: {', '.join(failed)}")
    elif missing:
        finding = Finding("missing", reason_code=code, note=f"never run: {', '.join(missing)}")
    else:
        finding = Finding("pass")
    checks = conclude(_CHECKS, policy, target, Observation([*failed, *missing], _reference(_CHECKS, known)), finding)
    source = known.value(EVIDENCE, _TARGET.pointer)
    restorable = isinstance(source, str) and bool(source)
    rollback_target = conclude(
        _TARGET,
        policy,
        target,
        Observation(source, _reference(_TARGET, known)),
        Finding("pass") if restorable else Finding("missing", reason_code=_TARGET.code_when_missing),
    )
    records = (checks.record, rollback_target.record)
    return RollbackReadiness(
        schema=SCHEMA,
        name=evaluation.name,
        candidate_id=evaluation.candidate_id,
        run_id=evaluation.run_id,
        promotion_target=target,
        passed=not any(record.denies for record in records),
        missing_checks=missing,
        failed_checks=failed,
        records=records,
    )


def judge_readiness_in_time(
    policy: GatePolicy, documents: Documents, target: Target, *, now: datetime, approved: bool
) -> tuple[RuleRecord, ...]:
    """Judge the age of the oldest required drill at ``now`` (aware) and whether a person approved.

    A time stamp that is absent, unreadable or in the future counts as none.
    """
    reference = _reference(_TIME, documents)
    times = [
        _moment(resolve(documents.content(EVIDENCE), f"/drills/{ROLLBACK_CHECKS[check]}/completed_at"))
        for check in policy.rollback_required_checks
    ]
    known = [moment for moment in times if moment is not None]
    if any(moment > now for moment in known):
        latest = max(known).isoformat()
        finding = Finding("fail", reason_code=_TIME.levels[0].reason_code, note="a time stamp in the future")
        stamp = conclude(_TIME, policy, target, Observation(latest, reference), finding)
        age = None
    elif len(known) < len(times):
        finding = Finding("missing", reason_code=_TIME.code_when_missing, note="absent or unreadable")
        stamp = conclude(_TIME, policy, target, Observation(None, reference), finding)
        age = None
    else:
        oldest = min(known, default=None)
        text = None if oldest is None else oldest.isoformat()
        stamp = conclude(_TIME, policy, target, Observation(text, reference), Finding("pass"))
        age = None if oldest is None else Decimal((now - oldest) // timedelta(microseconds=1)) / Decimal(3_600_000_000)
    if not times:
        none_required = Finding("pass", note="no drill required")
        stale = conclude(_STALE, policy, target, Observation(None, reference), none_required)
    else:
        stale = judge(_STALE, policy, documents, target, Observation(age, reference))
    asked = EvidenceReference(artifact=_APPROVAL.artifact, sha256=None, pointer=_APPROVAL.pointer)
    if target in policy.rollback_human_approval_targets:
        approval = judge(_APPROVAL, policy, documents, target, Observation(approved, asked))
    else:
        targets = ", ".join(policy.rollback_human_approval_targets) or "no target"
        not_asked = Finding("not_applicable", note=f"applies to {targets} only")
        approval = conclude(_APPROVAL, policy, target, Observation(approved, asked), not_asked)
    return stamp.record, stale.record, approval.record


def _reference(rule: Rule, documents: Documents) -> EvidenceReference:
    return EvidenceReference(artifact=rule.artifact, sha256=documents.sha256(rule.artifact), pointer=rule.pointer)


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is None else moment
