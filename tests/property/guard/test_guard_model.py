"""Any sequence of commands by several actors keeps the graph, skips no gate, and replays from the ledger."""

import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from guard_world import POLICY, WAY, World, emptied, evaluation_bytes
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from postgres import new_database
from stored_trading import HALT, latch_exactly

from torghut_assets.artifacts import ArtifactStore
from torghut_assets.guard.holds import freeze_promotion, lift_promotion_freezes, pause, resume
from torghut_assets.guard.transitions import CandidateState
from torghut_runtime.storage.guard_tables import guard_candidates
from torghut_runtime.storage.ledger import LedgerRow, verify
from torghut_runtime.storage.ledger import history as ledger_history

NAMES = ("momentum", "reversion")
CANDIDATES = ("cand-000000000001", "cand-000000000002")
RUNS = ("run-000001", "run-000002", "run-000003")
GATED = POLICY.stage_names[3:8]


def replayed(rows: list[LedgerRow]) -> CandidateState | None:
    """The state that a candidate's ledger rows lead to, by what happened, not by what was stored."""
    state = CandidateState(rows[0].subject, None, None, "research-intake", paused=False, version=1) if rows else None
    for row in rows:
        assert state is not None
        body: Any = row.body
        version = state.version or 0
        changes: dict[str, Any] = {}
        if body["action"] == "start" and body["applied"]:
            changes = {"candidate_id": body["candidateId"], "run_id": body["runId"], "active_stage": body["toStage"]}
        elif body["action"] == "enter" and body["applied"]:
            assert body["fromStage"] == state.active_stage
            changes = {"active_stage": body["toStage"]}
        elif body["action"] == "failure" and body["pauses"]:
            changes = {"paused": True}
        elif body["action"] in {"pause", "resume"}:
            changes = {"paused": body["action"] == "pause"}
        if changes:
            state = CandidateState(**{**vars(state), **changes, "version": version + 1})
            assert body["stateVersion"] == state.version
    return state


NAME, STAGE = st.sampled_from(NAMES), st.sampled_from(POLICY.stage_names)
ACTOR, RUN = st.sampled_from(("ada", "grace", "dagster")), st.sampled_from(RUNS)


