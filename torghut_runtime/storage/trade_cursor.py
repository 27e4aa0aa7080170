"""``trade_cursor``: how far market data have been processed, per source, symbol and timeframe.

Read once at the start; moved after the decisions of a bar are committed, in the caller's transaction where it has one.
A cursor never goes back, and one that a later holder of the lease has written is not touched.
"""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.storage.runtime_tables import trade_cursor


def read_cursors(connection: sa.Connection, source: str) -> dict[tuple[str, str], datetime]:
    """Start (UTC) of the last processed bar by symbol and timeframe."""
    table = trade_cursor
    rows = connection.execute(
        sa.select(table.c.symbol, table.c.timeframe, table.c.bar_ts).where(table.c.source == source)
    )
    return {(row.symbol, row.timeframe): row.bar_ts for row in rows}


def move_cursors(
    connection: sa.Connection, source: str, bars: Mapping[tuple[str, str], datetime], fencing_token: int
) -> int:
    """Note bars (their start, by symbol and timeframe) as processed; returns how many cursors moved.

    The caller commits. One statement, whatever the number of bars; rows are locked in one order.
    """
    if not bars:
        return 0
    table = trade_cursor
    rows = [
        {
            "source": source,
            "symbol": symbol,
            "timeframe": timeframe,
            "bar_ts": bars[symbol, timeframe],
            "fencing_token": fencing_token,
        }
        for symbol, timeframe in sorted(bars)
    ]
    statement = insert(table).values(rows)
    statement = statement.on_conflict_do_update(
        index_elements=["source", "symbol", "timeframe"],
        set_={
            "bar_ts": statement.excluded.bar_ts,
            "fencing_token": statement.excluded.fencing_token,
            "updated_at": sa.func.clock_timestamp(),
        },
        where=(table.c.bar_ts < statement.excluded.bar_ts)
        & (table.c.fencing_token <= statement.excluded.fencing_token),
    ).returning(table.c.symbol)
    return len(connection.execute(statement).all())
