"""What research leaves in the database: candidates, runs, folds, stress cases, promotions.

Rows are immutable, and keyed by what determines them (contract ``lane.md`` 8): recording the same thing again adds
nothing, recording another thing under the same key is refused. Every function works in the caller's transaction where
there is one. What the numbers mean is the business of those who compute them; trials are recorded in ``trial_records``,
the ledger is ``torghut_runtime.storage.ledger``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.canonical import canonical_value
from torghut_runtime.errors import TorghutError
from torghut_runtime.storage import ledger
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.tables import (
    research_candidates,
    research_fold_metrics,
    research_promotions,
    research_runs,
    research_stress_metrics,
)

Action = Literal["promote", "hold", "deny"]


class RecordConflictError(TorghutError):
    """Something else is on record under this key: the inputs' identity or the record itself has been tampered with."""


@dataclass(frozen=True)
class CandidateRecord:
    """A candidate, whatever it is called; ``created_at`` is the database's clock where it is left out."""

    candidate_id: str
    dataset_id: str
    spec: Mapping[str, Any]
    created_at: datetime | None = None


@dataclass(frozen=True)
class RunRecord:
    """An evaluation with the first verdict on it; ``report`` holds the summary metrics of the evaluation report.

    Later verdicts on the same evaluation, which differ only because time has passed, are in the ledger.
    """

    run_id: str
    name: str
    candidate_id: str
    policy_sha256: str
    evidence_sha256: str
    code_version: str
    promotion_target: str
    recommended_mode: str | None
    action: Action
    reasons: tuple[str, ...]
    report: Mapping[str, Any]
    ledger_seq: int | None = None


@dataclass(frozen=True)
class FoldRecord:
    """One fold of a run: first and last bar time of both windows (UTC), the chosen parameters, and metrics."""

    fold: int
    train_start: datetime
    train_end: datetime
    test_start: datetime
    test_end: datetime
    parameters: Mapping[str, Any]
    in_sample: Mapping[str, Any]
    out_of_sample: Mapping[str, Any]


@dataclass(frozen=True)
class StressRecord:
    """One stress case of a run."""

    stress_case: str
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class RunSummary:
    """A recorded run with its candidate, as lists and comparisons show it."""

    name: str
    candidate_id: str
    run_id: str
    dataset_id: str
    policy_sha256: str
    evidence_sha256: str
    code_version: str
    promotion_target: str
    recommended_mode: str | None
    action: Action
    reasons: tuple[str, ...]
    report: Mapping[str, Any]
    ledger_seq: int | None
    recorded_at: datetime


@dataclass(frozen=True)
class Champion:
    """The candidate that a strategy was last promoted with."""

    strategy: str
    candidate_id: str
    run_id: str
    target: str
    ledger_seq: int
    promoted_at: datetime


def record_candidate(connection: sa.Connection, record: CandidateRecord) -> bool:
    """Record a candidate; whether it is new.

    Raises:
        RecordConflictError: the id is on record with other content.
    """
    values = {
        "candidate_id": record.candidate_id,
        "dataset_id": record.dataset_id,
        "spec": canonical_value(record.spec),
    }
    when = {} if record.created_at is None else {"created_at": record.created_at}
    return _add(connection, research_candidates, [{**values, **when}], compared=tuple(values)) == 1


def record_run(connection: sa.Connection, record: RunRecord) -> bool:
    """Record a run of a recorded candidate; whether it is new. A known run keeps its first verdict.

    Raises:
        RecordConflictError: the id is on record with another name, candidate, policy, evidence, code or report.
    """
    values = {
        "run_id": record.run_id,
        "name": record.name,
        "candidate_id": record.candidate_id,
        "policy_sha256": record.policy_sha256,
        "evidence_sha256": record.evidence_sha256,
        "code_version": record.code_version,
        "report": canonical_value(record.report),
    }
    verdict = {
        "promotion_target": record.promotion_target,
        "recommended_mode": record.recommended_mode,
        "action": record.action,
        "reasons": list(record.reasons),
        "ledger_seq": record.ledger_seq,
    }
    return _add(connection, research_runs, [{**values, **verdict}], compared=tuple(values)) == 1


