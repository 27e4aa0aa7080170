"""``reconcile_discrepancies`` as a reconciliation writes it: one open row per thing, closed when it is gone."""

import uuid
from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.order_tables import reconcile_discrepancies

GONE = "no_longer_found"


class Finding(Protocol):
    """What a pass found."""

    @property
    def kind(self) -> str: ...
    @property
    def symbol(self) -> str | None: ...
    @property
    def order_id(self) -> str | None: ...
    @property
    def ours(self) -> dict[str, Any]: ...
    @property
    def broker(self) -> dict[str, Any]: ...


def write_findings(
    connection: sa.Connection, account_label: str, kinds: Sequence[str], found: Sequence[Finding]
) -> None:
    """Open or refresh what was found, and close what is open of ``kinds`` and was not found again."""
    table, now = reconcile_discrepancies, sa.func.clock_timestamp()
    with transaction(connection):
        kept: list[uuid.UUID] = []
        for each in found:
            statement = insert(table).values(
                id=uuid.uuid4(),
                alpaca_account_label=account_label,
                alpaca_order_id=each.order_id,
                symbol=each.symbol,
                kind=each.kind,
                ours=each.ours,
                broker=each.broker,
                first_seen_at=now,
                last_seen_at=now,
            )
            statement = statement.on_conflict_do_update(
                index_elements=["alpaca_account_label", "alpaca_order_id", "symbol", "kind"],
                index_where=table.c.resolved_at.is_(None),
                set_={
                    "ours": each.ours,
                    "broker": each.broker,
                    "seen_count": table.c.seen_count + 1,
                    "last_seen_at": now,
                    "updated_at": now,
                },
            ).returning(table.c.id)
            kept.append(connection.execute(statement).scalar_one())
        connection.execute(
            sa.update(table)
            .where(
                table.c.alpaca_account_label == account_label,
                table.c.kind.in_(kinds),
                table.c.resolved_at.is_(None),
                table.c.id.not_in(kept),
            )
            .values(resolved_at=now, resolution=GONE, updated_at=now)
        )
