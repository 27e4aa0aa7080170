"""How ``torghut guard`` answers: one JSON object, whatever happens, and an exit code that says what to do.

0 go on (allowed, retry), 3 no (halt, rollback, fail), 4 a person has to look (human_review, pause_for_review), 2 bad
usage or input, 1 an unexpected failure or a store that does not answer.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from torghut_runtime.command_line import ExitCode, end
from torghut_runtime.errors import InputError, StoreUnavailableError, TorghutError

if TYPE_CHECKING:
    from torghut_assets.guard.failures import FailureAnswer
    from torghut_assets.guard.transitions import Decision

TRANSITION_EXITS: Final[Mapping[str, ExitCode]] = {
    "proceed": ExitCode.OK,
    "halt": ExitCode.DENIED,
    "rollback": ExitCode.DENIED,
    "human_review": ExitCode.REVIEW,
}
FAILURE_EXITS: Final[Mapping[str, ExitCode]] = {
    "retry": ExitCode.OK,
    "fail": ExitCode.DENIED,
    "pause_for_review": ExitCode.REVIEW,
}


def print_answer(answer: Mapping[str, Any]) -> None:
    """Print the one object: two-space indent, sorted keys."""
    from torghut_runtime.canonical import canonical_value

    click.echo(json.dumps(canonical_value(answer), indent=2, sort_keys=True, ensure_ascii=False))


def answer_and_end(answer: Mapping[str, Any], code: ExitCode) -> None:
    """Print the answer and leave the command with its exit code."""
    print_answer(answer)
    end(code)


def transition_keys(decision: "Decision", *, replayed: bool = False) -> dict[str, Any]:
    """What every answer to check-transition says."""
    keys: dict[str, Any] = {
        "allowed": decision.allowed,
        "reason": decision.reason,
        "nextAction": decision.next_action,
        "fromStage": decision.from_stage,
        "mode": decision.mode,
        "policyVersion": decision.policy_version,
        "policySha256": decision.policy_sha256,
        "applied": decision.applied,
        "replayed": decision.replayed or replayed,
        "details": dict(decision.details),
    }
    return {**keys, "lane": decision.lane, "toStage": decision.to_stage} if decision.allowed else keys


def failure_keys(answer: "FailureAnswer") -> dict[str, Any]:
    """What every answer to evaluate-failure says."""
    keys: dict[str, Any] = {
        "action": answer.action,
        "stage": answer.stage,
        "attempt": answer.attempt,
        "stageFailures": answer.stage_failures,
    }
    if answer.action == "retry":
        return {
            **keys,
            "nextBackoffSeconds": answer.next_backoff_seconds,
            "backoffCeilingSeconds": answer.backoff_ceiling_seconds,
        }
    return {**keys, "reason": answer.reason}


class GuardGroup(click.Group):
    """A group whose commands answer errors, also those of usage, with a JSON object beside the line on stderr."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _told():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _told():
            return super().invoke(ctx)


@contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        _fail("usage", error.format_message(), {}, ExitCode.USAGE)
    except InputError as error:
        code: str = getattr(error, "code", "invalid_input")
        details: dict[str, Any] = getattr(error, "details", {})
        _fail(code, str(error), details, ExitCode.USAGE)
    except StoreUnavailableError as error:
        _fail("store_unavailable", str(error), {}, ExitCode.FAILURE)
    except TorghutError as error:
        _fail("failure", str(error), {}, ExitCode.FAILURE)
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - the boundary: a defect, too, is one JSON object and one line
        _fail("unexpected_failure", f"{type(error).__name__}: {error}", {}, ExitCode.FAILURE)


def _fail(code: str, message: str, details: Mapping[str, Any], exit_code: ExitCode) -> None:
    line = " ".join(message.split())
    print_answer({"error": {"code": code, "message": line, "details": dict(details)}})
    click.echo(f"torghut guard: {code}: {line}", err=True)
    raise click.exceptions.Exit(int(exit_code))


def one_of(names: Sequence[str]) -> click.Choice[str]:
    """A choice of names, matched exactly."""
    return click.Choice(list(names))