def record_folds(connection: sa.Connection, run_id: str, records: Sequence[FoldRecord]) -> int:
    """Record the folds of a recorded run; how many are new.

    Raises:
        RecordConflictError: a fold of this run is on record with other content.
    """
    rows = [
        {
            "run_id": run_id,
            "fold": record.fold,
            "train_start": record.train_start,
            "train_end": record.train_end,
            "test_start": record.test_start,
            "test_end": record.test_end,
            "parameters": canonical_value(record.parameters),
            "in_sample": canonical_value(record.in_sample),
            "out_of_sample": canonical_value(record.out_of_sample),
        }
        for record in records
    ]
    return _add(connection, research_fold_metrics, rows, compared=tuple(rows[0]) if rows else ())


def record_stress(connection: sa.Connection, run_id: str, records: Sequence[StressRecord]) -> int:
    """Record the stress cases of a recorded run; how many are new.

    Raises:
        RecordConflictError: a case of this run is on record with other content.
    """
    rows = [
        {"run_id": run_id, "stress_case": record.stress_case, "metrics": canonical_value(record.metrics)}
        for record in records
    ]
    return _add(connection, research_stress_metrics, rows, compared=tuple(rows[0]) if rows else ())


def _add(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], *, compared: Sequence[str]
) -> int:
    """Insert the rows whose key is new and compare the others with what is on record; returns how many are new."""
    keys = [column.name for column in table.primary_key.columns]
    added = 0
    with transaction(connection):
        for row in rows:
            statement = insert(table).values(row).on_conflict_do_nothing(index_elements=keys).returning(sa.literal(1))
            if connection.execute(statement).one_or_none() is not None:
                added += 1
                continue
            same_key = sa.and_(*(table.c[key] == row[key] for key in keys))
            known = connection.execute(sa.select(*(table.c[name] for name in compared)).where(same_key)).one()
            other = [name for name in compared if getattr(known, name) != row[name]]
            if other:
                where = ", ".join(f"{key} {row[key]}" for key in keys)
                raise RecordConflictError(f"{table.name}: {where} is on record with another {', '.join(other)}")
    return added


# promotions


def record_promotion(
    connection: sa.Connection,
    *,
    strategy: str,
    candidate_id: str,
    run_id: str,
    target: str,
    actor: str,
    ledger_seq: int,
) -> Champion | None:
    """Make a candidate the champion of a strategy; the champion it succeeds is demoted, with a ledger row.

    Both happen in one transaction under the ledger's lock, so that a strategy never has two champions or none. The
    same candidate is never demoted by itself, and the same run for the same target adds nothing.

    Args:
        connection: of the database ``torghut``.
        strategy: the strategy's id.
        candidate_id: of the recorded candidate that is promoted.
        run_id: of the recorded run that it is promoted on.
        target: ``paper`` or ``live``.
        actor: who promotes; stands in the demotion's ledger row.
        ledger_seq: the ledger row of the promotion.

    Returns:
        The champion that was demoted.
    """
    with transaction(connection):
        ledger.lock_head(connection)
        before = champion(connection, strategy)
        if before is not None and (before.candidate_id, before.run_id, before.target) == (candidate_id, run_id, target):
            return None
        demoted = None if before is None or before.candidate_id == candidate_id else before
        if demoted is not None:
            row = ledger.append(
                connection,
                kind="demotion",
                subject=strategy,
                actor=actor,
                body={
                    "action": "demote",
                    "reason": "succeeded",
                    "candidate_id": demoted.candidate_id,
                    "run_id": demoted.run_id,
                    "successor_candidate_id": candidate_id,
                    "successor_run_id": run_id,
                    "promotion_seq": ledger_seq,
                },
            )
            _note(connection, strategy, "demoted", demoted.candidate_id, demoted.run_id, demoted.target, row.seq)
        _note(connection, strategy, "promoted", candidate_id, run_id, target, ledger_seq)
    return demoted


