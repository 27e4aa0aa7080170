"""What losses are measured against, across restarts: read when a process begins to trade, written when it has moved.

Money that comes or goes is known from the account's activities: all deposits less withdrawals since the account exists
are one sum, and what that sum is more than the stored one shifts the baselines, once, whatever died in between. How the
numbers move is :mod:`torghut_runtime.risk.baselines`.
"""

from decimal import Decimal

import sqlalchemy as sa

from torghut_runtime.broker.protocol import BrokerReader
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.state_keeper import StateKeeper
from torghut_runtime.risk.baselines import Baselines, transfers_of
from torghut_runtime.storage.baselines import read_baselines, save_baselines
from torghut_runtime.storage.database import connect


class LossBaselines:
    """The baselines of one account."""

    def __init__(self, database: sa.Engine, keeper: StateKeeper, account_label: str, reader: BrokerReader) -> None:
        self._database = database
        self._keeper = keeper
        self._label = account_label
        self._reader = reader
        self._kept: Baselines | None = None

    def begin(self, account: AccountView) -> None:
        """Go on with what is stored; before the first bar, after the broker's cash has been taken over.

        Raises:
            StoreUnavailableError, BrokerError
        """
        with connect(self._database) as connection:
            stored = read_baselines(connection, self._label)
        account.restore(stored, self.transfers())
        self._kept = stored

    def transfers(self) -> Decimal:
        """All deposits less withdrawals, from any thread; for :meth:`AccountView.transferred` at every reconcile.

        Raises:
            BrokerError: the broker does not answer.
        """
        return transfers_of(self._reader.transfers())

    def keep(self, account: AccountView) -> None:
        """Have the baselines written where they have moved; at every evaluation."""
        baselines = account.baselines
        if baselines is None or baselines == self._kept:
            return
        self._kept = baselines
        self._keeper.later("baselines", lambda connection: save_baselines(connection, self._label, baselines))
