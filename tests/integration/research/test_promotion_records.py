"""One champion per strategy: a successor demotes it in the same transaction, whoever promotes at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from torghut_assets.research.records import (
    CandidateRecord,
    Champion,
    RunRecord,
    champion,
    record_candidate,
    record_promotion,
    record_run,
)
from torghut_runtime.storage.database import connect, transaction
from torghut_runtime.storage.ledger import append, history, verify


def candidate(connection: sa.Connection, number: int, run: int = 0) -> tuple[str, str]:
    """A recorded candidate with a run; its ids."""
    candidate_id, run_id = f"cand-{number:012}", f"{number:012}{run:012}"
    record_candidate(connection, CandidateRecord(candidate_id, "d" * 64, {"number": number}))
    record_run(
        connection,
        RunRecord(run_id, "momentum", candidate_id, "p", "e", "1", "paper", "paper", "promote", (), {}),
    )
    return candidate_id, run_id


def promote(
    connection: sa.Connection, number: int, run: int = 0, target: str = "paper", strategy: str = "momentum-v1"
) -> Champion | None:
    candidate_id, run_id = candidate(connection, number, run)
    with transaction(connection):
        row = append(connection, kind="promotion", subject=strategy, actor="anna", body={"candidate_id": candidate_id})
        return record_promotion(
            connection,
            strategy=strategy,
            candidate_id=candidate_id,
            run_id=run_id,
            target=target,
            actor="anna",
            ledger_seq=row.seq,
        )


def events(connection: sa.Connection) -> list[tuple[str, str]]:
    found = connection.execute(sa.text("SELECT action, candidate_id FROM research_promotions ORDER BY promotion_no"))
    return [(row.action, row.candidate_id) for row in found]


def champion_id(connection: sa.Connection, strategy: str = "momentum-v1") -> str | None:
    found = champion(connection, strategy)
    return None if found is None else found.candidate_id


def test_a_strategy_begins_without_a_champion(connection: sa.Connection) -> None:
    assert champion(connection, "momentum-v1") is None


def test_the_first_promotion_demotes_nobody(connection: sa.Connection) -> None:
    assert promote(connection, 1) is None
    found = champion(connection, "momentum-v1")
    assert found is not None
    assert (found.candidate_id, found.run_id, found.target, found.ledger_seq) == (
        "cand-000000000001",
        "000000000001000000000000",
        "paper",
        1,
    )


def test_a_successor_demotes_the_champion_with_a_ledger_row(connection: sa.Connection) -> None:
    promote(connection, 1)
    demoted = promote(connection, 2)
    assert demoted is not None
    assert demoted.candidate_id == "cand-000000000001"
    assert champion_id(connection) == "cand-000000000002"
    assert events(connection) == [
        ("promoted", "cand-000000000001"),
        ("demoted", "cand-000000000001"),
        ("promoted", "cand-000000000002"),
    ]
    rows = history(connection, "momentum-v1")
    assert [row.kind for row in rows] == ["promotion", "promotion", "demotion"]
    assert rows[-1].actor == "anna"
    assert rows[-1].body == {
        "action": "demote",
        "reason": "succeeded",
        "candidate_id": "cand-000000000001",
        "run_id": "000000000001000000000000",
        "successor_candidate_id": "cand-000000000002",
        "successor_run_id": "000000000002000000000000",
        "promotion_seq": 2,
    }


def test_the_same_candidate_never_demotes_itself(connection: sa.Connection) -> None:
    promote(connection, 1)
    assert promote(connection, 1, run=1) is None
    assert promote(connection, 1, run=1, target="live") is None
    assert events(connection) == 3 * [("promoted", "cand-000000000001")]
    found = champion(connection, "momentum-v1")
    assert found is not None
    assert (found.run_id, found.target) == ("000000000001000000000001", "live")
    assert {row.kind for row in history(connection, "momentum-v1")} == {"promotion"}


def test_the_same_run_for_the_same_target_adds_nothing(connection: sa.Connection) -> None:
    promote(connection, 1)
    assert promote(connection, 1) is None
    assert events(connection) == [("promoted", "cand-000000000001")]


def test_strategies_have_champions_of_their_own(connection: sa.Connection) -> None:
    promote(connection, 1)
    assert promote(connection, 2, strategy="carry-v1") is None
    assert (champion_id(connection), champion_id(connection, "carry-v1")) == ("cand-000000000001", "cand-000000000002")


def test_a_former_champion_can_return(connection: sa.Connection) -> None:
    for number in (1, 2, 1):
        promote(connection, number)
    assert champion_id(connection) == "cand-000000000001"
    assert len(events(connection)) == 5


def test_a_promotion_that_is_undone_demotes_nobody(engine: sa.Engine) -> None:
    with connect(engine) as connection:
        promote(connection, 1)
    with engine.connect() as connection, connection.begin() as undone:
        promote(connection, 2)
        undone.rollback()
    with connect(engine) as connection:
        assert champion_id(connection) == "cand-000000000001"
        assert events(connection) == [("promoted", "cand-000000000001")]


def test_a_promotion_names_a_recorded_run_and_ledger_row(connection: sa.Connection) -> None:
    candidate_id, run_id = candidate(connection, 1)
    given = {"strategy": "momentum-v1", "candidate_id": candidate_id, "target": "paper", "actor": "anna"}
    with pytest.raises(sa.exc.IntegrityError, match="fk_research_promotions_ledger_seq"):
        record_promotion(connection, run_id=run_id, ledger_seq=9, **given)
    row = append(connection, kind="promotion", subject="momentum-v1", actor="anna", body={})
    with pytest.raises(sa.exc.IntegrityError, match="fk_research_promotions_run_id"):
        record_promotion(connection, run_id="unknown", ledger_seq=row.seq, **given)
    assert champion(connection, "momentum-v1") is None


def test_successors_that_are_promoted_at_once_leave_one_champion(engine: sa.Engine) -> None:
    """Half of them append their ledger row in a transaction of its own, so that the order of locks differs."""
    numbers = range(1, 9)
    with connect(engine) as connection:
        promote(connection, 0)
        for number in numbers:
            candidate(connection, number)
    start = threading.Barrier(len(numbers))

    def race(number: int) -> None:
        with connect(engine) as connection:
            start.wait()
            if number % 2:
                promote(connection, number)
                return
            candidate_id, run_id = candidate(connection, number)
            row = append(connection, kind="promotion", subject="momentum-v1", actor="anna", body={})
            record_promotion(
                connection,
                strategy="momentum-v1",
                candidate_id=candidate_id,
                run_id=run_id,
                target="paper",
                actor="anna",
                ledger_seq=row.seq,
            )

    with ThreadPoolExecutor(len(numbers)) as pool:
        list(pool.map(race, numbers))
    with connect(engine) as connection:
        found = events(connection)
        assert verify(connection).reason is None
        assert champion_id(connection) == found[-1][1]
    promoted = [candidate_id for action, candidate_id in found if action == "promoted"]
    demoted = [candidate_id for action, candidate_id in found if action == "demoted"]
    assert sorted(promoted) == [f"cand-{number:012}" for number in range(9)]
    assert demoted == promoted[:-1]
    assert [action for action, _ in found] == ["promoted", *(8 * ["demoted", "promoted"])]
