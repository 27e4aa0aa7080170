"""One ingest transaction on a real PostgreSQL: states, fills, intents, discrepancies, counters, whatever the order."""

import json
import random
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from feed_database import counters, execution, ingest, intend, rows, stored_state
from order_messages import DAY_NS, History, envelope, history, payload, rfc3339

from torghut_runtime.order_feed.session import ingest_engine

DERIVED = Path(__file__).parents[2] / "fixtures" / "alpaca_trade_updates_derived.jsonl"


def test_histories_end_as_their_broker_ended_whatever_order_and_batch_size(connection: sa.Connection) -> None:
    generator = random.Random(7)
    made = [history(generator, number) for number in range(120)]
    values = [value for each in made for value in each.values()]
    values += generator.sample(values, 60)
    generator.shuffle(values)
    ingest(connection, values, size=37)
    assert_as_the_brokers(connection, made)
    found = counters(connection)
    assert found["messages"] == len(values) == found["events_persisted"] + found["duplicates"] + found["missing_fields"]
    assert found["duplicates"] == 60
    seqs = [row[0] for row in rows(connection, "SELECT event_seq FROM execution_order_events ORDER BY event_seq")]
    assert seqs == list(range(1, len(values) - 60 + 1))


def assert_as_the_brokers(connection: sa.Connection, made: list[History]) -> None:
    found = {
        row.alpaca_order_id: (row.status, row.filled_qty, row.avg_fill_price)
        for row in rows(connection, "SELECT * FROM executions")
    }
    assert found == {each.order_id: (each.status, each.filled, each.average) for each in made}
    fills = {row.broker_execution_id: (row.price, row.qty) for row in rows(connection, "SELECT * FROM order_fills")}
    assert fills == {key: fill for each in made for key, fill in each.fills.items()}


def test_counters_and_state_do_not_depend_on_the_batch_size(connection: sa.Connection, postgres_port: int) -> None:
    from postgres import new_database

    from torghut_runtime.storage.database import connect, create_engine

    generator = random.Random(11)
    made = [history(generator, number) for number in range(25)] + [history(generator, 900, partials=100)]
    values = [value for each in made for value in each.values()]
    generator.shuffle(values)
    ingest(connection, values, size=1000)
    with new_database(postgres_port) as dsn, connect(create_engine(dsn)) as other:
        ingest(other, values, size=1)
        assert counters(other) == counters(connection)
        assert stored_state(other) == stored_state(connection)


def scenarios() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in DERIVED.read_text().splitlines():
        record = json.loads(line)
        found.setdefault(record["scenario"].split()[0], []).append(record["message"])
    return found


