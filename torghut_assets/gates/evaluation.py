"""The gate evaluation: every rule of gates 0 to 7 judged on one candidate (``gates/gate-evaluation.json``).

A pure function of research bundle, policy and frozen evidence. What depends on the time of day, and approvals, are
judged in ``promotion.decision``; of gate 5 only the policy's own word is judged here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import Field, JsonValue

from torghut_assets.gates.engine import (
    UNMET,
    Document,
    Documents,
    EvidenceReference,
    Judgement,
    Observation,
    Record,
    RuleRecord,
    judge,
)
from torghut_assets.gates.policy import GatePolicy
from torghut_assets.gates.rule import EVIDENCE, GATES, REPORT, SPEC, TARGETS, Action, Target
from torghut_assets.gates.rules import GATE_RULES
from torghut_assets.gates.table_promotion import LIVE_ENABLED
from torghut_runtime.canonical import digest
from torghut_runtime.errors import InputError

SCHEMA = "torghut.gate-evaluation.v1"
RUN_ID_LENGTH = 24

UncertaintyAction = Literal["pass", "degrade", "abstain", "fail"]
_GRAVITY: tuple[Action, ...] = ("fail", "abstain", "degrade")


class PolicyReference(Record):
    """Which policy judged."""

    version: str
    sha256: str


class OpenRule(Record):
    """A rule that keeps a target from passing."""

    rule_id: str
    reason_code: str


class GateSummary(Record):
    """One gate for the asked target; ``open`` and ``warnings`` hold rule ids, ``passes_for`` answers per target."""

    gate_id: str
    title: str
    required: bool = Field(description="the asked target requires this gate")
    passed: bool = Field(description="no rule that the asked target requires is open")
    open: tuple[str, ...]
    warnings: tuple[str, ...]
    passes_for: Mapping[Target, bool]


class TargetSummary(Record):
    """Whether all gates that one target requires pass, judged with that target's limits."""

    passes: bool
    open: tuple[OpenRule, ...]
    waived: tuple[str, ...]


class GateEvaluation(Record):
    """``gates/gate-evaluation.json``."""

    schema_: Literal["torghut.gate-evaluation.v1"] = Field(default=SCHEMA, alias="schema")
    name: str
    candidate_id: str
    run_id: str
    promotion_target: Target
    policy: PolicyReference
    inputs: Mapping[str, str] = Field(description="sha256 of every document that was read, by path")
    records: tuple[RuleRecord, ...] = Field(description="every rule, with the asked target's limits")
    gates: tuple[GateSummary, ...]
    targets: Mapping[Target, TargetSummary]
    recommended_mode: Target | None = Field(description="highest target whose gates pass; live still needs approval")
    uncertainty_action: UncertaintyAction | None = Field(description="null: nothing was measured, and that is waived")
    recalibration_requested: bool
    notes: tuple[str, ...] = Field(description="keys of the policy that are no longer rules")


def run_id_of(candidate_id: str, policy: GatePolicy, evidence_sha256: str, code_version: str) -> str:
    """Identity of an evaluation: candidate, policy, frozen evidence and code, nothing else."""
    parts = {
        "candidate_id": candidate_id,
        "policy": policy.digest,
        "evidence": evidence_sha256,
        "code_version": code_version,
    }
    return digest(parts)[:RUN_ID_LENGTH]


def evaluate_gates(
    policy: GatePolicy, documents: Iterable[Document], target: Target, *, code_version: str
) -> GateEvaluation:
    """Judge every gate for ``target`` and say for each target whether its gates pass.

    Args:
        policy: the limits and waivers.
        documents: candidate specification, evaluation report and evidence; an absent one makes its rules ``missing``.
        target: the promotion that is asked for.
        code_version: digest of the lane's code, part of the run's identity.

    Raises:
        InputError: no candidate specification or evidence, or documents of different candidates.
    """
    known = Documents(documents)
    name, candidate_id, evidence_sha256 = _identity(known)
    judged: Mapping[Target, list[Judgement]] = {each: _judge_all(policy, known, each) for each in TARGETS}
    records = tuple(judgement.record for judgement in judged[target])
    targets: Mapping[Target, TargetSummary] = {
        each: _target_summary(each, [item.record for item in judged[each]]) for each in TARGETS
    }
    action = _uncertainty_action(judged[target])
    return GateEvaluation(
        schema=SCHEMA,
        name=name,
        candidate_id=candidate_id,
        run_id=run_id_of(candidate_id, policy, evidence_sha256, code_version),
        promotion_target=target,
        policy=PolicyReference(version=policy.policy_version, sha256=policy.digest),
        inputs=known.digests,
        records=records,
        gates=tuple(_gate_summaries(target, records, targets)),
        targets=targets,
        recommended_mode=next((each for each in reversed(TARGETS) if targets[each].passes), None),
        uncertainty_action=action,
        recalibration_requested=action in {"degrade", "abstain"},
        notes=policy.notes,
    )


