"""Whatever is done to a row of the ledger by whoever may do everything in the database, verification finds that row."""

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from postgres import new_database

from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.ledger import Verification, append, history, verify
from torghut_runtime.storage.tables import LEDGER_KINDS, governance_ledger

ROWS = 6
AT = datetime(2026, 1, 2, tzinfo=UTC)
TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(-1e300, 1e300) | TEXT
BODIES = st.dictionaries(
    TEXT, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=3
)
NUMBER = "0.123456789"

edits = st.one_of(
    st.tuples(st.just("kind"), st.sampled_from(LEDGER_KINDS)),
    st.tuples(st.sampled_from(["subject", "actor", "hash", "prev_hash"]), TEXT),
    st.tuples(st.just("at"), st.integers(-(10**12), 10**12).map(lambda number: AT + timedelta(microseconds=number))),
    st.tuples(st.just("body"), BODIES),
)


@pytest.fixture(scope="module")
def ledger_engine(postgres_port: int) -> Generator[sa.Engine]:
    with new_database(postgres_port) as dsn:
        engine = create_engine(dsn)
        with connect(engine) as connection:
            for number in range(ROWS):
                body = {"number": number, "ratio": float(NUMBER), "list": [1, 2.5, "x"]}
                append(connection, kind="drill", subject="momentum", actor="anna", body=body, at=AT)
            connection.execute(sa.text("ALTER TABLE governance_ledger DISABLE TRIGGER immutable"))
        yield engine


@given(seq=st.integers(1, ROWS), edit=edits)
@settings(max_examples=150, deadline=None)
def test_any_edit_of_any_row_is_found_at_that_row(ledger_engine: sa.Engine, seq: int, edit: tuple[str, Any]) -> None:
    name, value = edit
    table = governance_ledger
    with ledger_engine.connect() as connection:
        edited = connection.execute(
            sa.update(table)
            .where(table.c.seq == seq, table.c[name].is_distinct_from(sa.literal(value, table.c[name].type)))
            .values({name: value})
        )
        assume(edited.rowcount == 1)
        found = verify(connection)
        connection.rollback()
    assert found.first_broken_seq == seq
    assert found.reason is not None
    assert found.rows == seq - 1


@given(seq=st.integers(1, ROWS), digits=st.integers(1, 10**12), places=st.integers(10, 40))
@settings(max_examples=50, deadline=None)
def test_a_digit_too_far_behind_the_point_for_a_float_is_found(
    ledger_engine: sa.Engine, seq: int, digits: int, places: int
) -> None:
    number = f"{NUMBER}{digits:0{places}d}"
    with ledger_engine.connect() as connection:
        connection.execute(
            sa.text(
                "UPDATE governance_ledger SET body = jsonb_set(body, '{ratio}', CAST(:n AS jsonb)) WHERE seq = :seq"
            ),
            {"n": number, "seq": seq},
        )
        found = verify(connection)
        connection.rollback()
    assert found.first_broken_seq == seq


@given(kept=st.sets(st.integers(1, ROWS)))
@settings(max_examples=40, deadline=None)
def test_any_rows_that_were_deleted_are_missed_from_the_first(ledger_engine: sa.Engine, kept: set[int]) -> None:
    missing = sorted(set(range(1, ROWS + 1)) - kept)
    table = governance_ledger
    with ledger_engine.connect() as connection:
        connection.execute(sa.delete(table).where(table.c.seq.in_(missing)))
        found = verify(connection)
        connection.rollback()
    assert found.first_broken_seq == (missing[0] if missing else None)


@given(order=st.permutations(range(1, ROWS + 1)))
@settings(max_examples=40, deadline=None)
def test_any_other_order_of_the_rows_is_found_at_the_first_displaced_one(
    ledger_engine: sa.Engine, order: list[int]
) -> None:
    table = governance_ledger
    with ledger_engine.connect() as connection:
        connection.execute(sa.update(table).values(seq=table.c.seq + 100))
        for old, new in enumerate(order, start=1):
            connection.execute(sa.update(table).where(table.c.seq == old + 100).values(seq=new))
        found = verify(connection)
        connection.rollback()
    displaced = [place for place in range(1, ROWS + 1) if order.index(place) + 1 != place]
    assert found.first_broken_seq == (displaced[0] if displaced else None)


@given(bodies=st.lists(BODIES, max_size=4))
@settings(max_examples=60, deadline=None)
def test_whatever_is_appended_comes_back_and_verifies(ledger_engine: sa.Engine, bodies: list[dict[str, Any]]) -> None:
    with ledger_engine.connect() as connection, connection.begin() as undone:
        rows = [append(connection, kind="waiver", subject="new", actor="anna", body=body) for body in bodies]
        assert history(connection, "new") == rows
        assert verify(connection) == Verification(ROWS + len(rows))
        undone.rollback()
