"""The guard itself: it moves candidates between stages, answers failures, and keeps the trail of both.

Every change is one transaction: lock the candidate, read the records, decide, apply, and append to the governance
ledger. Command line, assets and sensors call the same methods. What is decided is ``transitions``'s and ``failures``'s
business, pauses and freezes are ``holds``'s.
"""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from torghut_assets.guard.errors import GuardInputError
from torghut_assets.guard.failures import FailureAnswer, evaluate
from torghut_assets.guard.ledger_bodies import decision_body, decision_from, failure_answer_from, failure_body
from torghut_assets.guard.policy import OrchestrationPolicy
from torghut_assets.guard.records import Blobs, Claims, Records, StageEntry, Verdict, facts_of
from torghut_assets.guard.session import Failure, Recorded, Session, Sessions
from torghut_assets.guard.transitions import (
    ALLOWED,
    CONTAINED,
    CandidateState,
    Decision,
    TransitionRequest,
    check_stage,
    decide,
    is_repeat,
)

_log = logging.getLogger(__name__)

START: Final = "start"
CHECK: Final = "check-transition"


@dataclass(frozen=True)
class FailureOutcome:
    """The answer to a failure as it was applied or, without ``applied``, as it would be."""

    answer: FailureAnswer
    state: CandidateState
    applied: bool
    replayed: bool = False
    recorded: Recorded | None = None
    moved_to: str | None = None


@dataclass(frozen=True)
class ResultOutcome:
    """Whether a stage's result was recorded, and why not."""

    recorded: bool
    reason: str
    stage: str | None
    state: CandidateState


