"""An intent is written before it is sent, and a missing answer is looked up, never taken for a rejection."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from order_cases import decision, intent

from torghut_runtime.broker.protocol import BrokerError, RateLimitedError, RejectedError, UncertainError
from torghut_runtime.clock import NANOSECONDS, SimulatedClock
from torghut_runtime.order_feed.event import Source
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.journal import EventSink, MemoryJournal, NoEvents
from torghut_runtime.orders.manager import LOOK_UPS, POINTS, OrderManager
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.orders.tracker import OrderTracker, snapshot_event
from torghut_runtime.risk.limits import Gate


class FakeBroker:
    """Takes orders, or does what the test says first; ``silent`` look-ups raise."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.failures: list[BrokerError | None] = []
        self.accepts_anyway = False
        self.silent = False
        self.calls: list[str] = []

    def submit(self, payload: Mapping[str, str]) -> dict[str, Any]:
        self.calls.append("submit")
        failure = self.failures.pop(0) if self.failures else None
        if failure is None or self.accepts_anyway:
            self.accept(payload)
        if failure is not None:
            raise failure
        return self.orders[payload["client_order_id"]]

    def replace(self, order_id: str, changes: Mapping[str, str]) -> dict[str, Any]:
        self.calls.append(f"replace {order_id}")
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        (old,) = [order for order in self.orders.values() if order["id"] == order_id]
        self.accept({**old, **changes})
        return self.orders[changes["client_order_id"]]

    def cancel(self, order_id: str) -> None:
        self.calls.append(f"cancel {order_id}")

    def accept(self, payload: Mapping[str, str]) -> None:
        key = payload["client_order_id"]
        stamp = "2026-01-05T14:31:00Z"
        self.orders[key] = {
            **payload, "id": f"order-{len(self.orders)}", "status": "new", "filled_qty": "0",
            "submitted_at": stamp, "updated_at": stamp,
        }  # fmt: skip

    def order_by_client_id(self, client_order_id: str) -> dict[str, Any] | None:
        self.calls.append("look up")
        if self.silent:
            raise UncertainError("nobody there")
        return self.orders.get(client_order_id)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody should call {name}")


class World:
    def __init__(self, max_retries: int = 0, events: EventSink | None = None, *, keeps_stream: bool = True) -> None:
        self.broker, self.clock = FakeBroker(), SimulatedClock(NANOSECONDS)
        self.journal, self.gate = MemoryJournal(), Gate()
        self.portfolio = Portfolio(Decimal(100_000))
        self.points: list[str] = []
        budget = RequestBudget(200, self.clock.now_ns())
        self.manager = OrderManager(
            journal=self.journal,
            events=events or NoEvents(),
            firewall=Firewall(self.broker, lambda: self.gate, budget, self.clock),
            reader=self.broker,
            tracker=OrderTracker("paper", self.portfolio),
            clock=self.clock,
            max_retries=max_retries,
            keeps_stream=keeps_stream,
            reached=self.points.append,
        )

    def place(self, order: Intent | None = None) -> Any:
        order = order or intent()
        return self.manager.place(decision(order), order)

    def wait_until(self, seconds: float) -> None:
        self.clock.advance_to(NANOSECONDS + int(seconds * NANOSECONDS))
        self.manager.resolve()

    @property
    def written(self) -> tuple[str, str | None]:
        (found,) = self.journal.intents.values()
        return found.state, found.reason

    @property
    def reserved(self) -> Decimal:
        return self.portfolio.gross


def test_an_order_passes_every_point_in_its_order_and_keeps_its_reservation() -> None:
    world = World()
    assert world.place().kind == "accepted"
    assert tuple(world.points) == POINTS
    assert world.reserved == 1_000


def test_a_key_that_is_known_is_never_sent_again() -> None:
    world = World()
    world.place()
    assert world.place(intent(qty=77)).kind == "known"
    assert world.broker.calls == ["submit"]
    assert world.reserved == 1_000