def _identity(documents: Documents) -> tuple[str, str, str]:
    identity: dict[str, str] = {}
    for key in ("name", "candidate_id"):
        value = documents.value(SPEC, f"/{key}")
        if not isinstance(value, str) or not value:
            raise InputError("must be a text that is not empty", file=SPEC, field=key)
        identity[key] = value
    for path in (REPORT, EVIDENCE):
        other = documents.value(path, "/candidate_id")
        if other is not None and other != identity["candidate_id"]:
            raise InputError(f"belongs to another candidate than {SPEC}: {other!r}", file=path, field="candidate_id")
    evidence_sha256 = documents.sha256(EVIDENCE)
    if evidence_sha256 is None:
        raise InputError("does not exist; an evaluation needs its evidence frozen first", file=EVIDENCE)
    return identity["name"], identity["candidate_id"], evidence_sha256


def _judge_all(policy: GatePolicy, documents: Documents, target: Target) -> list[Judgement]:
    word = EvidenceReference(artifact=LIVE_ENABLED.artifact, sha256=policy.digest, pointer=LIVE_ENABLED.pointer)
    given = {LIVE_ENABLED.rule_id: Observation(policy.gate5_live_enabled, word)}
    return [judge(rule, policy, documents, target, given.get(rule.rule_id)) for rule in GATE_RULES]


def _target_summary(target: Target, records: Sequence[RuleRecord]) -> TargetSummary:
    required = {gate.gate_id for gate in GATES if target in gate.required_for}
    denying = [record for record in records if record.denies and record.gate_id in required]
    return TargetSummary(
        passes=not denying,
        open=tuple(OpenRule(rule_id=record.rule_id, reason_code=record.reason_code or "") for record in denying),
        waived=tuple(record.rule_id for record in records if record.status == "waived"),
    )


def _gate_summaries(
    target: Target, records: Sequence[RuleRecord], targets: Mapping[Target, TargetSummary]
) -> Iterable[GateSummary]:
    gate_of: Mapping[str, str] = {record.rule_id: record.gate_id for record in records}
    for gate in GATES:
        own = [record for record in records if record.gate_id == gate.gate_id]
        denying = tuple(record.rule_id for record in own if record.denies)
        yield GateSummary(
            gate_id=gate.gate_id,
            title=gate.title,
            required=target in gate.required_for,
            passed=not denying,
            open=denying,
            warnings=tuple(
                record.rule_id for record in own if record.severity == "warning" and record.status in {*UNMET, "waived"}
            ),
            passes_for={
                each: all(gate_of[rule.rule_id] != gate.gate_id for rule in targets[each].open) for each in TARGETS
            },
        )


def _uncertainty_action(judgements: Sequence[Judgement]) -> UncertaintyAction | None:
    actions = {judgement.action for judgement in judgements}
    for action in _GRAVITY:
        if action in actions:
            return action
    statuses = {judgement.record.rule_id: judgement.record.status for judgement in judgements}
    return None if statuses["7.inputs"] == "waived" else "pass"


def denial_reasons(evaluation: GateEvaluation) -> tuple[str, ...]:
    """Reason codes that keep the asked target from passing, sorted, each once."""
    return tuple(sorted({rule.reason_code for rule in evaluation.targets[evaluation.promotion_target].open}))


def same_verdict(stored: JsonValue, evaluation: GateEvaluation) -> bool:
    """Whether a stored evaluation (parsed JSON) says exactly what ``evaluation`` says."""
    return digest(stored) == digest(evaluation)
