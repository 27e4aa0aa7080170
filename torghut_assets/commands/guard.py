"""``torghut guard``: may a candidate enter a stage, and what happens after a failure.

State is in PostgreSQL, or with ``--state FILE`` in a file whose facts are only asserted. Pauses, freezes and results
are in ``guard_state``, the policy's own commands in ``guard_policy``; how answers look is told in ``guard_answers``.
"""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from torghut_assets.commands.guard_answers import (
    FAILURE_EXITS,
    TRANSITION_EXITS,
    GuardGroup,
    answer_and_end,
    failure_keys,
    one_of,
    transition_keys,
)
from torghut_assets.commands.guard_policy import policy, policy_dry_run, validate_promotion
from torghut_assets.commands.guard_state import state
from torghut_assets.commands.guard_store import database_engine, guard_on, policy_of
from torghut_runtime.command_line import examples, operating_system_user, path_option

if TYPE_CHECKING:
    from torghut_assets.guard.policy import FailureClass, OrchestrationPolicy
    from torghut_assets.guard.records import Claims
    from torghut_assets.guard.transitions import Mode, TransitionRequest

_IDS = "--candidate-id cand-0426c28f7b82 --run-id 0426c28f7b829261e3424599"


@click.group(cls=GuardGroup)
@path_option("--policy", "policy_path", help="Orchestration policy; config/orchestration-policy.yaml when left out.")
@click.pass_context
def guard(ctx: click.Context, policy_path: Path | None) -> None:
    """Move candidates between stages under policy, and answer failures.

    Prints one JSON object. Exit codes: 0 go on, 3 no, 4 a person has to look, 2 bad usage or input, 1 failure.
    """
    ctx.obj = policy_path


for _command in (state, policy, validate_promotion, policy_dry_run):
    guard.add_command(_command)


@guard.command(
    "check-transition",
    epilog=examples(
        f"torghut guard check-transition {_IDS} --to-stage incident-recovery",
        f"torghut guard check-transition --state state.json {_IDS} --from-stage research-intake"
        " --to-stage candidate-build",
    ),
)
@path_option("--state", "state_path", help="Take the state from this file and facts from switches; never to deploy.")
@click.option("--apply", "apply_", is_flag=True, help="Move the candidate when it may; without it nothing is changed.")
@click.option("--actor", help="Who asks; the operating system's user when left out.")
@click.option("--candidate-id", required=True, help="The candidate's id or, in database mode, its name.")
@click.option("--run-id", required=True, help="The lane's run id.")
@click.option("--to-stage", required=True, help="The stage to enter.")
@click.option("--from-stage", help="Where the caller believes the candidate to be.")
@click.option("--expected-version", type=int, help="State version that the caller has seen.")
@path_option("--previous-artifact", help="The previous stage's artifact.")
@click.option("--previous-gate-passed", is_flag=True, help="The previous stage has passed.")
@click.option("--risk-controls-passed", is_flag=True, help="The risk controls have passed.")
@click.option("--execution-controls-passed", is_flag=True, help="The execution controls have passed.")
@click.option("--mode", type=one_of(("gitops", "emergency")), default="gitops", show_default=True, help="The path.")
@click.option("--emergency-ticket", help="Ticket of an emergency.")
@click.option("--emergency-approved-by", help="Second person of an emergency.")
@click.pass_obj
def check_transition(
    policy_path: Path | None,
    /,
    *,
    state_path: Path | None,
    apply_: bool,
    actor: str | None,
    candidate_id: str,
    run_id: str,
    to_stage: str,
    from_stage: str | None,
    expected_version: int | None,
    previous_artifact: Path | None,
    previous_gate_passed: bool,
    risk_controls_passed: bool,
    execution_controls_passed: bool,
    mode: str,
    emergency_ticket: str | None,
    emergency_approved_by: str | None,
) -> None:
    """Say whether a candidate may enter a stage and, with --apply, move it.

    Exit codes: 0 allowed, 3 denied (halt, rollback), 4 a person has to look.
    """
    from torghut_assets.guard.identifiers import check_id, check_name_or_id
    from torghut_assets.guard.records import Claims
    from torghut_assets.guard.transitions import TransitionRequest, check_stage

    rules = policy_of(policy_path)
    check = check_id if state_path is not None else check_name_or_id
    request = TransitionRequest(
        candidate=check(candidate_id, "--candidate-id"),
        run_id=check_id(run_id, "--run-id"),
        to_stage=to_stage,
        actor=actor_of(actor),
        from_stage=from_stage,
        expected_version=expected_version,
        mode=cast("Mode", mode),
        emergency_ticket=emergency_ticket,
        emergency_approver=emergency_approved_by,
    )
    for name, option in ((to_stage, "--to-stage"), (from_stage, "--from-stage")):
        if name is not None:
            check_stage(rules, name, option)
    claims = Claims(previous_gate_passed, risk_controls_passed, execution_controls_passed, previous_artifact)
    if state_path is None:
        _check_on_record(rules, request, claims, apply=apply_)
    else:
        refuse_apply(apply_)
        _check_on_file(rules, request, claims, state_path)


