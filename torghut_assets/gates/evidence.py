"""Frozen evidence (``gates/evidence.json``): the facts beside the research bundle that an evaluation may read.

Whoever owns a fact (ledger, drills, executions, parity, adviser) hands it in as a plain record; freezing turns them
into one document without a clock. ``null`` means that nobody has measured it, and the rules report it as missing. How
the facts are collected is not this module's business.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from torghut_assets.gates.rule import Target

SCHEMA = "torghut.evidence.v1"


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone")
    return moment.astimezone(UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]
Ratio = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class _Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Trials(_Fact):
    """Evaluated configurations on record that count for this candidate."""

    count: Count
    sharpe_variance: NotNegative | None = Field(description="of the trials' per-period Sharpe ratios; null below two")


class Drill(_Fact):
    """The newest run of one drill."""

    record_id: str
    passed: StrictBool
    completed_at: Moment | None


class Drills(_Fact):
    """The three drills of rollback readiness."""

    kill_switch: Drill | None = None
    gitops_revert: Drill | None = None
    strategy_disable: Drill | None = None


class Executions(_Fact):
    """How many executions this strategy has in the last 30 days; 0 is a finding, null is not."""

    record_id: str
    count: Count


class TransactionCosts(_Fact):
    """Cost analysis of this strategy's executions of the last 30 days, notional-weighted."""

    record_id: str
    slippage_bps: float
    shortfall_notional: float
    churn_ratio: NotNegative


class Parity(_Fact):
    """Share of recorded decisions that a replay repeats bit by bit."""

    record_id: str
    ratio: Ratio
    compared: Annotated[int, Field(ge=1)]


class Adviser(_Fact):
    """How the language model's reviews fared."""

    record_id: str
    error_ratio: Ratio
    reviews: Annotated[int, Field(ge=1)]


class PaperDays(_Fact):
    """Sessions that the strategy has traded on paper."""

    record_id: str
    days: Count


class Runbooks(_Fact):
    """Declared alerts that lack a runbook page."""

    record_id: str
    without_page: tuple[str, ...]


class Drift(_Fact):
    """Drift thresholds of the policy that a later window has crossed."""

    record_id: str
    findings: tuple[str, ...]


class CandidateState(_Fact):
    """Where the candidate stands among its like; a null field is unknown."""

    paused: StrictBool | None = None
    superseded: StrictBool | None = None


class RollbackTarget(_Fact):
    """The ConfigMap that a rollback restores."""

    source_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Facts(_Fact):
    """What is known at the time of freezing; a fact that is left out counts as never measured."""

    trials: Trials | None = None
    drills: Drills = Drills()
    executions: Executions | None = None
    tca: TransactionCosts | None = None
    parity: Parity | None = None
    adviser: Adviser | None = None
    paper_days: PaperDays | None = None
    runbooks: Runbooks | None = None
    drift: Drift | None = None
    candidate_state: CandidateState | None = None
    rollback_target: RollbackTarget | None = None


class Evidence(Facts):
    """``gates/evidence.json``: the facts, and whose they are."""

    schema_: Literal["torghut.evidence.v1"] = Field(default=SCHEMA, alias="schema")
    name: Annotated[str, Field(min_length=1)] = Field(description="under which drills are on record")
    candidate_id: Annotated[str, Field(min_length=1)]
    promotion_target: Target
    ledger: Literal["database", "none"]


def freeze_evidence(
    name: str,
    candidate_id: str,
    target: Target,
    *,
    ledger: Literal["database", "none"],
    facts: Facts | None = None,
) -> Evidence:
    """Freeze what is known about a candidate for one evaluation.

    Args:
        name: the candidate's name; facts such as drills are about it, so a candidate under two names has two runs.
        candidate_id: whose facts they are.
        target: the promotion that is asked for; part of the evidence, so that it is part of the run's identity.
        ledger: ``none`` when no database was asked, which the verdict then says.
        facts: what was measured.
    """
    known = (facts or Facts()).model_dump()
    return Evidence.model_validate(
        {"name": name, "candidate_id": candidate_id, "promotion_target": target, "ledger": ledger, **known}
    )
