"""The last look before a patch is published: the stored decision must still follow from the stored evidence.

Pure: it re-judges and compares digests, and names everything that speaks against publication. It never writes.
"""

from collections.abc import Sequence

from torghut_assets.gates.engine import Document
from torghut_assets.gates.evaluation import GateEvaluation, denial_reasons, evaluate_gates
from torghut_assets.gates.policy import GatePolicy
from torghut_assets.promotion.decision import DIGEST_MISMATCH, PromotionDecision, decided_on, standing_reasons
from torghut_assets.promotion.prerequisites import PromotionPrerequisites
from torghut_assets.promotion.readiness import RollbackReadiness
from torghut_runtime.canonical import digest
from torghut_runtime.errors import InputError

NOT_REPRODUCED = "gate_evaluation_not_reproduced"


def publication_refusals(
    policy: GatePolicy,
    documents: Sequence[Document],
    evaluation: GateEvaluation,
    prerequisites: PromotionPrerequisites,
    readiness: RollbackReadiness,
    decision: PromotionDecision,
    *,
    code_version: str,
) -> tuple[str, ...]:
    """Reason codes for which no patch may be published, sorted; empty when it may.

    Beside the reasons of the decision and of the reports it rests on: ``promotion_not_decided`` (the decision holds),
    ``gate_policy_changed``, ``required_artifact_digest_mismatch`` (an artifact is not the one that was decided on) and
    ``gate_evaluation_not_reproduced`` (the stored evidence gives another evaluation).
    """
    rest = standing_reasons(evaluation, prerequisites, readiness, decision.records, decision.waivers)
    refusals = {*decision.reasons, *rest}
    if decision.action != "promote" and not refusals:
        refusals.add("promotion_not_decided")
    if policy.digest != decision.policy.sha256:
        refusals.add("gate_policy_changed")
    judged = {item.path: item.sha256 for item in documents if digest_of(item) == item.sha256}
    if judged != evaluation.inputs or decided_on(evaluation, prerequisites, readiness) != decision.inputs:
        refusals.add(DIGEST_MISMATCH)
    try:
        again = evaluate_gates(policy, documents, decision.promotion_target, code_version=code_version)
    except InputError:
        return tuple(sorted({*refusals, NOT_REPRODUCED}))
    if digest(again) != digest(evaluation):
        refusals.update((NOT_REPRODUCED, *denial_reasons(again)))
    return tuple(sorted(refusals))


def digest_of(document: Document) -> str:
    """sha256 of a document's content as canonical JSON: what its bytes must have been."""
    return Document.of(document.path, document.content).sha256
