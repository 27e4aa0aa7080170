"""What a rule is: gates, conditions, levels and rules as plain data types.

The rules themselves stand in ``gates.table_*`` and are collected in ``gates.rules``; reading evidence and judging it is
the business of ``gates.engine``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Target = Literal["shadow", "paper", "live"]
TARGETS: tuple[Target, ...] = ("shadow", "paper", "live")

Comparator = Literal["<=", ">=", "<", ">", "is", "empty", "same major", "valid"]
"""What an observed value must be, compared with its threshold, to pass. ``valid`` is gate 7's check of its inputs."""

Action = Literal["degrade", "abstain", "fail"]

SPEC = "research/candidate-spec.json"
WALKFORWARD = "backtest/walkforward-results.json"
REPORT = "backtest/evaluation-report.json"
EVIDENCE = "gates/evidence.json"
GATE_EVALUATION = "gates/gate-evaluation.json"

ALL = frozenset[Target](TARGETS)
TRADING = frozenset[Target](("paper", "live"))
LIVE = frozenset[Target](("live",))


@dataclass(frozen=True)
class Gate:
    """A named group of rules and the targets that need it to pass."""

    gate_id: str
    number: str
    title: str
    required_for: frozenset[Target]


GATES: tuple[Gate, ...] = (
    Gate("gate0_data_integrity", "0", "Data integrity", ALL),
    Gate("gate1_statistical_robustness", "1", "Statistical robustness", ALL),
    Gate("gate2_risk_capacity", "2", "Risk and capacity", ALL),
    Gate("gate3_shadow_paper_quality", "3", "Shadow and paper quality", TRADING),
    Gate("gate4_operational_readiness", "4", "Operational readiness", TRADING),
    Gate("gate5_live_ramp_readiness", "5", "Live ramp readiness", LIVE),
    Gate("gate6_profitability_evidence", "6", "Profitability evidence", TRADING),
    Gate("gate7_uncertainty_calibration", "7", "Uncertainty calibration", TRADING),
)
PREREQUISITES = Gate("promotion_prerequisites", "p", "Promotion prerequisites", ALL)
READINESS = Gate("rollback_readiness", "r", "Rollback readiness", TRADING)
DRIFT = Gate("drift", "d", "Drift since the evaluation", LIVE)

GATE_BY_NUMBER: Mapping[str, Gate] = {gate.number: gate for gate in (*GATES, PREREQUISITES, READINESS, DRIFT)}


@dataclass(frozen=True)
class Condition:
    """A fact of an artifact that decides whether a rule applies (or is met without a number).

    ``holds`` gets the value at ``pointer``, null when nobody recorded it; it must then say no, so that absent facts
    never excuse a rule. ``targets`` are those for which the condition counts.
    """

    text: str
    artifact: str
    pointer: str
    holds: Callable[[object], bool]
    targets: frozenset[Target] = ALL


@dataclass(frozen=True)
class Level:
    """One limit of a rule and what crossing it means.

    ``policy_key`` names the limit in the policy; ``fixed`` is the limit where the policy has none;
    ``pointer`` where the artifact itself carries it. ``denies`` is false for mere warnings.
    """

    reason_code: str
    policy_key: str | None = None
    fixed: int | bool | None = None
    pointer: str | None = None
    denies: bool = True
    action: Action | None = None


@dataclass(frozen=True)
class Rule:
    """One row of the rule table. ``levels`` stand from the gravest to the mildest.

    ``derive`` computes the observed value from the artifact where it is not simply the value at ``pointer``.
    ``further_codes`` are reason codes besides those of the levels. ``switch`` names a boolean policy key that turns
    the rule off when false.
    """

    rule_id: str
    artifact: str
    pointer: str
    comparator: Comparator
    levels: tuple[Level, ...]
    meaning: str
    unit: str = ""
    required_for: frozenset[Target] = ALL
    excluded: Condition | None = None
    met_when: Condition | None = None
    derive: Callable[[Mapping[str, Any]], object] | None = None
    switch: str | None = None
    missing_code: str = ""
    further_codes: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        return self.rule_id.split(".", 1)[1]

    @property
    def gate(self) -> Gate:
        return GATE_BY_NUMBER[self.rule_id.split(".", 1)[0]]

    @property
    def gate_id(self) -> str:
        return self.gate.gate_id

    @property
    def code_when_missing(self) -> str:
        return self.missing_code or f"{self.metric}_missing"

    @property
    def reason_codes(self) -> tuple[str, ...]:
        """Every reason code that a record of this rule can carry, without repetition."""
        codes = (*(level.reason_code for level in self.levels), *self.further_codes, self.code_when_missing)
        return tuple(dict.fromkeys(codes))


def limit(reason_code: str, policy_key: str) -> tuple[Level, ...]:
    """The one level of a rule whose limit stands in the policy."""
    return (Level(reason_code, policy_key=policy_key),)


def must_be(reason_code: str, value: int | bool) -> tuple[Level, ...]:
    """The one level of a rule whose limit is fixed."""
    return (Level(reason_code, fixed=value),)
