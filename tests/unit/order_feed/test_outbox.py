"""The outbox: order, bounds, the lock, and what survives a restart."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from torghut_runtime.errors import InputError
from torghut_runtime.order_feed.outbox import (
    DATABASE,
    SMALLEST_BOUND,
    Entry,
    Outbox,
    OutboxBrokenError,
    OutboxFullError,
)


def entry(text: str = "x", *, ns: int | None = None, order: str = "", ended: bool | None = None) -> Entry:
    return Entry(b"key", lambda seq: f"{seq}:{text}".encode(), ns, order, ended)


@pytest.fixture
def opened() -> Generator[Callable[..., Outbox]]:
    """Opens outboxes and closes them when the test ends."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(closing(Outbox(*arguments)))


Opened = Callable[..., Outbox]


def values(outbox: Outbox, after: int = 0) -> list[tuple[int, bytes]]:
    return [(row.seq, row.value) for row in outbox.pending(after, 100)]


def test_events_keep_their_order_and_number_until_they_are_removed(tmp_path: Path, opened: Opened) -> None:
    outbox = opened(tmp_path / "new" / "folder")
    assert outbox.append([entry("a"), entry("b")]) == [1, 2]
    assert outbox.append([entry("c")]) == [3]
    assert values(outbox) == [(1, b"1:a"), (2, b"2:b"), (3, b"3:c")]
    assert values(outbox, after=2) == [(3, b"3:c")]
    outbox.remove([2, 1])
    assert values(outbox) == [(3, b"3:c")]
    assert (outbox.rows, outbox.size) == (1, len(b"key3:c"))
    outbox.remove([3, 3, 99])
    assert (outbox.rows, outbox.size, outbox.oldest_age_seconds()) == (0, 0, 0.0)


def test_a_restart_finds_rows_numbers_watermark_and_open_orders(tmp_path: Path, opened: Opened) -> None:
    outbox = Outbox(tmp_path)
    outbox.append([entry(ns=50, order="a", ended=False), entry(ns=40, order="b", ended=False), entry()])
    outbox.append([entry(ns=45, order="b", ended=True), entry(order="c", ended=None)])
    outbox.remove([1, 2, 3, 4, 5])
    outbox.close()
    again = opened(tmp_path)
    assert (again.watermark_ns, again.open_orders, again.size) == (50, ["a"], 0)
    assert again.append([entry()]) == [6]
    again.forget_order("a")
    assert again.open_orders == []


def test_at_the_bound_nothing_is_stored_and_nothing_deleted(tmp_path: Path, opened: Opened) -> None:
    outbox = opened(tmp_path, SMALLEST_BOUND)
    big = "x" * (SMALLEST_BOUND - len(b"key1:"))
    outbox.append([entry(big)])
    with pytest.raises(OutboxFullError):
        outbox.append([entry("")])
    assert (outbox.rows, outbox.size) == (1, SMALLEST_BOUND)
    outbox.remove([1])
    assert outbox.append([entry(big)]) == [2]


def test_the_bound_is_at_least_one_mebibyte(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="TRADING_FORWARDER_OUTBOX_MAX_BYTES"):
        Outbox(tmp_path, SMALLEST_BOUND - 1)


def test_a_second_owner_is_kept_off_the_directory(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    with pytest.raises(InputError, match="in use by another process"):
        Outbox(tmp_path)
    outbox.close()
    Outbox(tmp_path).close()


def test_an_append_that_the_disk_refuses_stores_nothing(tmp_path: Path, opened: Opened) -> None:
    outbox = opened(tmp_path)
    outbox.append([entry("a", ns=1)])
    other = sqlite3.connect(tmp_path / DATABASE)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    other.commit()
    with pytest.raises(OutboxBrokenError, match="disk full"):
        outbox.append([entry("b", ns=2)])
    assert (values(outbox), outbox.watermark_ns) == ([(1, b"1:a")], 1)
    other.execute("DROP TRIGGER full")
    other.commit()
    other.close()
    assert outbox.append([entry("c")]) == [2]


def test_a_directory_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used as outbox"):
        Outbox(tmp_path / "file")
