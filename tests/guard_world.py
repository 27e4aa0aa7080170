"""A guard on a database and an artifact store of its own, and the way of a candidate through the stages."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from torghut_assets.artifacts import ArtifactStore
from torghut_assets.guard.policy import POLICY_PATH, OrchestrationPolicy, load_policy
from torghut_assets.guard.records import Verdict
from torghut_assets.guard.session import Failure, SqlSessions
from torghut_assets.guard.store import FailureOutcome, Guard
from torghut_assets.guard.transitions import CandidateState, Decision, TransitionRequest
from torghut_runtime.canonical import canonical_json
from torghut_runtime.storage.controls import record_control
from torghut_runtime.storage.guard_tables import guard_candidates, guard_failures, guard_stage_results
from torghut_runtime.storage.ledger import LedgerRow
from torghut_runtime.storage.ledger import history as ledger_history
from torghut_runtime.storage.tables import governance_ledger, metadata

POLICY_FILE = Path(__file__).parents[1] / POLICY_PATH
POLICY = load_policy(POLICY_FILE)
WAY = POLICY.stage_names[:10]
NAME, CANDIDATE, RUN = "momentum", "cand-0426c28f7b82", "0426c28f7b829261e3424599"
GATES = ("gate0_data_integrity", "gate2_risk_capacity", "gate3_shadow_paper_quality")


def evaluation_bytes(*, failing: str | None = None, label: str = "") -> bytes:
    """What of a gate evaluation the guard reads."""
    gates = [{"gate_id": gate, "passes_for": {"paper": gate != failing}} for gate in GATES]
    return canonical_json({"gates": gates, "label": label})


@dataclass(frozen=True)
class World:
    engine: sa.Engine
    artifacts: ArtifactStore
    policy: OrchestrationPolicy = field(default=POLICY)
    checkpoint: Callable[[str], None] = field(default=lambda _: None)

    @property
    def guard(self) -> Guard:
        return Guard(self.policy, SqlSessions(self.engine), self.artifacts, self.checkpoint)

    def start(self, name: str = NAME, candidate: str = CANDIDATE, run: str = RUN) -> Decision:
        return self.guard.start(name, candidate, run, actor="ada")

    def request(self, stage: str, run: str = RUN, candidate: str = CANDIDATE, **changes: Any) -> TransitionRequest:
        return replace(TransitionRequest(candidate, run, stage, "ada"), **changes)

    def enter(self, stage: str, run: str = RUN, candidate: str = CANDIDATE, **changes: Any) -> Decision:
        return self.guard.enter(self.request(stage, run, candidate, **changes))

    def check(self, stage: str, run: str = RUN, candidate: str = CANDIDATE, **changes: Any) -> Decision:
        return self.guard.check(self.request(stage, run, candidate, **changes))

    def result(
        self,
        verdict: Verdict = "passed",
        *,
        run: str = RUN,
        candidate: str = CANDIDATE,
        stage: str | None = None,
        data: bytes | None = None,
    ) -> bool:
        """Conclude the active stage, with a blob of its own."""
        active = stage or self.state(candidate).active_stage or ""
        content = data if data is not None else evaluation_bytes(label=f"{active} of {run}")
        outcome = self.guard.record_result(
            candidate, run, stage, verdict, blob_sha256=self.artifacts.put(content), actor="ada"
        )
        return outcome.recorded

    def walk(self, to_stage: str, *, name: str = NAME, run: str = RUN, candidate: str = CANDIDATE) -> None:
        """Start a run and lead it to a stage of the way, or into containment or closing from its first stage."""
        self.start(name, candidate, run)
        if to_stage not in WAY:
            assert self.enter("incident-recovery", run, candidate).applied
            if to_stage == "audit-evidence":
                self.result(run=run, candidate=candidate)
                assert self.enter(to_stage, run, candidate).applied
            return
        for stage in WAY[1 : WAY.index(to_stage) + 1]:
            self.result(run=run, candidate=candidate)
            if stage == "live-ramp":
                self.controls()
            decision = self.enter(stage, run, candidate)
            assert decision.applied, decision.reason

    def controls(self, **verdicts: Any) -> None:
        """Fresh control records, all passing but those that are named."""
        with self.engine.begin() as connection:
            for kind in ("risk", "execution", "reconciliation"):
                record_control(connection, kind, verdicts.get(kind, "pass"), {})

    def fail(
        self,
        stage: str,
        failure_class: Any = "transient",
        *,
        occurrence: str,
        run: str | None = RUN,
        candidate: str = CANDIDATE,
        apply: bool = True,
        **options: Any,
    ) -> FailureOutcome:
        failure = Failure(candidate, run, stage, failure_class, occurrence, "it broke", None)
        return self.guard.evaluate_failure(failure, actor="ada", apply=apply, **options)

    def state(self, key: str = CANDIDATE) -> CandidateState:
        return self.guard.resolve(key)

    def ledger(self, subject: str = NAME) -> list[LedgerRow]:
        with self.engine.connect() as connection:
            return list(ledger_history(connection, subject))

    def footprint(self) -> tuple[Any, ...]:
        """Everything that a change would change."""
        with self.engine.connect() as connection:
            count = sa.select(sa.func.count())
            return (
                connection.execute(count.select_from(governance_ledger)).scalar_one(),
                connection.execute(sa.select(guard_candidates).order_by(guard_candidates.c.name)).all(),
                connection.execute(sa.select(guard_stage_results).order_by(guard_stage_results.c.id)).all(),
                connection.execute(sa.select(guard_failures).order_by(guard_failures.c.id)).all(),
            )


def emptied(engine: sa.Engine) -> None:
    """Take everything out of a test's database, triggers notwithstanding."""
    tables = [table.name for table in reversed(metadata.sorted_tables) if table.name != "governance_ledger_head"]
    with engine.begin() as connection:
        for table in tables:
            connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            connection.execute(sa.text(f"DELETE FROM {table}"))
            connection.execute(sa.text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
        connection.execute(sa.text("UPDATE governance_ledger_head SET seq = 0, hash = repeat('0', 64)"))
