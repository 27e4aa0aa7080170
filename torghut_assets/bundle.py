"""A candidate's bundle: every artifact under its path, as bytes (contract ``lane.md`` 4).

Rendering only. Laying the files out as a directory is ``artifacts``'s business; whether there is a patch among them is
the promotion decision's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torghut_assets.artifacts import parquet_bytes
from torghut_assets.gates.engine import Document
from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.gates.evidence import Evidence
from torghut_assets.gates.rule import EVIDENCE, GATE_EVALUATION, REPORT, SPEC, WALKFORWARD
from torghut_assets.promotion.decision import DECISION_PATH, PREREQUISITES_PATH, READINESS_PATH, PromotionDecision
from torghut_assets.promotion.prerequisites import PromotionPrerequisites
from torghut_assets.promotion.readiness import RollbackReadiness
from torghut_assets.research.candidate import CandidateSpec
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.tearsheet import render_tearsheet
from torghut_assets.research.walkforward import WalkforwardResults
from torghut_runtime.canonical import canonical_json, sha256_hex

PATCH = "paper-candidate/strategy-configmap-patch.yaml"
TEAR_SHEET = "backtest/tearsheet.html"


@dataclass(frozen=True)
class Research:
    """The research layer: a pure function of the inputs."""

    spec: CandidateSpec
    results: WalkforwardResults
    report: EvaluationReport

    def files(self) -> dict[str, bytes]:
        """Its artifacts by path, without the tear sheet."""
        return {
            SPEC: canonical_json(self.spec),
            WALKFORWARD: canonical_json(self.results.report),
            "backtest/decisions.parquet": parquet_bytes(self.results.decisions),
            "backtest/fills.parquet": parquet_bytes(self.results.fills),
            "backtest/equity.parquet": parquet_bytes(self.results.equity),
            REPORT: canonical_json(self.report),
        }

    def documents(self) -> tuple[Document, ...]:
        """What gates may read of it."""
        return (
            Document.of(SPEC, self.spec),
            Document.of(WALKFORWARD, self.results.report),
            Document.of(REPORT, self.report),
        )


def judged_documents(research: Research, evidence: Evidence) -> tuple[Document, ...]:
    """Everything that the gates read."""
    return (*research.documents(), Document.of(EVIDENCE, evidence))


def judged_files(research: Research, evidence: Evidence, evaluation: GateEvaluation) -> dict[str, bytes]:
    """Artifacts by path up to the gate evaluation, the tear sheet included."""
    sheet = render_tearsheet(research.spec, research.results.report, research.report, evaluation)
    return {
        **research.files(),
        TEAR_SHEET: sheet,
        EVIDENCE: canonical_json(evidence),
        GATE_EVALUATION: canonical_json(evaluation),
    }


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """sha256 of every file."""
    return {path: sha256_hex(data) for path, data in files.items()}


def bundle_files(
    judged: Mapping[str, bytes],
    prerequisites: PromotionPrerequisites,
    readiness: RollbackReadiness,
    decision: PromotionDecision,
    patch: str | None,
) -> dict[str, bytes]:
    """All artifacts by path.

    Args:
        judged: what :func:`judged_files` gave.
        prerequisites: of the same run.
        readiness: of the same run.
        decision: of the same run.
        patch: the rendered patch; it becomes a file only when the decision is to promote.
    """
    files = {
        **judged,
        PREREQUISITES_PATH: canonical_json(prerequisites),
        READINESS_PATH: canonical_json(readiness),
        DECISION_PATH: canonical_json(decision),
    }
    if patch is not None and decision.promotion_allowed:
        files[PATCH] = patch.encode()
    return files


def bundle_ids(spec: CandidateSpec, decision: PromotionDecision) -> dict[str, object]:
    """Whose bundle it is, for the manifest."""
    return {
        "name": spec.name,
        "candidate_id": spec.candidate_id,
        "run_id": decision.run_id,
        "dataset_id": spec.dataset.dataset_id,
    }
