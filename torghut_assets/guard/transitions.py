"""May this candidate enter that stage? The decision, as a pure function of policy, request, state and facts.

No database and no clock: ``store`` reads the state and the facts, ``state_file`` takes them from a file and switches.
The order of the rules is part of the contract, since the first that matches gives the reason.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from torghut_assets.guard.errors import GuardInputError
from torghut_assets.guard.policy import OrchestrationPolicy, StagePolicy

Mode = Literal["gitops", "emergency"]
NextAction = Literal["proceed", "halt", "human_review", "rollback"]
Judgement = Literal["passed", "failed", "unknown"]
ArtifactFault = Literal[
    "missing_previous_artifact",
    "previous_artifact_unlisted",
    "previous_artifact_hash_mismatch",
    "previous_artifact_run_mismatch",
]

ALLOWED: Final = "transition_allowed"
CONTAINED: Final = "already_in_containment"
REPEATED: Final = "transition_already_applied"
UNTICKETED: Final = "mutable_action_requires_gitops_or_ticketed_emergency"
UNAPPROVED: Final = "emergency_second_approval_missing"


@dataclass(frozen=True)
class TransitionRequest:
    """What is asked for, and by whom."""

    candidate: str
    run_id: str
    to_stage: str
    actor: str
    from_stage: str | None = None
    expected_version: int | None = None
    mode: Mode = "gitops"
    emergency_ticket: str | None = None
    emergency_approver: str | None = None


@dataclass(frozen=True)
class CandidateState:
    """Where a candidate stands; ``version`` is ``None`` for a state that comes from a file."""

    name: str | None
    candidate_id: str | None
    run_id: str | None
    active_stage: str | None
    paused: bool
    pause_reason: str | None = None
    version: int | None = None


@dataclass(frozen=True)
class Facts:
    """What the records say about the previous stage, the controls and the run; nothing here is believed, only read.

    ``entered`` holds the stages that the request's run has entered, ``entered_forward`` those by a forward edge.
    ``freeze`` is the cause for which promotion is frozen. ``records`` names what was read, for the decision's record.
    """

    artifact_fault: ArtifactFault | None = "missing_previous_artifact"
    gate: Judgement = "unknown"
    risk: Judgement = "unknown"
    execution: Judgement = "unknown"
    freeze: str | None = None
    entered: frozenset[str] = frozenset()
    entered_forward: frozenset[str] = frozenset()
    asserted: bool = False
    records: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Decision:
    """The answer to a request.

    ``standing``: the run is bound, has entered the stage, and the candidate is there or further on. ``replayed``: the
    stored answer of an earlier request. ``decision_seq`` and ``decided_at``: its row in the governance ledger.
    """

    allowed: bool
    reason: str
    next_action: NextAction
    from_stage: str | None
    to_stage: str
    lane: str
    mode: Mode
    policy_version: str
    policy_sha256: str
    standing: bool = False
    replayed: bool = False
    applied: bool = False
    decision_seq: int | None = None
    decided_at: datetime | None = None
    state_version: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def accepted(self) -> bool:
        """What assets and checks go by: entered now, or entered before and still standing."""
        return self.allowed or self.standing


_Answer = tuple[bool, str, NextAction]


def _halt(reason: str) -> _Answer:
    return (False, reason, "halt")


def decide(policy: OrchestrationPolicy, request: TransitionRequest, state: CandidateState, facts: Facts) -> Decision:
    """Decide on one request.

    Raises:
        GuardInputError: ``unknown_stage``; the policy does not have the destination or the stage it is said to come
            from.
    """
    for name, where in ((request.to_stage, "--to-stage"), (request.from_stage, "--from-stage")):
        if name is not None:
            check_stage(policy, name, where)
    destination = policy.stage(request.to_stage)
    mode = request.mode
    details = dict[str, Any]()
    answer = _identity(request, state) or _place(policy, request, state, facts)
    if answer is None:
        if policy.edge_kind(request.to_stage) == "containment":
            answer = (True, ALLOWED, "proceed")
            fault = _emergency_fault(policy, request, destination)
            if fault is not None:
                mode = "gitops"
                details["emergencyRejected"] = fault
        else:
            answer = _conditions(policy, request, state, facts, destination) or (True, ALLOWED, "proceed")
    allowed, reason, next_action = answer
    return Decision(
        allowed=allowed,
        reason=reason,
        next_action=next_action,
        from_stage=state.active_stage,
        to_stage=request.to_stage,
        lane=destination.lane,
        mode=mode,
        policy_version=policy.version,
        policy_sha256=policy.sha256,
        standing=_standing(policy, request, state, facts),
        state_version=state.version,
        details={**details, **({"records": dict(facts.records)} if facts.records else {})},
    )


def check_stage(policy: OrchestrationPolicy, name: str, where: str) -> None:
    """Make sure that the policy has a stage.

    Raises:
        GuardInputError: ``unknown_stage``.
    """
    if name not in policy.stage_names:
        raise GuardInputError(
            "unknown_stage", f"must be one of {', '.join(policy.stage_names)}, was {name!r}", field=where
        )


def _blank(text: str | None) -> bool:
    return text is None or not text.strip()


def _identity(request: TransitionRequest, state: CandidateState) -> _Answer | None:
    if _blank(state.run_id):
        return _halt("missing_run_id")
    if _blank(state.active_stage):
        return _halt("missing_source_stage")
    if state.candidate_id is None or request.candidate not in {state.candidate_id, state.name}:
        return _halt("candidate_mismatch")
    if state.run_id != request.run_id:
        return _halt(f"run_mismatch:{state.run_id}")
    if request.expected_version is not None and request.expected_version != state.version:
        return _halt(f"state_version_conflict:{state.version}")
    return None


def _place(
    policy: OrchestrationPolicy, request: TransitionRequest, state: CandidateState, facts: Facts
) -> _Answer | None:
    active, to_stage = state.active_stage or "", request.to_stage
    kind = policy.edge_kind(to_stage)
    if active == to_stage:
        return (True, CONTAINED, "proceed") if kind == "containment" else _halt(REPEATED)
    if request.from_stage is not None and request.from_stage != active:
        return _halt(f"active_stage_mismatch:{active}")
    if not policy.graph.has_edge(active, to_stage):
        return _halt(f"illegal_transition:{active}->{to_stage}")
    if kind == "forward" and not policy.stage(to_stage).repeatable and to_stage in facts.entered_forward:
        return _halt(f"stage_already_run:{to_stage}")
    return None


def _conditions(
    policy: OrchestrationPolicy,
    request: TransitionRequest,
    state: CandidateState,
    facts: Facts,
    destination: StagePolicy,
) -> _Answer | None:
    forward = policy.edge_kind(request.to_stage) == "forward"
    if forward and state.paused:
        return (False, "candidate_paused_for_review", "human_review")
    if forward and destination.promotion_stage and facts.freeze is not None:
        return (False, f"promotion_frozen:{facts.freeze}", "human_review")
    if destination.require_previous_artifact and facts.artifact_fault is not None:
        return _halt(facts.artifact_fault)
    if destination.require_previous_gate_pass and facts.gate != "passed":
        failed = facts.gate == "failed"
        return (False, "previous_gate_failed", "rollback") if failed else _halt("previous_gate_unknown")
    for required, judgement, name in (
        (destination.require_risk_controls, facts.risk, "risk_controls"),
        (destination.require_execution_controls, facts.execution, "execution_controls"),
    ):
        if required and judgement != "passed":
            failed = judgement == "failed"
            return (False, f"{name}_not_passed", "rollback") if failed else _halt(f"{name}_unknown")
    fault = _emergency_fault(policy, request, destination)
    return None if fault is None else _halt(fault)


def _emergency_fault(policy: OrchestrationPolicy, request: TransitionRequest, destination: StagePolicy) -> str | None:
    """What is wrong with an emergency that replaces the GitOps path; ``None`` where nothing is, or none is claimed."""
    if request.mode != "emergency" or not destination.mutable_action:
        return None
    ticket = request.emergency_ticket
    if ticket is None or not re.fullmatch(policy.controls.emergency_ticket_pattern, ticket):
        return UNTICKETED
    approver = (request.emergency_approver or "").strip().casefold()
    return UNAPPROVED if approver in {"", request.actor.strip().casefold()} else None


def _standing(policy: OrchestrationPolicy, request: TransitionRequest, state: CandidateState, facts: Facts) -> bool:
    return (
        state.active_stage is not None
        and state.run_id == request.run_id
        and state.candidate_id is not None
        and request.candidate in {state.candidate_id, state.name}
        and request.to_stage in facts.entered
        and policy.stands_at_or_after(state.active_stage, request.to_stage)
    )


def is_repeat(decision: Decision) -> bool:
    """Whether a denial only says that the move was made already, so that asking again must change nothing."""
    repeated = ("illegal_transition:", "active_stage_mismatch:", "stage_already_run:")
    return (
        decision.standing
        and not decision.allowed
        and (decision.reason == REPEATED or decision.reason.startswith(repeated))
    )


def as_repeat(decision: Decision) -> Decision:
    """How the command line tells a repeat of a move that was made already."""
    return replace(decision, allowed=False, reason=REPEATED, next_action="halt", applied=False)