def test_nothing_is_sent_through_a_closed_gate_and_nothing_stays_reserved() -> None:
    world = World()
    world.gate = Gate(kill_switch=True)
    outcome = world.place()
    assert (outcome.kind, outcome.reason) == ("rejected", "kill_switch_enabled")
    assert world.broker.calls == []
    assert world.written == ("rejected", "kill_switch_enabled")
    assert world.reserved == 0


def test_a_definite_rejection_is_not_repeated_and_names_the_order_against_it() -> None:
    world = World()
    world.broker.failures = [RejectedError(403, 40310000, "potential wash trade", existing_order_id="o-7")]
    outcome = world.place()
    assert (outcome.reason, outcome.message) == (
        "alpaca_order_rejected", "40310000: potential wash trade (order o-7)",
    )  # fmt: skip
    assert world.broker.calls == ["submit"]
    assert (world.reserved, world.manager.failures_in_a_row) == (0, 1)


def test_an_order_whose_answer_was_lost_is_found_at_once_and_there_is_one_of_it() -> None:
    world = World()
    world.broker.failures, world.broker.accepts_anyway = [UncertainError("reset")], True
    assert world.place().kind == "accepted"
    assert world.broker.calls == ["submit", "look up"]
    assert len(world.broker.orders) == 1
    assert world.reserved == 1_000
    assert world.manager.unknown == ()


def test_an_order_that_nobody_knows_is_looked_up_on_time_and_given_up_after_the_last() -> None:
    world = World()
    world.broker.failures = [UncertainError("time-out")]
    assert world.place().kind == "unknown"
    asked_at = [0.0]
    while world.manager.unknown:
        due = world.manager.next_look_up_ns
        assert due is not None
        assert world.reserved == 1_000
        asked_at.append(due / NANOSECONDS - 1)
        world.wait_until(asked_at[-1])
    assert asked_at == list(LOOK_UPS)
    assert world.written == ("rejected", "submit_not_received")
    assert world.reserved == 0
    assert world.broker.calls.count("submit") == 1


def test_an_order_that_is_found_late_within_the_time_is_adopted() -> None:
    world = World()
    world.broker.failures = [UncertainError("time-out")]
    order = intent()
    world.place(order)
    world.wait_until(4.999)
    world.broker.accept(order.terms.payload(order.client_order_id))
    world.wait_until(5.0)
    assert world.manager.unknown == ()
    assert world.manager.tracker.order_of(order.client_order_id) is not None
    assert world.reserved == 1_000


def test_at_the_last_look_up_an_order_is_found_or_given_up_and_not_before() -> None:
    found, lost = World(), World()
    order = intent()
    for world in (found, lost):
        world.broker.failures = [UncertainError("time-out")]
        world.place(order)
        world.wait_until(14.999)
        assert [each.client_order_id for each in world.manager.unknown] == [order.client_order_id]
        assert world.manager.unresolved == ()
    found.broker.accept(order.terms.payload(order.client_order_id))
    for world in (found, lost):
        world.wait_until(15.0)
        assert world.manager.unknown == ()
    assert found.manager.tracker.order_of(order.client_order_id) is not None
    assert (found.written[0], found.reserved) == ("unknown", 1_000)
    assert lost.written == ("rejected", "submit_not_received")
    assert lost.reserved == 0


def looked_up_at(world: World) -> list[float]:
    """Let time pass until no order is unknown; seconds at which something was due."""
    asked: list[float] = []
    while (due := world.manager.next_look_up_ns) is not None:
        asked.append(due / NANOSECONDS - 1)
        world.wait_until(asked[-1])
    return asked


def test_each_request_of_an_order_has_the_look_ups_of_its_own() -> None:
    world = World(max_retries=1)
    world.broker.failures = [UncertainError("a"), UncertainError("b")]
    world.place()
    later = LOOK_UPS[1:]
    assert looked_up_at(world) == [*later, *(15.0 + seconds for seconds in later)]
    assert world.broker.calls.count("submit") == 2
    assert world.broker.calls.count("look up") == 2 * len(LOOK_UPS)
    assert world.written == ("rejected", "submit_not_received")


