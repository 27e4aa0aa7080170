"""An exit that a killed process marked as sent, and that never arrived, goes as any other exit does, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from engine_world import MONDAY, minute_tape, replay, timed
from order_cases import ACCOUNT, decision, intent

from torghut_runtime.broker.protocol import RateLimitedError
from torghut_runtime.clock import nanoseconds_of
from torghut_runtime.engine.replay import Replay, market_bar
from torghut_runtime.engine.stance import Cause
from torghut_runtime.orders.booked_fills import BookedFill
from torghut_runtime.orders.journal import StoredIntent
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.reconcile import resolve_left
from torghut_runtime.risk.trading_state import OPERATOR_HALT

BELL = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
CLOSE = datetime(2026, 1, 5, 21, tzinfo=UTC)
FRIDAY_CLOSE = CLOSE - timedelta(days=3)
MARKED = BELL + timedelta(minutes=3)
NOT_RECEIVED = [("rejected", "submit_not_received")]


@dataclass
class Restarted:
    """A process that holds ten shares of AAPL, in the place of one that died with an exit that it had marked."""

    world: Replay
    order: Intent
    marked_at: datetime

    def at(self, moment: datetime) -> None:
        """Let time pass second by second, and do what is due."""
        world, trader = self.world, self.world.trader
        until = nanoseconds_of(moment)
        while (due := trader.next_due_ns) is not None and due <= until:
            self._go(due)
        self._go(until)
        assert world.trader.dispatcher is trader.dispatcher

    def _go(self, at_ns: int) -> None:
        now_ns = max(at_ns, self.world._clock.now_ns())
        self.world._broker.advance_to(now_ns)
        self.world._hear(now_ns)
        self.world.trader.on_time()
        self.world._pump()

    def after(self, seconds: float) -> None:
        """So long after the request was marked."""
        self.at(self.marked_at + timedelta(seconds=seconds))

    @property
    def sold(self) -> list[tuple[str, Decimal | None]]:
        """Key and quantity of each order of the broker that sells."""
        documents = [order.document() for order in self.world._broker.desk.book]
        return [(each["client_order_id"], Decimal(each["qty"])) for each in documents if each["side"] == "sell"]

    @property
    def written(self) -> list[tuple[str, str | None]]:
        return [(each.state, each.reason) for each in self.world.journal.intents.values() if each.intent.is_exit]


def restarted(
    *,
    down: float = 0.0,
    marked_at: datetime = MARKED,
    decided_at: datetime | None = None,
    reconciled: bool = True,
    **terms: Any,
) -> Restarted:
    tape = minute_tape({"AAPL": [100] * 400, "MSFT": [100] * 400})
    world = replay(tape, timed(symbols=["AAPL"]), EXECUTION_PREFER_LIMIT="false", EXECUTION_ORDER_TTL_SECONDS="30")
    label = world.trader._label
    order = intent(side="sell", strategy="timed", is_exit=True, bar_ts=MARKED, **{"qty": 10, **terms})
    made = Restarted(world, order, marked_at)
    made.at(BELL + timedelta(minutes=1))
    world.trader.on_bars([market_bar(tape.bars[0], "1Min", MONDAY)])
    made.at(BELL + timedelta(minutes=3))
    assert world.trader.portfolio.position(("timed", "AAPL")).qty == 10
    assert label == ACCOUNT
    decided = replace(decision(order, MARKED), decided_at=decided_at or marked_at)
    world.journal.commit(decided, order, sent_at=marked_at)
    world.stance.set(reconciled=False)
    made.at(marked_at + timedelta(seconds=down))
    left = resolve_left(world.trader.manager, [StoredIntent(order, decided, "submitting", marked_at)])
    world.trader.dispatcher.take_over(left)
    world.stance.set(reconciled=reconciled)
    return made


def test_it_is_sent_once_under_its_key_after_the_last_look_up() -> None:
    process = restarted()
    process.after(14.9)
    assert process.sold == []
    process.after(17.0)
    process.after(200.0)
    assert process.sold == [(process.order.client_order_id, 10)]
    assert process.world.trader.portfolio.position(("timed", "AAPL")).qty == 0


@pytest.mark.parametrize("down", [0.0, 14.0, 60.0], ids=["at once", "before the last look-up", "after it"])
def test_it_waits_for_the_reconciliation(down: float) -> None:
    process = restarted(down=down, reconciled=False)
    process.after(120.0)
    assert (process.sold, process.written) == ([], [("submitting", None)])
    assert process.world.trader.portfolio.waiting(("timed", "AAPL"), exits=True) == -10
    process.world.stance.set(reconciled=True)
    process.after(122.0)
    assert process.sold == [(process.order.client_order_id, 10)]


@pytest.mark.parametrize(("seconds", "sent"), [(18.0, 1), (15.0, 0)], ids=["in its session", "after its end"])
def test_it_is_sent_in_the_session_of_its_decision(seconds: float, sent: int) -> None:
    process = restarted(marked_at=CLOSE - timedelta(seconds=seconds))
    process.at(CLOSE + timedelta(minutes=5))
    assert len(process.sold) == sent
    assert sent or process.written == NOT_RECEIVED


@pytest.mark.parametrize(
    ("decided_at", "sent"),
    [(FRIDAY_CLOSE - timedelta(seconds=1), 0), (FRIDAY_CLOSE, 1), (BELL - timedelta(seconds=1), 1)],
    ids=["in the session before", "at its close", "before the bell"],
)
def test_what_was_decided_outside_a_session_belongs_to_the_next_one(decided_at: datetime, sent: int) -> None:
    process = restarted(decided_at=decided_at)
    process.after(60.0)
    assert len(process.sold) == sent
    assert sent or process.written == NOT_RECEIVED


def test_an_opening_order_that_did_not_arrive_is_given_up() -> None:
    process = restarted(time_in_force="opg")
    process.after(60.0)
    assert (process.sold, process.written) == ([], NOT_RECEIVED)


def _freeze(world: Replay) -> None:
    world.trader.dispatcher.freeze("AAPL")


def _block(world: Replay) -> None:
    world.trader.dispatcher.strategy_blocked("timed", frozen=True)


def _halt_and_resume(world: Replay) -> None:
    before = world.stance.trading_state
    world.stance.latch(OPERATOR_HALT, world._clock.now())
    world.stance.change(lambda _: before, Cause())


@pytest.mark.parametrize("stop", [_freeze, _block, _halt_and_resume], ids=["a freeze", "a block", "a halt"])
@pytest.mark.parametrize("down", [0.0, 60.0], ids=["while it is looked for", "while it waits for reconciliation"])
def test_it_is_not_sent_after(stop: Callable[[Replay], None], down: float) -> None:
    process = restarted(down=down, reconciled=False)
    process.after(down + 5.0)
    stop(process.world)
    process.world.stance.set(reconciled=True)
    process.after(down + 60.0)
    assert (process.sold, process.written) == ([], NOT_RECEIVED)
    assert process.world.trader.portfolio.waiting(("timed", "AAPL"), exits=True) == 0


@pytest.mark.parametrize("stop", [lambda world: world.trader.dispatcher.freeze("MSFT"),
                                  lambda world: world.trader.dispatcher.strategy_blocked("other", frozen=True),
                                  lambda world: world.trader.dispatcher.strategy_blocked("timed", frozen=False)],
                         ids=["another symbol", "another strategy", "entries"])  # fmt: skip
def test_a_stop_of_something_else_does_not_stop_it(stop: Callable[[Replay], None]) -> None:
    process = restarted()
    process.after(5.0)
    stop(process.world)
    process.after(60.0)
    assert len(process.sold) == 1


@pytest.mark.parametrize(("held", "sold"), [(4, [4]), (0, []), (10, [10])])
def test_no_more_is_sold_than_is_there_by_then(held: int, sold: list[int]) -> None:
    process = restarted()
    process.after(5.0)
    portfolio = process.world.trader.portfolio
    now_ns = process.world._clock.now_ns()
    portfolio.adjust(("timed", "AAPL"), BookedFill.adjustment(1, now_ns, Decimal(1), Decimal(held - 10), Decimal(0)))
    process.after(60.0)
    assert [qty for _, qty in process.sold] == sold
    if held < 10:
        assert process.written[0] == NOT_RECEIVED[0]


def test_it_waits_for_the_end_of_an_order_on_the_other_side() -> None:
    process = restarted()
    world = process.world
    other = intent(strategy="other", order_type="limit", limit_price=Decimal(50), bar_ts=MARKED)
    world.trader.manager.place(decision(other, MARKED), other)
    world._pump()
    process.after(60.0)
    assert process.sold == []
    (opened,) = world.tracker.open_orders()
    world.trader.manager.cancel(opened.order_id)
    process.after(63.0)
    assert process.sold == [(process.order.client_order_id, 10)]


def test_a_budget_that_is_used_up_delays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    process = restarted()
    client: Any = process.world.trader.manager._firewall._writer
    submit, refused = client.submit, []

    def once_too_many(payload: Any) -> Any:
        if not refused:
            refused.append(payload)
            raise RateLimitedError(0.5)
        return submit(payload)

    monkeypatch.setattr(client, "submit", once_too_many)
    process.after(60.0)
    assert [qty for _, qty in process.sold] == [10]
    assert process.written[0] == ("rejected", "order_rate_exceeded")


def test_one_that_turns_up_is_one_order_with_its_time_to_live() -> None:
    process = restarted(order_type="limit", limit_price=Decimal(500))
    process.after(3.0)
    key = process.order.client_order_id
    process.world._broker.submit(process.order.terms.payload(key))
    process.after(6.0)
    assert process.sold == [(key, 10)]
    process.after(60.0)
    assert [qty for _, qty in process.sold] == [10, 10]
    assert process.world.trader.portfolio.position(("timed", "AAPL")).qty == 0
