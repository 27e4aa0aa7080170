"""Fault controls: what each does, that each is counted, and that bad ones change nothing."""

import json
from decimal import Decimal
from typing import Any

import pytest
from simulated_days import MINUTE, OPEN, Watched, flat, minute_bars, tape_of

from torghut_runtime.broker.simulator.refusals import Refusal
from torghut_runtime.errors import InputError


class Ear:
    """Listens to all market data."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def wants(self, kind: str, symbol: str) -> bool:
        return True

    def hear(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["T"] == kind]


def listening(day: Watched) -> Ear:
    ear = Ear()
    day.broker.feed.listeners.append(ear)
    return ear


@pytest.mark.parametrize(
    "changes",
    [
        {"latency": 5},
        {"latency_ms": "5"},
        {"latency_ms": -1},
        {"latency_ms": True},
        {"partial_fill": {"probability": 1.1, "parts": 2}},
        {"partial_fill": {"probability": 1, "parts": 2, "more": 1}},
        {"reject_next": [{"code": 12, "message": "x"}]},
        {"http_errors": [{"method": "GET", "path": "v2", "status": 500}]},
        {"http_errors": [{"method": "GET", "path": "/v2", "status": 200}]},
        {"disconnect": [{"stream": "news", "seconds": 1}]},
        {"correct_bars": [{"symbol": "AAPL", "ts": "yesterday", "fields": {}}]},
        {"split": [{"symbol": "AAPL", "ratio": 0, "effective": "2026-01-06"}]},
        {"halt": "AAPL"},
        {"account": {"cash": 1}, "split": [{"symbol": "NONE", "ratio": 2, "effective": "2026-01-06"}]},
        {"account": {"cash": 1}, "foreign_order": {"symbol": "AAPL", "side": "buy"}},
        {
            "account": {"cash": 1},
            "foreign_order": {"symbol": "NONE", "qty": 1, "side": "buy", "type": "market", "time_in_force": "day"},
        },
        [],
        "latency_ms",
    ],
)
def test_an_unknown_key_or_a_bad_value_changes_nothing(changes: Any) -> None:
    day = Watched(flat(50, 2))
    day.broker.control({"latency_ms": 7})
    with pytest.raises(InputError):
        day.broker.control(changes)
    if isinstance(changes, dict):
        with pytest.raises(InputError):
            day.broker.control({"jitter_ms": 3, **changes})
    assert day.broker.controls.document() == {"controls": {"latency_ms": 7.0}, "applied": {}}
    assert day.broker.desk.account.cash == 100_000


def test_controls_merge_are_shown_with_their_use_and_cleared() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    day.broker.control({"reject_next": [{"code": 40310000, "message": "no", "existing_order_id": "abc"}] * 2})
    day.broker.control({"jitter_ms": 1})
    with pytest.raises(Refusal) as caught:
        day.order()
    assert (caught.value.status, caught.value.body()) == (
        403,
        {"code": 40310000, "message": "no", "existing_order_id": "abc"},
    )
    shown = day.broker.controls.document()
    assert len(shown["controls"]["reject_next"]) == 1
    assert shown["applied"] == {"reject_next": 1}
    assert len(day.broker.desk.book) == 0
    day.broker.clear_controls()
    assert day.broker.controls.document() == {"controls": {}, "applied": {}}
    day.order()


def test_fills_come_in_parts() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    day.broker.control({"partial_fill": {"probability": 1, "parts": 3}})
    day.order(qty="10")
    day.broker.step()
    assert [str(qty) for qty, _ in day.fills()] == ["4", "3", "3"]
    assert day.events[-3:] == ["partial_fill", "partial_fill", "fill"]


def test_events_come_twice_and_swapped_with_their_successor() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    day.broker.control({"latency_ms": 1000, "reorder_events": 1})
    day.order()
    day.broker.control({"latency_ms": 0})
    day.broker.step()
    assert day.events == ["new", "pending_new", "fill"]
    doubled = Watched(flat(50, 2))
    doubled.broker.step()
    doubled.broker.control({"duplicate_events": 1})
    doubled.order()
    assert doubled.events == ["pending_new", "pending_new", "new", "new"]
    assert doubled.raw[0] == doubled.raw[1]
    assert doubled.broker.controls.applied == {"duplicate_events": 2}


def test_a_mute_stream_loses_what_happens_meanwhile() -> None:
    day = Watched(flat(50, 4))
    ear = listening(day)
    day.broker.control({"mute": [{"stream": "trading", "seconds": 90}, {"stream": "data", "seconds": 90}]})
    day.order()
    day.broker.step(2)
    assert (day.events, ear.of("b")[1:]) == ([], [])
    day.order()
    day.broker.step()
    assert day.events[-1] == "fill"
    assert [message["t"] for message in ear.of("b")] == [OPEN + MINUTE, OPEN + 2 * MINUTE]


def test_bars_are_dropped_late_doubled_and_corrected() -> None:
    day = Watched(flat(50, 6))
    ear = listening(day)
    day.broker.control(
        {
            "drop_bars": [{"symbol": "AAPL", "count": 1}],
            "late_bars": [{"symbol": "AAPL", "count": 1, "delay_ms": 90_000}],
            "duplicate_bars": [{"symbol": "MSFT", "count": 1}],
        }
    )
    day.broker.step(4)
    assert [(message["t"] - OPEN) // MINUTE for message in ear.of("b")] == [2, 1, 3]
    day.broker.control({"duplicate_bars": [{"symbol": "AAPL"}]})
    day.broker.step()
    assert [(message["t"] - OPEN) // MINUTE for message in ear.of("b")[3:]] == [4, 4]
    day.broker.control({"correct_bars": [{"symbol": "AAPL", "ts": "2026-01-05T14:31:00Z", "fields": {"close": 49.5}}]})
    [corrected] = ear.of("u")
    assert (corrected["t"] - OPEN, corrected["c"], corrected["o"]) == (MINUTE, 49.5, 50)
    assert day.broker.market.bars("AAPL", OPEN + MINUTE, OPEN + MINUTE)[0].close == 49.5
    assert day.broker.controls.applied == {"drop_bars": 1, "late_bars": 1, "duplicate_bars": 1, "correct_bars": 1}


def test_a_halt_and_its_end_are_told() -> None:
    day = Watched(flat(50, 3))
    ear = listening(day)
    day.broker.control({"halt": ["AAPL"]})
    day.broker.control({"halt": []})
    assert [(message["sc"], message["rc"]) for message in ear.of("s")] == [("H", "T12"), ("T", "C11")]
    day.broker.control({"halt": ["AAPL"]})
    day.broker.clear_controls()
    assert ear.of("s")[-1]["sc"] == "T"
    assert day.broker.controls.document() == {"controls": {}, "applied": {}}


def test_while_a_symbol_is_halted_it_has_no_trades_and_no_bars() -> None:
    day = Watched(flat(50, 4))
    ear = listening(day)

    def told() -> tuple[int, int, int]:
        kept = day.broker.market.bars("AAPL", OPEN, OPEN + 10 * MINUTE)
        return len(ear.of("t")), len(ear.of("b")), len(kept)

    assert day.broker.step().delivered == 1
    assert told() == (2, 1, 1)
    last = day.broker.market.last_trade("AAPL")
    day.broker.control({"halt": ["AAPL"]})
    assert day.broker.step(2).delivered == 2
    assert told() == (2, 1, 1)
    assert day.broker.market.last_trade("AAPL") == last
    day.broker.control({"halt": []})
    assert day.broker.step().delivered == 1
    assert told() == (4, 2, 2)
    assert ear.of("b")[-1]["t"] == OPEN + 3 * MINUTE


def test_an_order_that_waited_for_the_end_of_a_halt_within_a_minute_gets_none_of_its_earlier_prices() -> None:
    day = Watched([(50, 50, 50, 50), (50, 50, 40, 50)])
    day.broker.step()
    day.order("buy", type="limit", limit_price="45")
    day.broker.control({"halt": ["AAPL"]})
    day.broker.advance_to(OPEN + MINUTE + MINUTE // 2)
    day.broker.control({"halt": []})
    day.broker.step()
    assert day.fills() == []


def test_a_split_is_announced_then_position_price_and_adjusted_history_jump() -> None:
    next_open = OPEN + 24 * 60 * MINUTE
    day = Watched(tape_of(*minute_bars(flat(100, 3)), *minute_bars(flat(100, 2), start=next_open)))
    day.broker.step()
    day.order(qty="10")
    day.order(type="limit", limit_price="10", time_in_force="gtc")
    day.broker.step()
    day.broker.control({"split": [{"symbol": "AAPL", "ratio": 4, "effective": "2026-01-06"}]})
    assert day.broker.market.announced[0].at == next_open
    day.broker.step()
    assert day.position() == 10
    equity = day.broker.desk.equity()
    day.broker.step()
    position = day.broker.desk.account.positions["AAPL"]
    assert (position.qty, position.average_entry) == (40, 25)
    assert day.broker.market.price("AAPL") == 25
    assert day.broker.desk.equity() == equity
    assert day.events[-1] == "canceled"
    assert day.broker.market.adjustment("AAPL", OPEN) == 4
    assert day.broker.controls.applied == {"split": 1}


def test_a_deposit_another_account_and_less_buying_power() -> None:
    day = Watched(flat(50, 2))
    day.broker.control({"account": {"cash": 150_000}})
    assert day.broker.desk.account.cash == 150_000
    assert day.broker.desk.activities.listed()[0]["net_amount"] == "50000"
    day.broker.control({"account": {"equity": 90_000, "buying_power": 5, "account_number": "PA123"}})
    assert day.broker.desk.equity() == 90_000
    assert (day.broker.desk.buying_power(), day.broker.account_number) == (5, "PA123")


def test_the_brokers_clock_is_ahead() -> None:
    day = Watched(flat(50, 2))
    day.broker.control({"clock_skew_ms": 5000})
    assert day.order()["created_at"] == "2026-01-05T14:30:05Z"


def test_an_order_of_somebody_else_appears_with_its_fills() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    day.broker.control(
        {"foreign_order": {"symbol": "AAPL", "qty": 5, "side": "buy", "type": "market", "time_in_force": "day"}}
    )
    day.broker.step()
    assert day.events == ["pending_new", "new", "fill"]
    assert day.position() == 5
    with pytest.raises(InputError, match="qty or notional is required"):
        day.broker.control(
            {"foreign_order": [{"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day"}]}
        )


def test_a_bust_takes_fill_position_and_cash_back() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    order = day.order()
    day.broker.step()
    cash = day.broker.desk.account.cash
    fill = day.frames[-1]
    day.broker.control(
        {"inject_event": [{"order": order["id"], "event": "trade_bust", "fields": {"reason": "TRADE_BUST"}}]}
    )
    bust = day.frames[-1]
    assert (bust["event"], bust["previous_execution_id"], bust["reason"]) == (
        "trade_bust",
        fill["execution_id"],
        "TRADE_BUST",
    )
    assert (bust["order"]["filled_qty"], bust["order"]["status"], bust["position_qty"]) == ("0", "canceled", "0")
    assert day.broker.desk.account.cash == cash + 10 * fill_price(fill)
    assert day.position() == 0


def test_a_correction_books_the_fill_again_with_other_terms() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    order = day.order()
    day.broker.step()
    before = day.frames[-1]["execution_id"]
    day.broker.control(
        {"inject_event": [{"order": order["id"], "event": "trade_correct", "fields": {"price": "49.5"}}]}
    )
    corrected = day.frames[-1]
    assert (corrected["price"], corrected["qty"], corrected["previous_execution_id"]) == ("49.5", "10", before)
    assert corrected["execution_id"] != before
    assert corrected["order"]["filled_avg_price"] == "49.5"
    assert day.broker.desk.account.cash == 100_000 - 495
    assert day.broker.desk.account.positions["AAPL"].average_entry == Decimal("49.5")


def fill_price(frame: dict[str, Any]) -> Decimal:
    return Decimal(frame["price"])


def test_an_event_waits_for_its_order() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    day.broker.control({"inject_event": [{"order": "mine", "event": "suspended"}]})
    assert day.raw == []
    day.order(client_order_id="mine")
    assert day.events == ["pending_new", "new", "suspended"]
    day.broker.step()
    assert day.fills() == []
    day.broker.control({"inject_event": [{"order": "mine", "event": "new", "fields": {"note": "resumed"}}]})
    day.broker.step()
    assert len(day.fills()) == 1


def test_equal_seeds_controls_and_requests_give_equal_frames() -> None:
    def play(seed: int) -> list[bytes]:
        day = Watched(flat(50, 30, volume=100), seed=seed)
        day.broker.control(
            {
                "latency_ms": 500,
                "jitter_ms": 70_000,
                "partial_fill": {"probability": 0.5, "parts": 3},
                "duplicate_events": 0.3,
                "reorder_events": 0.3,
            }
        )
        for index in range(10):
            day.broker.step()
            order = day.order(qty=str(10 + index))
            if index % 3 == 0:
                day.broker.cancel(order["id"])
        day.broker.step(100)
        return day.raw

    first = play(7)
    assert first == play(7)
    assert first != play(8)
    assert all(json.loads(frame)["stream"] == "trade_updates" for frame in first)
