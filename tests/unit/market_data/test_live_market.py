"""What the trader makes of the market: reference prices, and the reason codes of everything that stands against."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from engine_world import timed
from market_world import BELL, MINUTE, MarketWorld, minute_bar

from torghut_runtime.market.aggregation import BACKFILL
from torghut_runtime.market_data.wire import Quote, Trade
from torghut_runtime.orders.booked_fills import BookedFill


def snapshot(world: MarketWorld) -> dict[str, Any]:
    decision = next(iter(world.journal.decisions.values()))
    return decision.detail["params"]["price_snapshot"]


def test_an_entry_is_ordered_when_nothing_stands_against_it() -> None:
    world = MarketWorld(timed())
    world.decide(minute_bar(0))
    assert world.refusals == [[]]
    assert len(world.intents) == 1


@pytest.mark.parametrize(
    ("quote_age", "trade_age", "bar_age", "source", "price"),
    [
        (5.0, 0.0, 0.0, "quote", "100.5"),
        (5.1, 60.0, 0.0, "trade", "99"),
        (5.1, 60.1, 60.0, "bar", "100.0"),
    ],
)
def test_the_reference_price_is_quote_then_trade_then_close(
    quote_age: float, trade_age: float, bar_age: float, source: str, price: str
) -> None:
    world = MarketWorld(timed())
    now = BELL + MINUTE + timedelta(seconds=bar_age)
    world.board.quoted("AAPL", Quote(now - timedelta(seconds=quote_age), 100.0, 101.0))
    world.board.traded("AAPL", Trade(now - timedelta(seconds=trade_age), 99.0))
    world.decide(minute_bar(0), after=bar_age)
    assert world.refusals == [[]]
    assert (snapshot(world)["source"], Decimal(str(snapshot(world)["price"]))) == (source, Decimal(price))


def test_a_close_that_is_too_old_is_a_stale_price() -> None:
    for after, reasons in ((300.0, []), (300.1, ["price_stale"])):
        world = MarketWorld(timed(), BAR_MAX_AGE_SECONDS="3600", FEATURE_MAX_STALENESS_MS="3600000")
        world.decide(minute_bar(0), after=after)
        assert world.refusals == [reasons]


@pytest.mark.parametrize("source", ["quote", "trade"])
def test_size_limit_collar_and_arrival_use_quote_or_trade_and_neither_the_vwap_nor_the_close(source: str) -> None:
    """The session's VWAP and every close are 100; what is asked for now is 120."""
    world = MarketWorld(timed(enter_at=3, qty=None, cap=1_210.0), PRICE_COLLAR_BPS="10")
    now = BELL + 3 * MINUTE
    world.decide(minute_bar(0))
    world.decide(minute_bar(1))
    if source == "quote":
        world.board.quoted("AAPL", Quote(now, 119.98, 120.02))
    else:
        world.board.traded("AAPL", Trade(now, 120.0))
    world.decide(minute_bar(2))
    assert world.refusals == [[]]
    (intent,) = world.intents
    limit = Decimal("120.02") if source == "quote" else Decimal(120)
    assert (intent.terms.limit_price, intent.arrival_price, intent.terms.qty) == (limit, Decimal(120), 10)
    assert (snapshot(world)["source"], Decimal(str(snapshot(world)["price"]))) == (source, Decimal(120))


def test_a_limit_outside_the_collar_around_quote_or_trade_is_refused() -> None:
    for collar, reasons in (("2", []), ("1", ["price_collar_exceeded"])):
        world = MarketWorld(timed(), PRICE_COLLAR_BPS=collar)
        world.board.quoted("AAPL", Quote(BELL + MINUTE, 119.98, 120.02))  # the ask is 1.67 hundredths of a percent off
        world.decide(minute_bar(0, close=100.0))
        assert world.refusals == [reasons]


