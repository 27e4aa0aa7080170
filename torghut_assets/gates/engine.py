"""The one rule engine: evidence in, rule records out.

:func:`judge` compares one rule's observed value with the limit that the policy has for a target and returns the
record that verdicts, checks and documents show. It knows no files, no database and no clock; which rules make up a
gate is the business of ``gates.evaluation`` and of the modules of ``promotion``.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NoReturn, cast

from pydantic import BaseModel, ConfigDict, JsonValue

from torghut_assets.gates.observation import exact, plain_number, resolve
from torghut_assets.gates.policy import GatePolicy
from torghut_assets.gates.rule import Action, Comparator, Condition, Level, Rule, Target
from torghut_runtime.canonical import canonical_json, canonical_value, sha256_hex
from torghut_runtime.errors import InputError

Status = Literal["pass", "fail", "missing", "not_applicable", "waived"]
Severity = Literal["error", "warning"]

UNMET: frozenset[Status] = frozenset(("fail", "missing"))


class Record(BaseModel):
    """Base of the immutable models that artifacts are made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EvidenceReference(Record):
    """Where an observed value came from; ``sha256`` is null when the artifact does not exist."""

    artifact: str
    sha256: str | None
    pointer: str


class RuleRecord(Record):
    """What one rule found (contract ``gates.md`` 2).

    ``comparator`` says what the observed value must be, compared with the threshold, to pass. ``severity`` is
    ``error`` for what the asked target requires. ``reason_code`` is null when there is nothing to say.
    """

    rule_id: str
    gate_id: str
    metric: str
    observed: JsonValue
    comparator: Comparator
    threshold: JsonValue
    unit: str
    status: Status
    severity: Severity
    reason_code: str | None
    evidence: EvidenceReference
    note: str

    @property
    def denies(self) -> bool:
        """Whether this record keeps the target it was judged for from passing."""
        return self.status in UNMET and self.severity == "error"


@dataclass(frozen=True)
class Document:
    """A JSON artifact: its path inside the bundle, the sha256 of its bytes, and its content."""

    path: str
    sha256: str
    content: Mapping[str, Any]

    @classmethod
    def of(cls, path: str, model: object) -> "Document":
        """The document that a model or mapping becomes when it is written as canonical JSON."""
        return cls(path, sha256_hex(canonical_json(model)), cast("Mapping[str, Any]", canonical_value(model)))

    @classmethod
    def parse(cls, path: str, data: bytes) -> "Document":
        """The document that the bytes of a stored artifact hold.

        Raises:
            InputError: the bytes are not a JSON object.
        """
        try:
            content = cast("object", json.loads(data, parse_constant=_no_constant))
        except (ValueError, RecursionError) as error:
            raise InputError(f"is not JSON: {error}", file=path) from error
        if not isinstance(content, dict):
            raise InputError("must hold a JSON object", file=path)
        return cls(path, sha256_hex(data), cast("Mapping[str, Any]", content))


