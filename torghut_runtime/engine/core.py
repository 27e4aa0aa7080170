"""What trades during one term of the lease: everything that is restored from the database and ends with the term.

Single-threaded: only the trading thread touches it. The order in which it is brought to life is the contract's
(``runtime.md`` 5, Start); when, and what follows from a failure, is :mod:`torghut_runtime.engine.term`'s business.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from torghut_runtime.broker.protocol import BrokerReader, Document
from torghut_runtime.clock import NANOSECONDS, Clock, nanoseconds_of
from torghut_runtime.collection import collection_paused
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.cancel_all import CancelAll
from torghut_runtime.engine.cursor_keeper import CursorKeeper
from torghut_runtime.engine.driver import StrategyDriver
from torghut_runtime.engine.entries import Refusals
from torghut_runtime.engine.flatten import Flattener
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.reconciler import BrokerAnswers, read_answers
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.strategy_blocks import StrategyBlocks
from torghut_runtime.engine.trader import Trader
from torghut_runtime.market_data.live_market import LiveMarket
from torghut_runtime.market_data.sources import source_name
from torghut_runtime.orders.broker_view import Announcements
from torghut_runtime.orders.fill_history import Fills, take_fills
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.frozen_symbols import MISMATCH, FrozenSymbols
from torghut_runtime.orders.journal import EventSink, StoredIntent
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.positions import UNATTRIBUTED
from torghut_runtime.orders.reconcile import resolve_left, restore
from torghut_runtime.orders.reconciler import PassResult, Reconciler
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.baselines import Baselines, transfers_of
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.lease import Lease
from torghut_runtime.storage.order_journal import PostgresJournal
from torghut_runtime.storage.position_adjustments import stored_adjustments, stored_freezes
from torghut_runtime.storage.reconcile_store import PostgresReconcileStore
from torghut_runtime.storage.stored_orders import StoredOrders, stored_orders
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import TradingSettings

_ZERO: Final = Decimal(0)
_MULTIPLIER: Final = Decimal(2)
_SWEEP_NS: Final = 60 * NANOSECONDS
KEPT_NS: Final = 3_600 * NANOSECONDS
"""Orders that ended so long ago are forgotten, and recalled should the broker speak of them again."""


@dataclass(frozen=True)
class Outside:
    """What lives longer than a term and is handed in."""

    settings: TradingSettings
    dsn: str
    firewall: Firewall
    reader: BrokerReader
    flatten_reader: BrokerReader
    """Of its own: flattening reads in the operator's thread."""
    announcements: Announcements
    account_fault: Callable[[Document], str | None]
    """Looks at an account and says what is wrong with it; what follows from that has happened then."""
    stance: Stance
    clock: Clock
    metrics: TradingMetrics
    recorder: Recorder
    events: EventSink
    keeps_stream: bool
    """Whether the stream's events go to ``events`` as well, and not through Kafka."""
    fills: Fills


