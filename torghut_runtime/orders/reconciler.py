"""One reconciliation pass after the other: what we believe of account, orders and positions against the broker's word.

A pass has three steps: :meth:`Reconciler.asked` says what there is to ask (trading thread),
:func:`~torghut_runtime.orders.broker_view.read_broker` asks (any thread), :meth:`Reconciler.take` compares (trading
thread). :meth:`Reconciler.run_pass` does all three. Nothing here sends an order, and no state is latched: the result
says what ought to be.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from torghut_runtime.broker.protocol import BrokerReader, Document
from torghut_runtime.canonical import utc_text
from torghut_runtime.clock import Clock
from torghut_runtime.order_feed.broker_answers import OVERLAP
from torghut_runtime.order_feed.event import PENDING, RANKS
from torghut_runtime.order_feed.values import instant_ns
from torghut_runtime.orders.booked_fills import BookedFill
from torghut_runtime.orders.broker_view import (
    Announcements,
    Asked,
    BrokerView,
    held_positions,
    number_of,
    read_broker,
)
from torghut_runtime.orders.frozen_symbols import SPLIT, FrozenSymbol, FrozenSymbols
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.model import plain
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.position_check import PositionCheck
from torghut_runtime.orders.positions import Position, Slot
from torghut_runtime.orders.reconcile import (
    ACCOUNT,
    FILLED,
    KINDS,
    MISSING,
    OF_ORDERS,
    POSITION,
    STATUS,
    Discrepancy,
)
from torghut_runtime.orders.tracker import TrackedOrder

ZERO: Final = Decimal(0)
_NEW_YORK: Final = ZoneInfo("America/New_York")
_EARLY_RANK: Final = 20


class ReconcileStore(Protocol):
    """Where the results of passes are kept; each call is a small transaction, and raises ``StoreUnavailableError``."""

    def freezes(self) -> Sequence[FrozenSymbol]:
        """The symbols that are stored as frozen."""
        ...

    def adjustments(self, after: int) -> Sequence[tuple[int, Slot, BookedFill]]:
        """What ``positions reconcile`` has booked since a number."""
        ...

    def freeze(self, found: FrozenSymbol) -> None:
        """Note a frozen symbol."""
        ...

    def write(self, kinds: Sequence[str], found: Sequence[Discrepancy]) -> None:
        """Open, refresh and close discrepancies of these kinds."""
        ...

    def save_positions(self, changes: Sequence[tuple[Slot, Position]], at: datetime) -> None:
        """Keep what positions have changed to."""
        ...


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass found."""

    is_whole: bool
    """Whether positions and cash were compared, too."""
    is_clean: bool
    """Account as it should be, and every difference in a position within a frozen symbol."""
    found: tuple[Discrepancy, ...]
    account: Document
    account_fault: str | None = None
    """Why no request may leave (``account_mismatch``); nothing else was compared then."""
    mismatched: tuple[str, ...] = ()
    """Symbols whose position has differed in two passes running: ``position_mismatch:SYMBOL``."""
    newly_frozen: tuple[str, ...] = ()
    thawed: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    """Client order ids of ours whose order turned up in this pass."""
    foreign: tuple[str, ...] = ()
    """Broker's ids of open orders that are none of ours."""
    bad_rows: int = 0
    """Rows of orders and positions that could not be read."""
    cash_change: Decimal | None = None
    """What the broker's cash differed by beyond our fills (fees, dividends, transfers), and was taken over; None where
    it was not: positions differ, or money was on its way."""


