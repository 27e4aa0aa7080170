"""One transaction on the guard's records: what can be read and written, and its form in PostgreSQL.

A session knows no rules. ``store`` decides what is written and in which order; ``memory`` is the other implementation,
for runs without a database.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_assets.guard.failures import FailureAnswer
from torghut_assets.guard.policy import FailureClass
from torghut_assets.guard.records import EntryEdge, StageEntry, Verdict
from torghut_assets.guard.transitions import CandidateState
from torghut_runtime.storage.controls import ControlKind, ControlRecord, newest_controls
from torghut_runtime.storage.freezes import freeze_cause
from torghut_runtime.storage.guard_tables import guard_candidates, guard_failures, guard_stage_results
from torghut_runtime.storage.ledger import append, lock_head
from torghut_runtime.storage.tables import governance_ledger

GuardKind = Literal["guard_decision", "guard_state"]
MESSAGE_LENGTH = 500


@dataclass(frozen=True)
class Recorded:
    """A row of the governance ledger."""

    seq: int
    at: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """Where and how something failed."""

    name: str
    run_id: str | None
    stage: str
    failure_class: FailureClass
    occurrence_id: str
    message: str
    dagster_run_id: str | None


class Session(Protocol):
    """The guard's records within one transaction."""

    def find(self, key: str) -> CandidateState | None:
        """The candidate with that id or name."""
        ...

    def lock(self, name: str) -> CandidateState | None:
        """The candidate ``name``; nobody else changes it, or any other fact of the ledger, until the session ends."""
        ...

    def create(self, name: str, stage: str) -> None:
        """Make a candidate known, unless it is."""
        ...

    def owner(self, candidate_id: str) -> str | None:
        """The name that an id is bound to; after ``lock`` nobody else binds it until the session ends."""
        ...

    def save(self, state: CandidateState) -> CandidateState:
        """Write a changed state; returns it with its new version."""
        ...

    def entries(self, name: str, run_id: str) -> list[StageEntry]:
        """The newest entry of a run into each stage that it has entered, oldest first."""
        ...

    def add_entry(
        self, state: CandidateState, edge: EntryEdge, *, once: bool, from_stage: str | None, decision: Recorded
    ) -> None:
        """Record that the candidate's bound run has entered its active stage."""
        ...

    def set_result(self, entry: StageEntry, verdict: Verdict, reasons: Sequence[str], blob_sha256: str | None) -> None:
        """Write what a stage concluded."""
        ...

    def freeze(self) -> str | None:
        """The cause for which promotion is frozen."""
        ...

    def controls(self) -> Mapping[ControlKind, ControlRecord]:
        """The newest control record of each kind."""
        ...

    def count_failures(
        self, name: str, stage: str, failure_class: FailureClass, window: timedelta, run_id: str | None, *, of_run: bool
    ) -> int:
        """Counted failures that are not cleared; with ``of_run`` only those of ``run_id`` (``None``: of no run)."""
        ...

    def find_failure(self, occurrence_id: str) -> Recorded | None:
        """The ledger's row of an occurrence that was recorded before."""
        ...

    def add_failure(self, failure: Failure, state: CandidateState, answer: FailureAnswer, decision: Recorded) -> None:
        """Record a failure with its answer."""
        ...

    def clear_failures(self, name: str, stage: str) -> int:
        """Let the failures of a stage count no longer; how many did."""
        ...

    def record(self, kind: GuardKind, subject: str, actor: str, body: Mapping[str, Any]) -> Recorded:
        """Append to the governance ledger."""
        ...

    def recorded(self, seq: int) -> Recorded:
        """A row of the ledger."""
        ...


