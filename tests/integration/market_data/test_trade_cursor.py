"""The cursor in PostgreSQL: forward only, per source, not behind a newer holder of the lease."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from torghut_runtime.storage.trade_cursor import move_cursors, read_cursors

AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = ("AAPL", "1Min")


def test_cursors_move_forward_and_are_read_per_source(connection: sa.Connection) -> None:
    assert read_cursors(connection, "paper:iex") == {}
    assert move_cursors(connection, "paper:iex", {KEY: AT, ("AAPL", "5Min"): AT}, 1) == 2
    assert move_cursors(connection, "paper:sip", {KEY: AT + MINUTE}, 1) == 1
    assert move_cursors(connection, "paper:iex", {KEY: AT}, 1) == 0
    assert move_cursors(connection, "paper:iex", {KEY: AT - MINUTE}, 1) == 0
    assert move_cursors(connection, "paper:iex", {KEY: AT + MINUTE}, 1) == 1
    assert read_cursors(connection, "paper:iex") == {KEY: AT + MINUTE, ("AAPL", "5Min"): AT}
    assert move_cursors(connection, "paper:iex", {}, 1) == 0


def test_who_lost_the_lease_moves_no_cursor(connection: sa.Connection) -> None:
    move_cursors(connection, "paper:iex", {KEY: AT}, 7)
    assert move_cursors(connection, "paper:iex", {KEY: AT + MINUTE}, 6) == 0
    assert move_cursors(connection, "paper:iex", {KEY: AT + MINUTE}, 7) == 1
    assert read_cursors(connection, "paper:iex") == {KEY: AT + MINUTE}