def actor_of(given: str | None) -> str:
    """Who asks.

    Raises:
        click.UsageError: a blank name.
    """
    if given is not None and not given.strip():
        raise click.UsageError("--actor must not be blank")
    return given or operating_system_user()


def refuse_apply(apply: bool) -> None:
    """A state file is never written.

    Raises:
        GuardInputError: ``apply_requires_store``.
    """
    if apply:
        from torghut_assets.guard.errors import GuardInputError

        raise GuardInputError(
            "apply_requires_store", "cannot be given with --state: a file is never written", field="--apply"
        )


def _check_on_file(rules: "OrchestrationPolicy", request: "TransitionRequest", claims: "Claims", path: Path) -> None:
    from torghut_assets.guard.bundle_artifact import artifact_fault
    from torghut_assets.guard.errors import GuardInputError
    from torghut_assets.guard.state_file import FREEZE_CAUSE, load_state_file
    from torghut_assets.guard.transitions import Facts, decide

    stated = load_state_file(path, rules)
    if request.expected_version is not None:
        raise GuardInputError(
            "version_requires_store", "cannot be given with --state: a file has no version", field="--expected-version"
        )
    facts = Facts(
        artifact_fault=artifact_fault(claims.previous_artifact, request.run_id),
        gate="passed" if claims.previous_gate_passed else "failed",
        risk="passed" if claims.risk_controls_passed else "failed",
        execution="passed" if claims.execution_controls_passed else "failed",
        freeze=FREEZE_CAUSE if stated.promotion_frozen else None,
    )
    decision = decide(rules, request, stated.state, facts)
    answer = {
        **transition_keys(decision),
        "candidateId": request.candidate,
        "runId": request.run_id,
        "assertedFacts": True,
    }
    answer_and_end(answer, TRANSITION_EXITS[decision.next_action])


def _check_on_record(
    rules: "OrchestrationPolicy", request: "TransitionRequest", claims: "Claims", *, apply: bool
) -> None:
    from torghut_assets.guard.transitions import as_repeat

    with database_engine() as engine:
        guard_ = guard_on(engine, rules)
        decision = guard_.enter(request, claims) if apply else guard_.check(request, claims)
        candidate = guard_.resolve(request.candidate)
    if decision.replayed and decision.reason != "already_in_containment":
        decision = as_repeat(decision)
    answer: dict[str, Any] = {
        **transition_keys(decision),
        "candidateId": candidate.candidate_id,
        "runId": request.run_id,
        "assertedFacts": False,
        "stateVersion": decision.state_version,
    }
    if apply:
        answer |= {"decisionSeq": decision.decision_seq, "decidedAt": decision.decided_at}
    answer_and_end(answer, TRANSITION_EXITS[decision.next_action])


@guard.command(
    "evaluate-failure",
    epilog=examples(
        f"torghut guard evaluate-failure {_IDS} --stage gate-evaluation --failure-class transient",
        "torghut guard evaluate-failure --state state.json --stage research-intake --failure-class transient"
        " --attempt 2",
    ),
)
@path_option("--state", "state_path", help="Take state and counts from this file; nothing is recorded.")
@click.option("--apply", "apply_", is_flag=True, help="Record the failure and do what it asks for.")
@click.option("--actor", help="Who asks; the operating system's user when left out.")
@click.option("--candidate-id", help="The candidate's id or, in database mode, its name; with --state from the file.")
@click.option("--run-id", help="The lane's run id; left out before a run was bound. With --state from the file.")
@click.option("--stage", required=True, help="The stage that failed.")
@click.option("--failure-class", required=True, help="transient, deterministic, spec or policy.")
@click.option("--attempt", type=int, help="Which attempt failed, from 1; required with --state.")
@click.option("--occurrence-id", help="Counted once; a new one when left out.")
@click.option("--jitter-seed", type=int, help="Makes the delay reproducible.")
@click.pass_obj
def evaluate_failure(
    policy_path: Path | None,
    /,
    *,
    state_path: Path | None,
    apply_: bool,
    actor: str | None,
    candidate_id: str | None,
    run_id: str | None,
    stage: str,
    failure_class: str,
    attempt: int | None,
    occurrence_id: str | None,
    jitter_seed: int | None,
) -> None:
    """Say what to do about a failure and, with --apply, record it and do it.

    Exit codes: 0 retry, 3 fail, 4 a person has to look.
    """
    from torghut_assets.guard.errors import GuardInputError
    from torghut_assets.guard.policy import FAILURE_CLASSES
    from torghut_assets.guard.transitions import check_stage

    rules = policy_of(policy_path)
    check_stage(rules, stage, "--stage")
    if failure_class not in FAILURE_CLASSES:
        message = f"must be one of {', '.join(FAILURE_CLASSES)}, was {failure_class!r}"
        raise GuardInputError("unknown_failure_class", message, field="--failure-class")
    if attempt is not None and attempt < 1:
        raise GuardInputError("invalid_attempt", f"must be at least 1, was {attempt}", field="--attempt")
    jitter = random.Random(jitter_seed) if jitter_seed is not None else random.SystemRandom()  # noqa: S311 - a delay
    if state_path is not None:
        refuse_apply(apply_)
        _fail_on_file(rules, state_path, candidate_id, run_id, stage, failure_class, attempt, jitter)
        return
    if candidate_id is None:
        raise click.UsageError("--candidate-id is required without --state")
    _fail_on_record(
        rules, candidate_id, run_id, stage, failure_class, attempt, occurrence_id, jitter, actor_of(actor), apply=apply_
    )


