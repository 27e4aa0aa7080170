"""What the guard has on record about a candidate, and the facts that follow from it.

The records come from a :class:`~torghut_assets.guard.session.Session`, the bytes from the artifact store; nothing here
writes. A record that is missing, stale or unreadable gives ``unknown``, never ``passed``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

from torghut_assets.artifacts import ArtifactError
from torghut_assets.guard.bundle_artifact import file_sha256
from torghut_assets.guard.errors import GuardInputError
from torghut_assets.guard.graph import EdgeKind
from torghut_assets.guard.policy import OrchestrationPolicy
from torghut_assets.guard.transitions import ArtifactFault, CandidateState, Facts, Judgement, TransitionRequest
from torghut_runtime.storage.controls import ControlKind, ControlRecord

Verdict = Literal["passed", "failed", "waiting"]
EntryEdge = EdgeKind | Literal["start"]

GATE_STAGE: Final = "gate-evaluation"
JUDGED_FOR: Final = "paper"
"""The target whose limits the controls of a promotion stage are judged by."""
RISK_GATES: Final = ("gate0_data_integrity", "gate2_risk_capacity")
EXECUTION_GATES: Final = ("gate3_shadow_paper_quality",)
RISK_RECORDS: Final[tuple[ControlKind, ...]] = ("risk",)
EXECUTION_RECORDS: Final[tuple[ControlKind, ...]] = ("execution", "reconciliation")


class Blobs(Protocol):
    """Where artifacts are kept by their sha256; the artifact store is one."""

    def has(self, sha256: str) -> bool:
        """Whether there is a blob with that digest."""
        ...

    def get(self, sha256: str) -> bytes:
        """Its bytes; raises ``ArtifactError`` when there are none, or others."""
        ...

    def put(self, data: bytes) -> str:
        """Keep ``data``; returns its sha256."""
        ...


@dataclass(frozen=True)
class StageEntry:
    """One entry of a run into a stage, and what the stage concluded."""

    id: int
    stage: str
    entry: int
    edge: EntryEdge
    from_stage: str | None
    entered_at: datetime
    decision_seq: int
    verdict: Verdict | None
    reasons: Sequence[str]
    blob_sha256: str | None


@dataclass(frozen=True)
class Claims:
    """What a caller says beside the records; a claim that the records do not bear out is an error."""

    previous_gate_passed: bool = False
    risk_controls_passed: bool = False
    execution_controls_passed: bool = False
    previous_artifact: Path | None = None


@dataclass(frozen=True)
class Records:
    """What was read in one snapshot: the candidate, the newest entries of the requested run, freeze and controls.

    By which kind of edge a stage is entered follows from the stage, so its newest entry tells it for all.
    """

    state: CandidateState
    entries: Sequence[StageEntry] = ()
    freeze: str | None = None
    controls: Mapping[ControlKind, ControlRecord] = field(default_factory=dict[ControlKind, ControlRecord])

    def newest(self, stage: str | None) -> StageEntry | None:
        """The run's newest entry into a stage."""
        return next((entry for entry in reversed(self.entries) if entry.stage == stage), None)


def facts_of(
    policy: OrchestrationPolicy,
    request: TransitionRequest,
    records: Records,
    artifacts: Blobs,
    claims: Claims | None = None,
) -> Facts:
    """The facts that a request is decided on; of what the destination does not require, nothing is read.

    Raises:
        GuardInputError: ``asserted_fact_contradicts_record:<fact>``.
    """
    destination = policy.stage(request.to_stage)
    claimed = claims or Claims()
    source = records.newest(records.state.active_stage)
    named = dict[str, Any]()
    if source is not None:
        named["sourceResult"] = source.id
    gate: Judgement = "unknown"
    if source is not None and source.verdict in {"passed", "failed"}:
        gate = "passed" if source.verdict == "passed" else "failed"
    fault: ArtifactFault | None = None
    if destination.require_previous_artifact:
        fault = _artifact_fault(source, artifacts, claimed.previous_artifact)
    risk = execution = cast("Judgement", "passed")
    if destination.promotion_stage and (destination.require_risk_controls or destination.require_execution_controls):
        passing = _gates_passing(records.newest(GATE_STAGE), artifacts)
        live = records if destination.repeatable else None
        age = timedelta(seconds=policy.controls.control_record_max_age_seconds)
        risk = _controls(passing, RISK_GATES, live, RISK_RECORDS, age)
        execution = _controls(passing, EXECUTION_GATES, live, EXECUTION_RECORDS, age)
        if live is not None:
            named["controlRecords"] = {kind: record.id for kind, record in sorted(records.controls.items())}
    for fact, claim, required, judgement in (
        ("previous_gate_passed", claimed.previous_gate_passed, destination.require_previous_gate_pass, gate),
        ("risk_controls_passed", claimed.risk_controls_passed, destination.require_risk_controls, risk),
        (
            "execution_controls_passed",
            claimed.execution_controls_passed,
            destination.require_execution_controls,
            execution,
        ),
    ):
        if claim and required and judgement != "passed":
            raise GuardInputError(
                f"asserted_fact_contradicts_record:{fact}",
                f"--{fact.replace('_', '-')} was given, but the records say {judgement}",
                details={"fact": fact, "record": judgement},
            )
    return Facts(
        artifact_fault=fault,
        gate=gate,
        risk=risk,
        execution=execution,
        freeze=records.freeze,
        entered=frozenset(entry.stage for entry in records.entries),
        entered_forward=frozenset(entry.stage for entry in records.entries if entry.edge == "forward"),
        records=named,
    )


def _artifact_fault(source: StageEntry | None, artifacts: Blobs, presented: Path | None) -> ArtifactFault | None:
    sha256 = None if source is None else source.blob_sha256
    if sha256 is None or not artifacts.has(sha256):
        return "missing_previous_artifact"
    try:
        artifacts.get(sha256)
    except ArtifactError:
        return "previous_artifact_hash_mismatch"
    if presented is None:
        return None
    given = file_sha256(presented)
    if given is None:
        return "missing_previous_artifact"
    return None if given == sha256 else "previous_artifact_hash_mismatch"


def _gates_passing(evaluation: StageEntry | None, artifacts: Blobs) -> Mapping[str, bool]:
    """Which gates this run's stored evaluation passes; empty when it cannot be read."""
    if evaluation is None or evaluation.blob_sha256 is None:
        return {}
    try:
        content = json.loads(artifacts.get(evaluation.blob_sha256))
        passing = {str(gate["gate_id"]): gate["passes_for"][JUDGED_FOR] for gate in content["gates"]}
    except (ArtifactError, OSError, ValueError, KeyError, TypeError):
        return {}
    return {gate: value for gate, value in passing.items() if isinstance(value, bool)}


def _controls(
    passing: Mapping[str, bool],
    gates: Sequence[str],
    live: Records | None,
    kinds: Sequence[ControlKind],
    max_age: timedelta,
) -> Judgement:
    answers: list[Judgement] = [_word(passing.get(gate)) for gate in gates]
    if live is not None:
        for kind in kinds:
            record = live.controls.get(kind)
            fresh = record is not None and record.age <= max_age
            answers.append(_word(record.verdict == "pass") if record is not None and fresh else "unknown")
    if "failed" in answers:
        return "failed"
    return "unknown" if "unknown" in answers else "passed"


def _word(passed: bool | None) -> Judgement:
    return "unknown" if passed is None else "passed" if passed else "failed"
