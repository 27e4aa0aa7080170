"""May a candidate's promotion go on? Gates, prerequisites and rollback readiness of stored artifacts, judged at once.

For CI (``validate-promotion``: state and files somebody hands in) and for the dry run of the policy, which must say yes
as things are and no as soon as something is taken away. Pure over documents; the rules are those of ``gates`` and
``promotion``. Whether the guard lets a candidate move is not judged here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from pydantic import Field, ValidationError

from torghut_assets.artifacts import BUNDLE_ENTRIES
from torghut_assets.gates.engine import Document, Documents, Record, RuleRecord
from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.gates.policy import ROLLBACK_CHECKS, GatePolicy
from torghut_assets.gates.rule import EVIDENCE, GATE_EVALUATION, REPORT, SPEC, WALKFORWARD, Target
from torghut_assets.guard.state_file import StatedReadiness, StateFile
from torghut_assets.promotion.prerequisites import judge_prerequisites
from torghut_assets.promotion.readiness import judge_readiness_in_time, judge_rollback_readiness
from torghut_runtime.canonical import sha256_hex
from torghut_runtime.errors import InputError

SCHEMA: Final = "torghut.policy-dry-run.v1"
DRY_RUN_PATH: Final = "gates/policy-dry-run.json"
Simulation = Literal["missing_artifact", "stale_rollback"]
SIMULATIONS: Final[tuple[Simulation, ...]] = get_args(Simulation)
_DOCUMENTS: Final = (SPEC, WALKFORWARD, REPORT, EVIDENCE)
_READINESS_FIELDS: Final = {
    "killSwitchDryRunPassed": "kill_switch_dry_run_passed",
    "gitopsRevertDryRunPassed": "gitops_revert_dry_run_passed",
    "strategyDisableDryRunPassed": "strategy_disable_dry_run_passed",
}


class Progression(Record):
    """Whether promotion to a target may go on, and everything that speaks against it, sorted."""

    promotion_progression_allowed: bool
    promotion_target: Target
    reasons: tuple[str, ...]
    missing_checks: tuple[str, ...] = Field(description="drills that were never run or failed")
    records: tuple[RuleRecord, ...] = Field(description="prerequisites and rollback readiness, with what was observed")


class PolicyDryRun(Record):
    """``gates/policy-dry-run.json``: the policy says yes as things are, and no when something is taken away."""

    schema_: Literal["torghut.policy-dry-run.v1"] = Field(default=SCHEMA, alias="schema")
    name: str
    candidate_id: str
    run_id: str
    passed: bool
    plain: Progression
    simulations: Mapping[Simulation, Progression]


@dataclass(frozen=True)
class Bundle:
    """What the judgement reads: the evaluation, the documents it rests on, and the digests of all files."""

    evaluation: GateEvaluation
    documents: Sequence[Document]
    artifacts: Mapping[str, str] = field(default_factory=dict[str, str])


def progression(
    policy: GatePolicy, bundle: Bundle, target: Target, *, now: datetime, approved: bool, reasons: Iterable[str] = ()
) -> Progression:
    """Judge gates, prerequisites and rollback readiness for a target, drills and approval at ``now`` (aware).

    ``reasons`` are codes that the caller found itself.
    """
    bundle = _asked_for(bundle, target)
    evaluation = bundle.evaluation
    prerequisites = judge_prerequisites(policy, evaluation, bundle.documents, artifacts=bundle.artifacts)
    readiness = judge_rollback_readiness(policy, evaluation, bundle.documents)
    in_time = judge_readiness_in_time(policy, Documents(bundle.documents), target, now=now, approved=approved)
    records = (*prerequisites.records, *readiness.records, *in_time)
    found = {
        *reasons,
        *(rule.reason_code for rule in evaluation.targets[target].open),
        *(record.reason_code for record in records if record.denies and record.reason_code is not None),
    }
    return Progression(
        promotion_progression_allowed=not found,
        promotion_target=target,
        reasons=tuple(sorted(found)),
        missing_checks=(*readiness.missing_checks, *readiness.failed_checks),
        records=records,
    )


def _asked_for(bundle: Bundle, target: Target) -> Bundle:
    """The bundle with its evaluation read for another target, which makes its bytes no others."""
    evaluation = bundle.evaluation
    if evaluation.promotion_target == target:
        return bundle
    asked = evaluation.model_copy(update={"promotion_target": target})
    artifacts = dict(bundle.artifacts)
    if artifacts.get(GATE_EVALUATION) == Document.of(GATE_EVALUATION, evaluation).sha256:
        artifacts[GATE_EVALUATION] = Document.of(GATE_EVALUATION, asked).sha256
    return Bundle(asked, bundle.documents, artifacts)


def dry_run(
    policy: GatePolicy, bundle: Bundle, target: Target, simulated: frozenset[Simulation] = frozenset()
) -> Progression:
    """Judge a bundle at the time of its newest drill, as it is or with something taken away.

    The approval that only the decision can judge is taken for granted. A simulation asks whether the limits deny, so it
    knows no waivers: those excuse a candidate for what somebody has seen, not for what is simulated.
    """
    if simulated:
        policy = policy.model_copy(update={"waivers": ()})
    now = newest_drill(policy, bundle.documents) or _EPOCH
    if "stale_rollback" in simulated:
        age = policy.rollback_dry_run_max_age_hours
        now += timedelta(hours=float(age if age is not None else 0) + 1)
    if "missing_artifact" in simulated:
        gone = policy.promotion_required_artifacts[:1]
        left = {path: sha256 for path, sha256 in bundle.artifacts.items() if path not in gone}
        bundle = Bundle(bundle.evaluation, bundle.documents, left)
    return progression(policy, bundle, target, now=now, approved=True)


def policy_dry_run(policy: GatePolicy, bundle: Bundle, target: Target) -> PolicyDryRun:
    """Run the policy on a bundle as it is, without an artifact, and with old drills."""
    plain = dry_run(policy, bundle, target)
    simulated: dict[Simulation, Progression] = {
        each: dry_run(policy, bundle, target, frozenset({each})) for each in SIMULATIONS
    }
    denied = not any(each.promotion_progression_allowed for each in simulated.values())
    return PolicyDryRun(
        schema=SCHEMA,
        name=bundle.evaluation.name,
        candidate_id=bundle.evaluation.candidate_id,
        run_id=bundle.evaluation.run_id,
        passed=plain.promotion_progression_allowed and denied,
        plain=plain,
        simulations=simulated,
    )


def newest_drill(policy: GatePolicy, documents: Iterable[Document]) -> datetime | None:
    """When the newest of the required drills was completed; ``None`` when no time stamp can be read."""
    known = Documents(documents)
    moments = [
        _moment(known.value(EVIDENCE, f"/drills/{ROLLBACK_CHECKS[check]}/completed_at"))
        for check in policy.rollback_required_checks
    ]
    return max((moment for moment in moments if moment is not None), default=None)


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is None else moment


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def stated_bundle(bundle: Bundle, stated: StateFile) -> tuple[Bundle, list[str]]:
    """The bundle with what a state file says in the place of its evidence, and the reasons of the state itself."""
    readiness = stated.rollback_readiness or StatedReadiness()
    drills = {
        ROLLBACK_CHECKS[cast("Any", check)]: {
            "passed": getattr(readiness, attribute),
            "completed_at": readiness.dry_run_completed_at,
        }
        for check, attribute in _READINESS_FIELDS.items()
    }
    known = Documents(bundle.documents)
    evidence: dict[str, Any] = {
        **(known.content(EVIDENCE) or {}),
        "drills": drills,
        "rollback_target": {"source_sha256": readiness.rollback_target},
        "candidate_state": {
            **cast("dict[str, Any]", known.value(EVIDENCE, "/candidate_state") or {"superseded": False}),
            "paused": stated.paused,
        },
    }
    sha256 = known.sha256(EVIDENCE)
    documents = [document for document in bundle.documents if document.path != EVIDENCE]
    document = Document(EVIDENCE, sha256 or "", evidence)
    reasons = ["no_signal_window_detected"] if stated.no_signal_reason else []
    return Bundle(bundle.evaluation, [*documents, document], bundle.artifacts), reasons


def read_bundle(gate_report: Path, artifact_root: Path) -> Bundle:
    """The evaluation of ``gate_report`` and the documents and files of the bundle at ``artifact_root``.

    Raises:
        InputError: the report is none, or a document is no JSON object.
    """
    try:
        evaluation = GateEvaluation.model_validate_json(gate_report.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=gate_report) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"is no gate evaluation: {first['msg']}", file=gate_report, field=where or None) from None
    files = {
        path.relative_to(artifact_root).as_posix(): path.read_bytes()
        for entry in sorted(BUNDLE_ENTRIES)
        for path in (artifact_root / entry).rglob("*")
        if path.is_file()
    }
    documents = [Document.parse(path, files[path]) for path in _DOCUMENTS if path in files]
    return Bundle(evaluation, documents, {path: sha256_hex(data) for path, data in files.items()})