def _note(
    connection: sa.Connection,
    strategy: str,
    action: Literal["promoted", "demoted"],
    candidate_id: str,
    run_id: str,
    target: str,
    ledger_seq: int,
) -> None:
    connection.execute(
        sa.insert(research_promotions).values(
            strategy=strategy,
            action=action,
            candidate_id=candidate_id,
            run_id=run_id,
            target=target,
            ledger_seq=ledger_seq,
        )
    )


def champion(connection: sa.Connection, strategy: str) -> Champion | None:
    """The candidate that ``strategy`` was last promoted with, unless it has been demoted since."""
    table = research_promotions
    newest = sa.select(table).where(table.c.strategy == strategy).order_by(table.c.promotion_no.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    if row is None or row.action != "promoted":
        return None
    return Champion(strategy, row.candidate_id, row.run_id, row.target, row.ledger_seq, row.recorded_at)


# reading


def newest_runs(connection: sa.Connection) -> list[RunSummary]:
    """The newest run of every candidate name, by name."""
    newest = sa.select(sa.func.max(research_runs.c.run_no)).group_by(research_runs.c.name)
    return _summaries(connection, research_runs.c.run_no.in_(newest), research_runs.c.name)


def runs_of(connection: sa.Connection, name: str) -> list[RunSummary]:
    """All runs of a candidate name, newest first."""
    return _summaries(connection, research_runs.c.name == name, research_runs.c.run_no.desc())


def _summaries(
    connection: sa.Connection, condition: sa.ColumnElement[bool], order: sa.ColumnElement[Any]
) -> list[RunSummary]:
    query = (
        sa.select(research_candidates.c.dataset_id, *research_runs.c)
        .join_from(research_runs, research_candidates)
        .where(condition)
        .order_by(order)
    )
    return [
        RunSummary(
            name=row.name,
            candidate_id=row.candidate_id,
            run_id=row.run_id,
            dataset_id=row.dataset_id,
            policy_sha256=row.policy_sha256,
            evidence_sha256=row.evidence_sha256,
            code_version=row.code_version,
            promotion_target=row.promotion_target,
            recommended_mode=row.recommended_mode,
            action=row.action,
            reasons=tuple(row.reasons),
            report=row.report,
            ledger_seq=row.ledger_seq,
            recorded_at=row.recorded_at,
        )
        for row in connection.execute(query)
    ]


def candidate_of(connection: sa.Connection, candidate_id: str) -> CandidateRecord | None:
    """The recorded candidate."""
    table = research_candidates
    row = connection.execute(sa.select(table).where(table.c.candidate_id == candidate_id)).one_or_none()
    if row is None:
        return None
    return CandidateRecord(row.candidate_id, row.dataset_id, row.spec, row.created_at)


def folds_of(connection: sa.Connection, run_id: str) -> list[FoldRecord]:
    """The folds of a run, in their order."""
    table = research_fold_metrics
    found = connection.execute(sa.select(table).where(table.c.run_id == run_id).order_by(table.c.fold))
    return [
        FoldRecord(
            fold=row.fold,
            train_start=row.train_start,
            train_end=row.train_end,
            test_start=row.test_start,
            test_end=row.test_end,
            parameters=row.parameters,
            in_sample=row.in_sample,
            out_of_sample=row.out_of_sample,
        )
        for row in found
    ]


def stress_of(connection: sa.Connection, run_id: str) -> list[StressRecord]:
    """The stress cases of a run, by name."""
    table = research_stress_metrics
    found = connection.execute(sa.select(table).where(table.c.run_id == run_id).order_by(table.c.stress_case))
    return [StressRecord(row.stress_case, cast("Mapping[str, Any]", row.metrics)) for row in found]
