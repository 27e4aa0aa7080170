"""The orchestration policy: stages, edges, conditions and retries, read from one YAML file.

The only place that defines them. The model is strict and the graph is checked at every load; everything that is wrong
with a file stands in one message. What the conditions mean is ``transitions``'s and ``failures``'s business.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from torghut_assets.guard.errors import PolicyError
from torghut_assets.guard.graph import EdgeKind, Graph, graph_of, problems
from torghut_assets.shipped_files import shipped
from torghut_runtime.canonical import sha256_hex

POLICY_PATH: Final = "config/orchestration-policy.yaml"
FailureClass = Literal["transient", "deterministic", "spec", "policy"]
FAILURE_CLASSES: Final[tuple[FailureClass, ...]] = ("transient", "deterministic", "spec", "policy")


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, alias_generator=to_camel, validate_by_name=False
    )


def _tuple(value: object) -> object:
    if isinstance(value, list):
        return tuple(cast("list[object]", value))
    raise ValueError("must be a list")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Name = Annotated[str, Field(min_length=1, pattern=r"^[a-z][a-z0-9-]*$")]
Names = Annotated[tuple[Name, ...], BeforeValidator(_tuple)]


class StagePolicy(_Strict):
    """One stage, and the conditions for entering it."""

    stage: Name
    lane: Annotated[str, Field(min_length=1)]
    on_failure: str | None = None
    mutable_action: bool = Field(default=False, description="entering changes a deployment or an account")
    promotion_stage: bool = Field(default=False, description="a freeze closes the way forward into it")
    repeatable: bool = Field(default=False, description="may be entered forward more than once under one run")
    require_previous_artifact: bool = True
    require_previous_gate_pass: bool = True
    require_risk_controls: bool = True
    require_execution_controls: bool = True

    _lane = field_validator("lane")(_not_blank)


class FailurePolicy(_Strict):
    """Retries of one class of failures; times in seconds."""

    max_retries: int = Field(default=0, ge=0)
    initial_backoff_seconds: float = Field(default=0, ge=0)
    max_backoff_seconds: float = Field(default=0, ge=0)
    backoff_multiplier: float = Field(default=1.0, ge=1)
    autopause_after_failures: int = Field(default=1, ge=1)
    window_seconds: int = Field(default=3600, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> "FailurePolicy":
        if self.max_backoff_seconds < self.initial_backoff_seconds:
            raise ValueError("maxBackoffSeconds must not be below initialBackoffSeconds")
        return self


class FailurePolicies(_Strict):
    """Exactly the four classes."""

    transient: FailurePolicy
    deterministic: FailurePolicy
    spec: FailurePolicy
    policy: FailurePolicy

    def of(self, failure_class: FailureClass) -> FailurePolicy:
        """The policy of one class."""
        return cast("FailurePolicy", getattr(self, failure_class))


class Controls(_Strict):
    """What no switch, flag or mode overrides, and the stages with a part of their own."""

    risk_controls_authority: Literal["final"]
    execution_controls_authority: Literal["final"]
    mutable_action_mode: Literal["gitops-first"]
    emergency_override_requires_ticket: Literal[True]
    intake_stage: Name = "research-intake"
    containment_stage: Name = "incident-recovery"
    closing_stage: Name = "audit-evidence"
    start_stages: Names = ("research-intake", "shadow-paper", "continuous-monitoring")
    emergency_ticket_pattern: Annotated[str, Field(min_length=1)] = "[A-Z][A-Z0-9]{1,9}-[0-9]{1,8}"
    control_record_max_age_seconds: int = Field(default=900, gt=0)

    @field_validator("emergency_ticket_pattern")
    @classmethod
    def _is_pattern(cls, text: str) -> str:
        try:
            pattern = re.compile(text)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if pattern.fullmatch("") or pattern.fullmatch(" "):
            raise ValueError("must not match a blank ticket")
        return text


class _PolicyFile(_Strict):
    version: Annotated[str, Field(min_length=1)]
    description: str = ""
    stages: Annotated[tuple[StagePolicy, ...], BeforeValidator(_tuple), Field(min_length=1)]
    transitions: Mapping[str, Names]
    failure_policies: FailurePolicies
    controls: Controls

    _version = field_validator("version")(_not_blank)


@dataclass(frozen=True)
class OrchestrationPolicy:
    """A policy that has passed all checks, and the sha256 of the file it came from."""

    version: str
    sha256: str
    description: str
    stages: tuple[StagePolicy, ...]
    failure_policies: FailurePolicies
    controls: Controls
    graph: Graph

    @cached_property
    def _by_name(self) -> Mapping[str, StagePolicy]:
        return {stage.stage: stage for stage in self.stages}

    @property
    def stage_names(self) -> tuple[str, ...]:
        """All stages, in the policy's order."""
        return self.graph.stages

    def stage(self, name: str) -> StagePolicy:
        """The stage with that name; ``KeyError`` when there is none."""
        return self._by_name[name]

    def lane(self, name: str) -> str:
        """The lane of a stage."""
        return self._by_name[name].lane

    def edge_kind(self, target: str) -> EdgeKind:
        """The kind of every edge that leads to ``target``."""
        return self.graph.kind(target)

    def stands_at_or_after(self, active: str, stage: str) -> bool:
        """Whether a candidate in ``active`` has come at least as far as ``stage``, and is still on the way."""
        aside = {self.controls.containment_stage, self.controls.closing_stage}
        if active not in self._by_name or active in aside or stage in aside:
            return False
        return self.stage_names.index(active) >= self.stage_names.index(stage)


