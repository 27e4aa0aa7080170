"""The order book is a function of the set of events: permutations, repetitions and batch splits change nothing."""

import random
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from order_messages import DAY_NS, decoded, history, payload, rfc3339

from torghut_runtime.order_feed.book import Link, Order, OrderBook, OrderRef, linked
from torghut_runtime.order_feed.event import CORRECTIONS, RANKS, OrderEvent

TYPES = [
    "new", "fill", "partial_fill", "canceled", "expired", "replaced", "pending_cancel", "pending_replace",
    "order_cancel_rejected", "restated", "trade_bust", "trade_correct", "activity_fill", "order_snapshot", "future",
]  # fmt: skip
maybe_number = st.sampled_from([None, "0", "1", "2", "3", "2.5"])


@st.composite
def events(draw: Any) -> OrderEvent:
    event = draw(st.sampled_from(TYPES))
    moment = draw(st.none() | st.integers(0, 6))
    update = payload(
        event,
        timestamp=None if moment is None else rfc3339(DAY_NS + moment),
        execution_id=draw(st.sampled_from([None, "e1", "e2", "e3"])),
        previous_execution_id=draw(st.sampled_from([None, None, "e1", "e2"])),
        price=draw(st.sampled_from([None, "10", "11"])),
        qty=draw(maybe_number),
        order={
            "id": draw(st.sampled_from(["a", "b", "c", None])),
            "client_order_id": draw(st.sampled_from(["ca", "cb"])),
            "status": draw(st.sampled_from([None, "weird", *RANKS, "pending_cancel"])),
            "qty": draw(st.sampled_from(["3", None])),
            "filled_qty": draw(maybe_number),
            "filled_avg_price": draw(st.sampled_from([None, "10.5"])),
            "replaces": draw(st.sampled_from([None, None, None, "a", "b"])),
            "replaced_by": draw(st.sampled_from([None, None, None, "b", "c"])),
        },
    )
    return decoded(update)


def distinct(found: list[OrderEvent]) -> list[OrderEvent]:
    return list({event.fingerprint: event for event in found}.values())


def folded(found: list[OrderEvent], *, loaded: int = 0) -> dict[OrderRef, Order]:
    book = OrderBook()
    book.load(found[:loaded])
    for event in found[loaded:]:
        book.add(event)
    return {ref: book.order(ref) for ref in book.refs()}


@given(st.lists(events(), max_size=9), st.randoms(use_true_random=False), st.data())
def test_the_end_state_does_not_depend_on_order_of_arrival_or_split(
    found: list[OrderEvent], generator: random.Random, data: st.DataObject
) -> None:
    found = distinct(found)
    expected = folded(found)
    shuffled = list(found)
    generator.shuffle(shuffled)
    assert folded(shuffled, loaded=data.draw(st.integers(0, len(found)))) == expected


@given(st.lists(events(), max_size=9), st.randoms(use_true_random=False))
def test_links_do_not_depend_on_order_of_arrival(found: list[OrderEvent], generator: random.Random) -> None:
    found = distinct(found)
    intents = {("paper", "ca"): Link("1", "d1", "s"), ("paper", "cb"): Link("2", None, "s")}
    expected = linked(folded(found), intents)
    shuffled = list(found)
    generator.shuffle(shuffled)
    assert linked(folded(shuffled), intents) == expected


@given(st.lists(events(), min_size=1, max_size=9))
def test_filled_quantity_is_a_claim_or_the_sum_of_the_counted_fills(found: list[OrderEvent]) -> None:
    found = distinct(found)
    for ref, order in folded(found).items():
        state = order.state
        counted = sum((fill.qty for fill in state.fills if fill.state == "counted"), Decimal(0))
        own = [event for event in found if event.account == ref[0]]
        claims = {event.claimed_qty for event in own} | {Decimal(0)}
        assert state.filled_qty == counted or state.filled_qty in claims
        assert state.fills_complete == (counted == state.filled_qty)


@given(st.lists(events().filter(lambda event: event.event_type not in CORRECTIONS), min_size=1, max_size=9))
def test_without_corrections_nothing_leaves_a_terminal_status_but_a_greater_one(found: list[OrderEvent]) -> None:
    book = OrderBook()
    reached: dict[OrderRef, int] = {}
    for event in distinct(found):
        if event.order_id is None:
            continue
        ref = book.add(event).ref
        state = book.order(ref).state
        rank = RANKS.get(state.status, 0)
        if reached.get(ref, 0) >= 50 and "overfill" not in state.discrepancies:
            assert rank >= 50
        reached[ref] = rank


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_any_order_of_a_plausible_life_ends_where_its_broker_ended(seed: int, generator: random.Random) -> None:
    made = history(random.Random(seed), seed)
    found = [decoded(update) for update in made.updates] * 2
    generator.shuffle(found)
    ((_, order),) = folded(distinct(found)).items()
    assert (order.state.status, order.state.filled_qty) == (made.status, made.filled)
    assert order.state.avg_fill_price == made.average
    assert {f.execution_id: (f.price, f.qty) for f in order.state.fills} == made.fills
    assert order.state.discrepancies == frozenset()