def adopted(sent_at: float, order: Intent, now: float = 0.0, *, goes_on: bool = False, **world: Any) -> World:
    """A process that finds at ``now`` an order whose request left at ``sent_at``."""
    made = World(**world)
    made.manager.commit(decision(order), order)
    made.clock.advance_to(NANOSECONDS + int(now * NANOSECONDS))
    made.manager.adopt_unknown(order, NANOSECONDS + int(sent_at * NANOSECONDS), goes_on=goes_on)
    return made


@pytest.mark.parametrize(
    ("sent_at", "now", "asked"),
    [
        (0.0, 4.0, [4.0, 5.0, 10.0, 15.0]),
        (0.0, 14.9, [14.9, 15.0]),
        (0.0, 15.0, [15.0]),
        (0.0, 900.0, [900.0]),
        (31.0, 0.0, list(LOOK_UPS)),
    ],
    ids=["sent before", "nearly over", "over", "long ago", "by a clock that was set back"],
)
def test_what_an_earlier_process_sent_is_looked_up_at_once_and_for_what_is_left(
    sent_at: float, now: float, asked: list[float]
) -> None:
    world = adopted(sent_at, intent(), now)
    assert looked_up_at(world) == pytest.approx(asked)
    assert world.broker.calls == ["look up"] * len(asked)
    assert world.written == ("rejected", "submit_not_received")


def test_a_broker_that_is_silent_after_a_restart_leaves_an_old_request_unresolved_at_once() -> None:
    for sent_at, unresolved in ((0.001, ()), (0.0, (intent().client_order_id,))):
        world = adopted(sent_at, intent(), now=15.0)
        world.broker.silent = True
        world.manager.resolve()
        assert world.manager.unresolved == unresolved
        assert (world.written[0], world.reserved) == ("initialised", 1_000)


def test_a_replacement_that_was_not_received_is_a_replacement_again() -> None:
    world = World(max_retries=1)
    first = intent(order_type="limit", limit_price=Decimal(100))
    second = intent(1, order_type="limit", limit_price=Decimal(101))
    world.place(first)
    world.broker.failures = [UncertainError("time-out")]
    assert world.manager.replace(decision(second), "order-0", second).kind == "unknown"
    looked_up_at(world)
    asked = [call for call in world.broker.calls if call != "look up"]
    assert asked == ["submit", "replace order-0", "replace order-0"]
    assert world.manager.tracker.order_of(second.client_order_id) is not None


@pytest.mark.parametrize(
    ("order", "sent"),
    [(intent(), 1), (intent(1), 0), (intent(1, side="sell", is_exit=True), 1)],
    ids=["an entry", "an entry after another", "an exit after another"],
)
def test_after_a_restart_only_what_cannot_have_been_a_replacement_is_sent_again(order: Intent, sent: int) -> None:
    world = adopted(0.0, order, max_retries=1)
    looked_up_at(world)
    assert world.broker.calls.count("submit") == sent


@pytest.mark.parametrize("max_retries", [0, 1])
def test_what_goes_on_is_left_to_who_adopted_it_after_the_last_look_up(max_retries: int) -> None:
    world = adopted(0.0, intent(side="sell", is_exit=True), goes_on=True, max_retries=max_retries)
    assert looked_up_at(world) == list(LOOK_UPS)
    assert world.broker.calls == ["look up"] * len(LOOK_UPS)
    assert (world.manager.unknown, world.written[0]) == ((), "initialised")
    assert world.portfolio.waiting(("s1", "AAPL"), exits=True) == -10


def test_what_goes_on_and_is_found_is_adopted() -> None:
    order = intent(side="sell", is_exit=True)
    world = adopted(0.0, order, goes_on=True)
    world.broker.accept(order.terms.payload(order.client_order_id))
    assert looked_up_at(world) == [0.0]
    assert world.manager.tracker.order_of(order.client_order_id) is not None


