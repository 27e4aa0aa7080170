"""The trading state of an account in the database: read at a start, written at every change under the lease's token."""

import sqlalchemy as sa

from torghut_runtime.engine.stance import Stance
from torghut_runtime.risk.trading_state import DATABASE_UNAVAILABLE, TradingState, from_stored
from torghut_runtime.storage.database import connect, transaction
from torghut_runtime.storage.lease import Lease, check_token
from torghut_runtime.storage.trading_state import read_trading_state, save_trading_state

ACTOR = "runtime"


class StoredState:
    """Keeps what is stored in step with what holds."""

    def __init__(self, database: sa.Engine, account_label: str, stance: Stance) -> None:
        self._database = database
        self._label = account_label
        self._stance = stance
        self._written: TradingState | None = None

    def restore(self) -> None:
        """Take over what was stored, beside what has been latched in this process.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        with connect(self._database) as connection:
            row = read_trading_state(connection, self._label)
        state = TradingState() if row is None else from_stored(row.state, row.reasons, row.since)
        self._written = state
        for latch in self._stance.trading_state.latches:
            state = state.latched(latch.code, latch.at)
        self._stance.trading_state = state

    def save(self, lease: Lease) -> None:
        """Write what has changed.

        Raises:
            StoreUnavailableError, LeaseLostError
        """
        state = self._stance.trading_state
        if state == self._written or DATABASE_UNAVAILABLE in state.codes:
            return
        with connect(self._database) as connection, transaction(connection):
            check_token(connection, lease)
            save_trading_state(
                connection,
                self._label,
                state.state,
                reasons=state.stored(),
                actor=ACTOR,
                fencing_token=lease.fencing_token,
            )
        self._written = state
