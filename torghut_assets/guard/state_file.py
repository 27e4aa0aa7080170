"""The guard's state from a file (``--state FILE``), for CI: strict, never written, its facts are only asserted.

An answer on a state file says ``assertedFacts`` and must never be used to deploy. State in the database is ``store``'s
business.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from torghut_assets.guard.errors import GuardInputError
from torghut_assets.guard.policy import FAILURE_CLASSES, OrchestrationPolicy
from torghut_assets.guard.transitions import CandidateState

MAX_BYTES: Final = 1 << 20
FREEZE_CAUSE: Final = "state_file"


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, validate_by_name=False
    )


class StatedReadiness(_Strict):
    """Rollback readiness as somebody states it; ``dry_run_completed_at`` is judged, not parsed, here."""

    kill_switch_dry_run_passed: bool | None = None
    gitops_revert_dry_run_passed: bool | None = None
    strategy_disable_dry_run_passed: bool | None = None
    dry_run_completed_at: str | None = None
    human_approved: bool = False
    rollback_target: str | None = None


class StateFile(_Strict):
    """A state file's content."""

    candidate_id: str | None = None
    run_id: str | None = None
    active_stage: str | None = None
    paused: bool
    failure_counts: Mapping[str, int]
    promotion_frozen: bool = False
    dataset_snapshot_ref: str | None = None
    no_signal_reason: str | None = None
    rollback_readiness: StatedReadiness | None = Field(default=None)

    @field_validator("failure_counts")
    @classmethod
    def _not_negative(cls, counts: Mapping[str, int]) -> Mapping[str, int]:
        for key, count in counts.items():
            if count < 0:
                raise ValueError(f"{key} must not be negative, was {count}")
        return counts

    @property
    def state(self) -> CandidateState:
        """The candidate's state as the decisions read it."""
        return CandidateState(
            name=None,
            candidate_id=self.candidate_id,
            run_id=self.run_id,
            active_stage=self.active_stage,
            paused=self.paused,
        )

    def stored_failures(self, stage: str, failure_class: str) -> int:
        """Failures on record for a stage and class; a stage's count applies to each class."""
        return max(self.failure_counts.get(stage, 0), self.failure_counts.get(failure_class, 0))


def load_state_file(path: Path, policy: OrchestrationPolicy) -> StateFile:
    """Read a state file.

    Raises:
        GuardInputError: ``invalid_state``; the message lists everything that is wrong.
    """
    try:
        if not path.is_file():
            raise _invalid(path, "is no regular file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _invalid(path, f"is larger than {MAX_BYTES} bytes")
        content = cast(
            "object",
            json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant),
        )
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(path, f"cannot be read: {error}") from error
    except RecursionError as error:
        raise _invalid(path, "is nested too deeply") from error
    except ValueError as error:
        raise _invalid(path, f"is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _invalid(path, "must hold one JSON object")
    return _validated(_one_run_id(cast("dict[str, Any]", content), path), path, policy)


def _invalid(path: Path, message: str, field: str | None = None) -> GuardInputError:
    return GuardInputError("invalid_state", message, file=path, field=field)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)} stands twice")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _one_run_id(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """``run_id`` is what an older caller writes for ``runId``."""
    if "run_id" not in content:
        return content
    value = content.pop("run_id")
    if content.get("runId", value) != value:
        raise _invalid(path, f"differs from runId: {value!r} and {content['runId']!r}", "run_id")
    return {**content, "runId": value}


def _validated(content: Mapping[str, Any], path: Path, policy: OrchestrationPolicy) -> StateFile:
    try:
        state = StateFile.model_validate(content)
    except ValidationError as error:
        raise _invalid(path, "; ".join(_problem(item) for item in error.errors())) from None
    known = {*policy.stage_names, *FAILURE_CLASSES}
    unknown = sorted(set(state.failure_counts) - known)
    if unknown:
        raise _invalid(path, f"neither stages nor failure classes: {', '.join(unknown)}", "failureCounts")
    if state.active_stage and state.active_stage.strip() and state.active_stage not in policy.stage_names:
        raise _invalid(path, f"is no stage of the policy: {state.active_stage!r}", "activeStage")
    return state


def _problem(error: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}"
