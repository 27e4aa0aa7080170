"""Keeps the trading state across restarts and processes: writes every change, and reads what others have written.

The state in memory is always what is stored, with the changes on top that are not written yet. A change therefore holds
at once and is written as soon as the database takes it; a halt that another process has stored is seen at the next look
(every 100 ms, one row by its key over an open connection). Reading and writing are one thread's, so that nothing older
than a write of ours is ever taken for news. What a state means is :mod:`torghut_runtime.risk.trading_state`.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from torghut_runtime.engine.stance import Cause, Stance
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.risk.trading_state import Latch, TradingState
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.lease import Lease, LeaseLostError, check_token
from torghut_runtime.storage.trading_state import (
    Saved,
    StoredTradingState,
    change_trading_state,
    read_trading_state,
    restored_state,
)

POLL_SECONDS: Final = 0.1
_LOG = logging.getLogger(__name__)

Write = Callable[[sa.Connection], object]


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """Reasons that came and reasons that went; ``answer`` is given for one that holds only once it is stored."""

    number: int
    added: tuple[Latch, ...]
    removed: frozenset[str]
    actor: str
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    answer: "Future[int | None] | None" = None

    def applied(self, state: TradingState) -> TradingState:
        return state.merged(self.added).without(self.removed)


@dataclass(frozen=True, slots=True)
class Durability:
    """Whether everything up to a moment is stored, and the ledger's newest record of the state."""

    durable: bool
    ledger_seq: int | None