@pytest.mark.parametrize("goes_on", [False, True])
def test_what_is_to_end_is_looked_for_to_the_last_and_given_up(goes_on: bool) -> None:
    world = adopted(0.0, intent(), goes_on=goes_on, max_retries=1)
    world.wait_until(1.0)
    world.manager.end_unknown(lambda order: order.terms.symbol == "AAPL")
    looked_up_at(world)
    assert (world.broker.calls.count("submit"), world.written) == (0, ("rejected", "submit_not_received"))
    assert (world.reserved, world.clock.now_ns()) == (0, 16 * NANOSECONDS)


@pytest.mark.parametrize(
    ("symbol", "status", "cancelled"), [("AAPL", "new", 1), ("AAPL", "filled", 0), ("MSFT", "new", 0)]
)
@pytest.mark.parametrize("by_stream", [False, True])
def test_what_is_to_end_and_turns_up_open_is_cancelled(
    symbol: str, status: str, cancelled: int, by_stream: bool
) -> None:
    order = intent()
    world = adopted(0.0, order, max_retries=1)
    world.wait_until(1.0)
    world.manager.end_unknown(lambda order: order.terms.symbol == symbol)
    world.broker.accept(order.terms.payload(order.client_order_id))
    document = world.broker.orders[order.client_order_id]
    document["status"] = status
    if by_stream:
        world.manager.tracker.apply(snapshot_event(document))
    looked_up_at(world)
    assert world.broker.calls.count("cancel order-0") == cancelled
    assert world.broker.calls.count("submit") == 0


def test_the_end_of_others_does_not_keep_an_order_from_going_again() -> None:
    world = adopted(0.0, intent(), max_retries=1)
    world.manager.end_unknown(lambda order: order.terms.symbol == "MSFT")
    looked_up_at(world)
    assert world.broker.calls.count("submit") == 1


def test_an_allowed_retry_uses_the_same_key() -> None:
    world = World(max_retries=1)
    world.broker.failures = [UncertainError("time-out"), None]
    world.place()
    for second in LOOK_UPS:
        world.wait_until(second)
    assert world.broker.calls.count("submit") == 2
    assert list(world.broker.orders) == [intent().client_order_id]
    assert world.manager.unknown == ()


def test_retries_end() -> None:
    world = World(max_retries=1)
    world.broker.failures = [UncertainError("a"), UncertainError("b"), UncertainError("c")]
    world.place()
    for second in range(61):
        world.wait_until(second)
    assert world.broker.calls.count("submit") == 2
    assert world.written == ("rejected", "submit_not_received")


def test_while_look_ups_fail_nothing_is_concluded() -> None:
    world = World()
    world.broker.failures, world.broker.silent = [UncertainError("time-out")], True
    order = intent()
    world.place(order)
    for tenth in range(149):
        world.wait_until(tenth / 10)
    assert world.manager.unresolved == ()
    for second in range(15, 100):
        world.wait_until(second)
    assert world.manager.unresolved == (order.client_order_id,)
    assert world.written[0] == "unknown"
    assert world.reserved == 1_000
    world.broker.silent = False
    world.wait_until(105)
    assert world.written == ("rejected", "submit_not_received")


def test_a_duplicate_key_means_look_it_up() -> None:
    world = World()
    order = intent()
    world.broker.accept(order.terms.payload(order.client_order_id))
    world.broker.failures = [RejectedError(422, 40010001, "client_order_id must be unique")]
    assert world.place(order).kind == "accepted"
    assert world.manager.failures_in_a_row == 0


def test_failures_are_counted_in_a_row() -> None:
    world = World()
    world.broker.failures = [RejectedError(403, 1, "no"), RejectedError(403, 1, "no"), None]
    counts = []
    for seq in range(3):
        world.place(intent(seq))
        counts.append(world.manager.failures_in_a_row)
    assert counts == [1, 2, 0]


def test_a_new_price_that_is_refused_is_no_failure_of_the_broker() -> None:
    world = World()
    world.place(intent(order_type="limit", limit_price=Decimal(10)))
    world.broker.failures = [RejectedError(422, 42210000, "order is already filled")]
    again = intent(1, order_type="limit", limit_price=Decimal(11))
    outcome = world.manager.replace(decision(again), "order-0", again)
    assert (outcome.kind, outcome.reason) == ("rejected", "alpaca_order_rejected")
    assert world.manager.failures_in_a_row == 0


