"""The trading thread: one term of the lease after the other, and within a term one thing after the other.

The start of a term is the contract's (``runtime.md`` 5, Start). Whatever the database, the broker or the lease do to it
ends the term; the next one begins with what is stored. Nothing else touches positions, orders and decisions.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from torghut_runtime.broker.protocol import BrokerError
from torghut_runtime.clock import NANOSECONDS
from torghut_runtime.collection import IdleCollector
from torghut_runtime.engine.core import Outside, TradingCore
from torghut_runtime.engine.evaluation import Evaluation
from torghut_runtime.engine.event_writer import EventWriter
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.inbox import Inbox
from torghut_runtime.engine.leadership import Leadership
from torghut_runtime.engine.live_catalog import LiveCatalog
from torghut_runtime.engine.market_system import MarketSystem
from torghut_runtime.engine.progress import Progress
from torghut_runtime.engine.reconciler import BrokerReading
from torghut_runtime.engine.reconciliation import Reconciliation
from torghut_runtime.engine.simulated_time import FollowingClock
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.engine.trade_updates import TradeUpdates
from torghut_runtime.engine.trader import Trader
from torghut_runtime.errors import StoreUnavailableError, UpstreamError
from torghut_runtime.market_data.closed_bars import ClosedBars
from torghut_runtime.risk.trading_state import DATABASE_UNAVAILABLE
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.lease import Lease, LeaseLostError
from torghut_runtime.storage.migrations import is_at_head
from torghut_runtime.storage.strategies import stored_entries, write_strategies

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0
LEASE: Final = "lease"
"""The phase of a standby, and what it waits for."""
NOT_RECONCILED: Final = "not_reconciled"
_STEP_SECONDS: Final = 0.05
"""So often is it looked whether something is due by the clock."""
_CALL_SECONDS: Final = 30.0
_START_SECONDS: Final = 180.0
_WIND_DOWN_SECONDS: Final = 4.0
_DRAIN_SECONDS: Final = 1.0
"""So long the end of a term, and the begin of the next, wait for events of orders to be stored."""

Command = Callable[[], None]
Item = Command | bytes | ClosedBars
"""A command, an event of the broker's stream, or bars."""


class NotReadyError(Exception):
    """Something that trading needs is not there yet; the text is the reason's code."""


@dataclass(frozen=True)
class Surroundings:
    """The parts that the loop works with; they outlive its terms."""

    outside: Outside
    database: sa.Engine
    leadership: Leadership
    updates: TradeUpdates
    market: MarketSystem
    catalog: LiveCatalog
    reading: BrokerReading
    inbox: Inbox[Item]
    events: EventWriter
    stops: StopSystem
    evaluation: Evaluation
    publish: Callable[["TradingLoop"], None]


