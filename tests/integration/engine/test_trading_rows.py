"""Metrics that are read from tables: what is open of one account, and what its last day cost."""

import time
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from feed_database import ingest, intend
from order_messages import envelope, payload, rfc3339
from stored_trading import close_incident

from torghut_runtime.api.trading_rows import TradingRows
from torghut_runtime.orders.reconcile import MISSING, POSITION, Discrepancy
from torghut_runtime.storage.discrepancies import write_findings
from torghut_runtime.storage.incidents import open_incident
from torghut_runtime.storage.runtime_tables import frozen_symbols

HOUR_NS = 3_600 * 10**9


def filled(name: str, side: str, qty: int, price: str, at_ns: int) -> bytes:
    """The fill that completes an order of ours."""
    order = {"id": f"order-{name}", "client_order_id": name, "side": side, "qty": str(qty), "filled_qty": str(qty)}
    update = payload("fill", execution_id=f"f-{name}", price=price, qty=str(qty), order=order)
    return envelope({**update, "timestamp": rfc3339(at_ns)})


def trade(connection: sa.Connection, name: str, side: str, qty: int, price: str, age_hours: float, start: int) -> None:
    intend(connection, name, side=side, qty=Decimal(qty), arrival_price=Decimal(100))
    at_ns = time.time_ns() - int(age_hours * HOUR_NS)
    ingest(connection, [filled(name, side, qty, price, at_ns)], start=start)


def shown(rows: TradingRows) -> dict[str, Any]:
    return {
        sample.name.removeprefix("torghut_trading_") + "".join(sample.labels.values()): sample.value
        for family in rows.families()
        for sample in family.samples
    }


def test_an_empty_account_has_counts_of_zero_and_no_averages(connection: sa.Connection) -> None:
    rows = TradingRows("paper")
    rows.read(connection)
    assert shown(rows) == {
        "unknown_orders": 0,
        "open_orders": 0,
        "frozen_symbols": 0,
        "incidents_open": 0,
        "tca_order_count": 0,
    }


def test_costs_are_those_of_the_last_24_hours_weighted_and_churned(connection: sa.Connection) -> None:
    trade(connection, "old", "buy", 100, "200", 24.5, 0)
    trade(connection, "bought", "buy", 30, "101", 1.2, 1)
    trade(connection, "sold", "sell", 10, "99", 1.0, 2)
    rows = TradingRows("paper")
    rows.read(connection)
    found = shown(rows)
    assert found["tca_order_count"] == 2
    assert found["tca_avg_slippage_bps"] == pytest.approx(100)
    assert found["tca_avg_shortfall_notional"] == pytest.approx((30 + 10) / 2)
    assert found["tca_avg_churn_ratio"] == pytest.approx(10 / 40)
    other = TradingRows("live")
    other.read(connection)
    assert shown(other)["tca_order_count"] == 0


def test_what_is_open_is_counted_for_its_account_only(connection: sa.Connection) -> None:
    for name, state in (("a", "unknown"), ("b", "submitting"), ("c", "initialised"), ("d", "rejected")):
        intend(connection, name, state=state)
    ingest(connection, [envelope(payload("new", order={"id": "o-1", "client_order_id": "a"}))])
    found = [
        Discrepancy(POSITION, "AAPL", None, {"qty": "1"}, {"qty": "2"}),
        Discrepancy(POSITION, "MSFT", None, {"qty": "1"}, {"qty": "2"}),
        Discrepancy(MISSING, "AAPL", "o-9", {}, {}),
    ]
    write_findings(connection, "paper", (MISSING, POSITION), found)
    write_findings(connection, "paper", (MISSING, POSITION), found[:2])
    closed = open_incident(connection, reason="over", actor="test")
    open_incident(connection, reason="loss", actor="test")
    close_incident(connection, closed)
    connection.execute(
        sa.insert(frozen_symbols).values(account_label="paper", symbol="AAPL", reason="r", ours={}, broker={})
    )
    connection.commit()
    rows = TradingRows("paper")
    rows.read(connection)
    assert shown(rows) == {
        "unknown_orders": 1,
        "open_orders": 1,
        "frozen_symbols": 1,
        "incidents_open": 1,
        "reconcile_discrepanciesposition_qty_mismatch": 2,
        "tca_order_count": 0,
    }
    live = TradingRows("live")
    live.read(connection)
    assert shown(live)["unknown_orders"] == shown(live)["open_orders"] == shown(live)["frozen_symbols"] == 0


def test_every_statement_finds_its_rows_by_an_index(connection: sa.Connection) -> None:
    """Grown tables are not scanned: with sequential scans priced out, none is left in any plan."""
    statements: list[str] = []

    def heard(conn: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        del conn, rest
        if not statement.startswith(("SET", "EXPLAIN")):
            cursor.execute(f"EXPLAIN {statement}", parameters)
            statements.extend(row[0] for row in cursor.fetchall())

    connection.execute(sa.text("SET enable_seqscan = off"))
    sa.event.listen(connection, "before_cursor_execute", heard)
    TradingRows("paper").read(connection)
    assert statements
    assert not [line for line in statements if "Seq Scan" in line]
