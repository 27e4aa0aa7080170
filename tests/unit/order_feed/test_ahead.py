"""The batch that is read ahead: decoded in slices, each record once and in order, and given up as a whole."""

from collections.abc import Sequence

import pytest

from torghut_runtime.order_feed.ahead import SLICES, ReadAhead
from torghut_runtime.order_feed.batch import Decoded
from torghut_runtime.order_feed.log import Polled, Record


def record(offset: int) -> Record:
    return Record("t", 0, offset, None, b"", None)


class Log:
    """Has ``count`` records and keeps how they were asked for and decoded."""

    def __init__(self, count: int, errors: tuple[str, ...] = ()) -> None:
        self.polled = Polled(tuple(map(record, range(count))), errors)
        self.rooms: list[int] = []
        self.slices: list[list[int]] = []
        self.ahead = ReadAhead(self.poll, self.decode)

    def poll(self, room: int) -> Polled:
        self.rooms.append(room)
        return self.polled

    def decode(self, records: Sequence[Record]) -> list[Decoded]:
        self.slices.append([each.offset for each in records])
        return [Decoded(each) for each in records]


@pytest.mark.parametrize("turns", [0, 1, SLICES - 1, SLICES, SLICES + 2])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_every_record_is_decoded_once_however_many_turns_there_were(count: int, turns: int) -> None:
    log = Log(count)
    log.ahead.plan(500)
    for _ in range(turns):
        log.ahead.go_on()
    taken = log.ahead.take()
    if turns == 0:
        assert taken is None
        return
    assert taken is not None
    assert taken[0] is log.polled
    assert [each.record.offset for each in taken[1]] == list(range(count))
    assert [offset for each in log.slices for offset in each] == list(range(count))
    assert log.rooms == [500]
    assert max(map(len, log.slices[:turns])) <= -(-count // SLICES)
    assert log.ahead.take() is None


def test_nothing_is_read_that_was_not_planned_and_nothing_twice() -> None:
    log = Log(3)
    log.ahead.go_on()
    log.ahead.plan(0)
    log.ahead.go_on()
    assert log.rooms == []
    log.ahead.plan(5)
    log.ahead.go_on()
    log.ahead.take()
    log.ahead.go_on()
    assert log.rooms == [5]


def test_an_empty_poll_is_no_batch_but_an_error_is() -> None:
    empty, broken = Log(0), Log(0, ("no leader",))
    for log in (empty, broken):
        log.ahead.plan(5)
        log.ahead.go_on()
    assert empty.ahead.take() is None
    assert broken.ahead.take() == (broken.polled, [])


def test_what_is_given_up_is_not_taken() -> None:
    log = Log(9)
    log.ahead.plan(9)
    log.ahead.go_on()
    assert log.ahead.drop()
    assert log.ahead.take() is None
    assert not log.ahead.drop()
