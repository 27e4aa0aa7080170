"""``trade_cursor``: how far market data have been processed, per source, symbol and timeframe.

Read once at the start; moved after the decisions of a bar are committed, in the caller's transaction where it has one.
A cursor never goes back, and one that a later holder of the lease has written is not touched.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from torghut_runtime.order_feed.arrays import texts
from torghut_runtime.storage.runtime_tables import trade_cursor

_MOVE: Final = sa.text("""
    INSERT INTO trade_cursor AS c (source, symbol, timeframe, bar_ts, fencing_token)
    SELECT :source, n.symbol, n.timeframe, n.bar_ts, :token
    FROM unnest(CAST(:symbols AS text[]), CAST(:timeframes AS text[]), CAST(:starts AS timestamptz[]))
        WITH ORDINALITY n(symbol, timeframe, bar_ts, at)
    ORDER BY n.at
    ON CONFLICT (source, symbol, timeframe) DO UPDATE
    SET bar_ts = excluded.bar_ts, fencing_token = excluded.fencing_token, updated_at = clock_timestamp()
    WHERE c.bar_ts < excluded.bar_ts AND c.fencing_token <= excluded.fencing_token
    RETURNING c.symbol
""")


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
    keys = sorted(bars)
    given = {
        "source": source,
        "symbols": texts([symbol for symbol, _ in keys]),
        "timeframes": texts([timeframe for _, timeframe in keys]),
        "starts": texts([bars[key].isoformat() for key in keys]),
        "token": fencing_token,
    }
    return len(connection.execute(_MOVE, given).all())
