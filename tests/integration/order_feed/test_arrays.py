"""Arrays as one text each arrive at PostgreSQL as the values they were made of."""

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torghut_runtime.order_feed import arrays
from torghut_runtime.order_feed.ingest import cursor_of

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
AWKWARD = st.sampled_from(["", "NULL", "null", '"', "\\", "{", "}", ",", " ", 'a"b', "\\x00", '","', "é"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.lists(st.none() | TEXT | AWKWARD, max_size=6))
def test_texts_arrive_as_they_are(connection: sa.Connection, values: list[str | None]) -> None:
    row = cursor_of(connection).execute("SELECT %s::text[]", (arrays.texts(values),)).fetchone()
    assert row == (values,)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.lists(st.binary(min_size=1, max_size=4), max_size=4))
def test_digests_arrive_as_they_are(connection: sa.Connection, values: list[bytes]) -> None:
    row = cursor_of(connection).execute("SELECT %s::bytea[]", (arrays.digests(values),)).fetchone()
    assert row == (values,)
