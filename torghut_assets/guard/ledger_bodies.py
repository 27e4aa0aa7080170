"""How decisions and answers stand in the governance ledger, and how they are read back from there.

Keys are those of the command line's JSON. Who writes a row and when is ``store``'s business.
"""

from collections.abc import Mapping
from typing import Any

from torghut_assets.guard.failures import FailureAnswer
from torghut_assets.guard.policy import OrchestrationPolicy
from torghut_assets.guard.session import Failure, Recorded
from torghut_assets.guard.transitions import CandidateState, Decision, TransitionRequest


def decision_body(
    action: str, command: str, request: TransitionRequest, state: CandidateState, decision: Decision, edge: str
) -> dict[str, Any]:
    """A move, or a denied attempt to move."""
    body: dict[str, Any] = {
        "action": action,
        "command": command,
        "outcome": decision.next_action,
        "candidateId": state.candidate_id,
        "runId": request.run_id,
        "fromStage": decision.from_stage,
        "toStage": decision.to_stage,
        "lane": decision.lane,
        "edge": edge,
        "allowed": decision.allowed,
        "applied": decision.applied,
        "reason": decision.reason,
        "nextAction": decision.next_action,
        "mode": decision.mode,
        "stateVersion": decision.state_version,
        "policyVersion": decision.policy_version,
        "policySha256": decision.policy_sha256,
        "details": dict(decision.details),
    }
    if request.mode == "emergency":
        body["emergencyTicket"] = request.emergency_ticket
        body["emergencyApprovedBy"] = request.emergency_approver
    return body


def decision_from(recorded: Recorded) -> Decision:
    """The decision that a row of the ledger holds."""
    body = recorded.body
    return Decision(
        allowed=body["allowed"],
        reason=body["reason"],
        next_action=body["nextAction"],
        from_stage=body["fromStage"],
        to_stage=body["toStage"],
        lane=body["lane"],
        mode=body["mode"],
        policy_version=body["policyVersion"],
        policy_sha256=body["policySha256"],
        applied=body["applied"],
        decision_seq=recorded.seq,
        decided_at=recorded.at,
        state_version=body["stateVersion"],
        details=body["details"],
    )


def failure_body(
    policy: OrchestrationPolicy, failure: Failure, state: CandidateState, answer: FailureAnswer
) -> dict[str, Any]:
    """A failure and what was answered to it."""
    body: dict[str, Any] = {
        "action": "failure",
        "command": "evaluate-failure",
        "outcome": answer.action,
        "candidateId": state.candidate_id,
        "runId": failure.run_id,
        "stage": failure.stage,
        "lane": policy.lane(failure.stage),
        "failureClass": failure.failure_class,
        "occurrenceId": failure.occurrence_id,
        "attempt": answer.attempt,
        "stageFailures": answer.stage_failures,
        "counted": answer.counted,
        "pauses": answer.pauses,
        "reason": answer.reason,
        "policyVersion": policy.version,
        "policySha256": policy.sha256,
    }
    if answer.action == "retry":
        body["nextBackoffSeconds"] = answer.next_backoff_seconds
        body["backoffCeilingSeconds"] = answer.backoff_ceiling_seconds
    return body


def failure_answer_from(body: Mapping[str, Any]) -> FailureAnswer:
    """The answer that a row of the ledger holds."""
    return FailureAnswer(
        action=body["outcome"],
        stage=body["stage"],
        failure_class=body["failureClass"],
        attempt=body["attempt"],
        stage_failures=body["stageFailures"],
        counted=body["counted"],
        reason=body["reason"],
        next_backoff_seconds=body.get("nextBackoffSeconds"),
        backoff_ceiling_seconds=body.get("backoffCeilingSeconds"),
        pauses=body["pauses"],
    )