class Guarding(RuleBasedStateMachine):
    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        emptied(self.world.engine)
        self.number = 0

    def state(self, name: str) -> CandidateState | None:
        with self.world.guard.sessions.reading() as session:
            return session.find(name)

    @rule(name=NAME, candidate=st.sampled_from(CANDIDATES), run=RUN, actor=ACTOR)
    def start(self, name: str, candidate: str, run: str, actor: str) -> None:
        before = self.state(name)
        decision = self.world.guard.start(name, candidate, run, actor=actor)
        after = self.state(name)
        assert after is not None
        if decision.applied:
            assert before is None or before.run_id is None or before.active_stage in POLICY.controls.start_stages
            assert after.active_stage == "research-intake"
        elif before is not None:
            assert after == before

    @rule(name=NAME, stage=STAGE, run=RUN, actor=ACTOR)
    def enter(self, name: str, stage: str, run: str, actor: str) -> None:
        self.move(name, stage, run, actor)

    @rule(name=NAME, steps=st.integers(1, 8), actor=ACTOR)
    def walk(self, name: str, steps: int, actor: str) -> None:
        """Go forward with good results, as the lane does, so that later stages are reached at all."""
        self.world.controls()
        for _ in range(steps):
            state = self.state(name)
            if state is None or state.run_id is None or state.active_stage not in WAY[:-1]:
                return
            self.world.guard.record_result(
                name,
                state.run_id,
                None,
                "passed",
                blob_sha256=self.world.artifacts.put(evaluation_bytes()),
                actor=actor,
            )
            self.move(name, WAY[WAY.index(state.active_stage) + 1], state.run_id, actor)

    def move(self, name: str, stage: str, run: str, actor: str) -> None:
        before = self.state(name)
        if before is None:
            return
        decision = self.world.guard.enter(self.world.request(stage, run, name, actor=actor))
        after = self.state(name)
        assert after is not None
        if decision.applied:
            assert POLICY.graph.has_edge(before.active_stage or "", stage)
            assert after.active_stage == stage
            if POLICY.edge_kind(stage) == "forward":
                assert not before.paused
        elif decision.next_action == "rollback":
            way_out = POLICY.stage(before.active_stage or "").on_failure
            assert after.active_stage == (way_out or before.active_stage)
        else:
            assert after == before

    @rule(name=NAME, verdict=st.sampled_from(("passed", "failed", "waiting")), good=st.booleans())
    def conclude(self, name: str, verdict: Any, good: bool) -> None:
        state = self.state(name)
        if state is None or state.run_id is None:
            return
        blob = self.world.artifacts.put(evaluation_bytes(failing=None if good else "gate2_risk_capacity"))
        self.world.guard.record_result(name, state.run_id, None, verdict, blob_sha256=blob, actor="ada")

    @rule(name=NAME, stage=STAGE, failure_class=st.sampled_from(("transient", "deterministic", "policy")))
    def fail(self, name: str, stage: str, failure_class: str) -> None:
        before = self.state(name)
        if before is None:
            return
        self.number += 1
        self.world.fail(stage, failure_class, occurrence=f"n{self.number}", run=before.run_id, candidate=name)

    @rule(name=NAME)
    def pause(self, name: str) -> None:
        if self.state(name) is not None:
            pause(self.world.engine, name, reason="look", actor="ada")

    @rule(name=NAME)
    def resume(self, name: str) -> None:
        if self.state(name) is not None:
            resume(self.world.engine, name, reason="fine", approver="grace", actor="ada")

    @rule()
    def freeze(self) -> None:
        freeze_promotion(self.world.engine, reason="stop", actor="ada")

    @rule()
    def lift(self) -> None:
        lift_promotion_freezes(self.world.engine, reason="go on", approver="grace", actor="ada")

    @rule(halted=st.booleans())
    def trade(self, halted: bool) -> None:
        with self.world.engine.begin() as connection:
            latch_exactly(connection, {HALT} if halted else ())

    @precondition(lambda self: any(self.state(name) for name in NAMES))
    @rule(name=NAME)
    def contain(self, name: str) -> None:
        state = self.state(name)
        if state is not None and state.run_id is not None:
            assert self.world.enter("incident-recovery", state.run_id, name).allowed

    @invariant()
    def containment_is_always_reachable(self) -> None:
        for name in NAMES:
            state = self.state(name)
            if state is not None and state.run_id is not None:
                assert self.world.check("incident-recovery", state.run_id, name).allowed

    @invariant()
    def no_gate_is_skipped(self) -> None:
        for row in self.world.footprint()[2]:
            if row.stage != "live-ramp":
                continue
            with self.world.guard.sessions.reading() as session:
                entries = session.entries(row.name, row.run_id)
            entered = [entry.stage for entry in entries]
            assert set(GATED) <= set(entered[: entered.index("live-ramp")])
            assert all(entry.verdict == "passed" for entry in entries if entry.stage in GATED)

    @invariant()
    def the_ledger_replays_to_the_state(self) -> None:
        with self.world.engine.connect() as connection:
            assert verify(connection).reason is None
            for stored in connection.execute(sa.select(guard_candidates)):
                state = replayed(list(ledger_history(connection, stored.name)))
                if state is None:
                    state = CandidateState(stored.name, None, None, "research-intake", paused=False, version=1)
                assert (state.candidate_id, state.run_id, state.active_stage, state.paused, state.version) == (
                    stored.candidate_id,
                    stored.run_id,
                    stored.active_stage,
                    stored.paused,
                    stored.version,
                )


@pytest.fixture
def world(postgres_port: int) -> Generator[World]:
    with new_database(postgres_port) as dsn, tempfile.TemporaryDirectory() as folder:
        engine = sa.create_engine(dsn)
        yield World(engine, ArtifactStore(Path(folder)))
        engine.dispose()


@pytest.mark.parametrize(
    ("examples", "steps"), [(8, 25), pytest.param(150, 60, marks=pytest.mark.campaign)], ids=["short", "campaign"]
)
def test_no_sequence_of_commands_breaks_the_guard(world: World, examples: int, steps: int) -> None:
    Guarding.world = world
    run_state_machine_as_test(
        Guarding,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],  # a failing sequence is told as found: shrinking takes minutes
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