class Documents:
    """The documents of one evaluation, by path; absent ones read as having no values."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._by_path = {document.path: document for document in documents}

    def content(self, path: str) -> Mapping[str, Any] | None:
        document = self._by_path.get(path)
        return None if document is None else document.content

    def sha256(self, path: str) -> str | None:
        document = self._by_path.get(path)
        return None if document is None else document.sha256

    def value(self, path: str, pointer: str) -> object:
        """The value at a JSON pointer of a document, ``None`` where there is none."""
        return resolve(self.content(path), pointer)

    @property
    def digests(self) -> dict[str, str]:
        """sha256 by path, in the order of the paths."""
        return {path: self._by_path[path].sha256 for path in sorted(self._by_path)}


@dataclass(frozen=True)
class Observation:
    """An observed value (``None`` = nobody measured it) and where it stands."""

    value: object
    evidence: EvidenceReference


@dataclass(frozen=True)
class Judgement:
    """A rule record and, for gate 7, the action that it calls for."""

    record: RuleRecord
    action: Action | None = None


@dataclass(frozen=True)
class Finding:
    """What comparing a value with its limit gave, before waivers and before the target is looked at."""

    status: Status
    threshold: object = None
    reason_code: str | None = None
    note: str = ""
    denies: bool = True
    action: Action | None = None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is no number")


def observe(rule: Rule, documents: Documents) -> Observation:
    """Read what a rule looks at from the documents."""
    content = documents.content(rule.artifact)
    evidence = EvidenceReference(artifact=rule.artifact, sha256=documents.sha256(rule.artifact), pointer=rule.pointer)
    if content is None:
        return Observation(None, evidence)
    return Observation(rule.derive(content) if rule.derive else resolve(content, rule.pointer), evidence)


def judge(
    rule: Rule, policy: GatePolicy, documents: Documents, target: Target, observation: Observation | None = None
) -> Judgement:
    """Judge one rule for ``target``.

    Args:
        rule: what to judge.
        policy: the policy as loaded; the stricter limits of live are taken care of here.
        documents: the artifacts that hold evidence and applicability.
        target: the promotion that is asked for.
        observation: the observed value where it is not read from ``documents``.
    """
    seen = observe(rule, documents) if observation is None else observation
    return conclude(rule, policy, target, seen, _find(rule, policy.for_target(target), documents, target, seen.value))


def conclude(rule: Rule, policy: GatePolicy, target: Target, seen: Observation, finding: Finding) -> Judgement:
    """Turn a finding into the record for ``target``: severity, waiver and remarks.

    A waiver covers what would deny the target. It never hides a mere warning, and a measured abstention that it covers
    still degrades, because somebody's signature makes the intervals no narrower.
    """
    required = target in rule.required_for
    status, note = finding.status, finding.note
    severity: Severity = "error" if required and finding.denies else "warning"
    action = finding.action
    waiver = policy.for_target(target).waiver(rule.rule_id)
    if waiver is not None and status in UNMET and severity == "error":
        action = "degrade" if action is not None and status == "fail" else None
        status, severity = "waived", "warning"
        waived = f"waived until {waiver.until.isoformat()} by {waiver.approver}: {waiver.reason}"
        note = f"{note}; {waived}" if note else waived
    return Judgement(
        RuleRecord(
            rule_id=rule.rule_id,
            gate_id=rule.gate_id,
            metric=rule.metric,
            observed=_json(seen.value),
            comparator=rule.comparator,
            threshold=_json(finding.threshold),
            unit=rule.unit,
            status=status,
            severity=severity,
            reason_code=finding.reason_code,
            evidence=seen.evidence,
            note=note,
        ),
        action,
    )


def _find(rule: Rule, policy: GatePolicy, documents: Documents, target: Target, value: object) -> Finding:
    limits = [(level, _limit(level, policy, documents, rule)) for level in rule.levels]
    mildest = next((limit for _, limit in reversed(limits) if limit is not None), None)
    if rule.switch is not None and not getattr(policy, rule.switch):
        return Finding("not_applicable", mildest, note=f"switched off by the policy ({rule.switch} is false)")
    if all(limit is None and level.policy_key is not None for level, limit in limits):
        keys = ", ".join(str(level.policy_key) for level, _ in limits)
        return Finding("not_applicable", note=f"switched off by the policy ({keys} is null)")
    excluded = rule.excluded
    if excluded is not None and target in excluded.targets and _holds(excluded, documents):
        return Finding("not_applicable", mildest, note=f"applies to {excluded.text} only")
    if rule.met_when is not None and _holds(rule.met_when, documents):
        return Finding("pass", mildest, note=rule.met_when.text)
    if rule.comparator == "valid":
        return _valid(rule, value, mildest)
    if rule.comparator == "empty":
        return _empty(rule, value)
    for level, limit in limits:
        if limit is None and level.policy_key is not None:
            continue
        verdict = _compare(rule.comparator, value, limit)
        if verdict is None:
            return _missing(rule, mildest, value)
        if not verdict:
            return Finding("fail", limit, level.reason_code, denies=level.denies, action=level.action)
    return Finding("pass", mildest)


def _limit(level: Level, policy: GatePolicy, documents: Documents, rule: Rule) -> object:
    if level.policy_key is not None:
        return getattr(policy, level.policy_key)
    if level.pointer is not None:
        return exact(documents.value(rule.artifact, level.pointer))
    return level.fixed


def _holds(condition: Condition, documents: Documents) -> bool:
    return condition.holds(documents.value(condition.artifact, condition.pointer))


def _missing(rule: Rule, threshold: object, value: object) -> Finding:
    note = "nobody measured it" if value is None else f"unusable evidence: {value!r}"
    denies = any(level.denies for level in rule.levels)
    action: Action | None = "fail" if rule.rule_id == "7.inputs" else None
    return Finding("missing", threshold, rule.code_when_missing, note, denies, action)


def _empty(rule: Rule, value: object) -> Finding:
    if not isinstance(value, list | tuple):
        return _missing(rule, None, value)
    return Finding("fail", reason_code=rule.levels[0].reason_code) if value else Finding("pass")


def _valid(rule: Rule, value: object, target_coverage: object) -> Finding:
    """Gate 7's inputs: all four figures there, within their ranges, fitted for the policy's target coverage."""
    names = ("target_coverage", "coverage_error", "shift_score", "interval_width")
    figures = {name: exact(resolve(value, f"/{name}")) for name in names}
    absent = [name for name, figure in figures.items() if figure is None]
    if absent:
        finding = _missing(rule, target_coverage, None)
        return Finding(
            finding.status, target_coverage, finding.reason_code, f"without {', '.join(absent)}", action=finding.action
        )
    outside = [
        name
        for name, figure in figures.items()
        if figure is not None and (figure < 0 or (figure > 1 and name != "interval_width"))
    ]
    if outside:
        note = f"out of range: {', '.join(outside)}"
        return Finding("fail", target_coverage, "uncertainty_inputs_out_of_range", note, action="fail")
    if figures["target_coverage"] != target_coverage:
        return Finding("fail", target_coverage, rule.levels[0].reason_code, action="fail")
    return Finding("pass", target_coverage)


def _compare(comparator: Comparator, value: object, limit: object) -> bool | None:
    """Whether the value passes; ``None`` when value or limit is no evidence."""
    if comparator == "is":
        return value is limit if isinstance(value, bool) else None
    if comparator == "same major":
        return value.split(".")[0] == str(limit).split(".")[0] if isinstance(value, str) and value else None
    number, bound = exact(value), exact(limit)
    if number is None or bound is None:
        return None
    if comparator == "<=":
        return number <= bound
    if comparator == ">=":
        return number >= bound
    return number < bound if comparator == "<" else number > bound


def _json(value: object) -> JsonValue:
    if isinstance(value, Decimal):
        return plain_number(value)
    return cast("JsonValue", canonical_value(value))