def default_policy_path() -> Path:
    """The policy of the current project folder, else the shipped one."""
    own = Path(POLICY_PATH)
    return own if own.exists() else shipped(POLICY_PATH)


def load_policy(path: Path) -> OrchestrationPolicy:
    """Read and check a policy.

    Raises:
        PolicyError: unreadable, not strict YAML, a wrong key, type or value, or a graph that must not be used.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError([f"cannot be read: {error}"], file=path) from error
    return parse_policy(text, sha256=sha256_hex(data), file=path)


def parse_policy(text: str, *, sha256: str, file: Path | None = None) -> OrchestrationPolicy:
    """Check a policy's text; ``sha256`` is the digest of the bytes it came from.

    Raises:
        PolicyError: lists everything that is wrong.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        found = [] if root is None else _duplicate_keys(root)
        content = cast("object", yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise PolicyError([f"is not YAML: {' '.join(str(error).split())}"], file=file) from error
    if not isinstance(content, dict):
        raise PolicyError(["must hold a mapping"], file=file)
    mapping = cast("dict[str, Any]", content)
    model, wrong = _validated(mapping)
    graph = graph_of(mapping)
    found += [*wrong, *problems(graph)]
    if found or model is None:
        raise PolicyError(found, file=file)
    return OrchestrationPolicy(
        version=model.version,
        sha256=sha256,
        description=model.description,
        stages=model.stages,
        failure_policies=model.failure_policies,
        controls=model.controls,
        graph=graph,
    )


def _validated(content: Mapping[str, Any]) -> tuple[_PolicyFile | None, list[str]]:
    try:
        return _PolicyFile.model_validate(content), []
    except ValidationError as error:
        return None, [_problem(item) for item in error.errors()]


def _problem(error: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error["input"]
    shown = f", was {given!r}" if given is None or isinstance(given, str | int | float) else ""
    return f"{where}: {message}{shown}"


def _duplicate_keys(node: yaml.Node) -> list[str]:
    found: list[str] = []
    if isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            name = str(key.value)
            if name in seen:
                found.append(f"row {key.start_mark.line + 1}: key {name} stands twice")
            seen.add(name)
            found += _duplicate_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in cast("list[yaml.Node]", node.value):
            found += _duplicate_keys(item)
    return found
