"""Failures on a real database: counted once, apart by class and window, and what they ask for is done."""

import random
from datetime import timedelta

import pytest
import sqlalchemy as sa
import yaml
from guard_world import CANDIDATE, NAME, POLICY, POLICY_FILE, RUN, World

from torghut_assets.guard.errors import GuardInputError
from torghut_assets.guard.holds import pause, resume
from torghut_assets.guard.policy import OrchestrationPolicy, parse_policy
from torghut_assets.guard.session import Failure
from torghut_runtime.storage.guard_tables import guard_failures


def policy_with(failure_class: str, **limits: int) -> OrchestrationPolicy:
    content = yaml.safe_load(POLICY_FILE.read_text())
    content["failurePolicies"][failure_class].update(limits)
    return parse_policy(yaml.safe_dump(content), sha256="0" * 64)


def test_five_transient_failures_are_four_retries_and_a_pause(world: World) -> None:
    world.walk("gate-evaluation")
    answers = [world.fail("gate-evaluation", occurrence=f"failure-{n}").answer for n in range(5)]
    assert [answer.action for answer in answers] == ["retry"] * 4 + ["pause_for_review"]
    assert [answer.attempt for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer.backoff_ceiling_seconds for answer in answers] == [15, 30, 60, 120, None]
    state = world.state()
    assert (state.paused, state.pause_reason) == (True, "transient_failure_threshold_reached")
    sixth = world.fail("gate-evaluation", occurrence="failure-5").answer
    assert (sixth.action, sixth.reason, sixth.counted) == ("pause_for_review", "candidate_paused_for_review", True)


def test_an_occurrence_is_counted_once_and_answered_the_same(world: World) -> None:
    world.walk("gate-evaluation")
    first = world.fail("gate-evaluation", occurrence="run/step/0")
    before = world.footprint()
    again = world.fail("gate-evaluation", occurrence="run/step/0")
    assert world.footprint() == before
    assert again.replayed
    assert not again.applied
    assert again.answer == first.answer
    assert again.recorded is not None
    assert again.recorded.seq == (first.recorded and first.recorded.seq)


def test_classes_are_counted_apart(world: World) -> None:
    world.walk("gate-evaluation")
    for number in range(3):
        world.fail("gate-evaluation", occurrence=f"transient-{number}")
    answer = world.fail("gate-evaluation", "spec", occurrence="spec-0").answer
    assert (answer.stage_failures, answer.reason) == (1, "spec_non_retryable")


def test_a_result_or_a_forward_move_between_clears_the_count(world: World) -> None:
    world.walk("gate-evaluation")
    for number in range(3):
        world.fail("gate-evaluation", occurrence=f"failure-{number}")
    world.result()
    assert world.fail("gate-evaluation", occurrence="failure-3").answer.stage_failures == 1
    world.enter("promotion-prerequisites")
    with world.engine.connect() as connection:
        table = guard_failures
        assert (
            connection.execute(
                sa.select(sa.func.count()).select_from(table).where(table.c.cleared_at.is_(None))
            ).scalar()
            == 0
        )


@pytest.mark.parametrize(("age", "counted"), [(3590, 2), (3610, 1)])
def test_a_failure_older_than_the_window_is_not_counted(world: World, age: int, counted: int) -> None:
    world.walk("gate-evaluation")
    world.fail("gate-evaluation", occurrence="old")
    with world.engine.begin() as connection:
        connection.execute(sa.update(guard_failures).values(at=sa.func.clock_timestamp() - timedelta(seconds=age)))
    assert world.fail("gate-evaluation", occurrence="new").answer.stage_failures == counted


def test_before_any_run_a_failure_counts_by_name_and_moves_nothing(world: World) -> None:
    def fail(number: int) -> str:
        failure = Failure(NAME, None, "research-intake", "deterministic", f"run-{number}/signals/0", "no file", None)
        outcome = world.guard.evaluate_failure(failure, actor="dagster", apply=True, first_sight=True)
        return outcome.answer.reason or outcome.answer.action

    assert fail(1) == "deterministic_non_retryable"
    assert (world.state(NAME).run_id, world.state(NAME).active_stage) == (None, "research-intake")
    assert fail(2) == "deterministic_failure_threshold_reached"
    assert world.state(NAME).paused


def test_a_research_failure_never_moves_a_candidate_that_trades(world: World) -> None:
    world.walk("shadow-paper")
    failure = Failure(NAME, None, "research-intake", "deterministic", "one", "no file", None)
    outcome = world.guard.evaluate_failure(failure, actor="dagster", apply=True)
    assert (outcome.answer.action, outcome.moved_to) == ("fail", None)
    assert world.state().active_stage == "shadow-paper"


@pytest.mark.parametrize(
    ("stage", "way_out"), [("gate-evaluation", "research-intake"), ("policy-dry-run", "incident-recovery")]
)
def test_a_failed_stage_takes_its_way_out_by_a_record_of_its_own(world: World, stage: str, way_out: str) -> None:
    world.walk(stage)
    rows = len(world.ledger())
    outcome = world.fail(stage, "deterministic", occurrence="one")
    assert (outcome.answer.reason, outcome.moved_to) == ("deterministic_non_retryable", way_out)
    assert world.state().active_stage == way_out
    failure, move = world.ledger()[rows:]
    assert (failure.body["command"], move.body["toStage"]) == ("evaluate-failure", way_out)
    assert move.body["details"]["cause"] == "failure"


def test_a_stage_without_way_out_pauses_a_bound_run(world: World) -> None:
    world.walk("research-intake")
    answer = world.fail("research-intake", "spec", occurrence="one").answer
    assert (answer.action, answer.reason) == ("pause_for_review", "spec_non_retryable")
    assert world.state().paused


