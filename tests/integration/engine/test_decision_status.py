"""What a decision has become is what its newest order has, not what a refused new price for it has."""

from collections.abc import Generator
from typing import Any

import pytest
import sqlalchemy as sa
from order_cases import ACCOUNT, BAR, decision, intent
from order_path_process import leased

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


def send(journal: PostgresJournal, of: Intent) -> None:
    assert journal.commit(decision(of), of)
    journal.move(of, "submitting", sent_at=BAR)


def test_a_refused_new_price_leaves_the_decision_with_its_order(journal: PostgresJournal, database_dsn: str) -> None:
    first, again = intent(order_type="limit"), intent(1, order_type="limit")
    send(journal, first)
    journal.record([snapshot_event(document(first, "new"))], "submit")
    known = status_of(database_dsn)
    assert known not in ("planned", "submitted", "rejected")
    send(journal, again)
    assert status_of(database_dsn) == "submitted"
    journal.move(again, "rejected", reason="alpaca_order_rejected")
    assert status_of(database_dsn) == known
    journal.record([snapshot_event(document(first, "filled", 10))], "reconcile")
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
    journal.record([snapshot_event(document(again, "filled", 10))], "submit")
    assert status_of(database_dsn) == "filled"
