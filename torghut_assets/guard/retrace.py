"""Without a database the guard's state is what the stored artifacts of a candidate say: the way is walked again.

Only for state in memory, and only for whoever comes after the run that judged the candidate: a check, or the patch
asked for alone. Where a database records, nothing is ever walked again.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import dagster as dg

from torghut_assets.artifact_values import decode
from torghut_assets.artifacts import ArtifactStore
from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.guard import stages
from torghut_assets.guard.progression import PolicyDryRun
from torghut_assets.guard.stages import Conclusion, StageGuard
from torghut_assets.keys import (
    CANDIDATE_SPEC,
    EVALUATION_REPORT,
    GATE_EVALUATION,
    PATCH,
    POLICY_DRY_RUN,
    PREREQUISITES,
    READINESS,
    SIGNALS,
)
from torghut_assets.promotion.prerequisites import PromotionPrerequisites
from torghut_assets.promotion.readiness import RollbackReadiness
from torghut_assets.research.candidate import CandidateSpec
from torghut_assets.research.report import EvaluationReport
from torghut_runtime.canonical import canonical_json

SIGNALS_PART = "frame.parquet"
_Kind = TypeVar("_Kind")
_LATER: tuple[tuple[dg.AssetKey, Any, Callable[[Any], Conclusion]], ...] = (
    (PREREQUISITES, PromotionPrerequisites, stages.prerequisites_concluded),
    (READINESS, RollbackReadiness, stages.readiness_concluded),
    (POLICY_DRY_RUN, PolicyDryRun, stages.dry_run_concluded),
)


def signals_sha256(store: ArtifactStore, name: str) -> str | None:
    """Digest of the candidate's stored signals."""
    reference = store.reference(SIGNALS.path, name)
    part = None if reference is None else reference.parts.get(SIGNALS_PART)
    return None if part is None else part.sha256


def retrace(own: StageGuard, store: ArtifactStore) -> None:
    """Lead a candidate that the guard does not know as far as its stored artifacts go."""
    evaluation = _stored(store, GATE_EVALUATION, own.name, GateEvaluation)
    spec = _stored(store, CANDIDATE_SPEC, own.name, CandidateSpec)
    report = _stored(store, EVALUATION_REPORT, own.name, EvaluationReport)
    if evaluation is None or spec is None or report is None:
        return
    run_id = evaluation.run_id
    own.lead_to_gates(
        spec.candidate_id,
        run_id,
        signals=signals_sha256(store, own.name),
        spec=canonical_json(spec),
        report=canonical_json(report),
    )
    own.conclude(run_id, stages.gates_concluded(evaluation))
    for key, kind, concluded in _LATER:
        judged: Any = _stored(store, key, own.name, kind)
        if judged is None or judged.run_id != run_id:
            return
        own.enter_and_conclude(run_id, concluded(judged))
    if store.reference(PATCH.path, own.name) is not None:
        own.enter(run_id, stages.PAPER)


def _stored(store: ArtifactStore, key: dg.AssetKey, name: str, kind: type[_Kind]) -> _Kind | None:
    return None if store.reference(key.path, name) is None else decode(store.read(key.path, name), kind)
