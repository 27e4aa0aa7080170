"""Many processes ask for the same move, and processes die in the middle of one."""

import json
import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import sqlalchemy as sa
from guard_world import CANDIDATE, RUN, World, emptied
from postgres import new_database

from torghut_assets.artifacts import ArtifactStore
from torghut_assets.cli import cli
from torghut_runtime.command_line import run
from torghut_runtime.storage.database import create_engine
from torghut_runtime.storage.ledger import verify

CALLERS = 100
LABELS = ("locked", "decided", "saved", "recorded", "entered", "committed")


def forked(work: Callable[[], int]) -> int:
    """Do the work in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        code = work()
    finally:
        os._exit(code)


@pytest.fixture
def own_world(postgres_port: int, tmp_path: Path) -> Generator[tuple[str, World]]:
    """No pool: a connection must not be shared with a forked process."""
    with new_database(postgres_port) as dsn:
        engine = create_engine(dsn)
        emptied(engine)
        yield dsn, World(engine, ArtifactStore(tmp_path / "artifacts" / "store"))


def test_of_a_hundred_processes_exactly_one_applies_the_move(
    own_world: tuple[str, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn, world = own_world
    world.walk("research-intake")
    world.result()
    monkeypatch.setenv("DB_DSN", dsn)
    monkeypatch.setenv("TORGHUT_PROJECT", str(tmp_path))
    command = ["guard", "check-transition", "--apply", "--candidate-id", CANDIDATE, "--run-id", RUN]
    command += ["--to-stage", "candidate-build"]

    def caller(number: int) -> Callable[[], int]:
        def work() -> int:
            sys.stdout = (tmp_path / f"answer-{number}").open("w")
            return run(cli, "torghut", command)

        return work

    assert run(cli, "torghut", [word for word in command if word != "--apply"]) == 0, "imports what callers share"
    children = [forked(caller(number)) for number in range(CALLERS)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    answers = [json.loads((tmp_path / f"answer-{number}").read_text()) for number in range(CALLERS)]
    applied = [answer for answer in answers if answer["applied"]]
    assert len(applied) == 1
    assert sorted(codes) == [0] + [3] * (CALLERS - 1)
    others = [answer for answer in answers if not answer["applied"]]
    assert {answer["reason"] for answer in others} == {"transition_already_applied"}
    assert {answer["decisionSeq"] for answer in answers} == {applied[0]["decisionSeq"]}
    assert [row.stage for row in world.footprint()[2]] == ["research-intake", "candidate-build"]


@pytest.mark.parametrize("label", LABELS)
def test_death_at_any_point_leaves_no_half_move(own_world: tuple[str, World], label: str) -> None:
    dsn, world = own_world
    world.walk("research-intake")
    world.result()
    before = world.footprint()

    def die(reached: str) -> None:
        if reached == label:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> int:
        World(create_engine(dsn), world.artifacts, checkpoint=die).enter("candidate-build")
        return 0

    status = os.waitpid(forked(work), 0)[1]
    assert os.WTERMSIG(status) == signal.SIGKILL
    if label == "committed":
        assert world.state().active_stage == "candidate-build"
        assert len(world.footprint()[2]) == len(before[2]) + 1
    else:
        assert world.footprint() == before
    assert world.enter("candidate-build").accepted, "the lock is gone, and the move can be made"
    with world.engine.connect() as connection:
        assert verify(connection).reason is None
    assert isinstance(world.engine, sa.Engine)


@pytest.mark.parametrize("label", ["locked", "saved", "recorded", "entered"])
def test_death_while_a_failure_is_answered_counts_it_never_or_once(own_world: tuple[str, World], label: str) -> None:
    dsn, world = own_world
    world.walk("gate-evaluation")
    for number in range(4):
        world.fail("gate-evaluation", occurrence=f"n{number}")
    before = world.footprint()

    def die(reached: str) -> None:
        if reached == label:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> int:
        World(create_engine(dsn), world.artifacts, checkpoint=die).fail("gate-evaluation", occurrence="n4")
        return 0

    assert os.WTERMSIG(os.waitpid(forked(work), 0)[1]) == signal.SIGKILL
    assert world.footprint() == before
    assert world.fail("gate-evaluation", occurrence="n4").answer.action == "pause_for_review"
    assert world.state().paused
