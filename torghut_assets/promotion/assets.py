"""Assets of the promotion stage: prerequisites, rollback readiness, the one verdict, and the patch.

A denial is a result: nothing here fails because a candidate is denied, except the patch when it is asked for alone.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Iterator

import dagster as dg

from torghut_assets.artifacts import export_bundle
from torghut_assets.bundle import Research, bundle_files, bundle_ids, digests, judged_documents, judged_files
from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.gates.evidence import Evidence
from torghut_assets.gates.policy import load_policy
from torghut_assets.guard import stages
from torghut_assets.guard.answering import ACTOR, answered
from torghut_assets.guard.progression import Bundle
from torghut_assets.guard.progression import policy_dry_run as try_policy
from torghut_assets.guard.records import JUDGED_FOR
from torghut_assets.guard.resource import GuardResource
from torghut_assets.io_manager import Encoded
from torghut_assets.keys import (
    CANDIDATE_SPEC,
    DECISION,
    EVALUATION_REPORT,
    EVIDENCE,
    GATE_EVALUATION,
    OPERATORS,
    PATCH,
    POLICY_DRY_RUN,
    PREREQUISITES,
    READINESS,
    RISK,
    SIGNALS,
    WALKFORWARD_RESULTS,
)
from torghut_assets.partitions import CANDIDATES
from torghut_assets.presentation import reasons_list, rule_table
from torghut_assets.promotion.announcing import announce
from torghut_assets.promotion.configmap import render_patch
from torghut_assets.promotion.configmap_file import read_text
from torghut_assets.promotion.decision import PromotionDecision, decide_promotion
from torghut_assets.promotion.prerequisites import PromotionPrerequisites, judge_prerequisites
from torghut_assets.promotion.publication import publication_refusals
from torghut_assets.promotion.readiness import RollbackReadiness, judge_rollback_readiness
from torghut_assets.promotion.recording import record_decision
from torghut_assets.research.candidate import CandidateSpec, lane_code_version
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.strategies import load_strategies
from torghut_assets.research.walkforward import WalkforwardResults, applied_strategies
from torghut_assets.resources import ArtifactStoreResource, ClockResource, DatabaseResource, ProjectResource
from torghut_assets.selection import selected_alone
from torghut_runtime.code_digest import code_digest
from torghut_runtime.market.signals import SignalSet

_CODE = code_digest("torghut_assets.gates", "torghut_assets.promotion")[:16]
_JUDGED = {
    "spec": dg.AssetIn(CANDIDATE_SPEC),
    "results": dg.AssetIn(WALKFORWARD_RESULTS),
    "report": dg.AssetIn(EVALUATION_REPORT),
    "evidence": dg.AssetIn(EVIDENCE),
    "evaluation": dg.AssetIn(GATE_EVALUATION),
}


@dg.asset(
    key=PREREQUISITES,
    ins=_JUDGED,
    partitions_def=CANDIDATES,
    group_name="promotion",
    kinds={"json"},
    owners=RISK,
    code_version=_CODE,
    description="What bundle and candidate must be beside the gates: artifacts present and unchanged, not paused, not "
    "superseded.",
)
@answered(stages.PREREQUISITES)
def promotion_prerequisites(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    guard: GuardResource,
    spec: CandidateSpec,
    results: WalkforwardResults,
    report: EvaluationReport,
    evidence: Evidence,
    evaluation: GateEvaluation,
) -> dg.MaterializeResult[Encoded]:
    """Judge the prerequisites on the bytes that the bundle will hold."""
    policy = load_policy(project.folder / project.registration(context.partition_key).gate_policy)
    research = Research(spec, results, report)
    present = digests(judged_files(research, evidence, evaluation))
    judged = judge_prerequisites(policy, evaluation, judged_documents(research, evidence), artifacts=present)
    entry = guard.of(context.partition_key, ACTOR).enter_and_conclude(
        judged.run_id, stages.prerequisites_concluded(judged)
    )
    encoded = Encoded.of(judged)
    return encoded.materialized(
        metadata={
            "passed": judged.passed,
            "rules": rule_table(judged.records),
            "run_id": judged.run_id,
            "guard": f"{entry.to_stage}: {entry.reason}",
        },
    )


@dg.asset(
    key=READINESS,
    ins=_JUDGED,
    partitions_def=CANDIDATES,
    group_name="promotion",
    kinds={"json"},
    owners=OPERATORS,
    code_version=_CODE,
    description="Whether the candidate could be rolled back: drills passed, and there is something to go back to.",
)
@answered(stages.READINESS)
def rollback_readiness(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    guard: GuardResource,
    spec: CandidateSpec,
    results: WalkforwardResults,
    report: EvaluationReport,
    evidence: Evidence,
    evaluation: GateEvaluation,
) -> dg.MaterializeResult[Encoded]:
    """Judge the drills on record."""
    policy = load_policy(project.folder / project.registration(context.partition_key).gate_policy)
    documents = judged_documents(Research(spec, results, report), evidence)
    judged = judge_rollback_readiness(policy, evaluation, documents)
    entry = guard.of(context.partition_key, ACTOR).enter_and_conclude(judged.run_id, stages.readiness_concluded(judged))
    encoded = Encoded.of(judged)
    return encoded.materialized(
        metadata={
            "passed": judged.passed,
            "rules": rule_table(judged.records),
            "run_id": judged.run_id,
            "guard": f"{entry.to_stage}: {entry.reason}",
        },
    )


@dg.asset(
    key=POLICY_DRY_RUN,
    ins=_JUDGED,
    deps=[PREREQUISITES, READINESS],
    partitions_def=CANDIDATES,
    group_name="promotion",
    kinds={"json"},
    owners=OPERATORS,
    code_version=_CODE,
    description="Whether the policy says yes to the candidate as it is, and no when an artifact is taken away or the "
    "drills are old.",
)
@answered(stages.DRY_RUN)
def policy_dry_run(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    guard: GuardResource,
    spec: CandidateSpec,
    results: WalkforwardResults,
    report: EvaluationReport,
    evidence: Evidence,
    evaluation: GateEvaluation,
) -> dg.MaterializeResult[Encoded]:
    """Try the policy on the bundle, at the time of its newest drill."""
    policy = load_policy(project.folder / project.registration(context.partition_key).gate_policy)
    research = Research(spec, results, report)
    bundle = Bundle(
        evaluation,
        judged_documents(research, evidence),
        digests(judged_files(research, evidence, evaluation)),
    )
    tried = try_policy(policy, bundle, JUDGED_FOR)
    entry = guard.of(context.partition_key, ACTOR).enter_and_conclude(tried.run_id, stages.dry_run_concluded(tried))
    encoded = Encoded.of(tried)
    return encoded.materialized(
        metadata={
            "passed": tried.passed,
            "reasons": reasons_list(tried.plain.reasons),
            "rules": rule_table(tried.plain.records),
            "run_id": tried.run_id,
            "guard": f"{entry.to_stage}: {entry.reason}",
        },
    )


@dg.asset(
    key=DECISION,
    ins={
        **_JUDGED,
        "prerequisites": dg.AssetIn(PREREQUISITES),
        "readiness": dg.AssetIn(READINESS),
    },
    deps=[POLICY_DRY_RUN],
    partitions_def=CANDIDATES,
    group_name="promotion",
    kinds={"json", "postgres"},
    owners=RISK,
    code_version=_CODE,
    description="The one verdict: promote, hold or deny, with every reason; a row in the governance ledger.",
)
@answered(stages.DRY_RUN)
def promotion_decision(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    guard: GuardResource,
    database: DatabaseResource,
    clock: ClockResource,
    artifacts: ArtifactStoreResource,
    spec: CandidateSpec,
    results: WalkforwardResults,
    report: EvaluationReport,
    evidence: Evidence,
    evaluation: GateEvaluation,
    prerequisites: PromotionPrerequisites,
    readiness: RollbackReadiness,
) -> dg.MaterializeResult[Encoded]:
    """Decide, record, and export the bundle without a patch: a patch of an earlier run goes with the old bundle."""
    name = context.partition_key
    policy = load_policy(project.folder / project.registration(name).gate_policy)
    research = Research(spec, results, report)
    decision = decide_promotion(
        policy,
        judged_documents(research, evidence),
        evaluation,
        prerequisites,
        readiness,
        now=clock.now(),
        guard=guard.of(name, ACTOR).promotion_answer(evaluation.run_id),
    )
    with database.connection() as connection:
        if connection is not None:
            strategy_ids = tuple(each.strategy_id for each in spec.strategies)
            decision = record_decision(
                connection,
                decision,
                evaluation,
                results.report,
                report,
                strategy_ids,
                actor=ACTOR,
                code_version=lane_code_version(),
            )
            announce(connection, decision, strategy_ids)
    artifacts.store.forget(PATCH.path, name)
    judged = judged_files(research, evidence, evaluation)
    bundle = export_bundle(
        bundle_files(judged, prerequisites, readiness, decision, None),
        project.bundle_folder(name),
        ids=bundle_ids(spec, decision),
    )
    encoded = Encoded.of(decision)
    return encoded.materialized(
        metadata={
            "action": decision.action,
            "recommended_mode": decision.recommended_mode or "none",
            "reasons": reasons_list(decision.reasons),
            "waived": ", ".join(waiver.rule_id for waiver in decision.waivers) or "none",
            "run_id": decision.run_id,
            "ledger_seq": -1 if decision.ledger is None else decision.ledger.seq,
            "bundle": dg.MetadataValue.path(str(bundle.folder)),
        },
    )


@dg.asset(
    key=PATCH,
    ins={
        "signals": dg.AssetIn(SIGNALS),
        **_JUDGED,
        "prerequisites": dg.AssetIn(PREREQUISITES),
        "readiness": dg.AssetIn(READINESS),
        "decision": dg.AssetIn(DECISION),
    },
    partitions_def=CANDIDATES,
    group_name="promotion",
    kinds={"kubernetes", "yaml"},
    owners=OPERATORS,
    code_version=_CODE,
    output_required=False,
    description="The ConfigMap patch of a promoted candidate. A denied one has none; asked for alone, it fails with "
    "the reasons.",
)
@answered(stages.PAPER)
def strategy_configmap_patch(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    guard: GuardResource,
    signals: SignalSet,
    spec: CandidateSpec,
    results: WalkforwardResults,
    report: EvaluationReport,
    evidence: Evidence,
    evaluation: GateEvaluation,
    prerequisites: PromotionPrerequisites,
    readiness: RollbackReadiness,
    decision: PromotionDecision,
) -> Iterator[dg.MaterializeResult[Encoded]]:
    """Judge the stored decision again on the stored evidence, and publish the patch when it stands."""
    registration = project.registration(context.partition_key)
    policy = load_policy(project.folder / registration.gate_policy)
    research = Research(spec, results, report)
    refusals = publication_refusals(
        policy,
        judged_documents(research, evidence),
        evaluation,
        prerequisites,
        readiness,
        decision,
        code_version=lane_code_version(),
    )
    tampered = bool(refusals) and decision.promotion_allowed
    own = guard.of(context.partition_key, ACTOR)
    if not refusals:
        entry = own.enter(evaluation.run_id, stages.PAPER)
        refusals = () if entry.accepted else (entry.reason,)
    if refusals:
        reasons = ", ".join(refusals)
        if tampered or selected_alone(context):
            raise dg.Failure(
                f"no patch for {spec.name}: {reasons}",
                metadata={"reasons": reasons_list(refusals), "action": decision.action},
                allow_retries=False,
            )
        context.log.info("no patch for %s: %s", spec.name, reasons)
        return
    strategies = load_strategies(project.folder / registration.strategy_config, signals)
    patch = render_patch(
        read_text(project.folder / registration.strategy_configmap),
        [each.entry for each in applied_strategies(strategies, results.report)],
        candidate_id=spec.candidate_id,
        run_id=evaluation.run_id,
        mode=decision.promotion_target,
        cap_multiplier=decision.cap_multiplier,
    )
    judged = judged_files(research, evidence, evaluation)
    bundle = export_bundle(
        bundle_files(judged, prerequisites, readiness, decision, patch),
        project.bundle_folder(context.partition_key),
        ids=bundle_ids(spec, decision),
    )
    own.conclude(evaluation.run_id, stages.Conclusion(stages.PAPER, "passed", (), patch.encode()))
    encoded = Encoded.of(patch)
    yield encoded.materialized(
        metadata={
            "patch": dg.MetadataValue.md(f"```yaml\n{patch}\n```"),
            "run_id": evaluation.run_id,
            "bundle": dg.MetadataValue.path(str(bundle.folder)),
        },
    )


PROMOTION_ASSETS = [
    promotion_prerequisites,
    rollback_readiness,
    policy_dry_run,
    promotion_decision,
    strategy_configmap_patch,
]
