"""The guard's records in memory, for one run of the lane without a database (``--ledger none``).

The same guard decides on them; nothing of it outlives the process, and there are neither freezes nor control records.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from torghut_assets.artifacts import ArtifactError
from torghut_assets.guard.failures import FailureAnswer
from torghut_assets.guard.policy import FailureClass
from torghut_assets.guard.records import EntryEdge, StageEntry, Verdict
from torghut_assets.guard.session import Failure, GuardKind, Recorded
from torghut_assets.guard.transitions import CandidateState
from torghut_runtime.canonical import sha256_hex
from torghut_runtime.storage.controls import ControlKind, ControlRecord


@dataclass
class _CountedFailure:
    failure: Failure
    answer: FailureAnswer
    decision: Recorded
    cleared: bool = False


@dataclass
class MemorySession:
    """A session and its store in one; see :class:`~torghut_assets.guard.session.Session` for what each method does."""

    states: dict[str, CandidateState] = field(default_factory=dict[str, CandidateState])
    stage_entries: dict[tuple[str, str], list[StageEntry]] = field(
        default_factory=dict[tuple[str, str], list[StageEntry]]
    )
    ledger: list[Recorded] = field(default_factory=list[Recorded])
    failures: list[_CountedFailure] = field(default_factory=list[_CountedFailure])

    def find(self, key: str) -> CandidateState | None:
        by_id = (state for state in self.states.values() if state.candidate_id == key)
        return next(by_id, None) or self.states.get(key)

    def lock(self, name: str) -> CandidateState | None:
        return self.states.get(name)

    def create(self, name: str, stage: str) -> None:
        self.states.setdefault(name, CandidateState(name, None, None, stage, paused=False, version=1))

    def owner(self, candidate_id: str) -> str | None:
        return next((name for name, state in self.states.items() if state.candidate_id == candidate_id), None)

    def save(self, state: CandidateState) -> CandidateState:
        saved = replace(state, version=(state.version or 0) + 1)
        self.states[state.name or ""] = saved
        return saved

    def entries(self, name: str, run_id: str) -> list[StageEntry]:
        newest = {entry.stage: entry for entry in self.stage_entries.get((name, run_id), ())}
        return sorted(newest.values(), key=lambda entry: entry.id)

    def add_entry(
        self, state: CandidateState, edge: EntryEdge, *, once: bool, from_stage: str | None, decision: Recorded
    ) -> None:
        del once
        known = self.stage_entries.setdefault((state.name or "", state.run_id or ""), [])
        stage = state.active_stage or ""
        number = 1 + sum(entry.stage == stage for entry in known)
        known.append(
            StageEntry(len(known) + 1, stage, number, edge, from_stage, decision.at, decision.seq, None, (), None)
        )

    def set_result(self, entry: StageEntry, verdict: Verdict, reasons: Sequence[str], blob_sha256: str | None) -> None:
        result = replace(entry, verdict=verdict, reasons=tuple(reasons), blob_sha256=blob_sha256)
        for known in self.stage_entries.values():
            known[:] = [result if item is entry else item for item in known]

    def freeze(self) -> str | None:
        return None

    def controls(self) -> Mapping[ControlKind, ControlRecord]:
        return {}

    def count_failures(
        self, name: str, stage: str, failure_class: FailureClass, window: timedelta, run_id: str | None, *, of_run: bool
    ) -> int:
        since = datetime.now(UTC) - window
        return sum(
            item.answer.counted
            and not item.cleared
            and item.decision.at > since
            and (item.failure.name, item.failure.stage, item.failure.failure_class) == (name, stage, failure_class)
            and (not of_run or item.failure.run_id == run_id)
            for item in self.failures
        )

    def find_failure(self, occurrence_id: str) -> Recorded | None:
        return next((item.decision for item in self.failures if item.failure.occurrence_id == occurrence_id), None)

    def add_failure(self, failure: Failure, state: CandidateState, answer: FailureAnswer, decision: Recorded) -> None:
        del state
        self.failures.append(_CountedFailure(failure, answer, decision))

    def clear_failures(self, name: str, stage: str) -> int:
        found = [
            item
            for item in self.failures
            if not item.cleared and item.answer.counted and (item.failure.name, item.failure.stage) == (name, stage)
        ]
        for item in found:
            item.cleared = True
        return len(found)

    def record(self, kind: GuardKind, subject: str, actor: str, body: Mapping[str, Any]) -> Recorded:
        del kind, subject, actor
        row = Recorded(len(self.ledger) + 1, datetime.now(UTC), dict(body))
        self.ledger.append(row)
        return row

    def recorded(self, seq: int) -> Recorded:
        return self.ledger[seq - 1]


@dataclass(frozen=True)
class MemoryBlobs:
    """Artifacts of the run by their sha256."""

    content: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def has(self, sha256: str) -> bool:
        return sha256 in self.content

    def get(self, sha256: str) -> bytes:
        if sha256 not in self.content:
            raise ArtifactError(f"no artifact {sha256}")
        return self.content[sha256]

    def put(self, data: bytes) -> str:
        sha256 = sha256_hex(data)
        self.content[sha256] = data
        return sha256


@dataclass(frozen=True)
class MemorySessions:
    """Sessions on one store in memory; not for several threads, and what raises is not undone."""

    session: MemorySession = field(default_factory=MemorySession)

    @contextmanager
    def changing(self) -> Generator[MemorySession]:
        yield self.session

    @contextmanager
    def reading(self) -> Generator[MemorySession]:
        yield self.session
