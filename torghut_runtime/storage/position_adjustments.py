"""Frozen symbols, and what ``positions reconcile`` booked beside the fills, in PostgreSQL.

A symbol is frozen by the process that trades and thawed by the command, in the transaction that books the difference
and records it in the ledger. Which difference is booked is :mod:`torghut_runtime.orders.adjusting`'s business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.clock import nanoseconds_of
from torghut_runtime.orders.adjusting import Adjustment
from torghut_runtime.orders.booked_fills import BookedFill
from torghut_runtime.orders.frozen_symbols import FrozenSymbol
from torghut_runtime.orders.positions import Slot
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.ledger import append
from torghut_runtime.storage.runtime_tables import frozen_symbols, position_adjustments


@dataclass(frozen=True, slots=True)
class StoredAdjustment:
    """One booked difference of a strategy in a symbol."""

    id: int
    slot: Slot
    qty_factor: Decimal
    qty_change: Decimal
    price: Decimal | None
    effective_at: datetime

    @property
    def entry(self) -> BookedFill:
        """As a position takes it."""
        factor, change = self.qty_factor.normalize(), self.qty_change.normalize()
        price = (self.price or Decimal(0)).normalize()
        return BookedFill.adjustment(self.id, nanoseconds_of(self.effective_at), factor, change, price)


def stored_adjustments(connection: sa.Connection, account_label: str, after: int = 0) -> list[StoredAdjustment]:
    """What was booked for an account, in the order in which it was booked."""
    table = position_adjustments
    query = (
        sa.select(table)
        .where(table.c.account_label == account_label, table.c.id > after)
        .order_by(table.c.id)
    )  # fmt: skip
    return [
        StoredAdjustment(
            row["id"],
            (row["strategy_id"], row["symbol"]),
            row["qty_factor"],
            row["qty_change"],
            row["price"],
            row["effective_at"],
        )
        for row in connection.execute(query).mappings()
    ]


def stored_freezes(connection: sa.Connection, account_label: str) -> list[FrozenSymbol]:
    """The frozen symbols of an account."""
    table = frozen_symbols
    query = sa.select(table).where(table.c.account_label == account_label).order_by(table.c.symbol)
    return [
        FrozenSymbol(row["symbol"], row["reason"], row["ours"], row["broker"])
        for row in connection.execute(query).mappings()
    ]


def store_freeze(connection: sa.Connection, account_label: str, found: FrozenSymbol) -> None:
    """Note that a symbol is frozen; one that is keeps what was noted first."""
    statement = insert(frozen_symbols).values(
        account_label=account_label, symbol=found.symbol, reason=found.reason, ours=found.ours, broker=found.broker
    )
    connection.execute(statement.on_conflict_do_nothing())


def book(
    connection: sa.Connection,
    account_label: str,
    symbol: str,
    adjustments: Sequence[Adjustment],
    *,
    effective_at: datetime,
    reason: str,
    actor: str,
    shown: dict[str, Any],
) -> int:
    """Book what was found, thaw the symbol and record both in the ledger, in one transaction; the record's number."""
    with transaction(connection):
        body = {
            "action": "positions_reconcile",
            "symbol": symbol,
            "reason": reason,
            "adjustments": [each.document() for each in adjustments],
            **shown,
        }
        row = append(connection, kind="operator_action", subject=account_label, actor=actor, body=body)
        for each in adjustments:
            connection.execute(
                sa.insert(position_adjustments).values(
                    account_label=account_label,
                    symbol=symbol,
                    strategy_id=each.strategy_id,
                    qty_factor=each.qty_factor,
                    qty_change=each.qty_change,
                    price=each.price,
                    effective_at=effective_at,
                    reason=reason,
                    actor=actor,
                    ledger_seq=row.seq,
                )
            )
        connection.execute(
            sa.delete(frozen_symbols).where(
                frozen_symbols.c.account_label == account_label, frozen_symbols.c.symbol == symbol
            )
        )
    return row.seq
