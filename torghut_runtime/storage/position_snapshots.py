"""``position_snapshots``: a row per change of a strategy's position in a symbol, kept 90 days.

The rows are a history to look at; what is held now is always the replay of fills and adjustments.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from torghut_runtime.orders.positions import Position, Slot
from torghut_runtime.storage.runtime_tables import position_snapshots

KEPT: Final = timedelta(days=90)
_PLACES: Final = Decimal("1e-10")


def save_positions(
    connection: sa.Connection, account_label: str, changes: Sequence[tuple[Slot, Position]], at: datetime
) -> None:
    """Add what positions have changed to, in the caller's transaction."""
    rows = [
        {
            "account_label": account_label,
            "strategy_id": slot[0],
            "symbol": slot[1],
            "qty": position.qty.quantize(_PLACES),
            "avg_entry_price": position.average_entry.quantize(_PLACES),
            "realized_pl": position.realized.quantize(_PLACES),
            "at": at,
        }
        for slot, position in changes
    ]
    if rows:
        connection.execute(sa.insert(position_snapshots), rows)


def delete_old_positions(connection: sa.Connection, now: datetime, most: int = 10_000) -> int:
    """Delete what is older than it is kept, the oldest first and at most so many rows; how many it were."""
    table = position_snapshots
    old = sa.select(table.c.id).where(table.c.at < now - KEPT).order_by(table.c.at).limit(most)
    return connection.execute(sa.delete(table).where(table.c.id.in_(old.scalar_subquery()))).rowcount
