"""Positions, what open orders hold back of the account, and what both are worth.

Reservations hold from before an order is sent until it has ended: a decision always sees those before it. Values are in
currency, at the newest prices.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from torghut_runtime.order_feed.event import TERMINAL
from torghut_runtime.order_feed.state import OrderState
from torghut_runtime.orders.booked_fills import ZERO, BookedFill, fills_of
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.positions import UNATTRIBUTED, OrderTrade, PositionBook, Slot


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an open order of ours holds back; ``left`` is signed."""

    slot: Slot
    left: Decimal
    price: Decimal
    is_exit: bool

    @property
    def notional(self) -> Decimal:
        """Exposure that it may add, in currency: none for an exit."""
        return ZERO if self.is_exit else abs(self.left) * self.price


class Portfolio(PositionBook):
    """The account as our own orders made it; ``version`` grows with reservations and marks, too."""

    def __init__(self, cash: Decimal) -> None:
        super().__init__(cash)
        self.marks: dict[str, Decimal] = {}
        """Newest price per symbol."""
        self._reservations: dict[str, Reservation] = {}
        self._totals: tuple[int, Decimal, Decimal, Decimal] | None = None
        """Version, and at it the value of all positions, gross and net."""

    # Orders -----------------------------------------------------------------------------------------------------------

    def reserve(self, intent: Intent) -> None:
        """Hold back what an order may need; before it is sent."""
        slot = (intent.strategy_id, intent.terms.symbol)
        self.version += 1
        self._reservations[intent.client_order_id] = Reservation(
            slot, intent.signed_qty, intent.worst_price, intent.is_exit
        )

    def hold_foreign(self, order: str, state: OrderState) -> None:
        """Hold back what an open order of somebody else on this account may need."""
        if state.symbol is None or state.qty is None:
            return
        left = max(state.qty - state.filled_qty, ZERO) * (1 if state.side == "buy" else -1)
        price = state.limit_price or state.stop_price or self.marks.get(state.symbol) or ZERO
        held = self.symbol_qty(state.symbol)
        reduces = left * held < 0 and abs(left) <= abs(held)
        self._reservations[order] = Reservation((UNATTRIBUTED, state.symbol), left, price, reduces)
        self.version += 1

    def is_reserved(self, client_order_id: str) -> bool:
        """Whether anything is held back for an order."""
        return client_order_id in self._reservations

    def release(self, client_order_id: str) -> None:
        """Give back what is held for an order that has ended or never came to be."""
        self.version += 1
        self._reservations.pop(client_order_id, None)

    def update(self, order: str, client_order_id: str | None, strategy_id: str, state: OrderState) -> None:
        """Take the folded state of an order: its fills become position, what is left of it stays reserved."""
        self.version += 1
        if state.symbol is not None:
            self._book(order, (strategy_id, state.symbol), tuple(fills_of(order, state)))
        self._hold_rest(client_order_id, state)

    def restore(self, orders: Sequence[OrderTrade], entries: Iterable[tuple[Slot, BookedFill]]) -> None:
        """As :class:`PositionBook` does; what is left of these orders stays reserved."""
        super().restore(orders, entries)
        for _, client_order_id, _, state in orders:
            self._hold_rest(client_order_id, state)

    def _hold_rest(self, client_order_id: str | None, state: OrderState) -> None:
        held = None if client_order_id is None else self._reservations.get(client_order_id)
        if held is None or client_order_id is None:
            return
        if state.status in TERMINAL:
            self.release(client_order_id)
        elif state.qty is not None:
            left = max(state.qty - state.filled_qty, ZERO) * (1 if held.left >= 0 else -1)
            self._reservations[client_order_id] = Reservation(held.slot, left, held.price, held.is_exit)

    def waiting(self, slot: Slot, *, exits: bool) -> Decimal:
        """Signed shares of the open exits, or of the open entries, of a slot."""
        return sum((held.left for held in self._waiting(slot) if held.is_exit == exits), ZERO)

    def pending(self, slot: Slot) -> Decimal:
        """Signed shares of all open orders of a slot."""
        return sum((held.left for held in self._waiting(slot)), ZERO)

    def _waiting(self, slot: Slot) -> Iterable[Reservation]:
        return (held for held in self._reservations.values() if held.slot == slot)

    @property
    def reservations(self) -> dict[str, Reservation]:
        """What is held back, by client order id."""
        return dict(self._reservations)

    # Values -----------------------------------------------------------------------------------------------------------

    def mark(self, symbol: str, price: Decimal) -> None:
        """Value a symbol at its newest price."""
        self.version += 1
        self.marks[symbol] = price

    @property
    def equity(self) -> Decimal:
        """Cash and positions at their marks."""
        return self.cash + self._summed()[0]

    @property
    def gross(self) -> Decimal:
        """Absolute value of every strategy's position, and what open entries may add."""
        return self._summed()[1]

    @property
    def net(self) -> Decimal:
        """Signed value of all positions and open entries."""
        return self._summed()[2]

    def _summed(self) -> tuple[Decimal, Decimal, Decimal]:
        if self._totals is None or self._totals[0] != self.version:
            held = [self._value(slot, position.qty) for slot, position in self._held.items()]
            waiting = self._reservations.values()
            value = sum(held, ZERO)
            gross = sum(map(abs, held), ZERO) + sum((each.notional for each in waiting), ZERO)
            self._totals = (self.version, value, gross, value + sum(map(_signed, waiting), ZERO))
        return self._totals[1:]

    def symbol_net(self, symbol: str) -> Decimal:
        """Signed value of positions and open entries in a symbol."""
        held = (self._value(slot, each.qty) for slot, each in self._held.items() if slot[1] == symbol)
        waiting = (_signed(each) for each in self._reservations.values() if each.slot[1] == symbol)
        return sum(held, ZERO) + sum(waiting, ZERO)

    def in_slot(self, slot: Slot) -> Decimal:
        """Absolute value of a strategy's position in a symbol, and what its open entries may add."""
        return abs(self._value(slot, self.position(slot).qty)) + sum(
            (each.notional for each in self._waiting(slot)), ZERO
        )

    def symbols(self) -> frozenset[str]:
        """Symbols with a position or an open entry."""
        held = {slot[1] for slot in self._held}
        return frozenset(held | {each.slot[1] for each in self._reservations.values() if not each.is_exit})

    def _value(self, slot: Slot, qty: Decimal) -> Decimal:
        if not qty:
            return ZERO
        mark = self.marks.get(slot[1])
        return qty * (self.position(slot).average_entry if mark is None else mark)


def _signed(held: Reservation) -> Decimal:
    return held.notional if held.left >= 0 else -held.notional
