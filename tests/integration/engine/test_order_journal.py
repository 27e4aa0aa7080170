"""Every call of the journal does all or nothing, says why it did nothing, and leaves a connection that goes on."""

from collections.abc import Callable, Generator
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa
from order_cases import ACCOUNT, BAR, decision, intent
from order_path_process import HOLDER, leased

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.orders.model import Intent
from torghut_runtime.storage.database import connect, create_engine, transaction
from torghut_runtime.storage.decision_inputs import copy_steps
from torghut_runtime.storage.lease import LeaseLostError
from torghut_runtime.storage.order_journal import PostgresJournal

FIRST, SECOND = intent(order_type="limit"), intent(1, order_type="limit")
NEXT_BAR = BAR + timedelta(minutes=1)


@pytest.fixture
def journal(database_dsn: str) -> Generator[PostgresJournal]:
    opened = PostgresJournal(database_dsn, ACCOUNT, "simulator", leased(database_dsn))
    yield opened
    opened.close()


def commit(journal: PostgresJournal, of: Intent) -> None:
    assert journal.commit(decision(of), of)


CALLS: dict[str, Callable[[PostgresJournal], object]] = {
    "commit": lambda journal: journal.commit(decision(intent(bar_ts=NEXT_BAR), NEXT_BAR), intent(bar_ts=NEXT_BAR)),
    "commit as sent": lambda journal: journal.commit(
        decision(intent(bar_ts=NEXT_BAR), NEXT_BAR), intent(bar_ts=NEXT_BAR), sent_at=NEXT_BAR
    ),
    "note": lambda journal: journal.note(decision(intent(bar_ts=NEXT_BAR), NEXT_BAR), "rejected"),
    "the first leaves": lambda journal: journal.move(FIRST, "submitting", sent_at=BAR),
    "a later one leaves": lambda journal: journal.move(SECOND, "submitting", sent_at=BAR),
    "the first ends": lambda journal: journal.move(FIRST, "rejected", reason="why"),
    "a later one ends": lambda journal: journal.move(SECOND, "rejected", reason="why"),
}
STORED = """
SELECT (SELECT jsonb_agg(to_jsonb(d) ORDER BY d.id) FROM trade_decisions d),
    (SELECT jsonb_agg(to_jsonb(i) ORDER BY i.id) FROM order_intents i),
    (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.id) FROM decision_inputs s)
"""


def stored(dsn: str) -> tuple[object, ...]:
    with connect(create_engine(dsn)) as connection:
        return tuple(connection.execute(sa.text(STORED)).one())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_without_its_lease_a_call_writes_nothing_and_says_so_again_and_again(
    journal: PostgresJournal, database_dsn: str, call: Callable[[PostgresJournal], object]
) -> None:
    commit(journal, FIRST)
    commit(journal, SECOND)
    before = stored(database_dsn)
    leased(database_dsn, HOLDER)
    for _ in range(2):
        with pytest.raises(LeaseLostError):
            call(journal)
    assert stored(database_dsn) == before
    assert journal.recall("nobody's", FIRST.client_order_id)[0] is not None


def test_a_decision_that_an_ingest_held_does_not_follow_without_the_lease(
    journal: PostgresJournal, database_dsn: str
) -> None:
    commit(journal, FIRST)
    commit(journal, SECOND)
    with connect(create_engine(database_dsn)) as frozen:
        frozen.execute(sa.text("SELECT 1 FROM trade_decisions FOR NO KEY UPDATE"))
        journal.move(SECOND, "submitting", sent_at=BAR)
    before = stored(database_dsn)
    leased(database_dsn, HOLDER)
    with pytest.raises(LeaseLostError):
        journal._settle()
    assert stored(database_dsn) == before


@pytest.mark.parametrize(
    ("name", "trouble"),
    [*((name, trouble) for name in CALLS for trouble in ("cut", "ended in the middle")),
     ("commit as sent", "locked"), ("a later one ends", "locked")],
)  # fmt: skip
def test_a_call_that_the_database_does_not_finish_writes_nothing_and_the_next_one_does(
    journal: PostgresJournal, database_dsn: str, name: str, trouble: str
) -> None:
    call = CALLS[name]
    commit(journal, FIRST)
    commit(journal, SECOND)
    before = stored(database_dsn)
    with psycopg.connect(database_dsn.replace("+psycopg", "")) as other:
        if trouble == "cut":
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            other.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}".encode())
        elif trouble == "locked":
            other.execute("LOCK TABLE runtime_lease IN EXCLUSIVE MODE")
        else:
            other.execute(BREAKING)
            other.commit()
        with pytest.raises(StoreUnavailableError):
            call(journal)
        other.rollback()
        if trouble == "ended in the middle":
            other.execute("DROP FUNCTION broken CASCADE")
            other.commit()
    assert stored(database_dsn) == before
    call(journal)
    assert stored(database_dsn) != before


BREAKING = """
CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid());
    PERFORM pg_sleep(5);
    RETURN NEW;
END $$;
CREATE TRIGGER broken AFTER INSERT OR UPDATE ON trade_decisions FOR EACH ROW EXECUTE FUNCTION broken();
CREATE TRIGGER broken AFTER UPDATE ON order_intents FOR EACH ROW EXECUTE FUNCTION broken()
"""
"""The server ends the connection in the middle of a statement, after it has written."""


def test_a_step_that_the_batch_is_about_to_write_holds_no_commit_up(
    journal: PostgresJournal, database_dsn: str
) -> None:
    orders = [intent(bar_ts=BAR + timedelta(minutes=number)) for number in range(8)]
    steps = [decision(each, BAR + timedelta(minutes=number)).step for number, each in enumerate(orders)]
    given: list[bool] = []

    def meanwhile() -> None:
        order = orders[len(given)]
        given.append(journal.commit(decision(order, BAR + timedelta(minutes=len(given))), order))

    with connect(create_engine(database_dsn)) as connection, transaction(connection):
        copy_steps(connection, [each for each in steps if each is not None], meanwhile)
    assert given == [True, True], "while its text is made, and while it is copied"
    with connect(create_engine(database_dsn)) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM decision_inputs")).scalar() == 8


@pytest.mark.parametrize("sent", [False, True], ids=["kept", "about to leave"])
def test_what_is_there_already_is_left_as_it_is(journal: PostgresJournal, database_dsn: str, sent: bool) -> None:
    order = intent()
    assert journal.note(decision(order), "rejected")
    assert journal.commit(decision(order), order, sent_at=BAR if sent else None)
    before = stored(database_dsn)
    assert not journal.commit(decision(order), order, sent_at=NEXT_BAR)
    assert not journal.note(decision(order), "planned")
    assert stored(database_dsn) == before
    with connect(create_engine(database_dsn)) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM decision_inputs")).scalar() == 1
