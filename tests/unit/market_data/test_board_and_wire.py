"""Messages as values, and what the board keeps of them."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from msgpack import Timestamp

from torghut_runtime.clock import SimulatedClock, nanoseconds_of
from torghut_runtime.market_data.board import Board
from torghut_runtime.market_data.hearing import Hearing
from torghut_runtime.market_data.wire import Quote, Trade, bar_of, halt_of, moment_of, quote_of, trade_of

AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
BAR: dict[str, Any] = {
    "T": "b", "S": "AAPL", "t": "2026-01-05T15:00:00Z", "o": 10, "h": 12.5, "l": 9, "c": 11, "v": 1200,
}  # fmt: skip


def test_times_are_timestamps_or_text() -> None:
    assert moment_of("2026-01-05T15:00:00.123456789Z") == AT.replace(microsecond=123456)
    assert moment_of("2026-01-05T10:00:00-05:00") == AT
    assert moment_of(Timestamp(int(AT.timestamp()), 123_456_789)) == AT.replace(microsecond=123456)
    assert [moment_of(value) for value in (None, 5, "soon", "")] == [None] * 4


def test_a_bar_that_cannot_be_one_is_none() -> None:
    bar = bar_of(BAR)
    assert bar is not None
    assert (bar.symbol, bar.opens_at, bar.high, bar.volume) == ("AAPL", AT, 12.5, 1200.0)
    changes: list[dict[str, Any]] = [
        {"h": 10.5}, {"l": 10.5}, {"c": math.nan}, {"o": 0}, {"v": -1}, {"v": None}, {"t": None}, {"S": 5}, {"c": True},
    ]  # fmt: skip
    assert [bar_of({**BAR, **change}) for change in changes] == [None] * len(changes)


def test_a_quote_has_two_sides_that_do_not_cross() -> None:
    quote: dict[str, Any] = {"t": BAR["t"], "bp": 10.0, "ap": 10.02}
    assert quote_of(quote) == Quote(AT, 10.0, 10.02)
    assert quote_of({**quote, "bp": 10.03}) is None
    assert quote_of({**quote, "ap": 0}) is None
    assert trade_of({"t": BAR["t"], "p": 10.0}) == Trade(AT, 10.0)
    assert trade_of({"t": BAR["t"], "p": None}) is None


@pytest.mark.parametrize(
    ("code", "halted"),
    [("H", True), ("P", True), ("2", True), ("T", False), ("3", False), ("Q", None), ("5", None), ("D", None)],
)
def test_statuses_halt_and_resume(code: str, halted: bool | None) -> None:
    assert halt_of({"sc": code}) is halted


def at(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def test_a_symbol_trades_when_there_was_a_trade_since_the_connection_stands() -> None:
    board = Board()
    board.traded("AAPL", Trade(at(-1), 1.0))
    assert not board.trades("AAPL")
    board.connected(at(0))
    board.quoted("AAPL", Quote(at(1), 1.0, 1.1))  # quotes come during a halt, too
    board.traded("AAPL", Trade(at(-0.001), 1.0))  # told late
    board.minute_traded("AAPL", at(-1))
    assert not board.trades("AAPL")
    board.traded("AAPL", Trade(at(0), 1.0))
    board.minute_traded("MSFT", at(60))
    assert [board.trades(name) for name in ("AAPL", "MSFT", "TSLA")] == [True, True, False]
    board.disconnected()
    assert not board.trades("AAPL")
    board.connected(at(120))
    assert not board.trades("AAPL")


def test_a_halt_of_this_connection_stays_and_one_of_an_earlier_ends_with_a_trade() -> None:
    board = Board()
    board.connected(at(0))
    board.halt("AAPL", halted=True)
    board.traded("AAPL", Trade(at(1), 1.0))  # told late
    assert board.halted == ("AAPL",)
    board.connected(at(60))
    board.traded("AAPL", Trade(at(59), 1.0))
    assert board.halted == ("AAPL",)
    board.traded("AAPL", Trade(at(60), 1.0))
    assert board.halted == ()
    board.halt("MSFT", halted=True)
    board.halt("MSFT", halted=False)
    assert board.trades("MSFT")
    assert board.halted == ()


def test_a_mute_connection_that_is_given_up_tells_nothing_of_now() -> None:
    board, told = Board(), list[str]()
    clock = SimulatedClock(nanoseconds_of(AT))
    hearing = Hearing(board, clock, put=lambda _: None, heard=lambda: None, hear_time=lambda _: None, tell=told.append)
    hearing.events.subscribed()
    hearing.events.heard([{"T": "t", "S": "AAPL", "t": "2026-01-05T15:00:01Z", "p": 10.0}])
    assert board.trades("AAPL")
    hearing.give_up()
    assert (hearing.connected_at, board.trades("AAPL")) == (None, False)
    hearing.events.gone()
    assert told == ["connected", "mute"]


def test_the_quote_of_a_bar_is_the_newest_of_its_minute() -> None:
    board = Board()
    for second, price in ((-61, 1.0), (-2, 2.0), (0, 3.0), (1, 4.0), (70, 5.0)):
        board.quoted("AAPL", Quote(AT + timedelta(seconds=second), price, price + 1.0))
    board.quoted("AAPL", Quote(AT, 9.0, 9.5))  # older than the newest: dropped

    def bid(minutes: int) -> float | None:
        quote = board.quote_at("AAPL", AT + timedelta(minutes=minutes))
        return None if quote is None else quote.bid

    assert [bid(minutes) for minutes in (-1, 0, 1, 2, 3)] == [1.0, 3.0, 4.0, 5.0, None]
    newest = board.quote("AAPL")
    assert newest is not None
    assert newest.bid == 5.0
    assert board.median_spread("AAPL") == 1.0
    assert board.median_spread("MSFT") is None


def test_volatility_is_that_of_one_second_returns_and_needs_thirty_of_them() -> None:
    generator = np.random.default_rng(1)
    prices = 100.0 * np.exp(np.cumsum(generator.normal(0, 1e-4, 61)))
    board = Board()
    for second, price in enumerate(prices):
        at = AT + timedelta(seconds=float(second) - 60.0)
        board.traded("AAPL", Trade(at - timedelta(milliseconds=500), 1.0))  # not the second's last
        board.traded("AAPL", Trade(at, float(price)))
    expected = float(np.std(np.diff(np.log(prices))))
    assert board.volatility_at("AAPL", AT) == pytest.approx(expected, rel=1e-9)
    few = Board()
    for second in range(31):
        few.traded("AAPL", Trade(AT - timedelta(seconds=second * 2.0), 100.0))  # every other second: no return at all
    assert math.isnan(few.volatility_at("AAPL", AT))
    for count, known in ((30, False), (31, True)):
        some = Board()
        for second in range(count):
            some.traded("AAPL", Trade(AT + timedelta(seconds=float(second - count + 1)), 100.0 + second % 2))
        assert math.isnan(some.volatility_at("AAPL", AT)) != known
