"""Research records on a real PostgreSQL: recorded once, never changed, read back as they were given."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from torghut_assets.research.records import (
    CandidateRecord,
    FoldRecord,
    RecordConflictError,
    RunRecord,
    StressRecord,
    candidate_of,
    folds_of,
    newest_runs,
    record_candidate,
    record_folds,
    record_run,
    record_stress,
    runs_of,
    stress_of,
)
from torghut_runtime.storage.database import connect, transaction
from torghut_runtime.storage.ledger import append

START = datetime(2026, 1, 2, 21, tzinfo=UTC)
CANDIDATE = CandidateRecord("cand-0123456789ab", "d" * 64, {"search": {"lookback": [20, 60]}, "x": 1e16}, START)
RUN = RunRecord(
    run_id="0" * 24,
    name="momentum",
    candidate_id=CANDIDATE.candidate_id,
    policy_sha256="p" * 64,
    evidence_sha256="e" * 64,
    code_version="1.2.3",
    promotion_target="paper",
    recommended_mode=None,
    action="deny",
    reasons=("cost_bps_exceeds_maximum", "fold_count_below_minimum"),
    report={"net_pnl": -12.5, "sharpe_annualized": None},
)


def fold(number: int) -> FoldRecord:
    days = [START + timedelta(days=10 * number + day) for day in range(4)]
    return FoldRecord(number, *days, parameters={"lookback": 20}, in_sample={"net_pnl": 1.0}, out_of_sample={})


@pytest.fixture
def recorded(connection: sa.Connection) -> sa.Connection:
    record_candidate(connection, CANDIDATE)
    record_run(connection, RUN)
    return connection


def test_a_candidate_is_recorded_once(connection: sa.Connection) -> None:
    assert record_candidate(connection, CANDIDATE)
    assert not record_candidate(connection, CANDIDATE)
    assert not record_candidate(connection, replace(CANDIDATE, created_at=START + timedelta(days=1)))
    assert candidate_of(connection, CANDIDATE.candidate_id) == CANDIDATE
    assert candidate_of(connection, "cand-other") is None


def test_a_candidate_without_a_time_has_the_database_s(connection: sa.Connection) -> None:
    record_candidate(connection, replace(CANDIDATE, created_at=None))
    found = candidate_of(connection, CANDIDATE.candidate_id)
    now = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    assert found is not None
    assert found.created_at is not None
    assert now - timedelta(minutes=10) < found.created_at <= now


@pytest.mark.parametrize(
    ("changed", "column"),
    [
        ({"dataset_id": "f" * 64}, "dataset_id"),
        ({"spec": {"search": {"lookback": [20, 61]}, "x": 1e16}}, "spec"),
    ],
)
def test_another_candidate_under_the_same_id_is_refused(
    connection: sa.Connection, changed: dict[str, object], column: str
) -> None:
    record_candidate(connection, CANDIDATE)
    with pytest.raises(
        RecordConflictError, match=f"candidate_id cand-0123456789ab is on record with another {column}$"
    ):
        record_candidate(connection, replace(CANDIDATE, **changed))  # type: ignore[arg-type]
    assert candidate_of(connection, CANDIDATE.candidate_id) == CANDIDATE


def test_a_run_is_recorded_once_and_keeps_its_first_verdict(recorded: sa.Connection) -> None:
    later = replace(RUN, action="promote", reasons=(), recommended_mode="paper", promotion_target="live")
    assert not record_run(recorded, RUN)
    assert not record_run(recorded, later)
    (found,) = runs_of(recorded, "momentum")
    assert (found.action, found.reasons, found.recommended_mode, found.promotion_target) == (
        "deny",
        RUN.reasons,
        None,
        "paper",
    )


@pytest.mark.parametrize(
    ("changed", "column"),
    [
        ({"name": "other"}, "name"),
        ({"policy_sha256": "x"}, "policy_sha256"),
        ({"evidence_sha256": "x"}, "evidence_sha256"),
        ({"code_version": "x"}, "code_version"),
        ({"report": {"net_pnl": -12.4, "sharpe_annualized": None}}, "report"),
    ],
)
def test_another_run_under_the_same_id_is_refused(
    recorded: sa.Connection, changed: dict[str, object], column: str
) -> None:
    with pytest.raises(RecordConflictError, match=f"is on record with another {column}$"):
        record_run(recorded, replace(RUN, **changed))  # type: ignore[arg-type]


def test_a_run_needs_its_candidate_and_its_ledger_row(connection: sa.Connection) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="fk_research_runs_candidate_id"):
        record_run(connection, RUN)
    record_candidate(connection, CANDIDATE)
    with pytest.raises(sa.exc.IntegrityError, match="fk_research_runs_ledger_seq"):
        record_run(connection, replace(RUN, ledger_seq=1))
    row = append(connection, kind="promotion", subject="momentum", actor="lane", body={"action": "deny"})
    assert record_run(connection, replace(RUN, ledger_seq=row.seq))


def test_folds_and_stress_cases_are_recorded_once_and_come_back(recorded: sa.Connection) -> None:
    folds = [fold(number) for number in range(3)]
    cases = [StressRecord("halt", {"net_pnl": -1}), StressRecord("spread_2", {"net_pnl": 2.5})]
    assert (record_folds(recorded, RUN.run_id, folds), record_stress(recorded, RUN.run_id, cases)) == (3, 2)
    assert (record_folds(recorded, RUN.run_id, folds), record_stress(recorded, RUN.run_id, cases)) == (0, 0)
    assert folds_of(recorded, RUN.run_id) == folds
    assert stress_of(recorded, RUN.run_id) == cases
    assert record_folds(recorded, RUN.run_id, []) == 0


def test_a_conflicting_fold_leaves_none_of_its_batch(recorded: sa.Connection) -> None:
    record_folds(recorded, RUN.run_id, [fold(1)])
    other = replace(fold(1), parameters={"lookback": 60})
    with pytest.raises(RecordConflictError, match=f"run_id {RUN.run_id}, fold 1 is on record with another parameters$"):
        record_folds(recorded, RUN.run_id, [fold(0), other])
    assert folds_of(recorded, RUN.run_id) == [fold(1)]


def test_folds_need_their_run(connection: sa.Connection) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="fk_research_fold_metrics_run_id"):
        record_folds(connection, "unknown", [fold(0)])


def test_the_newest_run_of_every_name_is_listed_by_name(recorded: sa.Connection) -> None:
    second = replace(CANDIDATE, candidate_id="cand-2", spec={})
    record_candidate(recorded, second)
    record_run(recorded, replace(RUN, run_id="3" * 24, name="carry", action="promote", reasons=()))
    record_run(recorded, replace(RUN, run_id="2" * 24, candidate_id="cand-2"))
    record_run(recorded, RUN)
    assert [(run.name, run.run_id) for run in newest_runs(recorded)] == [("carry", "3" * 24), ("momentum", "2" * 24)]
    assert [run.run_id for run in runs_of(recorded, "momentum")] == ["2" * 24, "0" * 24]
    assert runs_of(recorded, "unknown") == []


def test_a_listed_run_says_everything_about_it(recorded: sa.Connection) -> None:
    (found,) = newest_runs(recorded)
    given = {name: getattr(RUN, name) for name in RUN.__dataclass_fields__}
    assert {name: getattr(found, name) for name in given} == given
    assert found.dataset_id == CANDIDATE.dataset_id
    assert found.recorded_at.tzinfo is not None


@pytest.mark.parametrize(
    "table",
    [
        "research_candidates",
        "research_runs",
        "research_fold_metrics",
        "research_stress_metrics",
        "research_trials",
        "research_promotions",
    ],
)
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET run_id = run_id", "TRUNCATE {} CASCADE"])
def test_the_database_refuses_to_change_records(connection: sa.Connection, table: str, statement: str) -> None:
    column = {"research_candidates": "candidate_id", "research_trials": "family"}.get(table, "run_id")
    with pytest.raises(sa.exc.IntegrityError, match="its rows are never changed"), transaction(connection):
        connection.execute(sa.text(statement.format(table).replace("run_id", column)))


def test_two_processes_that_record_the_same_run_both_end_well(recorded: sa.Connection, engine: sa.Engine) -> None:
    with connect(engine) as other:
        assert [record_run(other, RUN), record_run(recorded, RUN)] == [False, False]
        assert len(runs_of(other, "momentum")) == 1
