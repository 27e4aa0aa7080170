"""Documents of account, positions, portfolio and daily data, value by value."""

from datetime import UTC, datetime
from typing import Any

import pytest
from simulated_days import MINUTE, OPEN, Watched, flat, minute_bars, tape_of

from torghut_runtime.broker.simulator.instants import nanoseconds
from torghut_runtime.broker.simulator.market_event import MarketBar
from torghut_runtime.broker.simulator.refusals import Refusal
from torghut_runtime.broker.simulator.server import documents
from torghut_runtime.broker.simulator.server.aggregation import aggregated
from torghut_runtime.broker.simulator.server.portfolio import portfolio_history
from torghut_runtime.broker.simulator.server.query import Query
from torghut_runtime.broker.simulator.tape import Tape


def bought_at_fifty() -> Watched:
    """Ten shares at 50.01, price 55 after it."""
    day = Watched([*flat(50, 2), (50, 55, 50, 55), *flat(55, 2)])
    day.broker.step()
    day.order(qty="10", type="limit", limit_price="50.01")
    day.broker.step(2)
    return day


def test_a_position_is_valued_at_the_newest_price() -> None:
    day = bought_at_fifty()
    [position] = documents.open_positions(day.broker)
    found = documents.position_document(day.broker, position)
    expected = {
        "qty": "10",
        "side": "long",
        "avg_entry_price": "50",
        "cost_basis": "500",
        "market_value": "550",
        "current_price": "55",
        "unrealized_pl": "50",
        "unrealized_plpc": "0.1",
        "qty_available": "10",
    }
    assert {name: found[name] for name in expected} == expected
    day.order("sell", qty="4", type="limit", limit_price="60")
    assert documents.position_document(day.broker, position)["qty_available"] == "6"


def test_the_account_adds_up() -> None:
    found = documents.account_document(bought_at_fifty().broker)
    expected = {
        "cash": "99500",
        "equity": "100050",
        "portfolio_value": "100050",
        "long_market_value": "550",
        "short_market_value": "0",
        "buying_power": "199550",
        "last_equity": "100000",
        "multiplier": "2",
        "trading_blocked": False,
    }
    assert {name: found[name] for name in expected} == expected


def test_a_short_position_has_negative_quantity_and_value() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    day.order("sell", qty="10")
    day.broker.step()
    [position] = documents.open_positions(day.broker)
    found = documents.position_document(day.broker, position)
    assert (found["qty"], found["side"], found["market_value"]) == ("-10", "short", "-500")
    assert documents.account_document(day.broker)["short_market_value"] == "-500"


def test_the_day_before_is_what_intraday_results_are_measured_from() -> None:
    second = OPEN + 24 * 60 * MINUTE
    day = Watched(tape_of(*minute_bars(flat(50, 2)), *minute_bars([(52, 52, 52, 52)] * 2, start=second)))
    day.broker.step()
    day.order(qty="10")
    day.broker.step(2)
    [position] = documents.open_positions(day.broker)
    found = documents.position_document(day.broker, position)
    assert (found["lastday_price"], found["current_price"], found["change_today"]) == ("50", "52", "0.04")
    assert float(found["unrealized_intraday_pl"]) == 20


