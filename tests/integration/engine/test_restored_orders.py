"""What a new process reads from the database is the view of the process that heard every event."""

import random
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from event_sinks import StoredAtOnce
from order_cases import ACCOUNT, BAR, decision, intent
from order_path_process import leased

from torghut_runtime.canonical import utc_text
from torghut_runtime.clock import nanoseconds_of
from torghut_runtime.order_feed.event import TERMINAL
from torghut_runtime.orders.booked_fills import BookedFill
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.positions import Slot
from torghut_runtime.orders.reconcile import restore
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.storage.database import connect, create_engine, transaction
from torghut_runtime.storage.order_journal import PostgresJournal
from torghut_runtime.storage.stored_orders import StoredOrders, stored_orders

ORDERS = 70
EVERY = timedelta(minutes=4)
SLOTS: tuple[Slot, ...] = tuple((s, n) for s in ("s1", "s2", "unattributed") for n in ("AAPL", "MSFT"))
SPLIT_AT = BAR + 20 * EVERY
ADJUSTMENT: tuple[Slot, BookedFill] = (
    ("s1", "AAPL"),
    BookedFill.adjustment(1, nanoseconds_of(SPLIT_AT), Decimal(2), Decimal(0), Decimal(0)),
)
ENDS = ("filled", "filled", "filled", "parts", "open", "part", "canceled", "claimed", "busted", "by client id")


@pytest.fixture
def journal(database_dsn: str) -> Generator[PostgresJournal]:
    opened = PostgresJournal(database_dsn, ACCOUNT, "simulator", leased(database_dsn))
    yield opened
    opened.close()


def order_of(number: int) -> Intent:
    """An order whose terms follow from its number."""
    chance = random.Random(number)
    return intent(
        side=chance.choice(("buy", "buy", "sell")),
        qty=chance.randint(2, 9),
        strategy=chance.choice(("s1", "s2")),
        symbol=chance.choice(("AAPL", "MSFT")),
        is_exit=chance.random() < 0.3,
        bar_ts=BAR + number * EVERY,
    )


def end_of(number: int) -> str:
    return ENDS[number % len(ENDS)]


def is_foreign(number: int) -> bool:
    return number % 9 == 5


def message(number: int, name: str, seconds: int, filled: int, status: str, **extra: Any) -> bytes:
    order = order_of(number)
    body: dict[str, Any] = {
        "id": f"order-{number}", "client_order_id": f"f{number}" if is_foreign(number) else order.client_order_id,
        "symbol": order.terms.symbol, "side": order.terms.side, "type": "market", "time_in_force": "day",
        "qty": str(order.terms.qty), "status": status, "filled_qty": str(filled),
        "filled_avg_price": str(extra.pop("average", 100 + number % 7)) if filled else None,
        "submitted_at": utc_text(BAR + number * EVERY),
    }  # fmt: skip
    if extra.pop("nameless", False):
        del body["id"]
    at = utc_text(BAR + number * EVERY + timedelta(seconds=seconds))
    return msgspec.json.encode({"event": name, "timestamp": at, "order": body, **extra})


def fill(number: int, seconds: int, qty: int, filled: int, **extra: Any) -> bytes:
    whole = filled == int(order_of(number).terms.qty)
    name, status = ("fill", "filled") if whole else ("partial_fill", "partially_filled")
    given = {"price": str(100 + number % 7), "qty": str(qty), "execution_id": f"x{number}-{seconds}", **extra}
    return message(number, name, seconds, filled, status, **given)


def events_of(number: int) -> list[bytes]:
    """What the broker says of an order, in the order in which it comes."""
    qty, end = int(order_of(number).terms.qty), end_of(number)
    new = message(number, "new", 1, 0, "new")
    match end:
        case "filled":
            return [new, fill(number, 2, qty, qty)]
        case "parts":
            return [fill(number, 3, 1, qty), new, fill(number, 2, qty - 1, qty - 1)]
        case "part":
            return [new, fill(number, 2, 1, 1), message(number, "canceled", 5, 1, "canceled")]
        case "canceled":
            return [new, message(number, "canceled", 5, 0, "canceled")]
        case "claimed":
            return [new, message(number, "order_snapshot", 9, qty, "filled")]
        case "busted":
            gone = message(number, "trade_bust", 8, 0, "canceled", previous_execution_id=f"x{number}-2")
            return [new, fill(number, 2, qty, qty), gone]
        case "by client id":
            return [new, fill(number, 2, qty, qty, nameless=True)]
        case _:
            return [new]


def heard(journal: PostgresJournal, sink: StoredAtOnce) -> OrderTracker:
    """A process that places orders and hears of each of them; all of it is stored."""
    tracker = OrderTracker(ACCOUNT, Portfolio(Decimal(0)))
    for number in range(ORDERS):
        order = order_of(number)
        if not is_foreign(number):
            assert journal.commit(decision(order, BAR + number * EVERY), order)
            journal.move(order, "submitting", sent_at=BAR + number * EVERY)
            tracker.expect(order)
        events = events_of(number)
        sink.take(events, "stream")
        for each in events:
            tracker.apply(each)
    tracker.portfolio.adjust(*ADJUSTMENT)
    return tracker


