"""``strategies``: the catalog of an account as it was loaded last; what ``merge`` merges with after a restart."""

from collections.abc import Iterable
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.runtime_tables import strategies


class StoredStrategy(Protocol):
    """A row's values."""

    @property
    def strategy_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def sha256(self) -> str: ...
    @property
    def error(self) -> str | None: ...


def stored_entries(connection: sa.Connection, account_label: str) -> list[dict[str, Any]]:
    """The entries of an account's catalog, by strategy id."""
    table = strategies
    query = sa.select(table.c.entry, table.c.enabled).where(table.c.account_label == account_label)
    rows = connection.execute(query.order_by(table.c.strategy_id)).all()
    return [{**row.entry, "enabled": row.enabled} for row in rows]


def write_strategies(connection: sa.Connection, account_label: str, found: Iterable[StoredStrategy]) -> None:
    """Store a catalog as a whole; rows that did not change keep their time."""
    table, kept = strategies, list[str]()
    with transaction(connection):
        for each in found:
            kept.append(each.strategy_id)
            values: dict[str, Any] = {
                "name": each.name,
                "enabled": each.enabled,
                "entry": each.document,
                "entry_sha256": each.sha256,
                "error": each.error,
            }
            statement = insert(table).values(account_label=account_label, strategy_id=each.strategy_id, **values)
            changed = (
                (table.c.entry_sha256 != each.sha256)
                | (table.c.enabled != each.enabled)
                | table.c.error.is_distinct_from(each.error)
            )
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["account_label", "strategy_id"],
                    set_={**values, "updated_at": sa.func.clock_timestamp()},
                    where=changed,
                )
            )
        connection.execute(
            sa.delete(table).where(table.c.account_label == account_label, table.c.strategy_id.not_in(kept))
        )
