"""What happens after a failure: retry with back-off, fail, or pause for review.

Pure: counts come in, an answer goes out. Counting failures and taking a failed stage's way out are ``store``'s
business; which exception belongs to which class is told by ``classification``.
"""

import random
from dataclasses import dataclass, replace
from typing import Final, Literal

from torghut_assets.guard.policy import FailureClass, FailurePolicy, OrchestrationPolicy
from torghut_assets.guard.transitions import CandidateState

FailureAction = Literal["retry", "fail", "pause_for_review"]
PAUSED: Final = "candidate_paused_for_review"


@dataclass(frozen=True)
class FailureAnswer:
    """The answer to one failure; ``reason`` is ``None`` for a retry, the back-off (s) for everything else.

    ``pauses``: applied, it pauses the candidate. ``takes_way_out``: applied, the stage's ``onFailure`` edge is taken.
    """

    action: FailureAction
    stage: str
    failure_class: FailureClass
    attempt: int
    stage_failures: int
    counted: bool
    reason: str | None = None
    next_backoff_seconds: int | None = None
    backoff_ceiling_seconds: int | None = None
    pauses: bool = False
    takes_way_out: bool = False


def misplaced(state: CandidateState, run_id: str | None, stage: str) -> str | None:
    """Why a failure of a run does not count for the candidate: it is not bound, or not in this stage."""
    if run_id is None:
        return None
    if run_id != state.run_id:
        return f"run_mismatch:{state.run_id or 'none'}"
    if stage != state.active_stage:
        return f"active_stage_mismatch:{state.active_stage or 'none'}"
    return None


def evaluate(
    policy: OrchestrationPolicy,
    state: CandidateState,
    *,
    run_id: str | None,
    stage: str,
    failure_class: FailureClass,
    attempt: int,
    stage_failures: int,
    jitter: random.Random,
    way_out_required: bool,
) -> FailureAnswer:
    """Answer one failure.

    Args:
        policy: retries, pauses and back-off of the class.
        state: where the candidate stands.
        run_id: of the failed run; ``None`` before a run was bound.
        stage: the stage that failed.
        failure_class: its class.
        attempt: failures of this run in the window, this one included.
        stage_failures: failures of all runs in the window, this one included.
        jitter: where the delay is drawn from.
        way_out_required: a failure of a bound run in a stage without ``onFailure`` is for a person to look at.
    """
    limits = policy.failure_policies.of(failure_class)

    def answer(action: FailureAction, reason: str | None = None, *, counted: bool = True) -> FailureAnswer:
        return FailureAnswer(action, stage, failure_class, attempt, stage_failures, counted, reason)

    fault = misplaced(state, run_id, stage)
    if fault is not None:
        return answer("fail", fault, counted=False)
    if state.paused:
        return answer("pause_for_review", PAUSED)
    if stage_failures >= limits.autopause_after_failures:
        return replace(answer("pause_for_review", f"{failure_class}_failure_threshold_reached"), pauses=True)
    if attempt <= limits.max_retries:
        ceiling = backoff_ceiling(limits, attempt)
        return replace(
            answer("retry"), next_backoff_seconds=jitter.randint(0, ceiling), backoff_ceiling_seconds=ceiling
        )
    reason = f"{failure_class}_{'retries_exhausted' if limits.max_retries else 'non_retryable'}"
    if run_id is None or not way_out_required:
        return answer("fail", reason)
    if policy.stage(stage).on_failure is None:
        return replace(answer("pause_for_review", reason), pauses=True)
    return replace(answer("fail", reason), takes_way_out=True)


def backoff_ceiling(limits: FailurePolicy, attempt: int) -> int:
    """Longest delay (s) before the retry that follows attempt ``attempt`` (from 1); the delay is drawn from 0 to it."""
    ceiling = limits.initial_backoff_seconds
    for _ in range(attempt - 1):
        if ceiling >= limits.max_backoff_seconds or ceiling == 0 or limits.backoff_multiplier == 1:
            break
        ceiling *= limits.backoff_multiplier
    return int(min(limits.max_backoff_seconds, ceiling))
