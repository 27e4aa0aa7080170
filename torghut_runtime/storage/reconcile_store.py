"""What reconciliation passes keep, in PostgreSQL: discrepancies, frozen symbols, changed positions.

See :class:`~torghut_runtime.orders.reconciler.ReconcileStore`. One connection, opened again after it was lost.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.orders.booked_fills import BookedFill
from torghut_runtime.orders.frozen_symbols import FrozenSymbol
from torghut_runtime.orders.positions import Position, Slot
from torghut_runtime.orders.reconcile import Discrepancy
from torghut_runtime.storage.database import create_engine, transaction
from torghut_runtime.storage.discrepancies import write_findings
from torghut_runtime.storage.position_adjustments import store_freeze, stored_adjustments, stored_freezes
from torghut_runtime.storage.position_snapshots import delete_old_positions, save_positions


class PostgresReconcileStore:
    """The results of passes for one account."""

    def __init__(self, dsn: str, account_label: str) -> None:
        self._engine = create_engine(dsn)
        self._account = account_label
        self._connection: sa.Connection | None = None

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def freezes(self) -> Sequence[FrozenSymbol]:
        """The symbols that are stored as frozen."""
        with self._transaction() as connection:
            return stored_freezes(connection, self._account)

    def adjustments(self, after: int) -> Sequence[tuple[int, Slot, BookedFill]]:
        """What was booked since a number."""
        with self._transaction() as connection:
            return [(each.id, each.slot, each.entry) for each in stored_adjustments(connection, self._account, after)]

    def freeze(self, found: FrozenSymbol) -> None:
        """Note a frozen symbol."""
        with self._transaction() as connection:
            store_freeze(connection, self._account, found)

    def write(self, kinds: Sequence[str], found: Sequence[Discrepancy]) -> None:
        """Open, refresh and close discrepancies of these kinds."""
        with self._transaction() as connection:
            write_findings(connection, self._account, kinds, found)

    def save_positions(self, changes: Sequence[tuple[Slot, Position]], at: datetime) -> None:
        """Keep what positions have changed to."""
        with self._transaction() as connection:
            save_positions(connection, self._account, changes, at)

    def forget_positions(self, now: datetime) -> int:
        """Delete snapshots that are older than they are kept, as many as one call may; how many it were."""
        with self._transaction() as connection:
            return delete_old_positions(connection, now)

    @contextmanager
    def _transaction(self) -> Generator[sa.Connection]:
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            with transaction(self._connection):
                yield self._connection
        except StoreUnavailableError:
            self._connection.invalidate()
            self.close()
            raise