def test_without_a_fresh_quote_the_limit_is_half_the_usual_spread_away() -> None:
    world = MarketWorld(timed())
    for number in range(-3, 1):
        world.board.quoted("AAPL", Quote(BELL + number * MINUTE, 100.0, 100.04))
    world.decide(minute_bar(0))
    assert world.intents[0].terms.limit_price == Decimal("100.02")


def test_a_bar_may_be_as_old_as_its_timeframe_and_ten_seconds() -> None:
    for after, reasons in ((70.0, []), (70.1, ["signal_stale"])):
        world = MarketWorld(timed())
        world.decide(minute_bar(0), after=after)
        assert world.refusals == [reasons]


def test_a_ten_day_old_bar_a_sunday_bar_and_a_bar_after_an_early_close_order_nothing() -> None:
    world = MarketWorld(timed())
    world.decide(minute_bar(0), after=10 * 86_400.0)
    assert "signal_stale" in world.refusals[0]
    assert world.intents == []
    sunday = MarketWorld(timed())
    opens_at = BELL + timedelta(days=6)
    sunday.decide(minute_bar(0, open_ts=opens_at, event_ts=opens_at + MINUTE, session=None))
    assert (sunday.refusals, sunday.intents) == ([], [])
    early = MarketWorld(timed())
    opens_at = BELL.replace(month=11, day=27, hour=18, minute=5)  # the session closed at 18:00
    early.decide(minute_bar(0, open_ts=opens_at, event_ts=opens_at + MINUTE, session=date(2026, 11, 27)))
    assert "market_closed" in early.refusals[0]
    assert early.intents == []


def test_a_halted_symbol_neither_enters_nor_exits_and_others_go_on() -> None:
    world = MarketWorld(timed(exit_at=3))
    world.decide(minute_bar(0), minute_bar(0, "MSFT"))
    world.move_to(BELL + 1.5 * MINUTE)
    world.board.halt("AAPL", halted=True)
    world.decide(minute_bar(1), minute_bar(1, "MSFT"))
    world.decide(minute_bar(2), minute_bar(2, "MSFT"))
    exits = [intent.terms.symbol for intent in world.intents if intent.is_exit]
    assert exits == ["MSFT"]
    assert ["symbol_halted"] in world.refusals


@pytest.mark.parametrize("code", ["symbol_halted", "symbol_frozen", "symbol_not_allowed", "calendar_broker_mismatch"])
def test_what_stands_against_an_entry_has_its_reason(code: str) -> None:
    world = MarketWorld(timed(), STATIC_SYMBOLS="MSFT" if code == "symbol_not_allowed" else "AAPL,MSFT")
    if code == "symbol_halted":
        world.board.halt("AAPL", halted=True)
    elif code == "symbol_frozen":
        world.frozen.add("AAPL")
    elif code == "calendar_broker_mismatch":
        world.broker.control({"clock_skew_ms": 61_000})
        world.calendar.check()
    world.decide(minute_bar(0), minute_bar(0, "MSFT"))
    others = [] if code != "calendar_broker_mismatch" else [code]
    assert world.refusals == [[code], others]


def test_the_brokers_word_on_an_asset_stands_against_entries() -> None:
    world = MarketWorld(timed())
    world.broker.control({"assets": {"AAPL": {"tradable": False}}})
    world.assets.refresh(["AAPL", "MSFT"])
    world.decide(minute_bar(0), minute_bar(0, "MSFT"))
    assert world.refusals == [["asset_not_tradable"], []]
    short = MarketWorld(timed(short=True), ALLOW_SHORTS="true")
    short.broker.control({"assets": {"AAPL": {"shortable": False}}})
    short.assets.refresh(["AAPL", "MSFT"])
    short.decide(minute_bar(0))
    assert short.refusals == [["asset_not_shortable"]]


def test_a_failing_quality_gate_lets_no_entry_pass_and_exits_go_on() -> None:
    world = MarketWorld(timed(exit_at=2), FEATURE_MAX_STALENESS_MS="0")
    world.decide(minute_bar(0))
    world.decide(minute_bar(1), after=1.0)
    assert [intent.is_exit for intent in world.intents] == [False, True]
    refused = MarketWorld(timed(), FEATURE_MAX_STALENESS_MS="0")
    refused.decide(minute_bar(0), after=1.0)
    assert refused.refusals == [["feature_quality:feature_staleness_exceeds_budget"]]


