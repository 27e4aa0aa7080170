"""With 100,000 rows no list reads a whole table: each goes along an index, and is answered at once."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from torghut_runtime.api.rows import Wanted, read_decisions, read_executions, read_orders
from torghut_runtime.api.tca import day_figures, read_tca
from torghut_runtime.storage.database import create_engine

pytestmark = pytest.mark.full

ROWS = 100_000
FILL = f"""
INSERT INTO trade_decisions (id, decision_hash, strategy_id, alpaca_account_label, symbol, timeframe, bar_ts,
    decided_at, decision_json, created_at, status)
SELECT gen_random_uuid(), 'c' || n, 's' || n % 20, 'paper', 'S' || n % 500, '1Min', now(), now(),
    jsonb_build_object('filler', repeat('x', 500)), now() - n * interval '30 seconds', 'filled'
FROM generate_series(1, {ROWS}) n;
INSERT INTO order_intents (id, trade_decision_id, intent_seq, alpaca_account_label, client_order_id, strategy_id,
    adapter, symbol, side, order_type, time_in_force, qty, extended_hours, submit_payload, state, created_at)
SELECT gen_random_uuid(), id, 0, 'paper', decision_hash, strategy_id, 'simulator', symbol, 'buy', 'limit', 'day', 3,
    false, '{{}}', 'filled', created_at FROM trade_decisions;
INSERT INTO executions (id, alpaca_account_label, alpaca_order_id, client_order_id, intent_id, trade_decision_id,
    strategy_id, symbol, status, filled_qty, avg_fill_price, fills_complete, pending_cancel, pending_replace,
    last_event_seq, created_at, last_fill_at, terminal_at)
SELECT gen_random_uuid(), 'paper', 'o' || client_order_id, client_order_id, id, trade_decision_id, strategy_id, symbol,
    'filled', 3, 100, true, false, false, 1, created_at, created_at, created_at FROM order_intents;
INSERT INTO execution_tca_metrics (execution_id, trade_decision_id, strategy_id, alpaca_account_label, symbol, side,
    avg_fill_price, filled_qty, signed_qty, slippage_bps, shortfall_notional, last_fill_at, computed_at)
SELECT id, trade_decision_id, strategy_id, 'paper', symbol, 'buy', 100, 3, 3, 1, 1, last_fill_at, now() FROM executions;
"""
BIG = ("trade_decisions", "order_intents", "executions", "execution_tca_metrics")
NOW = datetime.now(UTC)
READS: tuple[tuple[str, Callable[[sa.Connection], Any]], ...] = (
    ("decisions", lambda c: read_decisions(c, Wanted(200))),
    ("decisions of a symbol", lambda c: read_decisions(c, Wanted(200, symbol="S7"))),
    ("decisions of a strategy", lambda c: read_decisions(c, Wanted(200, strategy_id="s7"))),
    ("decisions by status", lambda c: read_decisions(c, Wanted(200, status="rejected"))),
    ("executions", lambda c: read_executions(c, Wanted(500))),
    ("executions of a symbol", lambda c: read_executions(c, Wanted(200, symbol="nothing"))),
    ("orders", lambda c: read_orders(c, Wanted(500))),
    ("open orders", lambda c: read_orders(c, Wanted(200, open=True))),
    ("costs", lambda c: read_tca(c, Wanted(200))),
    ("costs of a symbol", lambda c: read_tca(c, Wanted(200, symbol="S7"))),
    ("costs of a strategy since", lambda c: read_tca(c, Wanted(200, strategy_id="s7", since=NOW - timedelta(days=3)))),
    ("costs of a day", day_figures),
)


def test_no_list_reads_a_whole_table(database_dsn: str) -> None:
    engine = create_engine(database_dsn)
    with engine.connect() as connection:
        for statement in FILL.split(";\n"):
            if statement.strip():
                connection.execute(sa.text(statement))
        connection.commit()
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("ANALYZE"))
    seen: list[tuple[str, Any]] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def keep(_c: Any, _cursor: Any, statement: str, parameters: Any, _ctx: Any, _many: Any) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    for name, read in READS:
        seen.clear()
        with engine.connect() as connection:
            read(connection)
            statements = list(seen)
            for statement, parameters in statements:
                plan = "\n".join(
                    row[0] for row in connection.exec_driver_sql(f"EXPLAIN ANALYZE {statement}", parameters).all()
                )
                for table in BIG:
                    scan = re.search(rf"Seq Scan on {table}\b.*?rows=(\d+)\.?\d* loops=(\d+)", plan)
                    assert scan is None, f"{name}:\n{plan}"
