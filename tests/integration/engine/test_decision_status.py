"""What a decision has become is what its newest order has, not what a refused new price for it has."""

from collections.abc import Generator
from typing import Any

import pytest
import sqlalchemy as sa
from event_sinks import StoredAtOnce
from order_cases import ACCOUNT, BAR, decision, intent
from order_path_process import leased

from torghut_runtime.orders.journal import IntentState
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.tracker import snapshot_event
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.order_journal import PostgresJournal


@pytest.fixture
def journal(database_dsn: str) -> Generator[PostgresJournal]:
    opened = PostgresJournal(database_dsn, ACCOUNT, "simulator", leased(database_dsn))
    yield opened
    opened.close()


def document(of: Intent, status: str, filled: int = 0) -> dict[str, Any]:
    stamp = "2026-01-05T14:31:00Z"
    return {
        "id": f"order-{of.seq}", "client_order_id": of.client_order_id, "symbol": of.terms.symbol,
        "side": of.terms.side, "type": of.terms.order_type, "time_in_force": of.terms.time_in_force,
        "qty": str(of.terms.qty), "filled_qty": str(filled), "filled_avg_price": "100" if filled else None,
        "status": status, "submitted_at": stamp, "updated_at": "2026-01-05T14:32:00Z" if filled else stamp,
        "filled_at": "2026-01-05T14:32:00Z" if status == "filled" else None,
    }  # fmt: skip


def status_of(dsn: str) -> str:
    with connect(create_engine(dsn)) as connection:
        return str(connection.execute(sa.text("SELECT status FROM trade_decisions")).scalar_one())


def state_of(dsn: str, of: Intent) -> str:
    with connect(create_engine(dsn)) as connection:
        asked = sa.text("SELECT state FROM order_intents WHERE client_order_id = :key")
        return str(connection.execute(asked, {"key": of.client_order_id}).scalar_one())


def send(journal: PostgresJournal, of: Intent) -> None:
    assert journal.commit(decision(of), of)
    journal.move(of, "submitting", sent_at=BAR)


def test_a_refused_new_price_leaves_the_decision_with_its_order(journal: PostgresJournal, database_dsn: str) -> None:
    first, again = intent(order_type="limit"), intent(1, order_type="limit")
    send(journal, first)
    StoredAtOnce(database_dsn).take([snapshot_event(document(first, "new"))], "submit")
    known = status_of(database_dsn)
    assert known not in ("planned", "submitted", "rejected")
    send(journal, again)
    assert status_of(database_dsn) == "submitted"
    journal.move(again, "rejected", reason="alpaca_order_rejected")
    assert status_of(database_dsn) == known
    StoredAtOnce(database_dsn).take([snapshot_event(document(first, "filled", 10))], "reconcile")
    assert status_of(database_dsn) == "filled"


def test_a_decision_whose_only_order_is_refused_is_rejected(journal: PostgresJournal, database_dsn: str) -> None:
    only = intent()
    send(journal, only)
    journal.move(only, "rejected", reason="alpaca_order_rejected")
    assert status_of(database_dsn) == "rejected"


def test_an_order_of_a_later_number_speaks_for_the_decision(journal: PostgresJournal, database_dsn: str) -> None:
    first, again = intent(), intent(1)
    send(journal, first)
    journal.move(first, "rejected", reason="order_rate_exceeded")
    send(journal, again)
    StoredAtOnce(database_dsn).take([snapshot_event(document(again, "filled", 10))], "submit")
    assert status_of(database_dsn) == "filled"


@pytest.mark.parametrize("end", ["canceled", "expired"])
def test_what_is_stored_late_of_an_order_speaks_when_the_one_after_it_became_none(
    journal: PostgresJournal, database_dsn: str, end: IntentState
) -> None:
    first, again = intent(is_exit=True), intent(1, is_exit=True)
    send(journal, first)
    assert journal.commit(decision(again), again)
    journal.move(again, end, reason="exit_clipped")
    assert status_of(database_dsn) == "submitted"
    StoredAtOnce(database_dsn).take([snapshot_event(document(first, "filled", 10))], "stream")
    assert status_of(database_dsn) == "filled"


def test_a_move_waits_for_no_row_that_an_ingest_holds_and_the_decision_follows(
    journal: PostgresJournal, database_dsn: str
) -> None:
    first, again = intent(order_type="limit"), intent(1, order_type="limit")
    send(journal, first)
    StoredAtOnce(database_dsn).take([snapshot_event(document(first, "new"))], "submit")
    known = status_of(database_dsn)
    with connect(create_engine(database_dsn)) as frozen:
        for table in ("event_seq_head", "order_intents", "trade_decisions"):
            frozen.execute(sa.text(f"SELECT 1 FROM {table} FOR NO KEY UPDATE"))
        send(journal, again)
        journal.move(first, "unknown", reason="an ingest holds it: its events speak for it")
        journal.move(again, "rejected", reason="alpaca_order_rejected")
        assert status_of(database_dsn) == known
        assert state_of(database_dsn, again) == "rejected"
        frozen.execute(sa.text("UPDATE trade_decisions SET status = 'submitted'"))
    journal.move(first, "unknown", reason="an accepted one stays what it is")
    assert (status_of(database_dsn), state_of(database_dsn, first)) == (known, "accepted")