def test_portfolio_history_has_a_point_per_interval() -> None:
    day = bought_at_fifty()
    minutes = portfolio_history(day.broker, Query({"timeframe": "1Min", "period": "1D"}))
    # The point of the start has the interval before it.
    assert [at - OPEN // 10**9 for at in minutes["timestamp"]] == [-60, 0, 60, 120]
    assert minutes["equity"] == [100_000, 100_000, 100_000, 100_050]
    days = portfolio_history(day.broker, Query({}))
    assert (days["timeframe"], days["equity"], days["profit_loss"]) == ("1D", [100_050.0], [50.0])
    for parameters in ({"timeframe": "2H"}, {"period": "soon"}):
        with pytest.raises(Refusal) as caught:
            portfolio_history(day.broker, Query(parameters))
        assert caught.value.status == 422


@pytest.mark.parametrize(
    ("at", "is_open", "next_open", "next_close"),
    [
        ("2026-01-05T14:29:59", False, "2026-01-05T09:30:00-05:00", "2026-01-05T16:00:00-05:00"),
        ("2026-01-05T14:30:00", True, "2026-01-06T09:30:00-05:00", "2026-01-05T16:00:00-05:00"),
        ("2026-01-05T20:59:59", True, "2026-01-06T09:30:00-05:00", "2026-01-05T16:00:00-05:00"),
        ("2026-01-05T21:00:00", False, "2026-01-06T09:30:00-05:00", "2026-01-06T16:00:00-05:00"),
    ],
)
def test_the_clock_knows_the_session(at: str, is_open: bool, next_open: str, next_close: str) -> None:
    moment = nanoseconds(datetime.fromisoformat(at).replace(tzinfo=UTC))
    day = Watched(flat(50, 2), start=moment)
    found = documents.clock_document(day.broker)
    assert (found["is_open"], found["next_open"], found["next_close"]) == (is_open, next_open, next_close)


def daily() -> Tape:
    hours = [(OPEN + day * 24 * 60 * MINUTE, OPEN + (day * 24 * 60 + 390) * MINUTE) for day in range(3)]
    prices = [(10.0, 12.0, 9.0, 11.0), (11.5, 13.0, 11.0, 12.0), (12.0, 14.0, 12.0, 13.0)]
    return Tape(tuple(MarketBar("AAPL", *hour, *price, 1e6) for hour, price in zip(hours, prices, strict=True)), "1Day")


def test_daily_bars_fill_opening_orders_at_the_print_of_the_next_day() -> None:
    day = Watched(daily())
    messages: list[dict[str, Any]] = []

    class Ear:
        def wants(self, kind: str, symbol: str) -> bool:
            return kind in {"b", "d"}

        def hear(self, message: dict[str, Any]) -> None:
            messages.append(message)

    day.broker.feed.listeners.append(Ear())
    day.broker.step()
    day.broker.advance_to(OPEN + 17 * 60 * MINUTE)  # the night
    day.order(time_in_force="opg")
    day.broker.step()
    assert [str(price) for _, price in day.fills()] == ["11.5"]
    assert day.frames[-1]["timestamp"].startswith("2026-01-06T14:30:00")
    midnight = OPEN - (9 * 60 + 30) * MINUTE
    assert [(message["T"], message["t"] - midnight, message["c"]) for message in messages] == [
        ("d", 0, 11.0),
        ("d", 24 * 60 * MINUTE, 12.0),
    ]
    history = aggregated(day.broker, "AAPL", "1Day", 0, day.broker.now, adjusted=False)
    assert history is not None
    assert [(bar.opens_at - midnight, bar.close) for bar in history] == [(0, 11.0), (24 * 60 * MINUTE, 12.0)]


def test_bars_are_joined_to_longer_ones_and_adjusted_for_splits() -> None:
    next_open = OPEN + 24 * 60 * MINUTE
    candles = [(10.0, 12.0, 9.0, 11.0, 100.0), (11.0, 15.0, 11.0, 14.0, 200.0), (14.0, 14.0, 8.0, 9.0, 300.0)]
    day = Watched(tape_of(*minute_bars(candles), *minute_bars(flat(10, 1), start=next_open)))
    day.broker.step(3)
    [joined] = aggregated(day.broker, "AAPL", "5Min", 0, day.broker.now, adjusted=False) or []
    assert (joined.opens_at, joined.open, joined.high, joined.low, joined.close) == (OPEN, 10, 15, 8, 9)
    assert joined.volume == 600
    day.broker.control({"split": [{"symbol": "AAPL", "ratio": 2, "effective": "2026-01-06"}]})
    day.broker.step()
    raw = aggregated(day.broker, "AAPL", "1Min", 0, day.broker.now, adjusted=False) or []
    adjusted = aggregated(day.broker, "AAPL", "1Min", 0, day.broker.now, adjusted=True) or []
    assert [bar.close for bar in raw] == [11, 14, 9, 5]
    assert [(bar.close, bar.volume) for bar in adjusted] == [(5.5, 200), (7, 400), (4.5, 600), (5, 200_000)]
    assert aggregated(day.broker, "AAPL", "1Week", 0, day.broker.now, adjusted=False) is None
