"""What the guard answers to a failure: rows 3 to 7 of the contract, and the back-off."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from torghut_assets.guard.failures import FailureAnswer, backoff_ceiling, evaluate
from torghut_assets.guard.policy import POLICY_PATH, FailurePolicy, OrchestrationPolicy, load_policy, parse_policy
from torghut_assets.guard.transitions import CandidateState

SHIPPED = Path(__file__).parents[3] / POLICY_PATH
POLICY = load_policy(SHIPPED)
STATE = CandidateState("momentum", "cand-0426c28f7b82", "run-000001", "gate-evaluation", paused=False, version=3)


def fail(state: CandidateState = STATE, *, policy: OrchestrationPolicy = POLICY, **changes: Any) -> FailureAnswer:
    given_values: dict[str, Any] = {
        "run_id": "run-000001",
        "stage": "gate-evaluation",
        "failure_class": "transient",
        "attempt": 1,
        "stage_failures": 1,
        "jitter": random.Random(7),
        "way_out_required": True,
    }
    return evaluate(policy, state, **{**given_values, **changes})


def told(answer: FailureAnswer) -> tuple[str, str | None]:
    return (answer.action, answer.reason)


def test_row_3_another_run_or_stage_is_told_and_not_counted() -> None:
    paused = replace(STATE, paused=True)
    other = fail(paused, run_id="run-000002")
    assert (told(other), other.counted) == (("fail", "run_mismatch:run-000001"), False)
    elsewhere = fail(paused, stage="shadow-paper")
    assert (told(elsewhere), elsewhere.counted) == (("fail", "active_stage_mismatch:gate-evaluation"), False)
    unbound = fail(replace(STATE, run_id=None))
    assert told(unbound) == ("fail", "run_mismatch:none")
    assert told(fail(replace(STATE, active_stage=None))) == ("fail", "active_stage_mismatch:none")


def test_row_4_a_paused_candidate_waits_for_a_person_and_the_failure_counts() -> None:
    answer = fail(replace(STATE, paused=True), stage_failures=9)
    assert (told(answer), answer.counted, answer.pauses) == (
        ("pause_for_review", "candidate_paused_for_review"),
        True,
        False,
    )


@pytest.mark.parametrize(("failures", "expected"), [(4, "retry"), (5, "pause_for_review"), (40, "pause_for_review")])
def test_row_5_the_threshold_pauses_also_on_a_first_attempt(failures: int, expected: str) -> None:
    answer = fail(stage_failures=failures)
    assert answer.action == expected
    assert answer.pauses == (expected == "pause_for_review")
    if answer.pauses:
        assert answer.reason == "transient_failure_threshold_reached"


def test_row_6_attempts_1_to_4_are_retried_below_rising_ceilings() -> None:
    answers = [fail(attempt=attempt) for attempt in (1, 2, 3, 4)]
    assert [answer.backoff_ceiling_seconds for answer in answers] == [15, 30, 60, 120]
    assert {answer.action for answer in answers} == {"retry"}
    assert told(fail(attempt=5)) == ("fail", "transient_retries_exhausted")


def test_row_7_a_class_without_retries_says_so() -> None:
    for failure_class in ("deterministic", "spec"):
        answer = fail(failure_class=failure_class)
        assert told(answer) == ("fail", f"{failure_class}_non_retryable")
        assert answer.takes_way_out
    assert told(fail(failure_class="policy")) == ("pause_for_review", "policy_failure_threshold_reached")


def test_row_7_a_bound_run_in_a_stage_without_way_out_is_for_a_person() -> None:
    intake = replace(STATE, active_stage="research-intake")
    answer = fail(intake, stage="research-intake", failure_class="spec")
    assert (told(answer), answer.pauses) == (("pause_for_review", "spec_non_retryable"), True)
    stateless = fail(intake, stage="research-intake", failure_class="spec", way_out_required=False)
    assert (told(stateless), stateless.pauses) == (("fail", "spec_non_retryable"), False)
    before_a_run = fail(intake, stage="research-intake", failure_class="spec", run_id=None)
    assert told(before_a_run) == ("fail", "spec_non_retryable")
    assert not before_a_run.takes_way_out


def test_a_deterministic_class_with_one_retry_retries_fails_and_pauses_in_turn() -> None:
    content = yaml.safe_load(SHIPPED.read_text())
    content["failurePolicies"]["deterministic"].update(maxRetries=1, autopauseAfterFailures=3)
    policy = parse_policy(yaml.safe_dump(content), sha256="0" * 64)
    answers = [
        fail(policy=policy, failure_class="deterministic", attempt=count, stage_failures=count) for count in (1, 2, 3)
    ]
    assert [told(answer) for answer in answers] == [
        ("retry", None),
        ("fail", "deterministic_retries_exhausted"),
        ("pause_for_review", "deterministic_failure_threshold_reached"),
    ]
    assert answers[0].next_backoff_seconds == 0


def test_the_delay_varies_between_seeds_and_is_the_same_for_one_seed() -> None:
    delays = {fail(attempt=4, jitter=random.Random(seed)).next_backoff_seconds for seed in range(60)}
    assert len(delays) > 20
    assert fail(attempt=4).next_backoff_seconds == fail(attempt=4).next_backoff_seconds


@given(attempt=st.integers(1, 1_000_000), seed=st.integers())
def test_the_delay_is_a_whole_number_from_zero_to_the_ceiling(attempt: int, seed: int) -> None:
    ceiling = backoff_ceiling(POLICY.failure_policies.transient, attempt)
    assert 15 <= ceiling <= 300
    assert 0 <= random.Random(seed).randint(0, ceiling) <= ceiling


@pytest.mark.parametrize(
    ("limits", "attempt", "ceiling"),
    [
        ((15, 2.0, 300), 5, 240),
        ((15, 2.0, 300), 6, 300),
        ((15, 2.0, 300), 1_000_000, 300),
        ((1e-300, 1.0000001, 300), 50, 0),
        ((0, 9.0, 300), 1_000_000, 0),
        ((7, 1.0, 300), 1_000_000, 7),
        ((2.9, 1.0, 300), 1, 2),
    ],
)
def test_ceilings(limits: tuple[float, float, float], attempt: int, ceiling: int) -> None:
    initial, multiplier, maximum = limits
    policy = FailurePolicy(initialBackoffSeconds=initial, backoffMultiplier=multiplier, maxBackoffSeconds=maximum)  # pyright: ignore[reportCallIssue]
    assert backoff_ceiling(policy, attempt) == ceiling
