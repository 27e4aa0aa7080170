"""Pages of a list while rows arrive: nothing that was there is left out, and nothing comes twice."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torghut_runtime.api import paging
from torghut_runtime.api.paging import Cursor, cursor_of, page_of
from torghut_runtime.storage.order_tables import trade_decisions

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
# few different times, so that many rows share one and the identifier decides
MOMENTS = st.integers(0, 5).map(lambda seconds: NOON + timedelta(seconds=seconds))


def insert(connection: sa.Connection, at: datetime, status: str) -> uuid.UUID:
    row = uuid.uuid4()
    connection.execute(
        sa.insert(trade_decisions).values(
            id=row, decision_hash=str(row), strategy_id="s", alpaca_account_label="paper", symbol="AAPL",
            timeframe="1Min", bar_ts=at, decided_at=at, decision_json={}, created_at=at, status=status,
        )
    )  # fmt: skip
    return row


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.lists(st.tuples(MOMENTS, st.sampled_from(["planned", "rejected"])), max_size=12),
    between=st.lists(st.lists(st.tuples(MOMENTS, st.sampled_from(["planned", "rejected"])), max_size=3), max_size=8),
    limit=st.integers(1, 5),
    look=st.integers(1, 6),
    is_filtered=st.booleans(),
)
def test_rows_that_arrive_between_pages_are_neither_repeated_nor_push_others_out(
    connection: sa.Connection, before: list, between: list, limit: int, look: int, is_filtered: bool
) -> None:
    known, paging.LOOK = paging.LOOK, look
    filtered = [lambda looked: looked.c.status == "planned"] if is_filtered else []
    connection.execute(sa.delete(trade_decisions))
    try:
        made = [(insert(connection, at, status), status) for at, status in before]
        wanted = {row for row, status in made if status == "planned" or not is_filtered}
        arrived: set[uuid.UUID] = set()
        shown: list[tuple[datetime, uuid.UUID]] = []
        cursor = None
        for number in range(100):
            page = page_of(connection, trade_decisions, limit=limit, cursor=cursor, filtered=filtered)
            assert len(page.rows) <= limit
            shown += [(row["created_at"], row["id"]) for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
            cursor = cursor_of(cursor.text())
            for at, status in between[number] if number < len(between) else ():
                arrived.add(insert(connection, at, status))
        identifiers = [row for _, row in shown]
        assert cursor is None
        assert len(set(identifiers)) == len(identifiers)
        assert wanted <= set(identifiers) <= wanted | arrived
        assert shown == sorted(shown, reverse=True)
    finally:
        paging.LOOK = known
        connection.rollback()


@given(at=st.datetimes(timezones=st.just(UTC)), row=st.uuids())
def test_a_cursor_comes_back_as_it_was(at: datetime, row: uuid.UUID) -> None:
    cursor = Cursor(at, row)
    assert cursor_of(cursor.text()) == cursor


@given(text=st.text(max_size=60))
def test_what_is_no_cursor_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        cursor_of(text)