class Reconciler:
    """Keeps what passes need of each other: since when to ask, what was booked and frozen, the pinned account."""

    def __init__(
        self,
        *,
        manager: OrderManager,
        reader: BrokerReader,
        store: ReconcileStore,
        frozen: FrozenSymbols,
        clock: Clock,
        announcements: Announcements | None = None,
        account_fault: Callable[[Document], str | None] = lambda _: None,
        since: datetime | None = None,
        booked: int = 0,
    ) -> None:
        """Begin.

        Args:
            manager: with tracker and portfolio, restored.
            reader: of the account.
            store: where results are kept.
            frozen: the set that decisions ask; what it holds already is stored.
            clock: of trading.
            announcements: of splits; None knows of none.
            account_fault: what is wrong with an account (:func:`~torghut_runtime.broker.alpaca.account_fault`).
            since: broker time of the newest event that is stored; None asks for every order that there ever was.
            booked: number of the newest adjustment that the portfolio has taken.
        """
        self.frozen = frozen
        self._manager = manager
        self._tracker = manager.tracker
        self._portfolio: Portfolio = manager.tracker.portfolio
        self._reader = reader
        self._store = store
        self._clock = clock
        self._announcements = announcements
        self._fault = account_fault
        self._since = since
        self._account_id: str | None = None
        self._check = PositionCheck(self._portfolio, frozen)
        self._booked = booked
        self._stored = {each.symbol for each in frozen.all()}
        self._splits_on: date | None = None
        self._cash_known = False

    def run_pass(self) -> PassResult:
        """One pass in the calling thread.

        Raises:
            BrokerError: the broker does not answer.
            StoreUnavailableError: the database does not answer; what could not be kept is taken again next time.
        """
        return self.take(read_broker(self._reader, self._announcements, self.asked()))

    def asked(self) -> Asked:
        """What the next pass asks for."""
        now = self._clock.now()
        today = now.astimezone(_NEW_YORK).date()
        quantities = {slot[1]: self._portfolio.symbol_qty(slot[1]) for slot, _ in self._portfolio.positions()}
        return Asked(
            now,
            time.perf_counter(),
            None if self._since is None else utc_text(self._since - OVERLAP),
            tuple(order.order_id for order in self._tracker.open_orders()),
            quantities,
            today,
            bool(quantities) and self._splits_on != today,
        )

    def take(self, view: BrokerView, *, is_quiet: bool = True, is_settled: bool = True) -> PassResult:
        """Compare what the broker said with what we believe, and keep what differs. Raises as :meth:`run_pass`.

        Args:
            view: what the broker said.
            is_quiet: nothing was heard of orders while the broker was asked; else nothing is concluded about positions.
            is_settled: no money came or went meanwhile; else its cash is not taken over.
        """
        thawed = self._take_booked()
        fault = self._account(view.account)
        if fault is not None:
            ours = {"account_id": self._account_id}
            broker = {"account_id": view.account.get("id"), "fault": fault}
            found = [Discrepancy(ACCOUNT, None, None, ours, broker)]
            self._store.write((ACCOUNT,), found)
            return PassResult(False, False, tuple(found), view.account, fault, thawed=thawed)
        before = {order.order_id for order in self._tracker.orders()}
        bad_orders = self._manager.take_all(view.orders)
        turned_up = [
            order for document in view.orders
             if (order := self._tracker.order(str(document.get("id")))) is not None and order.order_id not in before
        ]  # fmt: skip
        if view.splits is not None:
            self.frozen.splits = tuple(view.splits)
            self._splits_on = view.asked.today
        held, bad_positions = held_positions(view.positions)
        found = [*self._orders(view), *(self._check.compare(held, all_read=not bad_positions) if is_quiet else ())]
        newly = self._keep_freezes()
        self._store.write(KINDS if is_quiet else OF_ORDERS, found)
        if changes := self._portfolio.take_changes():
            self._store.save_positions(changes, self._clock.now())
        differing = {each.symbol for each in found if each.kind in (POSITION, SPLIT)}
        agree = is_quiet and is_settled and not differing and not bad_positions
        cash_change = self._take_cash(view.account) if agree or not self._cash_known else None
        self._since = view.asked.at
        self._manager.metrics.reconcile_took(time.perf_counter() - view.asked.began)
        return PassResult(
            is_whole=is_quiet,
            is_clean=not bad_positions and all(symbol in self.frozen for symbol in differing if symbol is not None),
            found=tuple(found),
            account=view.account,
            mismatched=self._check.mismatched,
            newly_frozen=newly,
            thawed=thawed,
            adopted=tuple(each.intent.client_order_id for each in turned_up if each.intent is not None),
            foreign=tuple(each.order_id for each in self._tracker.open_orders() if each.intent is None),
            bad_rows=bad_orders + bad_positions,
            cash_change=cash_change,
        )

    # Account ----------------------------------------------------------------------------------------------------------

    def _account(self, account: Document) -> str | None:
        fault = self._fault(account)
        if fault is not None:
            return fault
        account_id = str(account.get("id"))
        if self._account_id is None:
            self._account_id = account_id
        return None if account_id == self._account_id else f"is not the account {self._account_id} of the start"

    def _take_cash(self, account: Document) -> Decimal | None:
        """Take the broker's cash over; what of it nothing of ours explains. At the start all of it is the beginning."""
        cash = number_of(account.get("cash"))
        if cash is None:
            return None
        change = cash - self._portfolio.cash
        self._portfolio.align_cash(cash)
        change, self._cash_known = change if self._cash_known else ZERO, True
        return change

    # Orders -----------------------------------------------------------------------------------------------------------

    def _orders(self, view: BrokerView) -> Iterable[Discrepancy]:
        for document in view.orders:
            order = self._tracker.order(str(document.get("id")))
            if order is not None and _is_newest(document, order):
                yield from _order_differences(document, order)
        for order_id in sorted(view.missing):
            order = self._tracker.order(order_id)
            if order is not None and order.is_open:
                client_id = None if order.intent is None else order.intent.client_order_id
                ours = {"status": order.state.status, "client_order_id": client_id}
                yield Discrepancy(MISSING, order.state.symbol, order_id, ours, {})

    # Frozen symbols ---------------------------------------------------------------------------------------------------

    def _take_booked(self) -> tuple[str, ...]:
        """Book what ``positions reconcile`` has stored, and thaw what it has thawed."""
        split: dict[str, Decimal] = {}
        for number, slot, entry in self._store.adjustments(self._booked):
            self._portfolio.adjust(slot, entry)
            self._booked = number
            if entry.factor != 1:
                split[slot[1]] = entry.factor
        for symbol, factor in split.items():
            # Prices from before the split move with it; a frozen symbol takes no new ones.
            if symbol in self.frozen and symbol in self._portfolio.marks:
                self._portfolio.mark(symbol, self._portfolio.marks[symbol] / factor)
            if symbol in self.frozen:
                self._check.divide_price(symbol, factor)
        stored = {each.symbol: each for each in self._store.freezes()}
        for each in stored.values():
            self.frozen.freeze(each)
        thawed = tuple(sorted(self._stored - set(stored)))
        for symbol in thawed:
            self._check.forget(symbol)
            self.frozen.thaw(symbol)
        self._stored = set(stored)
        return thawed

    def _keep_freezes(self) -> tuple[str, ...]:
        newly: list[str] = []
        for each in self.frozen.all():
            if each.symbol not in self._stored:
                self._store.freeze(each)
                self._stored.add(each.symbol)
                newly.append(each.symbol)
        return tuple(sorted(newly))


def _is_newest(document: Document, order: TrackedOrder) -> bool:
    """Whether nothing that we know of the order is newer than what was read."""
    told = instant_ns(document.get("updated_at"))
    return told is not None and told >= (order.state.last_update_ns or 0)


def _order_differences(document: Document, order: TrackedOrder) -> Iterable[Discrepancy]:
    state = order.state
    filled, status = number_of(document.get("filled_qty")) or ZERO, document.get("status")
    if filled != state.filled_qty:
        yield Discrepancy(
            FILLED, state.symbol, order.order_id, {"filled_qty": plain(state.filled_qty)}, {"filled_qty": plain(filled)}
        )
    if not isinstance(status, str) or status in PENDING or status not in RANKS:
        return
    told = "partially_filled" if filled > 0 and RANKS[status] <= _EARLY_RANK else status
    if told != state.status:
        yield Discrepancy(STATUS, state.symbol, order.order_id, {"status": state.status}, {"status": status})
