"""Asset checks of the guard: by which decision a run entered an asset's stage, or why it may not.

They read, never block, never raise, and change nothing.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any

import dagster as dg

from torghut_assets.artifact_values import decode
from torghut_assets.check_specs import candidate_check
from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.guard.answering import ACTOR
from torghut_assets.guard.resource import GuardResource
from torghut_assets.guard.stages import DRY_RUN, GATES, PAPER, PREREQUISITES, READINESS, StageGuard
from torghut_assets.guard.transitions import Decision, TransitionRequest
from torghut_assets.keys import GATE_EVALUATION, PATCH, POLICY_DRY_RUN
from torghut_assets.keys import PREREQUISITES as PREREQUISITES_KEY
from torghut_assets.keys import READINESS as READINESS_KEY
from torghut_assets.resources import ArtifactStoreResource

NAME = "guard_transition"
GUARD_ERROR = "guard_error"
_STAGES = {
    GATE_EVALUATION: GATES,
    PREREQUISITES_KEY: PREREQUISITES,
    READINESS_KEY: READINESS,
    POLICY_DRY_RUN: DRY_RUN,
    PATCH: PAPER,
}


def transition_result(stages: StageGuard, run_id: str, stage: str, key: dg.AssetKey) -> dg.AssetCheckResult:
    """What the guard says about a run and a stage."""
    asked = stages.guard.check(TransitionRequest(stages.name, run_id, stage, stages.actor))
    stored = stages.guard.stored_entry(stages.name, run_id, stage)
    decision = stored or asked
    passed = decision.allowed or asked.standing
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=key,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{stage}: {decision.reason} ({decision.next_action})",
        metadata={
            "stage": stage,
            "reason": decision.reason,
            "next_action": decision.next_action,
            "ledger_seq": decision.decision_seq or -1,
            "entered": stored is not None,
            "next_edge": _next_edge(stages, run_id, stage),
            "policy_version": decision.policy_version,
            "policy_sha256": decision.policy_sha256,
            "state_version": asked.state_version or -1,
            "run_id": run_id,
        },
    )


def _next_edge(stages: StageGuard, run_id: str, stage: str) -> str:
    policy = stages.guard.policy
    following = [target for target in policy.graph.edges[stage] if policy.edge_kind(target) == "forward"]
    if not following:
        return "none"
    decision: Decision = stages.guard.check(TransitionRequest(stages.name, run_id, following[0], stages.actor))
    return f"{following[0]}: {decision.reason} ({decision.next_action})"


def _check_of(key: dg.AssetKey, stage: str) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"guard_{stage.replace('-', '_')}",
        specs=[candidate_check(NAME, key, f"The guard let this run enter {stage}")],
    )
    def check(
        context: dg.AssetCheckExecutionContext, guard: GuardResource, artifacts: ArtifactStoreResource
    ) -> dg.AssetCheckResult:
        name = context.partition_key
        try:
            evaluation: Any = decode(artifacts.store.read(GATE_EVALUATION.path, name), GateEvaluation)
            return transition_result(guard.of(name, ACTOR), evaluation.run_id, stage, key)
        except Exception as error:  # noqa: BLE001 - a check never raises: what it cannot tell has failed
            return dg.AssetCheckResult(
                check_name=NAME,
                asset_key=key,
                passed=False,
                severity=dg.AssetCheckSeverity.ERROR,
                description=f"{GUARD_ERROR}: {type(error).__name__}: {error}",
                metadata={"stage": stage, "reason": GUARD_ERROR, "error": f"{type(error).__name__}: {error}"},
            )

    return check


GUARD_CHECKS = [_check_of(key, stage) for key, stage in _STAGES.items()]
