"""Promotion prerequisites: what a candidate's bundle and state must be, beside its gates.

Judged without a clock (``gates/promotion-prerequisites.json``); reading files is the caller's business, who hands in
the digests of what is really there.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field

from torghut_assets.gates.engine import (
    Document,
    Documents,
    EvidenceReference,
    Observation,
    Record,
    RuleRecord,
    judge,
)
from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.gates.policy import GatePolicy
from torghut_assets.gates.rule import GATE_EVALUATION, Target
from torghut_assets.gates.table_promotion import PREREQUISITE_RULES
from torghut_runtime.canonical import canonical_json, sha256_hex

SCHEMA = "torghut.promotion-prerequisites.v1"


class PromotionPrerequisites(Record):
    """``gates/promotion-prerequisites.json``."""

    schema_: Literal["torghut.promotion-prerequisites.v1"] = Field(default=SCHEMA, alias="schema")
    name: str
    candidate_id: str
    run_id: str
    promotion_target: Target
    passed: bool
    records: tuple[RuleRecord, ...]


def judge_prerequisites(
    policy: GatePolicy, evaluation: GateEvaluation, documents: Iterable[Document], *, artifacts: Mapping[str, str]
) -> PromotionPrerequisites:
    """Judge the prerequisites for the target that ``evaluation`` was made for.

    Args:
        policy: names the required artifacts; what the gates were judged on is required anyway.
        evaluation: the stored gate evaluation; its inputs say which bytes were judged.
        documents: the documents that the evaluation read.
        artifacts: sha256 of the bytes of every file that the bundle holds now, by path.
    """
    known = Documents(documents)
    judged = {**evaluation.inputs, GATE_EVALUATION: sha256_hex(canonical_json(evaluation))}
    absent = sorted(path for path in {*policy.promotion_required_artifacts, *judged} if path not in artifacts)
    changed = sorted(path for path, sha256 in judged.items() if path in artifacts and artifacts[path] != sha256)
    bundle = EvidenceReference(artifact="bundle", sha256=None, pointer="")
    given = {
        "p.required_artifacts_missing": Observation(absent, bundle),
        "p.required_artifact_digest_mismatch": Observation(changed, bundle),
    }
    target = evaluation.promotion_target
    records = tuple(judge(rule, policy, known, target, given.get(rule.rule_id)).record for rule in PREREQUISITE_RULES)
    return PromotionPrerequisites(
        schema=SCHEMA,
        name=evaluation.name,
        candidate_id=evaluation.candidate_id,
        run_id=evaluation.run_id,
        promotion_target=target,
        passed=not any(record.denies for record in records),
        records=records,
    )