@dataclass(frozen=True)
class Guard:
    """The guard over one store of records.

    ``checkpoint`` is told the label of every point that a change has reached.
    """

    policy: OrchestrationPolicy
    sessions: Sessions
    artifacts: Blobs
    checkpoint: Callable[[str], None] = field(default=lambda _: None)

    # reading

    def resolve(self, key: str) -> CandidateState:
        """The candidate with that id or name.

        Raises:
            GuardInputError: ``unknown_candidate``.
        """
        with self.sessions.reading() as session:
            return known(session.find(key), key)

    def load(self, session: Session, state: CandidateState, request: TransitionRequest) -> Records:
        """What is on record about a candidate and the requested run."""
        stage = self.policy.stage(request.to_stage)
        return Records(
            state=state,
            entries=session.entries(state.name or "", request.run_id),
            freeze=session.freeze() if stage.promotion_stage else None,
            controls=session.controls() if stage.repeatable else {},
        )

    def check(self, request: TransitionRequest, claims: Claims | None = None) -> Decision:
        """What would be decided, from one snapshot; changes nothing.

        Raises:
            GuardInputError: ``unknown_candidate``, ``unknown_stage``, or a claim that contradicts the records.
        """
        check_stage(self.policy, request.to_stage, "--to-stage")
        with self.sessions.reading() as session:
            state = known(session.find(request.candidate), request.candidate)
            return self._decide(session, state, request, claims)[0]

    def stored_entry(self, name: str, run_id: str, stage: str) -> Decision | None:
        """The decision by which a run entered a stage the last time."""
        with self.sessions.reading() as session:
            entry = Records(_NOBODY, session.entries(name, run_id)).newest(stage)
            return None if entry is None else decision_from(session.recorded(entry.decision_seq))

    def _decide(
        self, session: Session, state: CandidateState, request: TransitionRequest, claims: Claims | None
    ) -> tuple[Decision, Records]:
        records = self.load(session, state, request)
        facts = facts_of(self.policy, request, records, self.artifacts, claims)
        return decide(self.policy, request, state, facts), records

    # moving

    def start(self, name: str, candidate_id: str, run_id: str, *, actor: str) -> Decision:
        """Bind a new run and put the candidate into the intake stage.

        A run that is bound already changes nothing. Pause and failure counts stay.
        """
        intake = self.policy.controls.intake_stage
        request = TransitionRequest(candidate_id, run_id, intake, actor)
        with self.sessions.changing() as session:
            session.create(name, intake)
            state = _locked(session, name)
            self.checkpoint("locked")
            decision = self._answer_start(state, request, session.owner(candidate_id))
            self.checkpoint("decided")
            if decision.replayed:
                return self._stored(session, decision, session.entries(name, run_id), intake)
            if not decision.allowed:
                return self._record_denial(session, START, request, state, decision)
            bound = replace(state, candidate_id=candidate_id, run_id=run_id, active_stage=intake)
            came_from = state.active_stage if state.run_id is not None else None
            return self._apply(session, START, request, bound, decision, "start", came_from)

    def _answer_start(self, state: CandidateState, request: TransitionRequest, owner: str | None) -> Decision:
        intake = self.policy.controls.intake_stage
        bound_again = (state.candidate_id, state.run_id) == (request.candidate, request.run_id)
        startable = state.run_id is None or state.active_stage in self.policy.controls.start_stages
        if bound_again:
            allowed, reason = True, ALLOWED
        elif owner is not None and owner != state.name:
            allowed, reason = False, f"candidate_id_in_use:{owner}"
        elif not startable:
            allowed, reason = False, f"run_start_not_allowed:{state.active_stage}"
        else:
            allowed, reason = True, ALLOWED
        return Decision(
            allowed=allowed,
            reason=reason,
            next_action="proceed" if allowed else "halt",
            from_stage=state.active_stage,
            to_stage=intake,
            lane=self.policy.lane(intake),
            mode="gitops",
            policy_version=self.policy.version,
            policy_sha256=self.policy.sha256,
            standing=bound_again,
            replayed=bound_again,
            state_version=state.version,
        )

    def enter(self, request: TransitionRequest, claims: Claims | None = None) -> Decision:
        """Move a candidate into a stage, when it may.

        A repeat of a move of a standing run writes nothing and returns the stored decision. A denial is recorded; one
        that asks for rollback also takes the active stage's way out, by a record of its own.

        Raises:
            GuardInputError: ``unknown_candidate``, ``unknown_stage``, or a claim that contradicts the records.
        """
        check_stage(self.policy, request.to_stage, "--to-stage")
        with self.sessions.changing() as session:
            state = _locked(session, known(session.find(request.candidate), request.candidate).name or "")
            self.checkpoint("locked")
            decision, records = self._decide(session, state, request, claims)
            self.checkpoint("decided")
            if is_repeat(decision) or decision.reason == CONTAINED:
                return self._stored(session, decision, records.entries, request.to_stage)
            edge = self.policy.edge_kind(request.to_stage)
            if decision.allowed:
                moved = replace(state, active_stage=request.to_stage)
                decision = self._apply(session, "enter", request, moved, decision, edge, state.active_stage)
            else:
                decision = self._record_denial(session, "enter", request, state, decision)
                if decision.next_action == "rollback":
                    way_out = self._take_way_out(session, state, request.run_id, request.actor, "rollback")
                    if way_out is not None:
                        details = {**decision.details, "rollback": way_out}
                        decision = replace(decision, details=details, state_version=way_out["stateVersion"])
        self.checkpoint("committed")
        return decision

    def _stored(self, session: Session, decision: Decision, entries: Sequence[StageEntry], stage: str) -> Decision:
        entry = Records(_NOBODY, entries).newest(stage)
        if entry is None:
            return decision
        stored = decision_from(session.recorded(entry.decision_seq))
        return replace(
            stored,
            reason=CONTAINED if decision.reason == CONTAINED else stored.reason,
            from_stage=decision.from_stage,
            standing=decision.standing,
            state_version=decision.state_version,
            applied=False,
            replayed=True,
        )

    def _record_denial(
        self, session: Session, action: str, request: TransitionRequest, state: CandidateState, decision: Decision
    ) -> Decision:
        edge = START if action == START else self.policy.edge_kind(request.to_stage)
        command = START if action == START else CHECK
        body = decision_body(action, command, request, state, decision, edge)
        recorded = session.record("guard_decision", state.name or "", request.actor, body)
        self.checkpoint("recorded")
        return replace(decision, decision_seq=recorded.seq, decided_at=recorded.at)

    def _apply(
        self,
        session: Session,
        action: str,
        request: TransitionRequest,
        moved: CandidateState,
        decision: Decision,
        edge: Any,
        from_stage: str | None,
    ) -> Decision:
        """Write a move that was allowed; ``moved`` is the candidate's state after it."""
        name = moved.name or ""
        saved = session.save(moved)
        self.checkpoint("saved")
        decision = replace(decision, applied=True, state_version=saved.version)
        command = START if action == START else CHECK
        body = decision_body(action, command, request, saved, decision, edge)
        recorded = session.record("guard_decision", name, request.actor, body)
        self.checkpoint("recorded")
        once = edge == "forward" and not self.policy.stage(request.to_stage).repeatable
        session.add_entry(saved, edge, once=once, from_stage=from_stage, decision=recorded)
        if edge == "forward" and from_stage is not None:
            session.clear_failures(name, from_stage)
        self.checkpoint("entered")
        return replace(decision, decision_seq=recorded.seq, decided_at=recorded.at)

    def _take_way_out(
        self, session: Session, state: CandidateState, run_id: str, actor: str, cause: str
    ) -> dict[str, Any] | None:
        """Take the active stage's ``onFailure`` edge; returns what the answer says about it, if there is one."""
        active = state.active_stage or ""
        target = self.policy.stage(active).on_failure if active in self.policy.stage_names else None
        if target is None:
            return None
        request = TransitionRequest(state.candidate_id or "", run_id, target, actor)
        decision, _ = self._decide(session, state, request, None)
        decision = replace(decision, details={**decision.details, "cause": cause})
        if not decision.allowed:
            decision = self._record_denial(session, "enter", request, state, decision)
        else:
            moved = replace(state, active_stage=target)
            edge = self.policy.edge_kind(target)
            decision = self._apply(session, "enter", request, moved, decision, edge, active)
        return {
            "toStage": target,
            "applied": decision.applied,
            "reason": decision.reason,
            "decisionSeq": decision.decision_seq,
            "stateVersion": decision.state_version,
        }

    # results and failures

    def record_result(
        self,
        candidate: str,
        run_id: str,
        stage: str | None,
        verdict: Verdict,
        *,
        reasons: Sequence[str] = (),
        blob_sha256: str | None = None,
        actor: str,
    ) -> ResultOutcome:
        """Record what the bound run's active stage concluded; anything else is ignored and logged.

        ``waiting`` may change, ``passed`` and ``failed`` are final. Without ``stage``: the active one.

        Raises:
            GuardInputError: ``unknown_candidate``.
        """
        with self.sessions.changing() as session:
            state = _locked(session, known(session.find(candidate), candidate).name or "")
            entries = session.entries(state.name or "", run_id)
            entry = Records(state, entries).newest(state.active_stage)
            told = (verdict, tuple(reasons), blob_sha256)
            if run_id != state.run_id or entry is None:
                fault = f"run_mismatch:{state.run_id or 'none'}"
            elif stage is not None and stage != state.active_stage:
                fault = f"active_stage_mismatch:{state.active_stage}"
            elif (entry.verdict, tuple(entry.reasons), entry.blob_sha256) == told:
                fault = "result_already_recorded"
            else:
                fault = "result_is_final" if entry.verdict in {"passed", "failed"} else None
            if fault is not None or entry is None:
                _log.info("result %s of %s/%s for %s ignored: %s", verdict, run_id, stage, state.name, fault)
                return ResultOutcome(recorded=False, reason=fault or "", stage=state.active_stage, state=state)
            session.set_result(entry, verdict, reasons, blob_sha256)
            if verdict == "passed":
                session.clear_failures(state.name or "", entry.stage)
            body = {
                "action": "result",
                "candidateId": state.candidate_id,
                "runId": run_id,
                "stage": entry.stage,
                "lane": self.policy.lane(entry.stage),
                "entry": entry.entry,
                "verdict": verdict,
                "reasons": list(reasons),
                "blobSha256": blob_sha256,
            }
            session.record("guard_state", state.name or "", actor, body)
            self.checkpoint("recorded")
            return ResultOutcome(recorded=True, reason="recorded", stage=entry.stage, state=state)

    def evaluate_failure(
        self,
        failure: Failure,
        *,
        actor: str,
        apply: bool,
        attempt: int | None = None,
        jitter: random.Random | None = None,
        first_sight: bool = False,
    ) -> FailureOutcome:
        """Answer a failure; with ``apply`` it is recorded, counted once, and what it asks for is done.

        Args:
            failure: what failed; its name may be an id.
            actor: who asks.
            apply: record it; otherwise only say what would be answered.
            attempt: what the caller thinks, to be contradicted.
            jitter: where the delay is drawn from; random when left out.
            first_sight: make an unknown name known, as the orchestrator does for its partitions.

        Raises:
            GuardInputError: ``unknown_candidate``, ``unknown_stage``, ``attempt_contradicts_record``.
        """
        check_stage(self.policy, failure.stage, "--stage")
        context = self.sessions.changing() if apply else self.sessions.reading()
        with context as session:
            if apply and first_sight:
                session.create(failure.name, self.policy.controls.intake_stage)
            state = known(session.find(failure.name), failure.name)
            if apply:
                state = _locked(session, state.name or "")
                self.checkpoint("locked")
            failure = replace(failure, name=state.name or "")
            stored = session.find_failure(failure.occurrence_id)
            if stored is not None:
                answer = failure_answer_from(stored.body)
                return FailureOutcome(answer, state, applied=False, replayed=True, recorded=stored)
            answer = self._answer_failure(session, state, failure, attempt, jitter or random.SystemRandom())
            if not apply:
                return FailureOutcome(answer, state, applied=False)
            return self._apply_failure(session, state, failure, answer, actor)

    def _answer_failure(
        self,
        session: Session,
        state: CandidateState,
        failure: Failure,
        attempt: int | None,
        jitter: random.Random,
    ) -> FailureAnswer:
        window = timedelta(seconds=self.policy.failure_policies.of(failure.failure_class).window_seconds)
        where = (failure.name, failure.stage, failure.failure_class, window, failure.run_id)
        counted = session.count_failures(*where, of_run=True) + 1
        if attempt is not None and attempt != counted:
            raise GuardInputError(
                "attempt_contradicts_record",
                f"the records make this attempt {counted}, was {attempt}",
                field="--attempt",
                details={"attempt": attempt, "record": counted},
            )
        return evaluate(
            self.policy,
            state,
            run_id=failure.run_id,
            stage=failure.stage,
            failure_class=failure.failure_class,
            attempt=counted,
            stage_failures=session.count_failures(*where, of_run=False) + 1,
            jitter=jitter,
            way_out_required=True,
        )

    def _apply_failure(
        self, session: Session, state: CandidateState, failure: Failure, answer: FailureAnswer, actor: str
    ) -> FailureOutcome:
        if answer.pauses:
            state = session.save(replace(state, paused=True, pause_reason=answer.reason))
            self.checkpoint("saved")
        body = {**failure_body(self.policy, failure, state, answer), "stateVersion": state.version}
        recorded = session.record("guard_decision", failure.name, actor, body)
        self.checkpoint("recorded")
        session.add_failure(failure, state, answer, recorded)
        moved_to = None
        if answer.takes_way_out and failure.run_id is not None:
            way_out = self._take_way_out(session, state, failure.run_id, actor, "failure")
            if way_out is not None and way_out["applied"]:
                moved_to = way_out["toStage"]
                state = replace(state, active_stage=moved_to, version=way_out["stateVersion"])
        self.checkpoint("entered")
        return FailureOutcome(answer, state, applied=True, recorded=recorded, moved_to=moved_to)


_NOBODY: Final = CandidateState(None, None, None, None, paused=False)


def known(state: CandidateState | None, key: str) -> CandidateState:
    """The state, which must be there.

    Raises:
        GuardInputError: ``unknown_candidate``.
    """
    if state is None:
        raise GuardInputError("unknown_candidate", f"the guard knows no candidate {key!r}", field="--candidate-id")
    return state


def _locked(session: Session, name: str) -> CandidateState:
    return known(session.lock(name), name)