class StateKeeper:
    """The stored trading state of one account; every method may be called from any thread.

    ``lease`` is the lease that this process holds, None on a standby. Tightening needs none. A change that loosens is
    written under its token; without it the stored state stays, and memory follows what is stored.
    """

    def __init__(
        self,
        engine: sa.Engine,
        account_label: str,
        stance: Stance,
        *,
        lease: Callable[[], Lease | None],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.restored = threading.Event()
        """Set once what is stored has been read."""
        self.available = False
        """Whether the database answered last time."""
        self.stops: Mapping[str, Any] | None = None
        """The stop flags that were stored last, None while they cannot be read."""
        self.on_look: list[Callable[[sa.Connection], None]] = []
        """What else is read at every look."""
        self._engine = engine
        self._label = account_label
        self._stance = stance
        self._lease = lease
        self._poll_seconds = poll_seconds
        self._wake = threading.Condition()
        self._pending: deque[_Change] = deque()
        self._later: dict[str, Write] = {}
        self._made = 0
        self._seq: int | None = None
        self._stopping = False
        self._connection: sa.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="trading-state", daemon=True)
        stance.observers.append(self._changed)

    def start(self) -> None:
        """Begin to read and write."""
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> bool:
        """Write what is left, for so long at most, and end; whether everything is stored."""
        durable = self.flush(seconds).durable
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._thread.join(seconds)
        return durable

    def flush(self, seconds: float) -> Durability:
        """Wait until every change that was made before this call is stored, for so long at most."""
        with self._wake:
            target = self._made
            durable = self._wake.wait_for(lambda: all(each.number > target for each in self._pending), seconds)
            return Durability(durable, self._seq if durable else None)

    def later(self, name: str, write: Write) -> None:
        """Have something written after the state; a newer write of the same name takes the place of an older one."""
        with self._wake:
            self._later[name] = write
            self._wake.notify_all()

    def written(self, name: str, seconds: float) -> bool:
        """Wait until what was last given to :meth:`later` under a name is stored, for so long at most."""
        with self._wake:
            return self._wake.wait_for(lambda: name not in self._later, seconds)

    def loosen(self, codes: Collection[str], actor: str, seconds: float = 5.0) -> int | None:
        """Take reasons away for good: stored first, in memory afterwards; the ledger's record.

        Raises:
            StoreUnavailableError: the database did not take it in time; nothing has changed.
            LeaseLostError: this process does not hold the lease; nothing has changed.
        """
        answer: Future[int | None] = Future()
        with self._wake:
            self._append((), frozenset(codes), actor, {}, answer)
        try:
            return answer.result(seconds)
        except TimeoutError:
            if answer.cancel():
                raise StoreUnavailableError("the database did not take the change in time") from None
            return answer.result()

    # Of the stance ----------------------------------------------------------------------------------------------------

    def _changed(self, before: TradingState, after: TradingState, cause: Cause) -> None:
        if cause.from_store:
            return
        added = tuple(latch for latch in after.latches if latch.is_durable and latch not in before.latches)
        removed = frozenset(each.code for each in before.latches if each.is_durable and each not in after.latches)
        if added or removed:
            with self._wake:
                self._append(added, removed, cause.actor, cause.detail, None)

    def _append(
        self,
        added: tuple[Latch, ...],
        removed: frozenset[str],
        actor: str,
        detail: Mapping[str, Any],
        answer: "Future[int | None] | None",
    ) -> None:
        self._made += 1
        self._pending.append(_Change(self._made, added, removed, actor, detail, answer))
        self._wake.notify_all()

    # The thread -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                busy = (self._pending or self._later) and self.available
                if not busy and not self._stopping:
                    self._wake.wait(self._poll_seconds)
                if self._stopping:
                    break
            try:
                self._look()
            except StoreUnavailableError as error:
                self._lost(error)
            except Exception:  # noqa: BLE001 - whoever keeps the state must not end
                _LOG.exception("the trading state could not be kept")
                self._disconnect()
        self._disconnect()

    def _look(self) -> None:
        if self._connection is None:
            self._connection = self._engine.connect()
        connection = self._connection
        while self._pending:
            self._write(connection, self._pending[0])
        with transaction(connection):
            row = read_trading_state(connection, self._label)
            for read in self.on_look:
                read(connection)
        self.stops = {} if row is None else row.stops
        self._adopt(row)
        self.available = True
        self.restored.set()
        while self._later:
            with self._wake:
                name, write = next(iter(self._later.items()))
            with transaction(connection):
                write(connection)
            with self._wake:
                if self._later.get(name) is write:
                    del self._later[name]
                self._wake.notify_all()

    def _write(self, connection: sa.Connection, change: _Change) -> None:
        answer = change.answer
        if answer is not None and not answer.set_running_or_notify_cancel():
            self._done(change, None)
            return
        try:
            saved = self._save(connection, change)
        except LeaseLostError as error:
            self._done(change, None)
            if answer is not None:
                answer.set_exception(error)
            return
        except StoreUnavailableError as error:
            if answer is not None:
                self._done(change, None)
                answer.set_exception(error)
            raise
        # What is stored is taken over before anybody hears that it is.
        with self._stance.lock:
            self._done(change, saved.ledger_seq, tell=False)
            self._adopt(saved.row)
        with self._wake:
            self._wake.notify_all()
        if answer is not None:
            answer.set_result(saved.ledger_seq)

    def _save(self, connection: sa.Connection, change: _Change) -> Saved:
        lease = self._lease()
        with transaction(connection):
            if change.removed:
                if lease is None:
                    raise LeaseLostError(f"the lease of {self._label} is not held")
                check_token(connection, lease)
            return change_trading_state(
                connection,
                self._label,
                change.applied,
                actor=change.actor,
                fencing_token=None if lease is None else lease.fencing_token,
                detail=change.detail,
            )

    def _done(self, change: _Change, seq: int | None, *, tell: bool = True) -> None:
        with self._wake:
            self._pending.remove(change)
            self._seq = self._seq if seq is None else seq
            if tell:
                self._wake.notify_all()

    def _adopt(self, row: StoredTradingState | None) -> None:
        """Make the state in memory what is stored, with what is still to be written on top."""
        with self._stance.lock:
            current = self._stance.trading_state
            state = restored_state(row)
            for change in self._pending:
                if change.answer is None:
                    state = change.applied(state)
            state = state.merged(latch for latch in current.latches if not latch.is_durable)
            if set(state.latches) != set(current.latches):
                actor = "runtime" if row is None else row.actor
                self._stance.change(lambda _: state, Cause(actor, from_store=True))

    def _lost(self, error: StoreUnavailableError) -> None:
        if self.available:
            _LOG.warning("the trading state is kept in memory only: %s", error)
        self.available = False
        self.stops = None
        self._disconnect()
        self._fail_answers(error)

    def _fail_answers(self, error: StoreUnavailableError) -> None:
        """Whoever waits for a change that holds only once it is stored is told that it is not."""
        with self._wake:
            waiting = [change for change in self._pending if change.answer is not None]
            for change in waiting:
                self._pending.remove(change)
            self._wake.notify_all()
        for change in waiting:
            if change.answer is not None and change.answer.set_running_or_notify_cancel():
                change.answer.set_exception(error)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