class SqlSession:
    """A session on the database ``torghut``; the transaction is the caller's."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def find(self, key: str) -> CandidateState | None:
        table = guard_candidates
        statement = sa.select(table).where(sa.or_(table.c.candidate_id == key, table.c.name == key))
        # an id may look like a name; the id was given first
        rows = sorted(self.connection.execute(statement), key=lambda row: row.candidate_id != key)
        return _state(rows[0]) if rows else None

    def lock(self, name: str) -> CandidateState | None:
        statement = sa.select(guard_candidates).where(guard_candidates.c.name == name).with_for_update()
        row = self.connection.execute(statement).one_or_none()
        if row is None:
            return None
        # whoever halts trading waits for the head, so a halt is either seen now or comes after the move
        lock_head(self.connection)
        return _state(row)

    def create(self, name: str, stage: str) -> None:
        statement = insert(guard_candidates).values(name=name, active_stage=stage)
        self.connection.execute(statement.on_conflict_do_nothing())

    def owner(self, candidate_id: str) -> str | None:
        statement = sa.select(guard_candidates.c.name).where(guard_candidates.c.candidate_id == candidate_id)
        return self.connection.execute(statement).scalar_one_or_none()

    def save(self, state: CandidateState) -> CandidateState:
        table = guard_candidates
        statement = (
            sa.update(table)
            .where(table.c.name == state.name)
            .values(
                candidate_id=state.candidate_id,
                run_id=state.run_id,
                active_stage=state.active_stage,
                paused=state.paused,
                pause_reason=state.pause_reason,
                version=table.c.version + 1,
                updated_at=sa.func.clock_timestamp(),
            )
            .returning(table.c.version)
        )
        return replace(state, version=self.connection.execute(statement).scalar_one())

    def entries(self, name: str, run_id: str) -> list[StageEntry]:
        table = guard_stage_results
        newest = (
            sa.select(sa.func.max(table.c.id))
            .where(table.c.name == name, table.c.run_id == run_id)
            .group_by(table.c.stage)
        )
        statement = sa.select(table).where(table.c.id.in_(newest)).order_by(table.c.id)
        return [
            StageEntry(
                row.id,
                row.stage,
                row.entry,
                row.edge,
                row.from_stage,
                row.entered_at,
                row.decision_seq,
                row.verdict,
                tuple(row.reasons),
                row.blob_sha256,
            )
            for row in self.connection.execute(statement)
        ]

    def add_entry(
        self, state: CandidateState, edge: EntryEdge, *, once: bool, from_stage: str | None, decision: Recorded
    ) -> None:
        table = guard_stage_results
        number = (
            sa.select(sa.func.coalesce(sa.func.max(table.c.entry), 0) + 1)
            .where(table.c.name == state.name, table.c.run_id == state.run_id, table.c.stage == state.active_stage)
            .scalar_subquery()
        )
        self.connection.execute(
            sa.insert(table).values(
                name=state.name,
                candidate_id=state.candidate_id,
                run_id=state.run_id,
                stage=state.active_stage,
                entry=number,
                edge=edge,
                once=once,
                from_stage=from_stage,
                entered_at=decision.at,
                decision_seq=decision.seq,
            )
        )

    def set_result(self, entry: StageEntry, verdict: Verdict, reasons: Sequence[str], blob_sha256: str | None) -> None:
        values = {
            "verdict": verdict,
            "reasons": list(reasons),
            "blob_sha256": blob_sha256,
            "recorded_at": sa.func.clock_timestamp(),
        }
        self.connection.execute(
            sa.update(guard_stage_results).where(guard_stage_results.c.id == entry.id).values(**values)
        )

    def freeze(self) -> str | None:
        return freeze_cause(self.connection)

    def controls(self) -> Mapping[ControlKind, ControlRecord]:
        return newest_controls(self.connection)

    def count_failures(
        self, name: str, stage: str, failure_class: FailureClass, window: timedelta, run_id: str | None, *, of_run: bool
    ) -> int:
        table = guard_failures
        statement = (
            sa.select(sa.func.count())
            .select_from(table)
            .where(
                table.c.name == name,
                table.c.stage == stage,
                table.c.failure_class == failure_class,
                table.c.counted,
                table.c.cleared_at.is_(None),
                table.c.at > sa.func.clock_timestamp() - window,
            )
        )
        if of_run:
            statement = statement.where(table.c.run_id.is_not_distinct_from(run_id))
        return self.connection.execute(statement).scalar_one()

    def find_failure(self, occurrence_id: str) -> Recorded | None:
        statement = sa.select(guard_failures.c.decision_seq).where(guard_failures.c.occurrence_id == occurrence_id)
        seq = self.connection.execute(statement).scalar_one_or_none()
        return None if seq is None else self.recorded(seq)

    def add_failure(self, failure: Failure, state: CandidateState, answer: FailureAnswer, decision: Recorded) -> None:
        self.connection.execute(
            sa.insert(guard_failures).values(
                name=failure.name,
                candidate_id=state.candidate_id if failure.run_id == state.run_id else None,
                run_id=failure.run_id,
                stage=failure.stage,
                failure_class=failure.failure_class,
                occurrence_id=failure.occurrence_id,
                dagster_run_id=failure.dagster_run_id,
                message=failure.message[:MESSAGE_LENGTH],
                action=answer.action,
                attempt=answer.attempt,
                stage_failures=answer.stage_failures,
                counted=answer.counted,
                at=decision.at,
                decision_seq=decision.seq,
            )
        )

    def clear_failures(self, name: str, stage: str) -> int:
        table = guard_failures
        statement = (
            sa.update(table)
            .where(table.c.name == name, table.c.stage == stage, table.c.counted, table.c.cleared_at.is_(None))
            .values(cleared_at=sa.func.clock_timestamp())
        )
        return self.connection.execute(statement).rowcount

    def record(self, kind: GuardKind, subject: str, actor: str, body: Mapping[str, Any]) -> Recorded:
        row = append(self.connection, kind=kind, subject=subject, actor=actor, body=body)
        return Recorded(row.seq, row.at, row.body)

    def recorded(self, seq: int) -> Recorded:
        table = governance_ledger
        row = self.connection.execute(sa.select(table.c.seq, table.c.at, table.c.body).where(table.c.seq == seq)).one()
        return Recorded(row.seq, row.at, cast("Mapping[str, Any]", row.body))


def _state(row: sa.Row[Any]) -> CandidateState:
    return CandidateState(
        name=row.name,
        candidate_id=row.candidate_id,
        run_id=row.run_id,
        active_stage=row.active_stage,
        paused=row.paused,
        pause_reason=row.pause_reason,
        version=row.version,
    )


class Sessions(Protocol):
    """Where sessions come from."""

    def changing(self) -> AbstractContextManager[Session]:
        """A context with a session whose changes are committed at its end, or undone when it raises."""
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """A context with a session on one snapshot, which changes nothing."""
        ...


@dataclass(frozen=True)
class SqlSessions:
    """Sessions on an engine of the database ``torghut``, a connection each."""

    engine: sa.Engine

    @contextmanager
    def changing(self) -> Generator[SqlSession]:
        with self.engine.begin() as connection:
            yield SqlSession(connection)

    @contextmanager
    def reading(self) -> Generator[SqlSession]:
        with self.engine.connect() as connection:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield SqlSession(connection)
