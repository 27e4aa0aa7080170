"""``torghut guard state``: where a candidate stands, and what a person may do about it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from torghut_assets.commands.guard_answers import TRANSITION_EXITS, answer_and_end, one_of, transition_keys
from torghut_assets.commands.guard_store import artifact_store, database_engine, guard_on, policy_of
from torghut_runtime.command_line import ExitCode, examples, operating_system_user, path_option

if TYPE_CHECKING:
    import sqlalchemy as sa

    from torghut_assets.guard.holds import HoldOutcome
    from torghut_assets.guard.policy import OrchestrationPolicy
    from torghut_assets.guard.records import Verdict

VERDICTS = ("passed", "failed", "waiting")
_candidate = click.option("--candidate-id", required=True, help="The candidate's id or name.")
_candidate_or_all = click.option("--candidate-id", help="The candidate's id or name.")
_actor = click.option("--actor", help="Who asks; the operating system's user when left out.")


@click.group()
def state() -> None:
    """Show, start, conclude, pause and resume."""


@state.command(epilog=examples("torghut guard state show --candidate-id daily-momentum"))
@_candidate
@click.pass_obj
def show(policy_path: Path | None, /, *, candidate_id: str) -> None:
    """Show where a candidate stands."""
    from torghut_assets.guard.identifiers import check_name_or_id
    from torghut_assets.guard.overview import overview

    rules = policy_of(policy_path)
    key = check_name_or_id(candidate_id, "--candidate-id")
    with database_engine() as engine:
        answer_and_end(overview(engine, rules, key), ExitCode.OK)


@state.command(
    epilog=examples(
        "torghut guard state start --name daily-momentum --candidate-id cand-0426c28f7b82"
        " --run-id 0426c28f7b829261e3424599"
    )
)
@click.option("--name", required=True, help="The candidate's name.")
@click.option("--candidate-id", required=True, help="The id that the run is about.")
@click.option("--run-id", required=True, help="The lane's run id.")
@_actor
@click.pass_obj
def start(policy_path: Path | None, /, *, name: str, candidate_id: str, run_id: str, actor: str | None) -> None:
    """Bind a new run and put the candidate into the intake stage (exit 3 where a run may not be started)."""
    from torghut_assets.guard.identifiers import check_id, check_name

    rules = policy_of(policy_path)
    check_name(name, "--name")
    check_id(candidate_id, "--candidate-id")
    check_id(run_id, "--run-id")
    with database_engine() as engine:
        decision = guard_on(engine, rules).start(name, candidate_id, run_id, actor=_who(actor))
    answer = {
        **transition_keys(decision),
        "candidateId": candidate_id,
        "runId": run_id,
        "assertedFacts": False,
        "stateVersion": decision.state_version,
        "decisionSeq": decision.decision_seq,
        "decidedAt": decision.decided_at,
    }
    answer_and_end(answer, TRANSITION_EXITS[decision.next_action])


@state.command(
    epilog=examples(
        "torghut guard state result --candidate-id daily-momentum --verdict passed --artifact ramp-report.json"
        ' --reason "three days at full size"'
    )
)
@_candidate
@click.option(
    "--verdict", required=True, type=one_of(("passed", "failed", "waiting")), help="What the stage concluded."
)
@path_option("--artifact", help="The stage's artifact; kept in the artifact store.")
@click.option("--reason", required=True, help="Why.")
@_actor
@click.pass_obj
def result(
    policy_path: Path | None,
    /,
    *,
    candidate_id: str,
    verdict: str,
    artifact: Path | None,
    reason: str,
    actor: str | None,
) -> None:
    """Record what a stage without an asset concluded: live-ramp and the stages after it (exit 3 when not recorded)."""
    from torghut_assets.guard.errors import GuardInputError
    from torghut_assets.guard.identifiers import check_name_or_id
    from torghut_assets.guard.stages import ASSET_STAGES

    rules = policy_of(policy_path)
    key = check_name_or_id(candidate_id, "--candidate-id")
    blob = None if artifact is None else artifact_store().put(_bytes(artifact))
    with database_engine() as engine:
        guard_ = guard_on(engine, rules)
        at = guard_.resolve(key)
        if at.active_stage in ASSET_STAGES:
            raise GuardInputError(
                "stage_has_asset", f"the result of {at.active_stage} is recorded by its asset", field="--candidate-id"
            )
        outcome = guard_.record_result(
            key,
            at.run_id or "",
            at.active_stage,
            cast("Verdict", verdict),
            reasons=(_not_blank(reason, "--reason"),),
            blob_sha256=blob,
            actor=_who(actor),
        )
    answer = {
        **_identity(rules, at.candidate_id, at.run_id),
        "applied": outcome.recorded,
        "reason": outcome.reason,
        "stage": outcome.stage,
        "verdict": verdict,
        "blobSha256": blob,
        "stateVersion": outcome.state.version,
    }
    done = outcome.recorded or outcome.reason == "result_already_recorded"
    answer_and_end(answer, ExitCode.OK if done else ExitCode.DENIED)


@state.command(
    epilog=examples(
        'torghut guard state pause --candidate-id daily-momentum --reason "fills look odd"',
        'torghut guard state pause --all --reason "exchange outage"',
    )
)
@_candidate_or_all
@click.option("--all", "everything", is_flag=True, help="Freeze promotion of every candidate.")
@click.option("--reason", required=True, help="Why.")
@_actor
@click.pass_obj
def pause(
    policy_path: Path | None, /, *, candidate_id: str | None, everything: bool, reason: str, actor: str | None
) -> None:
    """Pause one candidate, or freeze promotion; the way to containment stays open."""
    from torghut_assets.guard.holds import freeze_promotion, pause

    rules = policy_of(policy_path)
    why = _not_blank(reason, "--reason")
    with database_engine() as engine:
        if _wants_all(candidate_id, everything):
            _answer_hold(engine, rules, freeze_promotion(engine, reason=why, actor=_who(actor)))
        else:
            _answer_hold(engine, rules, pause(engine, _key(candidate_id), reason=why, actor=_who(actor)))


@state.command(
    epilog=examples(
        'torghut guard state resume --candidate-id daily-momentum --reason "fills explained" --approver grace',
        'torghut guard state resume --all --reason "exchange is back" --approver grace',
    )
)
@_candidate_or_all
@click.option("--all", "everything", is_flag=True, help="Lift every open freeze of promotion.")
@click.option("--reason", required=True, help="Why.")
@click.option("--approver", required=True, help="Who answers for it.")
@_actor
@click.pass_obj
def resume(
    policy_path: Path | None,
    /,
    *,
    candidate_id: str | None,
    everything: bool,
    reason: str,
    approver: str,
    actor: str | None,
) -> None:
    """Lift a candidate's pause and clear its stage's failures, or lift all freezes (exit 3 while trading is halted)."""
    from torghut_assets.guard.holds import lift_promotion_freezes, resume

    rules = policy_of(policy_path)
    why, who = _not_blank(reason, "--reason"), _not_blank(approver, "--approver")
    with database_engine() as engine:
        if _wants_all(candidate_id, everything):
            outcome = lift_promotion_freezes(engine, reason=why, approver=who, actor=_who(actor))
        else:
            outcome = resume(engine, _key(candidate_id), reason=why, approver=who, actor=_who(actor))
        _answer_hold(engine, rules, outcome)


def _who(given: str | None) -> str:
    return operating_system_user() if given is None else _not_blank(given, "--actor")


def _not_blank(text: str, option: str) -> str:
    if not text.strip():
        raise click.UsageError(f"{option} must not be blank")
    return text


def _wants_all(candidate_id: str | None, everything: bool) -> bool:
    if everything == (candidate_id is not None):
        raise click.UsageError("give either --candidate-id or --all")
    return everything


def _key(candidate_id: str | None) -> str:
    from torghut_assets.guard.identifiers import check_name_or_id

    return check_name_or_id(candidate_id or "", "--candidate-id")


def _bytes(path: Path) -> bytes:
    from torghut_runtime.errors import InputError

    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from error


def _identity(rules: "OrchestrationPolicy", candidate_id: str | None, run_id: str | None) -> dict[str, Any]:
    return {
        "candidateId": candidate_id,
        "runId": run_id,
        "policyVersion": rules.version,
        "policySha256": rules.sha256,
        "replayed": False,
        "assertedFacts": False,
        "details": {},
    }


def _answer_hold(engine: "sa.Engine", rules: "OrchestrationPolicy", outcome: "HoldOutcome") -> None:
    from torghut_assets.guard.overview import freeze_now

    about = outcome.state
    freeze = freeze_now(engine)
    answer: dict[str, Any] = {
        **_identity(rules, None if about is None else about.candidate_id, None if about is None else about.run_id),
        "applied": outcome.allowed and outcome.recorded is not None,
        "reason": outcome.reason,
        "promotionFrozen": freeze is not None,
        "freezeReason": freeze,
        "decisionSeq": None if outcome.recorded is None else outcome.recorded.seq,
        "decidedAt": None if outcome.recorded is None else outcome.recorded.at,
    }
    if about is not None:
        answer |= {"name": about.name, "paused": about.paused, "stateVersion": about.version}
    answer_and_end(answer, ExitCode.OK if outcome.allowed else ExitCode.DENIED)
