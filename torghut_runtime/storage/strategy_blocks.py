"""Strategies that an operator has stopped (``strategy_blocks``); what a block means is the engine's business."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.runtime_tables import strategy_blocks

BlockMode = Literal["reduce", "freeze"]


@dataclass(frozen=True, slots=True)
class StrategyBlock:
    """A strategy may only reduce, or do nothing at all."""

    strategy_id: str
    mode: BlockMode
    reason: str
    actor: str
    at: datetime | None = None


def read_blocks(connection: sa.Connection, account_label: str) -> dict[str, StrategyBlock]:
    """The blocks of an account by strategy."""
    table = strategy_blocks
    columns = (table.c.strategy_id, table.c.mode, table.c.reason, table.c.actor, table.c.at)
    rows = connection.execute(sa.select(*columns).where(table.c.account_label == account_label))
    return {row.strategy_id: StrategyBlock(*row) for row in rows}


def block_strategy(connection: sa.Connection, account_label: str, block: StrategyBlock) -> None:
    """Store a block in place of the one before."""
    values: dict[str, Any] = {
        "mode": block.mode,
        "reason": block.reason,
        "actor": block.actor,
        "at": sa.func.clock_timestamp(),
    }
    statement = insert(strategy_blocks).values(account_label=account_label, strategy_id=block.strategy_id, **values)
    with transaction(connection):
        connection.execute(
            statement.on_conflict_do_update(index_elements=["account_label", "strategy_id"], set_=values)
        )


def unblock_strategy(connection: sa.Connection, account_label: str, strategy_id: str) -> bool:
    """Lift a block; whether there was one."""
    statement = sa.delete(strategy_blocks).where(
        strategy_blocks.c.account_label == account_label, strategy_blocks.c.strategy_id == strategy_id
    )
    with transaction(connection):
        return connection.execute(statement).rowcount == 1