EXPECTED = {
    "A": {"00000001": ("filled", "3", "150.1833333333", 3)},
    "B": {"00000002": ("filled", "967", "50.1", 1)},
    "C": {"00000003": ("replaced", "0", None, 0), "00000004": ("canceled", "1", "150.1", 0)},
    "D": {"00000005": ("expired", "1", "150.1", 0)},
    "E": {"00000006": ("rejected", "0", None, 0)},
    "F": {"00000007": ("filled", "3", "150.2", 1)},
    "G": {"00000008": ("new", "0", None, 0)},
    "H": {"00000009": ("filled", "3", "150.2", 1)},
    "I": {"0000000a": ("new", "0", None, 0)},
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_derived_scenario_ends_as_it_says(connection: sa.Connection, name: str) -> None:
    messages = scenarios()[name]
    ingest(connection, [json.dumps(message).encode() for message in messages], size=3)
    found = {
        row.alpaca_order_id[:8]: (
            row.status,
            f"{row.filled_qty.normalize():f}",
            None if row.avg_fill_price is None else f"{row.avg_fill_price.normalize():f}",
            row.fills,
        )
        for row in rows(
            connection,
            """SELECT e.*, (SELECT count(*) FROM order_fills f WHERE f.alpaca_order_id = e.alpaca_order_id
                AND f.state = 'counted') AS fills FROM executions e""",
        )
    }
    assert found == EXPECTED[name]
    if name == "C":
        assert execution(connection, "00000003-0000-4000-8000-000000000003").replaced_by_order_id.startswith("00000004")


def test_an_old_message_replayed_after_the_fill_changes_nothing(connection: sa.Connection) -> None:
    new = envelope(payload("new", execution_id="n1"))
    fill = envelope(
        payload("fill", execution_id="f1", price="100", qty="3", order={"filled_qty": "3", "status": "filled"})
    )
    again = envelope(payload("new", execution_id="n1", timestamp=rfc3339(DAY_NS + 10**9)))
    ingest(connection, [new, fill, again], size=1)
    row = execution(connection, "order-1")
    assert (row.status, row.filled_qty, row.avg_fill_price) == ("filled", 3, 100)
    assert counters(connection)["duplicates"] == 1


def test_a_late_fill_raises_the_quantity_of_a_canceled_order(connection: sa.Connection) -> None:
    part = payload("partial_fill", execution_id="f1", price="100", qty="1", order={"filled_qty": "1"})
    canceled = payload("canceled", execution_id="c1", order={"filled_qty": "1"}, timestamp=rfc3339(DAY_NS + 2))
    late = payload("partial_fill", execution_id="f2", price="102", qty="1", order={"filled_qty": "2"})
    ingest(connection, [envelope(part), envelope(canceled), envelope(late)])
    row = execution(connection, "order-1")
    assert (row.status, row.filled_qty, row.avg_fill_price) == ("canceled", 2, 101)
    last = payload("fill", execution_id="f3", price="102", qty="1", order={"filled_qty": "3"})
    ingest(connection, [envelope(last)], start=3)
    assert execution(connection, "order-1").status == "filled"


@pytest.mark.parametrize("reverse", [False, True])
def test_a_replacement_is_linked_and_the_decision_follows_it(connection: sa.Connection, reverse: bool) -> None:
    decision, intent = intend(connection)
    values = [
        envelope(payload("replaced", execution_id="r", order={"replaced_by": "order-2", "status": "replaced"})),
        envelope(
            payload(
                "fill",
                execution_id="f",
                price="100",
                qty="3",
                timestamp=rfc3339(DAY_NS + 5),
                order={"id": "order-2", "client_order_id": "broker-made", "filled_qty": "3"},
            )
        ),
    ]
    ingest(connection, list(reversed(values)) if reverse else values, size=1)
    old, new = execution(connection, "order-1"), execution(connection, "order-2")
    assert (old.replaced_by_order_id, new.replaces_order_id) == ("order-2", "order-1")
    assert (new.intent_id, new.trade_decision_id, new.strategy_id) == (intent, decision, "s1")
    ((state, order_id),) = rows(connection, "SELECT state, alpaca_order_id FROM order_intents")
    assert (state, order_id) == ("filled", "order-2")
    ((status, executed_at),) = rows(connection, "SELECT status, executed_at FROM trade_decisions")
    assert status == "filled"
    assert executed_at == new.last_fill_at
    assert rows(connection, "SELECT kind FROM reconcile_discrepancies WHERE resolved_at IS NULL") == []


@pytest.mark.parametrize("size", [1, 10])
def test_a_client_id_of_another_order_costs_nobody_its_row(connection: sa.Connection, size: int) -> None:
    first = payload(order={"id": "a", "client_order_id": "ca"})
    second = payload(order={"id": "b", "client_order_id": "cb"})
    mixed = payload(
        "canceled", timestamp=rfc3339(DAY_NS + 9), order={"id": "a", "client_order_id": "cb", "status": "canceled"}
    )
    ingest(connection, [envelope(first), envelope(second), envelope(mixed)], size=size)
    assert execution(connection, "a").status == "canceled"
    assert execution(connection, "b").status == "new"
    found = rows(
        connection, "SELECT alpaca_order_id FROM reconcile_discrepancies WHERE kind = 'client_order_id_reused'"
    )
    assert sorted(row[0] for row in found) == ["a", "b"]


def test_a_fill_before_the_submit_answer_and_a_late_answer_make_one_row(connection: sa.Connection) -> None:
    decision, intent = intend(connection, qty=None, notional=Decimal(300))
    fill = payload("fill", execution_id="f", price="100", qty="3", order={"filled_qty": "3", "qty": None})
    answer = payload(
        "order_snapshot",
        timestamp=rfc3339(DAY_NS - 1),
        order={"status": "accepted", "qty": None, "filled_qty": None, "notional": "300"},
    )
    ingest(connection, [envelope(fill), envelope(answer)], size=1)
    (row,) = rows(connection, "SELECT * FROM executions")
    assert (row.status, row.filled_qty, row.intent_id, row.trade_decision_id) == ("filled", 3, intent, decision)
    assert row.notional == 300


def test_an_event_with_only_a_client_id_is_adopted_by_the_order_that_bears_it(connection: sa.Connection) -> None:
    alone = payload("accepted", order={"id": None, "status": "accepted"})
    ingest(connection, [envelope(alone)])
    ((before, order_id),) = rows(connection, "SELECT id, alpaca_order_id FROM executions")
    assert order_id is None
    ingest(connection, [envelope(payload("new", timestamp=rfc3339(DAY_NS + 1)))], start=1)
    ((after, order_id),) = rows(connection, "SELECT id, alpaca_order_id FROM executions")
    assert (after, order_id) == (before, "order-1")
    kinds = rows(connection, "SELECT alpaca_order_id, kind FROM reconcile_discrepancies WHERE resolved_at IS NULL")
    assert [tuple(row) for row in kinds] == [("order-1", "order_unknown_to_us")]


def test_an_activity_counts_only_where_the_stream_missed_the_fill(connection: sa.Connection) -> None:
    def part(event: str, execution_id: str, cumulative: str) -> bytes:
        return envelope(
            payload(event, execution_id=execution_id, price="100", qty="1", order={"filled_qty": cumulative})
        )

    values = [
        part("partial_fill", "e1", "1"),
        part("partial_fill", "e2", "2"),
        part("activity_fill", "20250101::x", "2"),
        part("activity_fill", "20250101::y", "3"),
    ]
    ingest(connection, values, size=1)
    row = execution(connection, "order-1")
    assert (row.filled_qty, row.avg_fill_price, row.fills_complete) == (3, 100, True)
    states = {row[0]: row[1] for row in rows(connection, "SELECT broker_execution_id, state FROM order_fills")}
    assert states == {"e1": "counted", "e2": "counted", "20250101::x": "matched", "20250101::y": "counted"}


def test_a_busted_fill_never_counts_and_a_later_correction_reopens(connection: sa.Connection) -> None:
    fill = payload("fill", execution_id="f", price="100", qty="3", order={"filled_qty": "3", "status": "filled"})
    bust = payload(
        "trade_bust",
        execution_id="f",
        timestamp=rfc3339(DAY_NS + 7),
        order={"filled_qty": "0", "status": "new"},
    )
    ingest(connection, [envelope(bust), envelope(fill)], size=1)
    row = execution(connection, "order-1")
    assert (row.status, row.filled_qty, row.avg_fill_price) == ("new", 0, None)
    assert rows(connection, "SELECT state FROM order_fills") == [("voided",)]


def test_an_earlier_correction_does_not_reopen(connection: sa.Connection) -> None:
    fill = payload("fill", execution_id="f", price="100", qty="3", order={"filled_qty": "3", "status": "filled"})
    old = payload(
        "restated", execution_id="r", timestamp=rfc3339(DAY_NS - 7), order={"filled_qty": "0", "status": "new"}
    )
    ingest(connection, [envelope(fill), envelope(old)], size=1)
    assert execution(connection, "order-1").status == "filled"


def test_two_contents_of_one_identity_keep_the_smaller_whichever_came_first(connection: sa.Connection) -> None:
    early = payload("fill", execution_id="f", price="100", qty="3", order={"filled_qty": "3"})
    later = payload(
        "fill", execution_id="f", price="101", qty="3", timestamp=rfc3339(DAY_NS + 1), order={"filled_qty": "3"}
    )
    ingest(connection, [envelope(later), envelope(early)], size=1)
    assert execution(connection, "order-1").avg_fill_price == 100
    assert rows(connection, "SELECT price FROM order_fills") == [(Decimal(100),)]
    kinds = rows(connection, "SELECT kind FROM reconcile_discrepancies ORDER BY kind")
    assert [row[0] for row in kinds] == ["identity_conflict", "order_unknown_to_us"]
    ingest(connection, [envelope(later)], start=2)
    assert execution(connection, "order-1").avg_fill_price == 100


def test_one_execution_id_in_two_accounts_is_two_fills(connection: sa.Connection) -> None:
    fill = payload("fill", execution_id="f", price="100", qty="3", order={"filled_qty": "3"})
    ingest(connection, [envelope(fill), envelope(fill, accountLabel="other")])
    assert len(rows(connection, "SELECT 1 FROM order_fills")) == 2


@pytest.mark.parametrize(
    ("side", "qty", "arrival", "mid", "price", "expected"),
    [
        ("buy", "2", "100", None, "101", (Decimal(100), None, Decimal(2), 2)),
        ("sell", "4", "50", "50.02", "49.9", (Decimal(20), Decimal("23.9904038385"), Decimal("0.4"), -4)),
        ("buy", "2", None, None, "101", (None, None, None, 2)),
    ],
)
def test_costs_are_known_in_the_same_commit(
    connection: sa.Connection, side: str, qty: str, arrival: str | None, mid: str | None, price: str, expected: Any
) -> None:
    intend(
        connection,
        side=side,
        qty=Decimal(qty),
        arrival_price=None if arrival is None else Decimal(arrival),
        arrival_mid=None if mid is None else Decimal(mid),
    )
    order = {"side": side, "qty": qty, "filled_qty": qty, "submitted_at": rfc3339(DAY_NS + 10**6)}
    ingest(connection, [envelope(payload("fill", execution_id="f", price=price, qty=qty, order=order))])
    (row,) = rows(connection, "SELECT * FROM execution_tca_metrics")
    assert (row.slippage_bps, row.slippage_mid_bps, row.shortfall_notional, row.signed_qty) == expected
    assert row.decision_to_submit_ms == 500
    assert row.submit_to_first_fill_ms is None
    computed = row.computed_at
    more = payload("fill", execution_id="f", price=price, qty=qty, order=order | {"filled_qty": "9"})
    ingest(connection, [envelope(payload("canceled", order=order | {"status": "canceled"})), envelope(more)], start=1)
    ((again,),) = rows(connection, "SELECT computed_at FROM execution_tca_metrics")
    assert again > computed


class Counting(psycopg.Cursor[Any]):
    """A cursor that counts what is sent to the server."""

    sent = 0

    def execute(self, *arguments: Any, **options: Any) -> Any:
        Counting.sent += 1
        return super().execute(*arguments, **options)

    def copy(self, *arguments: Any, **options: Any) -> Any:
        Counting.sent += 1
        return super().copy(*arguments, **options)


def test_statements_per_batch_do_not_grow_with_its_rows(connection: sa.Connection) -> None:
    generator = random.Random(3)
    driver: Any = connection.connection.driver_connection
    driver.cursor_factory = Counting
    sent = []
    for first, orders in ((0, 10), (1000, 200)):
        values = [
            value
            for number in range(first, first + orders)
            for value in history(generator, number, partials=3).values()
        ]
        Counting.sent = 0
        ingest(connection, values, size=len(values), start=first * 100)
        sent.append(Counting.sent)
    assert sent[0] == sent[1]
    assert sent[0] <= 30


@pytest.mark.parametrize("ended", ["rejected", "canceled", "expired"])
def test_an_intent_that_the_runtime_ended_for_good_follows_no_order(connection: sa.Connection, ended: str) -> None:
    """An illegal move is a discrepancy and is not applied; the order itself is kept, and linked."""
    decision, intent = intend(connection, state=ended)
    ingest(connection, [envelope(payload("new"))])
    ingest(connection, [envelope(payload("partial_fill", execution_id="f", price="1", qty="1"))], start=1)
    assert rows(connection, "SELECT state, alpaca_order_id FROM order_intents") == [(ended, None)]
    assert rows(connection, "SELECT status FROM trade_decisions") == [("planned",)]
    row = execution(connection, "order-1")
    assert (row.intent_id, row.trade_decision_id) == (intent, decision)
    open_kinds = "SELECT kind FROM reconcile_discrepancies WHERE resolved_at IS NULL"
    assert rows(connection, open_kinds) == [("illegal_intent_move",)]
    order = {"status": ended}
    ingest(connection, [envelope(payload(ended, timestamp=rfc3339(DAY_NS + 9), order=order))], start=2)
    assert rows(connection, "SELECT state, alpaca_order_id FROM order_intents") == [(ended, "order-1")]
    assert rows(connection, open_kinds) == []


def test_an_intent_that_was_given_up_as_not_received_is_adopted(connection: sa.Connection) -> None:
    intend(connection, state="rejected")
    connection.execute(sa.text("UPDATE order_intents SET reason = 'submit_not_received'"))
    connection.commit()
    ingest(connection, [envelope(payload("new"))])
    assert rows(connection, "SELECT state, alpaca_order_id FROM order_intents") == [("accepted", "order-1")]
    assert rows(connection, "SELECT kind FROM reconcile_discrepancies") == []


def test_what_the_fold_made_of_an_intent_it_may_make_otherwise(connection: sa.Connection) -> None:
    """Events with only the client's id end an intent before any broker's id is known; a late fill still counts."""
    intend(connection)
    alone = payload("canceled", order={"id": None, "status": "canceled"})
    fill = payload("fill", execution_id="f", price="1", qty="3", order={"filled_qty": "3", "status": "filled"})
    ingest(connection, [envelope(alone), envelope(fill)], size=1)
    assert rows(connection, "SELECT state, alpaca_order_id FROM order_intents") == [("filled", "order-1")]
    assert rows(connection, "SELECT kind FROM reconcile_discrepancies WHERE resolved_at IS NULL") == []


def test_new_orders_cost_the_same_reads_however_many_are_stored(database_dsn: str) -> None:
    """Tables that grow from nothing have no statistics; no plan may read through them because of that."""
    engine = ingest_engine(database_dsn)
    batch, batches, sizes = 100, 12, list[int]()
    for number in range(batches):
        values = [
            envelope(payload("new", order={"id": f"o{number}-{each}", "client_order_id": f"c{number}-{each}"}))
            for each in range(batch)
        ]
        with engine.connect() as connection:  # statistics of a session are complete when it has ended
            for _ in range(6):  # from the sixth time on a statement has the plan that stays
                ingest(connection, values[:1], start=10_000 + 100 * number)
            ingest(connection, values, start=number * batch)
        with engine.connect() as connection:
            sizes.append(_entries_read(connection))
    grown = [later - before for before, later in pairwise(sizes)]
    assert max(grown) <= 40 * batch


def _entries_read(connection: sa.Connection) -> int:
    (row,) = rows(
        connection,
        "SELECT coalesce(sum(i.idx_tup_read), 0)::bigint + (SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables"
        " WHERE relname IN ('executions', 'execution_order_events', 'reconcile_discrepancies', 'order_fills',"
        " 'execution_tca_metrics')) FROM pg_stat_user_indexes i",
    )
    return int(row[0])