def _fail_on_file(
    rules: "OrchestrationPolicy",
    path: Path,
    candidate_id: str | None,
    run_id: str | None,
    stage: str,
    failure_class: str,
    attempt: int | None,
    jitter: random.Random,
) -> None:
    from torghut_assets.guard.errors import GuardInputError
    from torghut_assets.guard.failures import evaluate
    from torghut_assets.guard.identifiers import check_id
    from torghut_assets.guard.state_file import load_state_file

    if attempt is None:
        raise click.UsageError("--attempt is required with --state")
    stated = load_state_file(path, rules)
    for given, own, option in (
        (candidate_id, stated.candidate_id, "--candidate-id"),
        (run_id, stated.run_id, "--run-id"),
    ):
        if given is not None and check_id(given, option) != own:
            raise GuardInputError("contradicts_state", f"is {given!r}, the state file says {own!r}", field=option)
    failures = stated.stored_failures(stage, failure_class) + 1
    answer = evaluate(
        rules,
        stated.state,
        run_id=stated.run_id,
        stage=stage,
        failure_class=cast("FailureClass", failure_class),
        attempt=max(attempt, failures),
        stage_failures=failures,
        jitter=jitter,
        way_out_required=False,
    )
    keys: dict[str, Any] = {
        **failure_keys(answer),
        "candidateId": stated.candidate_id,
        "runId": stated.run_id,
        "policyVersion": rules.version,
        "policySha256": rules.sha256,
        "applied": False,
        "replayed": False,
        "assertedFacts": True,
        "details": {"failureClass": failure_class, "counted": answer.counted},
    }
    answer_and_end(keys, FAILURE_EXITS[answer.action])


def _fail_on_record(
    rules: "OrchestrationPolicy",
    candidate_id: str,
    run_id: str | None,
    stage: str,
    failure_class: str,
    attempt: int | None,
    occurrence_id: str | None,
    jitter: random.Random,
    actor: str,
    *,
    apply: bool,
) -> None:
    import uuid

    from torghut_assets.guard.identifiers import check_id, check_name_or_id
    from torghut_assets.guard.session import Failure

    failure = Failure(
        name=check_name_or_id(candidate_id, "--candidate-id"),
        run_id=None if run_id is None else check_id(run_id, "--run-id"),
        stage=stage,
        failure_class=cast("FailureClass", failure_class),
        occurrence_id=occurrence_id or uuid.uuid4().hex,
        message="recorded with torghut guard evaluate-failure",
        dagster_run_id=None,
    )
    with database_engine() as engine:
        outcome = guard_on(engine, rules).evaluate_failure(
            failure, actor=actor, apply=apply, attempt=attempt, jitter=jitter
        )
    details: dict[str, Any] = {
        "failureClass": failure_class,
        "counted": outcome.answer.counted,
        "occurrenceId": failure.occurrence_id,
    }
    if outcome.moved_to is not None:
        details["movedTo"] = outcome.moved_to
    keys: dict[str, Any] = {
        **failure_keys(outcome.answer),
        "candidateId": outcome.state.candidate_id,
        "runId": run_id,
        "policyVersion": rules.version,
        "policySha256": rules.sha256,
        "applied": outcome.applied,
        "replayed": outcome.replayed,
        "assertedFacts": False,
        "stateVersion": outcome.state.version,
        "details": details,
    }
    if apply and outcome.recorded is not None:
        keys |= {"decisionSeq": outcome.recorded.seq, "decidedAt": outcome.recorded.at}
    answer_and_end(keys, FAILURE_EXITS[outcome.answer.action])
