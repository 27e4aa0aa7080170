"""What the risk engine lets through when strategies ask for too much at once, and how exits go out."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from engine_world import MONDAY, daily_tape, minute_tape, replay, settings_of, timed
from risk_cases import entry, exposure, limits

from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.engine.exit_terms import exit_flags, exit_limit
from torghut_runtime.engine.market_view import PriceSnapshot
from torghut_runtime.engine.replay import Replay, Replayed
from torghut_runtime.orders.journal import StoredIntent
from torghut_runtime.orders.reconcile import resolve_left
from torghut_runtime.orders.splits import Split
from torghut_runtime.risk.limits import entry_reasons

MARKET = {"EXECUTION_PREFER_LIMIT": "false"}
OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def quoted(tape: Tape, half: float = 0.05) -> Tape:
    """The same bars with a quote around their close."""
    return Tape(tuple(replace(bar, bid=bar.close - half, ask=bar.close + half) for bar in tape.bars), tape.timeframe)


def told(done: Replayed, *fields: str, exits: bool | None = None) -> list[tuple[Any, ...]]:
    return [tuple(o[field] for field in fields) for o in done.orders if exits is None or o["is_exit"] == exits]


def reasons(done: Replayed, strategy: str) -> list[list[str]]:
    return [decision["reasons"] for decision in done.decisions if decision["strategy_id"] == strategy]


# Caps -----------------------------------------------------------------------------------------------------------------


def committed(world: Replay) -> list[Decimal]:
    """The largest notional of positions and reservations that there ever was, observed at every order."""
    seen: list[Decimal] = []
    commit = world.journal.commit

    def observed(decision: Any, intent: Any, **given: Any) -> bool:
        before = world.trader.portfolio.gross
        seen.append(before + (0 if intent.is_exit else intent.terms.qty * intent.worst_price))
        return commit(decision, intent, **given)

    world.journal.commit = observed  # type: ignore[method-assign]
    return seen


def test_twenty_signals_within_a_second_never_pass_the_cap() -> None:
    strategies = [timed(f"s{number:02}", qty=None, cap=10_000.0, until=3, pyramid=True) for number in range(20)]
    settings = settings_of(
        PORTFOLIO_MAX_GROSS_EXPOSURE="10000", MAX_OPEN_ORDERS_PER_SYMBOL="50", MAX_ORDERS_PER_SYMBOL_PER_MINUTE="60"
    )
    world = Replay(minute_tape({"AAPL": [300] * 5}), strategies, settings, cash=Decimal(10_000))
    seen = committed(world)
    done = world.run()
    assert max(seen) <= 10_000
    assert sum(fill["qty"] * fill["price"] for fill in done.fills) <= 10_000
    assert told(done, "qty") == [(33,)]


@pytest.mark.parametrize(
    ("cap", "environment", "qty"),
    [(5_000.0, "1000", 10), (1_000.0, "5000", 10), (0.0, "1000", None), (1_000.0, "0", None)],
)
def test_of_global_and_strategy_cap_the_smaller_holds_and_zero_is_nothing(
    cap: float, environment: str, qty: int | None
) -> None:
    done = replay(
        minute_tape({"AAPL": [100] * 3}), timed(qty=None, cap=cap), MAX_NOTIONAL_PER_TRADE=environment
    ).run()  # fmt: skip
    assert told(done, "qty") == ([] if qty is None else [(qty,)])
    assert reasons(done, "timed") == [["max_notional_exceeded"] if qty is None else []]


def test_above_the_gross_cap_an_exit_goes_out_in_full() -> None:
    tape = minute_tape({"AAPL": [100, 100, 100, 200, 200, 200]})
    strategies = (timed("held", qty=40.0, exit_at=5), timed("more", enter_at=4))
    done = replay(tape, *strategies, PORTFOLIO_MAX_GROSS_EXPOSURE="5000", **MARKET).run()
    assert reasons(done, "more") == [["gross_exposure_exceeded"]]
    assert told(done, "side", "qty", "state", exits=True) == [("sell", 40, "filled")]


def test_an_exit_sells_what_is_there_and_no_more() -> None:
    tape = minute_tape({"AAPL": [100, 100, 100, 100, 100]})
    done = replay(tape, timed(qty=7.0, exit_at=3), timed("other", qty=5.0), **MARKET).run()
    assert told(done, "strategy_id", "qty", exits=True) == [("timed", 7)]
    assert done.fills[-1]["qty"] == 7


def test_a_refused_entry_starts_no_cooldown() -> None:
    done = replay(
        minute_tape({"AAPL": [50, 50, 100, 100]}),
        timed(until=3, pyramid=True, qty=10.0),
        COOLDOWN_SECONDS="3600",
        MIN_NOTIONAL_PER_TRADE="900",
        **MARKET,
    ).run()
    assert reasons(done, "timed") == [["min_notional_not_met"], ["min_notional_not_met"], []]


@pytest.mark.parametrize(
    ("shares", "volume", "expected"),
    [(2_000, 1_000, ["participation_exceeds_max"]), (100, 1_000, []), (101, 1_000, ["participation_exceeds_max"])],
)
def test_an_order_is_a_share_of_the_average_volume(shares: int, volume: int, expected: list[str]) -> None:
    asked = entry(qty=shares, worst_price=1, average_daily_volume=volume)
    assert entry_reasons(asked, exposure(), limits(participation_rate="0.1")) == expected


def test_a_short_that_grows_past_the_symbols_cap_is_refused() -> None:
    asked = entry(side="sell", qty=5_000, worst_price=1)
    assert entry_reasons(asked, exposure(symbol_net=-4_000), limits(max_notional_per_symbol=5_000)) == [
        "symbol_notional_exceeded"
    ]


@pytest.mark.parametrize(("price", "limit"), [("635.815", "635.82"), ("120.1234", "120.12"), ("0.12345", "0.1235")])
def test_a_limit_is_rounded_half_up(price: str, limit: str) -> None:
    assert PriceSnapshot(Decimal(price), OPEN, "bar").touch("buy") == Decimal(limit)


# Exits ----------------------------------------------------------------------------------------------------------------


def test_an_exit_is_a_limit_at_a_fresh_touch_and_then_a_market_order() -> None:
    tape = quoted(minute_tape({"AAPL": [100, 100, 100, (90, 90, 90, 90), 90, 90]}))
    done = replay(tape, timed(exit_at=3), BAR_MAX_AGE_SECONDS="600").run()
    first, second = (o for o in done.orders if o["is_exit"])
    assert (first["order_type"], first["limit_price"], first["state"]) == ("limit", Decimal("99.95"), "canceled")
    assert (second["order_type"], second["limit_price"], second["state"]) == ("market", None, "filled")
    assert (first["intent_seq"], second["intent_seq"], second["qty"]) == (0, 1, 10)
    assert second["sent_at"] - first["sent_at"] >= timedelta(seconds=30)
    assert first["decision_hash"] == second["decision_hash"]


def test_a_limit_exit_that_is_met_is_one_order() -> None:
    tape = quoted(minute_tape({"AAPL": [100, 100.2, 100, 101, 101]}))
    done = replay(tape, timed(exit_at=3), EXECUTION_ORDER_TTL_SECONDS="300").run()
    assert told(done, "order_type", "state", exits=True) == [("limit", "filled")]


def snapshot(source: str, seconds: float, **quote: Any) -> tuple[PriceSnapshot, datetime]:
    return PriceSnapshot(Decimal(100), OPEN, source, **quote), OPEN + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("source", "seconds", "flags"),
    [
        ("quote", 5, []),
        ("quote", 5.1, ["exit_without_fresh_price"]),
        ("trade", 60, []),
        ("trade", 60.1, ["exit_without_fresh_price"]),
        ("bar", 300, []),
        ("bar", 300.1, ["exit_without_fresh_price"]),
    ],
)
def test_an_exit_on_an_old_price_is_flagged(source: str, seconds: float, flags: list[str]) -> None:
    assert exit_flags(*snapshot(source, seconds), settings_of()) == flags


def test_an_exit_is_a_market_order_without_a_quote_or_where_market_orders_are_preferred() -> None:
    quote = {"bid": Decimal("99.9"), "ask": Decimal("100.1")}
    with_quote, _ = snapshot("quote", 0, **quote)
    assert exit_limit(with_quote, "sell", settings_of()) == Decimal("99.90")
    assert exit_limit(with_quote, "buy", settings_of()) == Decimal("100.10")
    assert exit_limit(with_quote, "sell", settings_of(**MARKET)) is None
    assert exit_limit(snapshot("bar", 0)[0], "sell", settings_of()) is None


# Queued orders --------------------------------------------------------------------------------------------------------


def test_a_queued_entry_is_checked_against_its_strategys_own_cap_again() -> None:
    tape = daily_tape({"AAPL": [100, 101, 102]}, first=MONDAY)
    world = replay(tape, timed(timeframe="1Day", cap=1_200.0), **MARKET)
    entries = world.trader.dispatcher.entry

    def then_the_cap_falls(*arguments: Any, **keywords: Any) -> None:
        entries(*arguments, **keywords)
        world.trader.driver.strategies[0] = timed(timeframe="1Day", cap=900.0)

    world.trader.dispatcher.entry = then_the_cap_falls
    done = world.run()
    assert told(done, "state", "reason") == [("canceled", "max_notional_exceeded")]


def down_and_up(*, up: datetime) -> list[tuple[Any, ...]]:
    """A decision on Monday's close by a process that is gone on Tuesday morning; what its successor sends."""
    tape = daily_tape({"AAPL": [100, 101, 102]}, first=MONDAY)
    before = replay(tape, timed(timeframe="1Day"))
    before._broker.advance_to(tape.bars[0].closes_at)
    before._hear(tape.bars[0].closes_at)
    from torghut_runtime.engine.replay import market_bar

    before.trader.on_bars([market_bar(tape.bars[0], "1Day", MONDAY)])
    (left,) = before.journal.intents.values()
    decision = before.journal.decisions[left.decision_hash]
    world = replay(tape, timed(timeframe="1Day", enter_at=99))
    world.journal.commit(decision, left.intent)
    world.tracker.expect(left.intent)
    at = int(up.timestamp()) * 10**9
    world._broker.advance_to(at)
    world._hear(at)
    stored: Sequence[StoredIntent] = [StoredIntent(left.intent, decision, "initialised", None)]
    world.trader.dispatcher.take_over(resolve_left(world.trader.manager, stored))
    for _ in range(3):
        world.trader.on_time()
        world._pump()
    return [(order.terms.time_in_force, order.terms.type) for order in world._broker.desk.book]


