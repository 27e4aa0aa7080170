"""Assets of the evaluation: the frozen evidence and the gates judged on it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from datetime import timedelta

import dagster as dg

from torghut_assets.bundle import Research, judged_documents
from torghut_assets.gates.collection import collect_facts
from torghut_assets.gates.engine import Document
from torghut_assets.gates.evaluation import evaluate_gates, run_id_of
from torghut_assets.gates.evidence import Evidence, freeze_evidence
from torghut_assets.gates.policy import load_policy
from torghut_assets.gates.rule import EVIDENCE as EVIDENCE_PATH
from torghut_assets.guard.answering import ACTOR, answered
from torghut_assets.guard.resource import GuardResource
from torghut_assets.guard.retrace import signals_sha256
from torghut_assets.guard.stages import GATES, gates_concluded
from torghut_assets.io_manager import Encoded
from torghut_assets.keys import (
    CANDIDATE_SPEC,
    EVALUATION_REPORT,
    EVIDENCE,
    GATE_EVALUATION,
    RISK,
    SIGNALS,
    WALKFORWARD_RESULTS,
)
from torghut_assets.partitions import CANDIDATES
from torghut_assets.presentation import rule_table, table
from torghut_assets.promotion.configmap_file import read_text
from torghut_assets.research.candidate import CandidateSpec, lane_code_version
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.walkforward import WalkforwardResults
from torghut_assets.resources import ArtifactStoreResource, DatabaseResource, ProjectResource
from torghut_runtime.canonical import canonical_json
from torghut_runtime.code_digest import code_digest

_AGE = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=7), warn_window=timedelta(days=4))


@dg.asset(
    key=EVIDENCE,
    ins={
        "spec": dg.AssetIn(CANDIDATE_SPEC),
        "results": dg.AssetIn(WALKFORWARD_RESULTS),
        "report": dg.AssetIn(EVALUATION_REPORT),
    },
    deps=[SIGNALS],
    partitions_def=CANDIDATES,
    group_name="gates",
    kinds={"postgres", "json"},
    owners=RISK,
    code_version=code_digest("torghut_assets.gates.evidence", "torghut_assets.gates.collection")[:16],
    description="What is known about the candidate beside its research, frozen for this evaluation: trials on record, "
    "drills, executions, standing. What nobody has measured is null.",
)
@answered(GATES)
def evidence(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    database: DatabaseResource,
    artifacts: ArtifactStoreResource,
    guard: GuardResource,
    spec: CandidateSpec,
    results: WalkforwardResults,
    report: EvaluationReport,
) -> dg.MaterializeResult[Encoded]:
    """Record the trials, collect the facts and freeze them; the run is known now, and the guard hears of it."""
    registration = project.registration(context.partition_key)
    configmap = read_text(project.folder / registration.strategy_configmap)
    with database.connection() as connection:
        facts = collect_facts(connection, spec, results.report, configmap)
    frozen = freeze_evidence(
        spec.name,
        spec.candidate_id,
        registration.promotion_target,
        ledger="database" if database.recorded else "none",
        facts=facts,
    )
    policy = load_policy(project.folder / registration.gate_policy)
    run_id = run_id_of(spec.candidate_id, policy, Document.of(EVIDENCE_PATH, frozen).sha256, lane_code_version())
    entry = guard.of(context.partition_key, ACTOR, new_run=True).lead_to_gates(
        spec.candidate_id,
        run_id,
        signals=signals_sha256(artifacts.store, context.partition_key),
        spec=canonical_json(spec),
        report=canonical_json(report),
    )
    encoded = Encoded.of(frozen)
    known = frozen.model_dump(mode="json", exclude={"schema_"})
    return encoded.materialized(
        metadata={
            "facts": table(("fact", "value"), [(name, str(value)) for name, value in known.items()]),
            "candidate_id": spec.candidate_id,
            "run_id": run_id,
            "guard": f"{entry.to_stage}: {entry.reason}",
        },
    )


@dg.asset(
    key=GATE_EVALUATION,
    ins={
        "spec": dg.AssetIn(CANDIDATE_SPEC),
        "results": dg.AssetIn(WALKFORWARD_RESULTS),
        "report": dg.AssetIn(EVALUATION_REPORT),
        "evidence": dg.AssetIn(EVIDENCE),
    },
    partitions_def=CANDIDATES,
    group_name="gates",
    kinds={"json"},
    owners=RISK,
    code_version=code_digest("torghut_assets.gates")[:16],
    freshness_policy=_AGE,
    description="Every rule of gates 0 to 7: observed value, limit, verdict and where the value stands; for each "
    "target whether its gates pass.",
)
@answered(GATES)
def gate_evaluation(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    guard: GuardResource,
    spec: CandidateSpec,
    results: WalkforwardResults,
    report: EvaluationReport,
    evidence: Evidence,
) -> dg.MaterializeResult[Encoded]:
    """Judge the gates."""
    registration = project.registration(context.partition_key)
    policy = load_policy(project.folder / registration.gate_policy)
    documents = judged_documents(Research(spec, results, report), evidence)
    evaluation = evaluate_gates(policy, documents, registration.promotion_target, code_version=lane_code_version())
    guard.of(context.partition_key, ACTOR).conclude(evaluation.run_id, gates_concluded(evaluation))
    encoded = Encoded.of(evaluation)
    targets = [
        (target, "passes" if each.passes else "denied", ", ".join(rule.reason_code for rule in each.open))
        for target, each in evaluation.targets.items()
    ]
    return encoded.materialized(
        metadata={
            "recommended_mode": evaluation.recommended_mode or "none",
            "targets": table(("target", "gates", "reasons"), targets),
            "rules": rule_table(evaluation.records),
            "run_id": evaluation.run_id,
            "candidate_id": evaluation.candidate_id,
            "policy_version": evaluation.policy.version,
            "policy_sha256": evaluation.policy.sha256,
        },
    )


GATE_ASSETS = [evidence, gate_evaluation]