class TradingCore:
    """Positions, orders and the trader of one term."""

    def __init__(self, outside: Outside, lease: Lease, database: sa.Engine) -> None:
        settings, label = outside.settings, outside.settings.mode.account_label
        self._outside = outside
        self._database = database
        self._label = label
        self._listeners = list(outside.stance.listeners)
        self._flattener: Flattener | None = None
        self._transfers = _ZERO
        self._queued: list[StoredIntent] = []
        self._stored = StoredOrders()
        self._since: datetime | None = None
        self._swept_ns = outside.clock.now_ns()
        self._handed_on: deque[tuple[int, int]] = deque()
        """How many events had been handed on at each sweep; the oldest is the newest of which all are stored."""
        self._store = PostgresReconcileStore(outside.dsn, label)
        self.lease = lease
        self.journal = PostgresJournal(outside.dsn, label, settings.broker.adapter, lease)
        self.cursors = CursorKeeper(database, source_name(settings.broker, label), lease)
        self.portfolio = Portfolio(_ZERO)
        self.tracker = OrderTracker(label, self.portfolio)
        self.manager = OrderManager(
            journal=self.journal,
            events=outside.events,
            firewall=outside.firewall,
            reader=outside.reader,
            tracker=self.tracker,
            clock=outside.clock,
            max_retries=settings.execution.max_retries,
            keeps_stream=outside.keeps_stream,
            metrics=outside.metrics,
        )
        self.frozen = FrozenSymbols()
        self.reconciler = self._reconciler(None, 0)
        self.trader: Trader | None = None
        self.account: Mapping[str, object] = {}

    # Start, in the order of the contract ------------------------------------------------------------------------------

    def restore(self) -> None:
        """Open intents, orders, fills and positions.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        self.cursors.read()
        with collection_paused(), connect(self._database) as connection:
            stored = stored_orders(connection, self._label)
            booked = stored_adjustments(connection, self._label)
            frozen = stored_freezes(connection, self._label)
            entries = [*stored.settled, *((each.slot, each.entry) for each in booked)]
            restore(self.tracker, stored.intents, stored.events, entries)
        self._stored = stored
        for each in frozen:
            self.frozen.freeze(each)
        self._since = stored.newest_event_at
        self.reconciler = self._reconciler(self._since, max((each.id for each in booked), default=0))
        self.tracker.recall = self.journal.recall

    def _reconciler(self, since: datetime | None, booked: int) -> Reconciler:
        outside = self._outside
        return Reconciler(
            manager=self.manager,
            reader=outside.reader,
            store=self._store,
            frozen=self.frozen,
            clock=outside.clock,
            announcements=outside.announcements,
            account_fault=outside.account_fault,
            since=since,
            booked=booked,
        )

    def resolve(self) -> None:
        """Look for what an earlier process left half done; what is not found at once is looked for again later."""
        self._queued = resolve_left(self.manager, self._stored.intents)

    def compare(self) -> PassResult:
        """The first pass: orders and positions against the broker's, and its money.

        Raises:
            BrokerError: the broker does not answer.
            StoreUnavailableError: the database does not answer.
        """
        outside = self._outside
        answers = read_answers(outside.reader, outside.announcements, self.reconciler.asked())
        result = self.take(answers, is_quiet=True)
        if result.account_fault is not None:
            # Nothing may leave; what is decided is still recorded, over the money that there is.
            self.account = answers.view.account
            self.portfolio.align_cash(Decimal(str(self.account["cash"])))
        self._transfers = transfers_of(answers.transfers)
        return result

    def back_fill(self) -> None:
        """Take the fills since the newest stored event that an earlier process has heard, and not stored.

        Raises:
            UpstreamError: the broker does not answer.
        """
        outside = self._outside
        take_fills(self.tracker, outside.events, outside.fills, self._since, outside.clock.now())

    def take(self, answers: BrokerAnswers, *, is_quiet: bool) -> PassResult:
        """One pass; money that came or went moves what losses are measured against as soon as it moves the cash."""
        result = self.reconciler.take(answers.view, is_quiet=is_quiet, is_settled=answers.is_settled)
        if result.account_fault is None:
            self._value(answers.view.account, answers.view.positions)
        if result.cash_change is not None and self.trader is not None:
            self.trader.account.transferred(transfers_of(answers.transfers))
        return result

    def _value(self, account: Document, positions: Iterable[Document]) -> None:
        """Take the broker's view of the account, and its prices of what has no newer one."""
        self.account = account
        for held in positions:
            price, symbol = held.get("current_price"), held.get("symbol")
            if price is not None and symbol is not None:
                self.portfolio.marks.setdefault(str(symbol), Decimal(str(price)))

    def take_up(
        self,
        strategies: Sequence[BoundStrategy],
        market: LiveMarket,
        refusals: Refusals,
        blocks: StrategyBlocks,
        baselines: Baselines | None,
    ) -> Trader:
        """The trader, with what waits for its session or its time; its strategies know no bar yet.

        ``baselines``: what losses were measured against before.
        """
        outside = self._outside
        multiplier = Decimal(str(self.account.get("multiplier") or _MULTIPLIER))
        account = AccountView(self.portfolio, self.tracker, multiplier)
        account.restore(baselines, self._transfers)
        trader = Trader(
            settings=outside.settings,
            driver=StrategyDriver(strategies, outside.metrics, market.observe),
            account=account,
            manager=self.manager,
            journal=self.journal,
            stance=outside.stance,
            clock=outside.clock,
            refusals=refusals,
            recorder=outside.recorder,
            blocks=blocks,
            frozen=self.frozen,
            market=market,
            is_behind=lambda: outside.recorder.is_full or outside.events.is_full,
        )
        self._take_over(trader)
        for each in self.frozen.all():
            trader.dispatcher.freeze(each.symbol)
        self.trader = trader
        return trader

    def _take_over(self, trader: Trader) -> None:
        trader.dispatcher.take_over(self._queued)
        for slot, at in self._stored.last_entries.items():
            trader.account.entry_sent(slot, nanoseconds_of(at))
        for stored in self._stored.intents:
            intent = stored.intent
            if stored.sent_at is not None and not intent.is_exit and stored.state != "rejected":
                slot = (intent.strategy_id, intent.terms.symbol)
                trader.account.entry_sent(slot, nanoseconds_of(stored.sent_at.astimezone(UTC)))
        self._queued, self._stored = [], StoredOrders()

    def flattener(self, cancel_all: CancelAll) -> Flattener:
        """What closes positions at an operator's word; one for the term."""
        if self._flattener is None:
            outside = self._outside
            self._flattener = Flattener(
                account_label=self._label,
                manager=self.manager,
                firewall=outside.firewall,
                reader=outside.flatten_reader,
                cancel_all=cancel_all,
                clock=outside.clock,
            )
        return self._flattener

    # While it trades --------------------------------------------------------------------------------------------------

    def holders(self) -> frozenset[str]:
        """Strategies of ours with a position or an open order."""
        held = {slot[0] for slot, _ in self.portfolio.positions()}
        waiting = {each.slot[0] for each in self.portfolio.reservations.values()}
        return frozenset(held | waiting) - {UNATTRIBUTED}

    def mismatched(self) -> Collection[str]:
        """Symbols that are frozen because position and broker differ; from any thread."""
        return sorted(each.symbol for each in self.frozen.all() if each.reason == MISMATCH)

    def sweep(self) -> None:
        """Once a minute: forget orders that ended long ago, delete old snapshots of positions."""
        now_ns = self._outside.clock.now_ns()
        if now_ns - self._swept_ns >= _SWEEP_NS:
            self._swept_ns = now_ns
            self.tracker.forget_ended(now_ns, max(KEPT_NS, now_ns - self._all_stored_ns(now_ns)))
            self._store.forget_positions(self._outside.clock.now())

    def _all_stored_ns(self, now_ns: int) -> int:
        """Until when all that happened is stored: what ended later could not be recalled from there."""
        marks, events = self._handed_on, self._outside.events
        marks.append((now_ns, events.taken))
        while len(marks) > 1 and marks[1][1] <= events.stored:
            marks.popleft()
        return marks[0][0] if marks[0][1] <= events.stored else 0

    def end(self) -> None:
        """The term is over: nothing of it hears or writes any more."""
        self._outside.stance.listeners[:] = self._listeners
        self.cursors.close()
        self._store.close()
        self.journal.close()