def test_down_before_the_open_and_up_after_it_sends_one_day_order() -> None:
    assert [sent[0] for sent in down_and_up(up=datetime(2026, 1, 6, 14, 40, tzinfo=UTC))] == ["day"]


def test_up_again_before_the_cut_off_sends_one_opening_order() -> None:
    assert [sent[0] for sent in down_and_up(up=datetime(2026, 1, 6, 14, 20, tzinfo=UTC))] == ["opg"]


def test_up_after_the_close_sends_nothing() -> None:
    assert down_and_up(up=datetime(2026, 1, 6, 21, 0, tzinfo=UTC)) == []


# Splits ---------------------------------------------------------------------------------------------------------------


def test_a_price_that_jumps_by_an_announced_split_orders_nothing_in_its_symbol_and_stops_no_other() -> None:
    prices: dict[str, list[Any]] = {"AAPL": [400, 400, 400, 100, 100, 100], "MSFT": [50] * 6}
    strategies = (
        timed("held", qty=20.0, exit_at=5, symbols=["AAPL"]),
        timed("new", enter_at=5, symbols=["AAPL"]),
        timed("other", enter_at=5, symbols=["MSFT"]),
    )
    world = replay(minute_tape(prices), *strategies, **MARKET)
    world.trader.frozen.splits = (Split("AAPL", Decimal(4), Decimal(1), MONDAY),)
    done = world.run()
    assert [(o["strategy_id"], o["state"]) for o in done.orders] == [("held", "filled"), ("other", "filled")]
    assert reasons(done, "held")[1:] == [["symbol_frozen"]]
    assert reasons(done, "new") == [["symbol_frozen"]]
    assert (done.state, done.reasons) == ("ACTIVE", ())
