"""When orders go out: at the open, late, not any more; after a restart; when requests are used up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from engine_world import FRIDAY, MONDAY, daily_tape, minute_tape, replay, timed
from order_cases import decision, intent

from torghut_runtime.broker.protocol import RateLimitedError, UncertainError
from torghut_runtime.clock import nanoseconds_of
from torghut_runtime.engine.dispatcher import collar_price
from torghut_runtime.engine.market_view import BarsOnly, PriceSnapshot, SymbolFacts
from torghut_runtime.engine.replay import Replay, market_bar
from torghut_runtime.engine.stance import Cause
from torghut_runtime.orders.increments import Increments
from torghut_runtime.orders.journal import StoredIntent
from torghut_runtime.orders.reconcile import resolve_left
from torghut_runtime.risk.trading_state import TradingState

MARKET = {"EXECUTION_PREFER_LIMIT": "false"}
BELL = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
FRIDAY_CLOSE = datetime(2026, 1, 9, 21, tzinfo=UTC)
MONDAY_OPEN = datetime(2026, 1, 12, 14, 30, tzinfo=UTC)


def at(world: Replay, moment: datetime) -> None:
    """Let time and simulator come to a moment, then do what is due."""
    world._broker.advance_to(nanoseconds_of(moment))
    world._hear(nanoseconds_of(moment))
    world.trader.on_time()
    world._pump()


@pytest.fixture
def queued() -> Replay:
    """Friday is over; a daily strategy has decided to buy on Monday."""
    tape = daily_tape({"AAPL": [100, 101, 102]}, first=FRIDAY)
    world = replay(tape, timed(timeframe="1Day"))
    at(world, FRIDAY_CLOSE)
    world.trader.on_bars([market_bar(tape.bars[0], "1Day", FRIDAY)])
    return world


def broker_orders(world: Replay) -> list[dict[str, Any]]:
    return [order.document() for order in world._broker.desk.book]


def written(world: Replay) -> list[tuple[str, str | None, str]]:
    return [(each.state, each.reason, each.intent.terms.time_in_force) for each in world.journal.intents.values()]


def test_a_queued_order_waits_over_the_weekend_with_its_exposure_reserved(queued: Replay) -> None:
    at(queued, MONDAY_OPEN - timedelta(minutes=15, seconds=1))
    assert written(queued) == [("initialised", None, "opg")]
    assert queued.trader.portfolio.gross == 1_020
    at(queued, MONDAY_OPEN - timedelta(minutes=15))
    assert written(queued) == [("submitting", None, "opg")]
    assert [order["time_in_force"] for order in broker_orders(queued)] == ["opg"]


def test_when_the_opening_was_missed_it_goes_as_a_day_order_in_the_session(queued: Replay) -> None:
    at(queued, MONDAY_OPEN - timedelta(minutes=1))
    assert written(queued) == [("initialised", None, "opg")]
    at(queued, MONDAY_OPEN + timedelta(minutes=10))
    assert written(queued) == [("canceled", "opening_missed", "opg"), ("submitting", None, "day")]
    assert [order["time_in_force"] for order in broker_orders(queued)] == ["day"]


def test_what_was_not_sent_by_the_close_of_its_session_expires(queued: Replay) -> None:
    at(queued, datetime(2026, 1, 12, 21, tzinfo=UTC))
    assert written(queued) == [("expired", "queue_expired", "opg")]
    assert (queued.trader.portfolio.gross, broker_orders(queued)) == (0, [])


def test_a_queued_entry_is_checked_again_before_it_goes(queued: Replay) -> None:
    queued.stance.set(kill_switch=True)
    at(queued, MONDAY_OPEN - timedelta(minutes=15))
    assert written(queued) == [("canceled", "kill_switch_enabled", "opg")]
    assert broker_orders(queued) == []


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (SymbolFacts(halted=True), "symbol_halted"),
        (SymbolFacts(frozen=True), "symbol_frozen"),
        (SymbolFacts(tradable=False), "asset_not_tradable"),
        (SymbolFacts(allowed=False), "symbol_not_allowed"),
        (SymbolFacts(calendar_agrees=False), "calendar_broker_mismatch"),
        (SymbolFacts(shortable=False, trades=False, quality=("feature_quality:judged_with_its_bar",)), None),
    ],
)
def test_the_market_of_a_queued_entry_is_asked_again(
    queued: Replay, monkeypatch: pytest.MonkeyPatch, facts: SymbolFacts, reason: str | None
) -> None:
    monkeypatch.setattr(BarsOnly, "facts", lambda *_: facts)
    at(queued, MONDAY_OPEN - timedelta(minutes=15))
    assert written(queued) == [("submitting" if reason is None else "canceled", reason, "opg")]
    assert len(broker_orders(queued)) == (reason is None)


def test_a_queued_order_of_an_earlier_process_is_sent_by_the_next(queued: Replay) -> None:
    (left,) = queued.journal.intents.values()
    decision = queued.journal.decisions[left.decision_hash]
    tape = daily_tape({"AAPL": [100, 101, 102]}, first=FRIDAY)
    world = replay(tape, timed(timeframe="1Day", enter_at=99))
    at(world, FRIDAY_CLOSE + timedelta(hours=1))
    world.journal.commit(decision, left.intent)
    world.tracker.expect(left.intent)
    stored = [StoredIntent(left.intent, decision, "initialised", None)]
    for each in resolve_left(world.trader.manager, stored):
        assert each.decision is not None
        world.trader.dispatcher.requeue(each.decision, each.intent)
    at(world, MONDAY_OPEN - timedelta(minutes=15))
    assert written(world) == [("submitting", None, "opg")]


def test_a_queued_order_waits_for_the_reconciliation(queued: Replay) -> None:
    queued.stance.set(reconciled=False)
    at(queued, MONDAY_OPEN - timedelta(minutes=15))
    assert written(queued) == [("initialised", None, "opg")]
    queued.stance.set(reconciled=True)
    at(queued, MONDAY_OPEN - timedelta(minutes=14, seconds=59))
    assert written(queued) == [("submitting", None, "opg")]


@pytest.mark.parametrize("decided_at", [BELL + timedelta(minutes=3), BELL - timedelta(days=2)], ids=["now", "before"])
def test_an_exit_of_an_earlier_process_that_was_never_marked_waits_for_the_reconciliation(decided_at: datetime) -> None:
    tape = minute_tape({"AAPL": [100] * 10})
    world = replay(tape, timed(), **MARKET)
    at(world, BELL + timedelta(minutes=1))
    world.trader.on_bars([market_bar(tape.bars[0], "1Min", MONDAY)])
    at(world, BELL + timedelta(minutes=3))
    bar_ts = BELL + timedelta(minutes=2)
    order = intent(side="sell", strategy="timed", is_exit=True, bar_ts=bar_ts)
    decided = replace(decision(order, bar_ts), decided_at=decided_at)
    world.journal.commit(decided, order)
    world.tracker.expect(order)
    world.stance.set(reconciled=False)
    world.trader.dispatcher.take_over(
        resolve_left(world.trader.manager, [StoredIntent(order, decided, "initialised", None)])
    )
    at(world, BELL + timedelta(minutes=3, seconds=30))
    assert written(world)[-1] == ("initialised", None, "day")
    world.stance.set(reconciled=True)
    at(world, BELL + timedelta(minutes=3, seconds=31))
    assert written(world)[-1] == ("submitting", None, "day")


def _reduce(world: Replay) -> None:
    world.stance.latch("broker_failure_streak_exceeded:5", world._clock.now())
    world.stance.change(lambda _: TradingState(), Cause())


@pytest.mark.parametrize(
    ("stop", "sent"),
    [
        (lambda world: world.trader.dispatcher.freeze("AAPL"), 1),
        (lambda world: world.trader.dispatcher.strategy_blocked("timed", frozen=False), 1),
        (_reduce, 1),
        (lambda world: world.trader.dispatcher.freeze("MSFT"), 2),
    ],
    ids=["its symbol is frozen", "its strategy is blocked", "trading is reduced for a moment", "another symbol is"],
)
def test_an_unknown_entry_does_not_go_again_after(stop: Any, sent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = minute_tape({"AAPL": [100] * 3})
    world = replay(tape, timed(), EXECUTION_MAX_RETRIES="1")
    client: Any = world.trader.manager._firewall._writer
    asked: list[Any] = []

    def no_answer(payload: Any) -> Any:
        asked.append(payload)
        raise UncertainError("no answer")

    monkeypatch.setattr(client, "submit", no_answer)
    at(world, BELL + timedelta(minutes=1))
    world.trader.on_bars([market_bar(tape.bars[0], "1Min", MONDAY)])
    stop(world)
    at(world, BELL + timedelta(minutes=1, seconds=16))
    assert len(asked) == sent


def test_an_exit_that_finds_the_budget_used_up_goes_a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = minute_tape({"AAPL": [100, 100, 100, 100]})
    world = replay(tape, timed(exit_at=3))
    client: Any = world.trader.manager._firewall._writer
    submit, refused = client.submit, []

    def once_too_many(payload: Any) -> Any:
        if payload["side"] == "sell" and not refused:
            refused.append(payload)
            raise RateLimitedError(0.5)
        return submit(payload)

    monkeypatch.setattr(client, "submit", once_too_many)
    done = world.run()
    exits = [order for order in done.orders if order["is_exit"]]
    assert [(order["state"], order["reason"], order["intent_seq"]) for order in exits] == [
        ("rejected", "order_rate_exceeded", 0),
        ("filled", None, 1),
    ]
    assert (exits[1]["sent_at"] - exits[0]["sent_at"]).total_seconds() == 1.0


def test_an_order_that_stays_unknown_refuses_entries_until_it_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = minute_tape({"AAPL": [100] * 6, "MSFT": [50] * 6})
    strategies = (timed("lost", symbols=["AAPL"]), timed("other", until=9, pyramid=True, symbols=["MSFT"]))
    world = replay(tape, *strategies, EXECUTION_ORDER_TTL_SECONDS="20")
    client: Any = world.trader.manager._firewall._writer
    submit, look_up = client.submit, client.order_by_client_id
    silent_until = nanoseconds_of(datetime(2026, 1, 5, 14, 33, 30, tzinfo=UTC))

    def answers_to_nobody(payload: Any) -> Any:
        document = submit(payload)
        if payload["symbol"] == "AAPL":
            raise UncertainError("no answer")
        return document

    def says_nothing_for_a_while(key: str) -> Any:
        if world._clock.now_ns() < silent_until:
            raise UncertainError("no answer")
        return look_up(key)

    monkeypatch.setattr(client, "submit", answers_to_nobody)
    monkeypatch.setattr(client, "order_by_client_id", says_nothing_for_a_while)
    hear = world.trader.on_order_event
    monkeypatch.setattr(world.trader, "on_order_event", lambda frame: None if b"AAPL" in frame else hear(frame))
    done = world.run()
    refused = [decision["reasons"] for decision in done.decisions if decision["strategy_id"] == "other"]
    assert refused == [[], ["state_reducing"], ["state_reducing"], [], [], []]
    assert done.state == "ACTIVE"
    assert [order["state"] for order in done.orders if order["strategy_id"] == "lost"] == ["filled"]


def test_while_the_broker_answers_no_look_up_nothing_is_concluded_and_trading_is_reduced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tape = minute_tape({"AAPL": [100] * 3})
    world = replay(tape, timed())
    trader, sent_at = world.trader, datetime(2026, 1, 5, 14, 31, tzinfo=UTC)
    client: Any = trader.manager._firewall._writer

    def no_answer(_: Any) -> Any:
        raise UncertainError("no answer")

    monkeypatch.setattr(client, "submit", no_answer)
    monkeypatch.setattr(client, "order_by_client_id", no_answer)
    at(world, sent_at)
    trader.on_bars([market_bar(tape.bars[0], "1Min", MONDAY)])
    (order,) = trader.manager.unknown

    def seen(seconds: float) -> tuple[str, tuple[str, ...]]:
        at(world, sent_at + timedelta(seconds=seconds))
        trader.watch()
        assert written(world)[0][0] == "unknown"
        assert trader.portfolio.gross == 1_000
        return world.stance.trading_state.state, world.stance.trading_state.codes

    reason = f"order_unknown_unresolved:{order.client_order_id}"
    assert seen(14.999) == ("ACTIVE", ())
    assert seen(15) == ("REDUCING", (reason,))
    assert seen(600) == ("REDUCING", (reason,))
    monkeypatch.setattr(client, "order_by_client_id", lambda _: None)
    at(world, sent_at + timedelta(seconds=605))
    trader.watch()
    assert written(world) == [("rejected", "submit_not_received", "day")]
    assert (trader.portfolio.gross, world.stance.trading_state.codes) == (0, ())


def test_an_order_whose_replacement_was_not_received_is_cancelled_after_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = replay(minute_tape({"AAPL": [100, 105, 105, 105, 105]}), timed(), EXECUTION_ORDER_TTL_SECONDS="70")
    client: Any = world.trader.manager._firewall._writer

    def no_answer(*_: Any) -> Any:
        raise UncertainError("no answer")

    monkeypatch.setattr(client, "replace", no_answer)
    first, second = world.run().orders
    assert (first["state"], first["filled_qty"]) == ("canceled", 0)
    assert (first["terminal_at"] - first["submitted_at"]).total_seconds() == pytest.approx(140, abs=0.01)
    assert (second["state"], second["reason"]) == ("rejected", "submit_not_received")


@pytest.mark.parametrize(
    ("reference", "side", "step", "price"),
    [
        ("100", "buy", None, "102"),
        ("100", "sell", None, "98"),
        ("33.33", "buy", None, "33.99"),
        ("33.33", "sell", None, "32.67"),
        ("0.5", "buy", None, "0.51"),
        ("33.33", "buy", "0.25", "33.75"),
        ("33.33", "sell", "0.25", "32.75"),
    ],
)
def test_an_opening_limit_stays_within_the_collar(reference: str, side: Any, step: str | None, price: str) -> None:
    steps = Increments(price=None if step is None else Decimal(step))
    known = PriceSnapshot(Decimal(reference), datetime.now(UTC), "bar", increments=steps)
    assert collar_price(known, side, Decimal(200)) == Decimal(price)
