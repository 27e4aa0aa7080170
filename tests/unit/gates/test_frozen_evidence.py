"""Frozen evidence: facts with their records, unknown as null, no clock, the same bytes for the same facts."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from torghut_assets.gates.evidence import (
    Adviser,
    CandidateState,
    Drill,
    Drills,
    Evidence,
    Executions,
    Facts,
    PaperDays,
    Parity,
    RollbackTarget,
    TransactionCosts,
    freeze_evidence,
)
from torghut_runtime.canonical import canonical_json

DRILLED = datetime(2026, 5, 4, 10, tzinfo=timezone(timedelta(hours=2)))
FACTS = Facts(
    drills=Drills(kill_switch=Drill(record_id="k1", passed=True, completed_at=DRILLED)),
    executions=Executions(record_id="x1", count=0),
    candidate_state=CandidateState(superseded=False),
    rollback_target=RollbackTarget(source_sha256="a" * 64),
)


def frozen(facts: Facts | None = None) -> bytes:
    return canonical_json(freeze_evidence("momentum", "cand-1", "paper", ledger="database", facts=facts))


def test_what_nobody_measured_is_null() -> None:
    content = json.loads(frozen())
    measured = {key for key, value in content.items() if value is not None}
    assert measured == {"schema", "candidate_id", "promotion_target", "ledger", "drills", "name"}
    assert content["drills"] == {"kill_switch": None, "gitops_revert": None, "strategy_disable": None}
    assert content["ledger"] == "database"


def test_no_executions_are_a_fact_and_times_are_in_utc() -> None:
    content = json.loads(frozen(FACTS))
    assert content["executions"] == {"record_id": "x1", "count": 0}
    assert content["drills"]["kill_switch"]["completed_at"] == "2026-05-04T08:00:00Z"
    assert content["candidate_state"] == {"paused": None, "superseded": False}


def test_equal_facts_give_equal_bytes_and_bytes_read_back() -> None:
    same = FACTS.model_copy(
        update={"drills": Drills(kill_switch=Drill(record_id="k1", passed=True, completed_at=DRILLED.astimezone(UTC)))}
    )
    assert frozen(same) == frozen(FACTS)
    assert canonical_json(Evidence.model_validate_json(frozen(FACTS))) == frozen(FACTS)


def test_name_target_and_ledger_are_part_of_the_evidence() -> None:
    others = {
        canonical_json(freeze_evidence("momentum", "cand-1", "live", ledger="database")),
        canonical_json(freeze_evidence("momentum", "cand-1", "paper", ledger="none")),
        canonical_json(freeze_evidence("momentum", "cand-2", "paper", ledger="database")),
        canonical_json(freeze_evidence("reversal", "cand-1", "paper", ledger="database")),
        frozen(),
    }
    assert len(others) == 5


@pytest.mark.parametrize(
    ("fact", "values"),
    [
        (Executions, {"record_id": "x", "count": -1}),
        (Executions, {"record_id": "x", "count": None}),
        (Executions, {"record_id": "x"}),
        (Drill, {"record_id": "k", "passed": None, "completed_at": None}),
        (Drill, {"record_id": "k", "passed": "false", "completed_at": None}),
        (Drill, {"record_id": "k", "passed": 1, "completed_at": None}),
        (Drill, {"record_id": "k", "passed": True, "completed_at": datetime(2026, 5, 4)}),  # noqa: DTZ001 - naive on purpose
        (Parity, {"record_id": "p", "ratio": 1.01, "compared": 1}),
        (Parity, {"record_id": "p", "ratio": 1.0, "compared": 0}),
        (Adviser, {"record_id": "a", "error_ratio": 0.0, "reviews": 0}),
        (PaperDays, {"record_id": "d", "days": 1.5}),
        (TransactionCosts, {"record_id": "t", "slippage_bps": float("nan"), "shortfall_notional": 0, "churn_ratio": 0}),
        (RollbackTarget, {"source_sha256": "short"}),
        (CandidateState, {"paused": "no"}),
        (CandidateState, {"stopped": True}),
    ],
)
def test_what_is_no_fact_is_refused(fact, values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        fact(**values)
