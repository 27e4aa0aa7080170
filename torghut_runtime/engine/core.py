"""What trades during one term of the lease: everything that is restored from the database and ends with the term.

Single-threaded: only the trading thread touches it. The order in which it is brought to life is the contract's
(``runtime.md`` 5, Start); when, and what follows from a failure, is :mod:`torghut_runtime.engine.term`'s business.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from torghut_runtime.broker.protocol import BrokerReader, Document
from torghut_runtime.canonical import utc_text
from torghut_runtime.clock import Clock, nanoseconds_of
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.cancel_all import CancelAll
from torghut_runtime.engine.cursor_keeper import CursorKeeper
from torghut_runtime.engine.driver import StrategyDriver
from torghut_runtime.engine.flatten import Flattener
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.strategy_blocks import StrategyBlocks
from torghut_runtime.engine.trader import Refusals, Trader
from torghut_runtime.market_data.live_market import LiveMarket
from torghut_runtime.market_data.sources import source_name
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.journal import StoredIntent
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.portfolio import UNATTRIBUTED, Portfolio
from torghut_runtime.orders.reconcile import Discrepancy, reconcile, resolve_left, restore
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.baselines import Baselines, transfers_of
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.lease import Lease
from torghut_runtime.storage.order_journal import PostgresJournal, stored_events, stored_intents
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import TradingSettings

_ZERO: Final = Decimal(0)
_MULTIPLIER: Final = Decimal(2)
_LOOK_BACK: Final = timedelta(days=7)
"""How far back the orders of the broker are read at a start; open ones are always read."""


@dataclass(frozen=True)
class Outside:
    """What lives longer than a term and is handed in."""

    settings: TradingSettings
    dsn: str
    firewall: Firewall
    reader: BrokerReader
    flatten_reader: BrokerReader
    """Of its own: flattening reads in the operator's thread."""
    stance: Stance
    clock: Clock
    metrics: TradingMetrics
    recorder: Recorder


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
        self._stored: list[StoredIntent] = []
        self.lease = lease
        self.journal = PostgresJournal(outside.dsn, label, settings.broker.adapter, lease)
        self.cursors = CursorKeeper(database, source_name(settings.broker, label), lease)
        self.portfolio = Portfolio(_ZERO)
        self.tracker = OrderTracker(label, self.portfolio)
        self.manager = OrderManager(
            journal=self.journal,
            firewall=outside.firewall,
            reader=outside.reader,
            tracker=self.tracker,
            clock=outside.clock,
            max_retries=settings.execution.max_retries,
            metrics=outside.metrics,
        )
        self.trader: Trader | None = None
        self.account: Mapping[str, object] = {}

    # Start, in the order of the contract ------------------------------------------------------------------------------

    def restore(self) -> None:
        """Open intents, orders, fills and positions.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        self.cursors.read()
        with connect(self._database) as connection:
            self._stored = stored_intents(connection, self._label)
            events = stored_events(connection, self._label)
        restore(self.tracker, self._stored, events)

    def resolve(self) -> None:
        """Look for what an earlier process left half done; what is not found at once is looked for again later."""
        self._queued = resolve_left(self.manager, self._stored)

    def compare(self) -> list[Discrepancy]:
        """Orders and positions against the broker's, and its money.

        Raises:
            BrokerError: the broker does not answer.
        """
        reader = self._outside.reader
        since = self._outside.clock.now() - _LOOK_BACK
        found = reconcile(self.manager, reader, after=utc_text(since))
        self.value(reader.account(), reader.positions())
        self._transfers = transfers_of(reader.transfers())
        return found

    def value(self, account: Document, positions: Iterable[Document]) -> None:
        """Take the broker's money, and its prices of what has no newer one."""
        self.account = account
        for held in positions:
            price = held.get("current_price")
            if price is not None:
                self.portfolio.marks.setdefault(str(held["symbol"]), Decimal(str(price)))
        self.portfolio.align_cash(Decimal(str(account["cash"])))

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
            market=market,
        )
        self._take_over(trader)
        self.trader = trader
        return trader

    def _take_over(self, trader: Trader) -> None:
        for stored in self._queued:
            if stored.decision is not None:
                trader.dispatcher.requeue(stored.decision, stored.intent)
        for stored in self._stored:
            intent, order = stored.intent, self.tracker.order_of(stored.intent.client_order_id)
            if stored.sent_at is not None and not intent.is_exit and stored.state != "rejected":
                slot = (intent.strategy_id, intent.terms.symbol)
                trader.account.entry_sent(slot, nanoseconds_of(stored.sent_at.astimezone(UTC)))
            is_working = order is not None and order.is_open and not intent.is_exit
            if is_working and stored.decision is not None and intent.terms.limit_price is not None:
                trader.dispatcher.resume(stored.decision, intent)
        self._queued, self._stored = [], []

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

    def end(self) -> None:
        """The term is over: nothing of it hears or writes any more."""
        self._outside.stance.listeners[:] = self._listeners
        self.cursors.close()
        self.journal.close()