def test_too_many_requests_refuse_with_the_reason_of_the_rate() -> None:
    world = World()
    world.broker.failures = [RateLimitedError(3.0)]
    assert world.place().reason == "order_rate_exceeded"


def test_an_order_that_turns_up_after_it_was_given_up_is_ours() -> None:
    world = World()
    world.broker.failures = [UncertainError("time-out")]
    order = intent()
    world.place(order)
    for second in LOOK_UPS:
        world.wait_until(second)
    document = {"id": "late", "client_order_id": order.client_order_id, "symbol": "AAPL", "side": "buy", "qty": "10"}
    event = {
        "event": "fill", "execution_id": "x", "price": "100", "qty": "10", "timestamp": "2026-01-05T14:40:00Z",
        "order": {**document, "status": "filled", "filled_qty": "10", "filled_avg_price": "100"},
    }  # fmt: skip
    tracked = world.manager.tracker.apply(msgspec.json.encode(event))
    assert tracked is not None
    assert tracked.intent == order
    assert world.portfolio.position(("s1", "AAPL")).qty == 10


def test_what_is_no_order_event_changes_nothing() -> None:
    assert World().manager.tracker.apply(b"{}") is None


@pytest.mark.parametrize("expired", [True, False])
def test_an_intent_that_was_never_sent_is_withdrawn(expired: bool) -> None:
    world = World()
    order = intent()
    world.manager.commit(decision(order), order)
    assert world.reserved == 1_000
    world.manager.withdraw(order, "why", expired=expired)
    assert world.written == ("expired" if expired else "canceled", "why")
    assert (world.reserved, world.broker.calls) == (0, [])


class Keeping(NoEvents):
    """Counts what it is given to keep."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def take(self, values: Sequence[bytes], source: Source) -> None:
        self.kept.extend(values)


STREAMED = {
    "id": "order-0", "client_order_id": "somebody", "symbol": "AAPL", "side": "buy", "type": "limit", "qty": "10",
    "time_in_force": "day", "limit_price": "101", "status": "partially_filled", "filled_qty": "4",
    "filled_avg_price": "100", "submitted_at": "2026-01-05T14:30:00Z", "updated_at": "2026-01-05T14:31:00Z",
}  # fmt: skip
FILL = {"event": "partial_fill", "execution_id": "x", "price": "100", "qty": "4", "timestamp": "2026-01-05T14:31:00Z"}


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({}, 0),
        ({"updated_at": "2026-01-05T14:31:00.000001Z"}, 1),
        ({"status": "filled"}, 1),
        ({"status": "pending_cancel"}, 1),
        ({"filled_qty": "5"}, 1),
        ({"filled_avg_price": "101"}, 1),
        ({"limit_price": "102"}, 1),
        ({"replaced_by": "order-1"}, 1),
        ({"client_order_id": "another"}, 1),
        ({"id": "order-1"}, 1),
    ],
)
def test_an_answer_that_repeats_what_the_stream_said_is_not_kept(changed: dict[str, str], kept: int) -> None:
    events = Keeping()
    world = World(events=events)
    manager = world.manager
    manager.tracker.apply(msgspec.json.encode({**FILL, "order": STREAMED}))
    before = world.portfolio.symbol_qty("AAPL")
    assert manager.take_all([{**STREAMED, **changed}]) == 0
    assert len(events.kept) == kept
    assert kept or world.portfolio.symbol_qty("AAPL") == before == 4


def test_an_answer_is_kept_where_the_stream_is_stored_by_others() -> None:
    events = Keeping()
    manager = World(events=events, keeps_stream=False).manager
    manager.tracker.apply(msgspec.json.encode({**FILL, "order": STREAMED}))
    for _ in range(2):
        assert manager.take_all([STREAMED]) == 0
    assert len(events.kept) == 1