def test_a_policy_failure_pauses_at_once(world: World) -> None:
    world.walk("gate-evaluation")
    answer = world.fail("gate-evaluation", "policy", occurrence="one").answer
    assert (answer.action, answer.reason) == ("pause_for_review", "policy_failure_threshold_reached")
    assert world.state().active_stage == "gate-evaluation"


def test_one_retry_of_a_deterministic_failure_then_the_way_out(world: World) -> None:
    world = World(world.engine, world.artifacts, policy_with("deterministic", maxRetries=1, autopauseAfterFailures=3))
    world.walk("gate-evaluation")
    answers = [world.fail("gate-evaluation", "deterministic", occurrence=f"failure-{n}").answer for n in range(2)]
    assert [(answer.action, answer.reason) for answer in answers] == [
        ("retry", None),
        ("fail", "deterministic_retries_exhausted"),
    ]
    assert world.state().active_stage == "research-intake"


def test_a_failure_of_another_run_or_stage_is_recorded_and_not_counted(world: World) -> None:
    world.walk("gate-evaluation")
    other = world.fail("gate-evaluation", occurrence="one", run="run-000002").answer
    elsewhere = world.fail("shadow-paper", occurrence="two").answer
    assert (other.reason, other.counted) == (f"run_mismatch:{RUN}", False)
    assert (elsewhere.reason, elsewhere.counted) == ("active_stage_mismatch:gate-evaluation", False)
    assert len(world.footprint()[3]) == 2
    assert world.fail("gate-evaluation", occurrence="three").answer.stage_failures == 1


def test_attempts_count_the_run_and_stage_failures_count_all_runs(world: World) -> None:
    world.walk("shadow-paper")
    world.fail("shadow-paper", occurrence="one")
    world.walk("shadow-paper", run="run-000002")
    with world.engine.begin() as connection:
        connection.execute(sa.update(guard_failures).values(cleared_at=None))
    answer = world.fail("shadow-paper", occurrence="two", run="run-000002").answer
    assert (answer.attempt, answer.stage_failures) == (1, 2)


def test_an_attempt_that_the_records_contradict_is_an_error(world: World) -> None:
    world.walk("gate-evaluation")
    world.fail("gate-evaluation", occurrence="one", attempt=1)
    with pytest.raises(GuardInputError) as raised:
        world.fail("gate-evaluation", occurrence="two", attempt=1)
    assert raised.value.code == "attempt_contradicts_record"
    assert raised.value.details == {"attempt": 1, "record": 2}


def test_the_delay_of_a_seed_can_be_repeated(world: World) -> None:
    world.walk("gate-evaluation")
    for number in range(3):
        world.fail("gate-evaluation", occurrence=f"failure-{number}")
    delays = {
        seed: world.fail(
            "gate-evaluation", occurrence="next", apply=False, jitter=random.Random(seed)
        ).answer.next_backoff_seconds
        for seed in range(20)
    }
    assert len(set(delays.values())) > 5
    again = world.fail("gate-evaluation", occurrence="next", apply=False, jitter=random.Random(7)).answer
    assert again.next_backoff_seconds == delays[7]


def test_a_long_message_is_cut(world: World) -> None:
    world.walk("gate-evaluation")
    failure = Failure(CANDIDATE, RUN, "gate-evaluation", "transient", "one", "x" * 900, "dagster-run")
    world.guard.evaluate_failure(failure, actor="dagster", apply=True)
    row = world.footprint()[3][0]
    assert (len(row.message), row.dagster_run_id, row.candidate_id) == (500, "dagster-run", CANDIDATE)


def test_an_unknown_candidate_or_stage_is_an_error(world: World) -> None:
    for stage, code in (("moon", "unknown_stage"), ("gate-evaluation", "unknown_candidate")):
        with pytest.raises(GuardInputError) as raised:
            world.fail(stage, occurrence="one")
        assert raised.value.code == code


def test_resume_lifts_the_pause_and_clears_the_active_stages_count(world: World) -> None:
    world.walk("gate-evaluation")
    for number in range(5):
        world.fail("gate-evaluation", occurrence=f"failure-{number}")
    outcome = resume(world.engine, NAME, reason="network is back", approver="grace", actor="ada")
    assert outcome.reason == "resumed"
    assert not world.state().paused
    row = world.ledger()[-1]
    assert (row.kind, row.actor, row.body["approver"], row.body["clearedFailures"]) == (
        "guard_state",
        "ada",
        "grace",
        5,
    )
    assert world.fail("gate-evaluation", occurrence="later").answer.stage_failures == 1


def test_pausing_twice_and_resuming_what_is_not_paused_change_nothing(world: World) -> None:
    world.walk("gate-evaluation")
    assert pause(world.engine, NAME, reason="look", actor="ada").reason == "paused"
    before = world.footprint()
    assert pause(world.engine, NAME, reason="again", actor="bob").reason == "already_paused"
    assert world.footprint() == before
    assert world.state().pause_reason == "look"
    resume(world.engine, NAME, reason="fine", approver="grace", actor="ada")
    before = world.footprint()
    assert resume(world.engine, NAME, reason="fine", approver="grace", actor="ada").reason == "not_paused"
    assert world.footprint() == before


def test_every_row_of_the_ledger_names_the_policy(world: World) -> None:
    world.walk("gate-evaluation")
    world.fail("gate-evaluation", occurrence="one")
    decisions = [row.body for row in world.ledger() if row.kind == "guard_decision"]
    assert {body["policyVersion"] for body in decisions} == {POLICY.version}