def started(stored: StoredOrders, journal: PostgresJournal) -> OrderTracker:
    """A new process."""
    tracker = OrderTracker(ACCOUNT, Portfolio(Decimal(0)))
    restore(tracker, stored.intents, stored.events, [*stored.settled, ADJUSTMENT])
    tracker.recall = journal.recall
    return tracker


def read(dsn: str, kept: timedelta) -> StoredOrders:
    with connect(create_engine(dsn)) as connection:
        return stored_orders(connection, ACCOUNT, kept=kept)


def view(tracker: OrderTracker) -> dict[str, Any]:
    """Everything that decisions are made on."""
    portfolio = tracker.portfolio
    return {
        "positions": {slot: portfolio.position(slot) for slot in SLOTS},
        "cash": portfolio.cash,
        "held since": {slot: portfolio.held_since(slot) for slot in SLOTS},
        "newest": [portfolio.last_fill_ns(symbol) for _, symbol in SLOTS],
        "reservations": portfolio.reservations,
        "open": {each.order_id: (each.state, _key(each.intent)) for each in tracker.open_orders()},
    }


def _key(order: Intent | None) -> str | None:
    return None if order is None else order.client_order_id


@pytest.mark.parametrize("kept", [timedelta(days=1), timedelta(hours=1), timedelta(0)])
def test_a_new_process_sees_what_the_one_before_saw(
    journal: PostgresJournal, database_dsn: str, kept: timedelta
) -> None:
    before = heard(journal, StoredAtOnce(database_dsn))
    stored = read(database_dsn, kept)
    after = started(stored, journal)
    assert view(after) == view(before)
    assert after.portfolio.take_changes() == []
    for each in after.orders():
        assert each.state == before.order(each.order_id).state  # pyright: ignore[reportOptionalMemberAccess]


def test_only_what_ended_long_ago_is_not_read_as_orders(journal: PostgresJournal, database_dsn: str) -> None:
    before = heard(journal, StoredAtOnce(database_dsn))
    after = started(read(database_dsn, timedelta(hours=1)), journal)
    known = {each.order_id for each in after.orders()}
    newest = BAR + (ORDERS - 1) * EVERY
    for number in range(ORDERS):
        order = before.order(f"order-{number}")
        assert order is not None
        is_old = BAR + number * EVERY < newest - timedelta(hours=1, minutes=1)
        is_whole = order.state.fills_complete
        expected = order.state.status not in TERMINAL or not is_old or not is_whole
        assert (f"order-{number}" in known) == expected, end_of(number)
    assert 20 < len(known) < ORDERS - 20


def test_what_a_forgotten_entry_left_for_the_cooldown_is_told(journal: PostgresJournal, database_dsn: str) -> None:
    heard(journal, StoredAtOnce(database_dsn))
    stored = read(database_dsn, timedelta(hours=1))
    loaded = {each.intent.client_order_id for each in stored.intents}
    expected: dict[Slot, datetime] = {}
    for number in range(ORDERS):
        order = order_of(number)
        if not is_foreign(number) and not order.is_exit and order.client_order_id not in loaded:
            expected[order.strategy_id, order.terms.symbol] = BAR + number * EVERY
    assert stored.last_entries == expected != {}


def test_a_bust_of_an_order_that_was_not_read_takes_its_fill_back(journal: PostgresJournal, database_dsn: str) -> None:
    before = heard(journal, StoredAtOnce(database_dsn))
    after = started(read(database_dsn, timedelta(hours=1)), journal)
    number = next(n for n in range(20) if end_of(n) == "filled" and not is_foreign(n))
    assert after.order(f"order-{number}") is None
    bust = message(number, "trade_bust", 5 * 3600, 0, "canceled", previous_execution_id=f"x{number}-2")
    for tracker in (before, after):
        assert tracker.apply(bust) is not None
    ours, theirs = after.portfolio, before.portfolio
    assert {slot: ours.position(slot).qty for slot in SLOTS} == {slot: theirs.position(slot).qty for slot in SLOTS}
    assert ours.cash == theirs.cash


def test_an_intent_is_told_while_it_is_not_over_or_was_so_lately(journal: PostgresJournal, database_dsn: str) -> None:
    refused, waiting = intent(1), intent(2)
    for each in (refused, waiting):
        assert journal.commit(decision(each), each)
    journal.move(refused, "rejected", reason="x")
    told = [each.intent for each in read(database_dsn, timedelta(hours=1)).intents]
    assert told == [replace(each, trace_id=decision(each).trace_id) for each in (refused, waiting)]
    with connect(create_engine(database_dsn)) as connection, transaction(connection):
        connection.execute(sa.text("UPDATE order_intents SET updated_at = now() - interval '61 minutes'"))
    left = read(database_dsn, timedelta(hours=1)).intents
    assert [each.intent.client_order_id for each in left] == [waiting.client_order_id]
    assert left[0].decision is not None
    assert left[0].decision.bar_ts == BAR
