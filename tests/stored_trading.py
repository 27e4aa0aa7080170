"""The stored trading state in tests: moved as the engine moves it, by the reasons that are latched."""

from collections.abc import Collection
from datetime import UTC, datetime

import sqlalchemy as sa

from torghut_runtime.risk.trading_state import TradingState
from torghut_runtime.storage.guard_tables import incidents
from torghut_runtime.storage.trading_state import change_trading_state

HALT = "operator_halt"
LOSS = "daily_loss_limit_reached"
"""Reduces."""
_AT = datetime(2026, 11, 25, 18, tzinfo=UTC)


def latch_exactly(connection: sa.Connection, codes: Collection[str], *, account: str = "paper", token: int = 1) -> bool:
    """Have exactly these reasons latched; whether others were before. Without any the account is ACTIVE."""

    def change(state: TradingState) -> TradingState:
        kept = state.without([code for code in state.codes if code not in codes])
        for code in codes:
            kept = kept.latched(code, _AT)
        return kept

    saved = change_trading_state(connection, account, change, actor="runtime", fencing_token=token)
    return saved.ledger_seq is not None


def open_incidents(connection: sa.Connection) -> list[tuple[int, str]]:
    """Id and reason of every open incident, oldest first."""
    table = incidents
    query = sa.select(table.c.id, table.c.reason).where(table.c.closed_at.is_(None)).order_by(table.c.id)
    return [(row.id, row.reason) for row in connection.execute(query)]


def close_incident(connection: sa.Connection, incident_id: int) -> None:
    """What a person does who has settled it."""
    closed = {"closed_at": sa.func.clock_timestamp(), "closed_by": "ada"}
    connection.execute(sa.update(incidents).where(incidents.c.id == incident_id).values(**closed))
