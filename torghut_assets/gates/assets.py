"""Assets of the evaluation: the frozen evidence and the gates judged on it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from datetime import timedelta

import dagster as dg

from torghut_assets.bundle import Research, judged_documents
from torghut_assets.gates.collection import collect_facts
from torghut_assets.gates.evaluation import evaluate_gates
from torghut_assets.gates.evidence import Evidence, freeze_evidence
from torghut_assets.gates.policy import load_policy
from torghut_assets.io_manager import Encoded
from torghut_assets.keys import (
    CANDIDATE_SPEC,
    EVALUATION_REPORT,
    EVIDENCE,
    GATE_EVALUATION,
    RISK,
    WALKFORWARD_RESULTS,
)
from torghut_assets.partitions import CANDIDATES
from torghut_assets.presentation import rule_table, table
from torghut_assets.promotion.configmap_file import read_text
from torghut_assets.research.candidate import CandidateSpec, lane_code_version
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.walkforward import WalkforwardResults
from torghut_assets.resources import DatabaseResource, ProjectResource
from torghut_runtime.code_digest import code_digest

_AGE = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=7), warn_window=timedelta(days=4))


@dg.asset(
    key=EVIDENCE,
    ins={"spec": dg.AssetIn(CANDIDATE_SPEC), "results": dg.AssetIn(WALKFORWARD_RESULTS)},
    partitions_def=CANDIDATES,
    group_name="gates",
    kinds={"postgres", "json"},
    owners=RISK,
    code_version=code_digest("torghut_assets.gates.evidence", "torghut_assets.gates.collection")[:16],
    description="What is known about the candidate beside its research, frozen for this evaluation: trials on record, "
    "drills, executions, standing. What nobody has measured is null.",
)
def evidence(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    database: DatabaseResource,
    spec: CandidateSpec,
    results: WalkforwardResults,
) -> dg.MaterializeResult[Encoded]:
    """Record the trials, collect the facts and freeze them."""
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
    encoded = Encoded.of(frozen)
    known = frozen.model_dump(mode="json", exclude={"schema_"})
    return dg.MaterializeResult(
        value=encoded,
        data_version=dg.DataVersion(encoded.data_version),
        metadata={
            "facts": table(("fact", "value"), [(name, str(value)) for name, value in known.items()]),
            "candidate_id": spec.candidate_id,
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
def gate_evaluation(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
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
    encoded = Encoded.of(evaluation)
    targets = [
        (target, "passes" if each.passes else "denied", ", ".join(rule.reason_code for rule in each.open))
        for target, each in evaluation.targets.items()
    ]
    return dg.MaterializeResult(
        value=encoded,
        data_version=dg.DataVersion(encoded.data_version),
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