class TradingLoop:
    """The body of the trading thread."""

    def __init__(self, parts: Surroundings) -> None:
        self.progress = Progress()
        self.core: TradingCore | None = None
        self.evaluation = parts.evaluation
        self.wind_down_seconds = _WIND_DOWN_SECONDS
        self._parts = parts
        self._settings = parts.outside.settings
        self._label = parts.outside.settings.mode.account_label
        self._clock = parts.outside.clock
        self._stance = parts.outside.stance
        self._seen = 0
        self._batches_taken = self._bars_taken = 0
        self._warm_after: int | None = None
        self._evaluate_ns = 0
        self.reconciliation = Reconciliation(
            reading=parts.reading,
            in_trading_thread=lambda call: parts.inbox.put("commands", call),
            stance=self._stance,
            clock=self._clock,
            period_ms=self._settings.mode.reconcile_ms,
            progress=self.progress,
            heard=lambda: self._seen + parts.inbox.depth("order_updates"),
            note=self._note,
        )
        self._collector = IdleCollector()
        self._catalog_changed = threading.Event()
        parts.catalog.changed = self._catalog_changed.set

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Work until told to stop."""
        try:
            self._work(beat, stop)
        finally:
            self._collector.end()

    def _work(self, beat: Heartbeat, stop: threading.Event) -> None:
        pause = FIRST_PAUSE
        while not stop.is_set():
            beat.beat()
            reason = None
            try:
                self._term(beat, stop)
                pause = FIRST_PAUSE
            except StoreUnavailableError as error:
                reason = self._store_trouble(error)
            except LeaseLostError as error:
                self._lost(error)
            except BrokerError as error:
                reason = self._trouble("broker_unavailable", error)
            except UpstreamError as error:
                reason = self._trouble("upstream_unavailable", error)
            except NotReadyError as error:
                reason = str(error)
            finally:
                self._end_term()
            if reason is not None:
                self._wait(reason, beat, stop, pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    @property
    def counts(self) -> dict[str, int]:
        """What was taken since the process began."""
        return {
            "order_updates_taken": self._seen,
            "bars_taken": self._bars_taken,
            "orders_queued": 0 if self.core is None or self.core.trader is None else self.core.trader.dispatcher.queued,
        }

    # A term -----------------------------------------------------------------------------------------------------------

    def _term(self, beat: Heartbeat, stop: threading.Event) -> None:
        parts = self._parts
        self._at("state")
        if isinstance(self._clock, FollowingClock) and not self._clock.is_set:
            raise NotReadyError("broker_unavailable")
        beat.beat(_CALL_SECONDS)
        self._assert_schema()
        if not parts.stops.keeper.restored.wait(_STEP_SECONDS):
            raise NotReadyError(DATABASE_UNAVAILABLE)
        lease = self._lease(beat, stop)
        if lease is None:
            return
        self._at("migrations")
        beat.beat(_START_SECONDS)
        self._assert_schema()
        self._at("orders")
        if not parts.events.drain(_DRAIN_SECONDS):
            # A term begins with what is stored: nothing that an earlier one knew may wait.
            raise NotReadyError(DATABASE_UNAVAILABLE)
        self._assert_account()
        self._load_catalog()
        parts.inbox.accept("order_updates", "bars")
        self._listen(beat, stop)
        core = self.core = TradingCore(parts.outside, lease, parts.database)
        core.restore()
        self._at("resolving")
        core.resolve()
        self._at("comparing")
        self.reconciliation.conclude(core, core.compare())
        if parts.outside.keeps_stream:
            core.back_fill()
        core.frozen.on_thawed.append(self._thawed)
        strategies = parts.catalog.current.running(core.holders())
        trader = core.take_up(
            strategies,
            parts.market.begin(strategies),
            self._refusals,
            parts.stops.blocks,
            parts.stops.stored_baselines(),
        )
        self.evaluation.begin(trader)
        self._at("warming_up")
        self._warm_after = None
        parts.market.want(strategies, core.cursors.now)
        self._trade(core, trader, beat, stop)

    def _lease(self, beat: Heartbeat, stop: threading.Event) -> Lease | None:
        """Wait for the lease; None when told to stop."""
        leadership = self._parts.leadership
        leadership.want()
        while not stop.is_set():
            lease = leadership.lease
            if lease is not None and leadership.may_submit:
                return lease
            self._at(LEASE, LEASE if leadership.error is None else DATABASE_UNAVAILABLE)
            self._serve(beat, _STEP_SECONDS)
        return None

    def _assert_schema(self) -> None:
        if not is_at_head(self._parts.database):
            raise NotReadyError("migrations_behind")

    def _load_catalog(self) -> None:
        parts = self._parts
        with connect(parts.database) as connection:
            stored = stored_entries(connection, self._label)
        parts.catalog.load(stored)
        self._write_catalog()

    def _write_catalog(self) -> None:
        with connect(self._parts.database) as connection:
            write_strategies(connection, self._label, self._parts.catalog.current.strategies)

    def _listen(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Have the broker send order updates before it is asked what happened: nothing lies between the two."""
        updates = self._parts.updates
        updates.want(True)
        deadline = time.monotonic() + LONGEST_PAUSE
        while not updates.listening:
            if stop.is_set() or time.monotonic() > deadline:
                raise NotReadyError("order_stream_disconnected")
            beat.beat(_START_SECONDS)
            stop.wait(_STEP_SECONDS)

    def _assert_account(self) -> None:
        self._see(self._parts.outside.reader.account())

    def _see(self, account: dict[str, Any]) -> None:
        guard = self._parts.stops.account
        if not guard.see(account):
            self._note(f"account {account.get('account_number')} {guard.fault}")

    def _trade(self, core: TradingCore, trader: Trader, beat: Heartbeat, stop: threading.Event) -> None:
        """Everything that comes, in order, until the lease is another's or the end."""
        leadership = self._parts.leadership
        self._evaluate_ns = self._clock.now_ns()
        self.reconciliation.begin(core)
        while not stop.is_set():
            lease = leadership.lease
            if lease is None or lease.fencing_token != core.lease.fencing_token:
                raise LeaseLostError(f"the lease of {self._label} is not held any more")
            self._stance.set(lease_held=leadership.may_submit)
            self._be_ready()
            if self._catalog_changed.is_set():
                self._swap(core, trader)
            self._serve(beat, _STEP_SECONDS)
            beat.beat(_CALL_SECONDS)
            self._due(trader)
            core.cursors.write()
            core.sweep()
        self._wind_down(core, trader)

    def _be_ready(self) -> None:
        """Trade from when all history has been taken and live bars come; say why not while they do not."""
        market, waiting = self._parts.market, list[str]()
        if self._warm_after is None and market.warm:
            self._warm_after = self._batches_taken + self._parts.inbox.depth("bars")
        if self._warm_after is None or self._batches_taken < self._warm_after:
            waiting.append(NOT_RECONCILED)
        elif not self._stance.gate().reconciled:
            self._collector.begin()
            self._stance.set(reconciled=True)
            self._stance.resolve(DATABASE_UNAVAILABLE)
        if not market.connected:
            waiting.append("market_data_disconnected")
        if not self._parts.updates.listening:
            waiting.append("order_stream_disconnected")
        self.progress.phase = "trading" if self._stance.gate().reconciled else "warming_up"
        self.progress.waiting = tuple(waiting)

    def _serve(self, beat: Heartbeat, seconds: float) -> None:
        """Do what comes next, if anything comes."""
        beat.beat()
        if self._parts.inbox.is_empty:
            self._collector.idle()
        item = self._parts.inbox.get(seconds)
        beat.beat(_CALL_SECONDS)
        if isinstance(item, ClosedBars):
            self._take_bars(item)
        elif isinstance(item, bytes):
            self._take_update(item)
        elif item is not None:
            item()
        self._parts.publish(self)

    def _take_update(self, value: bytes) -> None:
        core = self.core
        if core is None or core.trader is None:
            return
        self._seen += 1
        core.trader.on_order_event(value)
        if self._parts.outside.keeps_stream:
            self._parts.events.take([value], "stream")

    def _take_bars(self, closed: ClosedBars) -> None:
        core = self.core
        self._batches_taken += 1
        if core is None or core.trader is None:
            return
        trader = core.trader
        if closed.kind == "warm_up":
            trader.warm_up(closed.bars)
            return
        self._hear_clock(closed.closed_at)
        trader.on_time()
        self._parts.market.view.note_gaps(closed)
        trader.on_bars(closed.bars)
        core.cursors.processed(closed.bars)
        self._bars_taken += len(closed.bars)
        self.progress.last_run_at = self._clock.now()

    def _hear_clock(self, moment: datetime) -> None:
        """A bar that has closed is the simulator's time, too, and may come before the next time that is asked for."""
        clock = self._clock
        if isinstance(clock, FollowingClock):
            clock.hear_moment(moment)

    def _due(self, trader: Trader) -> None:
        now_ns, mode = self._clock.now_ns(), self._settings.mode
        due = trader.next_due_ns
        if due is not None and due <= now_ns:
            trader.on_time()
        if now_ns >= self._evaluate_ns:
            self._evaluate_ns = now_ns + mode.poll_ms * NANOSECONDS // 1_000
            self.evaluation.evaluate(trader, self.progress)
        self.reconciliation.look()

    # Catalog ----------------------------------------------------------------------------------------------------------

    def _refusals(self, strategy_id: str, symbol: str) -> tuple[str, ...]:
        del symbol
        return self._parts.catalog.current.refusals(strategy_id)

    def _swap(self, core: TradingCore, trader: Trader) -> None:
        """Another catalog, between two bars."""
        self._catalog_changed.clear()
        running = self._parts.catalog.current.running(core.holders())
        trader.use(trader.driver.successor(running))
        self._parts.market.want(running, core.cursors.now)
        self._write_catalog()

    def _thawed(self, symbol: str) -> None:
        """The difference in a symbol has been booked: its past may be told in other units now."""
        if self.core is not None and self.core.trader is not None:
            self.core.trader.forget(symbol)
        self._parts.market.renew(symbol)

    # The end of a term ------------------------------------------------------------------------------------------------

    def _wind_down(self, core: TradingCore, trader: Trader) -> None:
        """The process ends: open entries are cancelled, and what the broker says of them is taken."""
        del trader
        self._at("stopping", "stopping")
        for order in core.tracker.open_entries():
            core.manager.cancel(order.order_id)
        deadline = time.monotonic() + self.wind_down_seconds
        while core.tracker.open_entries() and time.monotonic() < deadline:
            update = self._parts.inbox.take("order_updates")
            if isinstance(update, bytes):
                self._take_update(update)
            else:
                time.sleep(_STEP_SECONDS / 5)
        core.cursors.write(due=True)
        while isinstance(update := self._parts.inbox.take("order_updates"), bytes):
            self._take_update(update)

    def _end_term(self) -> None:
        core, self.core = self.core, None
        self.reconciliation.end()
        self._stance.set(reconciled=False)
        self._parts.inbox.refuse("order_updates", "bars")
        self._parts.market.want_nothing()
        self._parts.events.drain(_DRAIN_SECONDS)
        if core is not None:
            core.end()
            # Of all that hear of blocks only the ended term's dispatcher acts on orders.
            self._parts.stops.blocks.on_block.clear()
        if self._parts.leadership.lease is None:
            self._parts.updates.want(False)
        self._parts.publish(self)

    def _store_trouble(self, error: StoreUnavailableError) -> str:
        if self.core is not None and self.core.trader is not None:
            # Entering HALTED has the stops cancel every order; the term's own listeners write, so they go first.
            self.core.end()
            self._stance.latch(DATABASE_UNAVAILABLE, self._clock.now())
        return self._trouble(DATABASE_UNAVAILABLE, error)

    def _lost(self, error: LeaseLostError) -> None:
        if self.core is not None:
            self._parts.leadership.forget(self.core.lease)
        self._trouble("lease_lost", error)

    def _trouble(self, reason: str, error: Exception) -> str:
        self._note(str(error))
        log.warning("%s: %s", reason, error)
        return reason

    def _note(self, message: str) -> None:
        self.progress.last_error = {"at": self._clock.now(), "message": message}

    def _at(self, phase: str, *waiting: str) -> None:
        self.progress.phase, self.progress.waiting = phase, waiting or (NOT_RECONCILED,)
        self._parts.publish(self)

    def _wait(self, reason: str, beat: Heartbeat, stop: threading.Event, seconds: float) -> None:
        """A pause before the next attempt, in which commands are still carried out."""
        self.progress.waiting = (reason,)
        deadline = time.monotonic() + seconds
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            self._serve(beat, min(left, _STEP_SECONDS))
