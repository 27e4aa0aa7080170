"""What a strategy's own executions of the last 30 days say: the facts of gate 2's cost rules.

A database that does not answer is an error, never "no executions": whoever collects evidence then reports it missing.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from torghut_assets.gates.evidence import Executions, TransactionCosts
from torghut_runtime.canonical import digest
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.order_costs import COSTS

WINDOW: Final = timedelta(days=30)


def execution_facts(
    connection: sa.Connection, strategy_id: str, until: datetime
) -> tuple[Executions, TransactionCosts | None]:
    """How many executions a strategy has in the 30 days before ``until``, and what they cost.

    A strategy that did not trade for that long has none, as one that never did: the cost rules judge these 30 days.
    Slippage is weighted by filled notional, shortfall the mean per priced order, churn sum over sum. ``None`` stands
    where no execution of the window has a price to compare with.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    with transaction(connection):
        count = int(
            connection.execute(
                sa.text(
                    "SELECT count(*) FROM executions WHERE strategy_id = :strategy AND filled_qty > 0"
                    " AND last_fill_at > :since AND last_fill_at <= :until"
                ),
                {"strategy": strategy_id, "since": until - WINDOW, "until": until},
            ).scalar_one()
        )
        rows = [
            {str(key): row[key] for key in row}
            for row in connection.execute(
                sa.text(
                    f"{COSTS} AND t.strategy_id = :strategy AND t.last_fill_at > :since AND t.last_fill_at <= :until"
                    " ORDER BY t.alpaca_account_label, e.alpaca_order_id, e.client_order_id"
                ),
                {"strategy": strategy_id, "since": until - WINDOW, "until": until},
            ).mappings()
        ]
    record = f"executions-{digest({'strategy': strategy_id, 'count': count, 'rows': rows})[:16]}"
    return Executions(record_id=record, count=count), _costs(record, rows)


def _costs(record: str, rows: list[dict[str, Any]]) -> TransactionCosts | None:
    priced = [row for row in rows if row["slippage_bps"] is not None and row["shortfall_notional"] is not None]
    if not priced:
        return None
    notional = [row["filled_qty"] * row["avg_fill_price"] for row in priced]
    weighted = sum((row["slippage_bps"] * weight for row, weight in zip(priced, notional, strict=True)), Decimal(0))
    filled = sum((row["filled_qty"] for row in rows), Decimal(0))
    churned = sum((Decimal(row["churn_qty"]) for row in rows), Decimal(0))
    shortfall = sum((row["shortfall_notional"] for row in priced), Decimal(0))
    return TransactionCosts(
        record_id=record,
        slippage_bps=float(weighted / sum(notional, Decimal(0))),
        shortfall_notional=float(shortfall / len(priced)),
        churn_ratio=float(churned / filled),
    )