def test_an_old_bar_of_history_decides_no_exit_and_the_next_bar_does() -> None:
    world = MarketWorld(timed(exit_at=2))
    world.decide(minute_bar(0))
    world.decide(minute_bar(1, signal_quality_flag=BACKFILL), after=71.0)
    assert world.refusals == [[], ["signal_stale"]]
    fresh = MarketWorld(timed(exit_at=2))
    fresh.decide(minute_bar(0))
    fresh.decide(minute_bar(1, signal_quality_flag=BACKFILL), after=70.0)
    assert [intent.is_exit for intent in fresh.intents] == [False, True]


def test_an_empty_universe_lets_positions_leave(tmp_path: Path) -> None:
    path = tmp_path / "universe.json"
    path.write_text('["AAPL"]')
    world = MarketWorld(
        timed(exit_at=3, until=2), UNIVERSE_SOURCE="file", UNIVERSE_PATH=str(path), UNIVERSE_CACHE_SECONDS="60"
    )
    world.decide(minute_bar(0), minute_bar(0, "MSFT"))
    path.write_text("[]")
    world.decide(minute_bar(1), minute_bar(1, "MSFT"))
    world.universe.refresh()
    world.decide(minute_bar(2), minute_bar(2, "MSFT"))
    assert world.refusals[:2] == [[], ["symbol_not_allowed"]]
    assert [(intent.terms.symbol, intent.is_exit) for intent in world.intents] == [("AAPL", False), ("AAPL", True)]


STEPS = {"price_increment": "0.05", "min_trade_increment": "0.001", "min_order_size": "0.01"}


def stepped(*strategies: Any, **steps: str) -> MarketWorld:
    """A market whose broker names steps for AAPL and refuses orders that are not in them."""
    world = MarketWorld(*strategies)
    world.broker.control({"assets": {"AAPL": {**STEPS, **steps}}})
    world.assets.refresh(["AAPL", "MSFT"])
    return world


def test_orders_on_both_sides_go_out_in_the_steps_that_the_broker_names() -> None:
    world = stepped(timed(qty=None, cap=1_000.0, exit_at=3))
    for number in range(4):
        world.board.quoted("AAPL", Quote(BELL + (number + 1) * MINUTE, 100.01, 100.04))
        world.decide(minute_bar(number))
    entry, leave = world.intents
    assert (entry.terms.side, entry.terms.limit_price, entry.terms.qty) == ("buy", Decimal("100.05"), Decimal("9.995"))
    assert (leave.terms.side, leave.terms.limit_price, leave.terms.qty) == ("sell", Decimal(100), Decimal("9.995"))
    assert [each.status for each in world.broker.desk.book] == ["filled", "filled"]
    assert world.refusals == [[], []]


@pytest.mark.parametrize(("cap", "reasons"), [(10.0, []), (9.0, ["qty_below_min"])])
def test_fewer_shares_than_the_broker_takes_are_no_entry(cap: float, reasons: list[str]) -> None:
    world = stepped(timed(qty=None, cap=cap), min_order_size="0.1")
    world.decide(minute_bar(0))
    assert world.refusals == [reasons]


def test_what_is_left_below_a_step_stays_and_an_exit_of_nothing_is_not_sent() -> None:
    for least, sold, reasons in (("0.01", [Decimal("2.345")], []), ("3", [], ["qty_below_min"])):
        world = stepped(timed(enter_at=-1, exit_at=1), min_order_size=least)
        bought = BookedFill.adjustment(1, 0, Decimal(1), Decimal("2.3456"), Decimal(100))
        world.trader.portfolio.adjust(("timed", "AAPL"), bought)
        world.decide(minute_bar(0))
        assert [each.terms.qty for each in world.intents] == sold
        assert world.refusals == [reasons]
