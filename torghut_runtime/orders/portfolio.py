"""Positions by strategy and symbol, cash, and what open orders hold back.

A position is the replay of its orders' fills, and of what a reconciliation booked beside them, in the order of their
times, so that a corrected or busted fill changes it as if it had never been otherwise. Fills of orders that are
forgotten become the base that the replay begins from. Quantities and money are ``Decimal``; averages keep 28 digits.
Reservations hold from before an order is sent until it has ended: a decision always sees those before it.
"""

from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from torghut_runtime.order_feed.event import TERMINAL, key_order
from torghut_runtime.order_feed.state import OrderState
from torghut_runtime.orders.model import Intent

ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)
Slot = tuple[str, str]
"""Strategy and symbol."""

OrderTrade = tuple[str, str | None, str, OrderState]
"""An order by the broker's id and the client's, whose it is, and its folded state."""

UNATTRIBUTED: Final = "unattributed"
"""Holder of what no strategy of ours asked for."""


@dataclass(frozen=True, slots=True, order=True)
class BookedFill:
    """One execution in the order in which positions take them: broker time, order, execution."""

    time_ns: int
    order: str
    execution_id: str
    signed_qty: Decimal = field(compare=False)
    price: Decimal = field(compare=False)
    factor: Decimal = field(default=_ONE, compare=False)
    """What a split multiplies the quantity by before anything is added."""

    @classmethod
    def adjustment(
        cls, number: int, time_ns: int, factor: Decimal, signed_qty: Decimal, price: Decimal
    ) -> "BookedFill":
        """What a reconciliation booked: no execution of an order, and in its place among them by time."""
        return cls(time_ns, f"adjustment:{number}", "", signed_qty, price, factor)


@dataclass(slots=True)
class Position:
    """Signed shares of one strategy in one symbol; ``realized`` in currency, costs not included."""

    qty: Decimal = ZERO
    average_entry: Decimal = ZERO
    realized: Decimal = ZERO
    bars_held: int = 0

    def book(self, entry: BookedFill) -> None:
        """Take one entry of the replay."""
        if entry.factor != 1:
            self.qty *= entry.factor
            self.average_entry /= entry.factor
        if entry.signed_qty:
            self.take(entry.signed_qty, entry.price)

    def take(self, signed_qty: Decimal, price: Decimal) -> None:
        """Book a fill; what it closes realizes its result."""
        before, after = self.qty, self.qty + signed_qty
        if before == 0 or (before > 0) == (signed_qty > 0):
            self.average_entry = (abs(before) * self.average_entry + abs(signed_qty) * price) / abs(after)
        else:
            closed = min(abs(before), abs(signed_qty))
            self.realized += closed * (price - self.average_entry) * (1 if before > 0 else -1)
            if before * after < 0:
                self.average_entry = price
                self.bars_held = 0
        if before == 0 or after == 0:
            self.bars_held = 0
        if after == 0:
            self.average_entry = ZERO
        self.qty = after


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


class Portfolio:
    """The account as our own orders made it."""

    def __init__(self, cash: Decimal) -> None:
        self.opening_cash = cash
        self.cash = cash
        self.marks: dict[str, Decimal] = {}
        """Newest price per symbol."""
        self._positions: dict[Slot, Position] = {}
        self._held: dict[Slot, Position] = {}
        """Those that are not flat."""
        self._fills: dict[Slot, list[BookedFill]] = {}
        self._base: dict[Slot, Position] = {}
        """What the fills of forgotten orders came to: the replay begins here."""
        self._settled: dict[Slot, tuple[int, int]] = {}
        """When what they came to was opened or turned round, and the newest of them."""
        self._recalled: set[str] = set()
        """Orders that were forgotten and have come back: their earlier fills are within the base."""
        self._changed: dict[Slot, None] = {}
        self._of_order: dict[str, tuple[Slot, tuple[BookedFill, ...]]] = {}
        self._reservations: dict[str, Reservation] = {}
        self.version = 0
        """Grows with every change of a position, a reservation or a mark."""
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

    def last_fill_ns(self, symbol: str) -> int:
        """Broker time of the newest entry of a symbol, -1 without one."""
        told = (entries[-1].time_ns for slot, entries in self._fills.items() if slot[1] == symbol and entries)
        settled = (newest for slot, (_, newest) in self._settled.items() if slot[1] == symbol)
        return max(*told, *settled, -1, -1)

    def release(self, client_order_id: str) -> None:
        """Give back what is held for an order that has ended or never came to be."""
        self.version += 1
        self._reservations.pop(client_order_id, None)

    def update(self, order: str, client_order_id: str | None, strategy_id: str, state: OrderState) -> None:
        """Take the folded state of an order: its fills become position, what is left of it stays reserved."""
        self.version += 1
        if state.symbol is not None:
            self._book(order, (strategy_id, state.symbol), tuple(_booked(order, state)))
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

    def restore(self, orders: Iterable[OrderTrade], entries: Iterable[tuple[Slot, BookedFill]]) -> None:
        """Take orders and what was traded or booked beside them, all at once; nothing was booked before."""
        self.version += 1
        for order, client_order_id, strategy_id, state in orders:
            if state.symbol is not None and (fills := tuple(_booked(order, state))):
                slot = (strategy_id, state.symbol)
                self._of_order[order] = (slot, fills)
                self._fills.setdefault(slot, []).extend(fills)
            self._hold_rest(client_order_id, state)
        for slot, entry in entries:
            self._fills.setdefault(slot, []).append(entry)
        for slot, booked in self._fills.items():
            booked.sort()
            self.cash -= _cost(booked)
            self._replay(slot)
            self._settle(slot)

    def _book(self, order: str, slot: Slot, fills: tuple[BookedFill, ...]) -> None:
        before = self._of_order.get(order, (slot, ()))[1]
        if before == fills:
            return
        self._of_order[order] = (slot, fills)
        self.cash -= _cost(fills) - _cost(before)
        booked = self._fills.setdefault(slot, [])
        new = fills[len(before) :]
        if fills[: len(before)] == before and (not booked or new[0] > booked[-1]):
            for fill in new:
                booked.append(fill)
                self.position(slot).book(fill)
            self._moved(slot)
            return
        if order in self._recalled:
            kept = booked + [_voiding(fill) for fill in before if fill not in fills]
            fills = tuple(fill for fill in fills if fill not in before)
        else:
            kept = [fill for fill in booked if fill.order != order]
        for fill in fills:
            insort(kept, fill)
        self._fills[slot] = kept
        self._replay(slot)

    def _replay(self, slot: Slot) -> None:
        replayed = replace(self._base.get(slot, Position()))
        for entry in self._fills[slot]:
            replayed.book(entry)
        replayed.bars_held = self.position(slot).bars_held if replayed.qty else 0
        self._positions[slot] = replayed
        self._moved(slot)

    # What a reconciliation books --------------------------------------------------------------------------------------

    def adjust(self, slot: Slot, entry: BookedFill) -> None:
        """Book what a reconciliation found, in its place among the fills; a split moves the symbol's mark with it."""
        entries = self._fills.setdefault(slot, [])
        if any(each.order == entry.order for each in entries):
            return
        insort(entries, entry)
        self.cash -= entry.signed_qty * entry.price
        self._replay(slot)

    # Forgetting -------------------------------------------------------------------------------------------------------

    def settle(self, order: str) -> None:
        """An order has ended long ago: its fills become part of what the replay begins from."""
        known = self._of_order.pop(order, None)
        self._recalled.discard(order)
        if known is None or not known[1]:
            return
        self._settle(known[0])

    def _settle(self, slot: Slot) -> None:
        """What stands before the first fill of an order that is still known becomes the base."""
        entries = self._fills[slot]
        settled = 0
        while settled < len(entries) and entries[settled].order not in self._of_order:
            settled += 1
        if settled:
            base = self._base.setdefault(slot, Position())
            opened = _opened(base, self._settled.get(slot, (0, 0))[0], entries[:settled])
            self._settled[slot] = (opened, entries[settled - 1].time_ns)
            self._fills[slot] = entries[settled:]

    def recall(self, order: str, strategy_id: str, state: OrderState) -> None:
        """A forgotten order is heard of again: this is what of it is within the base."""
        if state.symbol is not None and order not in self._of_order:
            self._of_order[order] = ((strategy_id, state.symbol), tuple(_booked(order, state)))
            self._recalled.add(order)

    def take_changes(self) -> list[tuple[Slot, Position]]:
        """Positions that have changed since the last call, as they are now."""
        changed, self._changed = self._changed, {}
        return [(slot, replace(self._positions[slot])) for slot in changed]

    def _moved(self, slot: Slot) -> None:
        self.version += 1
        position = self._positions[slot]
        self._changed[slot] = None
        if position.qty:
            self._held[slot] = position
        else:
            self._held.pop(slot, None)

    # Bars -------------------------------------------------------------------------------------------------------------

    def mark(self, symbol: str, price: Decimal) -> None:
        """Value a symbol at its newest price."""
        self.version += 1
        self.marks[symbol] = price

    def bar_passed(self, slot: Slot) -> None:
        """One more bar of the strategy's timeframe has closed."""
        held = self._held.get(slot)
        if held is not None:
            held.bars_held += 1

    # Values -----------------------------------------------------------------------------------------------------------

    def position(self, slot: Slot) -> Position:
        """The position of a strategy in a symbol."""
        return self._positions.setdefault(slot, Position())

    def held_since(self, slot: Slot) -> int | None:
        """When the position of a slot was opened or turned round (nanoseconds); None where there is none."""
        if slot not in self._held:
            return None
        base = replace(self._base.get(slot, Position()))
        return _opened(base, self._settled.get(slot, (0, 0))[0], self._fills.get(slot, ()))

    def align_cash(self, cash: Decimal) -> None:
        """The account holds this much: fees, transfers and what was there before us are not in our fills."""
        self.opening_cash += cash - self.cash
        self.cash = cash

    def positions(self) -> Iterator[tuple[Slot, Position]]:
        """Everything that is held, by strategy and symbol."""
        return ((slot, self._held[slot]) for slot in sorted(self._held))

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

    def symbol_qty(self, symbol: str) -> Decimal:
        """Signed shares of a symbol over all strategies, as the broker counts them."""
        return sum((each.qty for slot, each in self._held.items() if slot[1] == symbol), ZERO)

    def _value(self, slot: Slot, qty: Decimal) -> Decimal:
        if not qty:
            return ZERO
        mark = self.marks.get(slot[1])
        return qty * (self.position(slot).average_entry if mark is None else mark)


def _signed(held: Reservation) -> Decimal:
    return held.notional if held.left >= 0 else -held.notional


def _opened(position: Position, since: int, entries: Iterable[BookedFill]) -> int:
    """Book entries, and tell when what is held after them was opened or turned round."""
    for entry in entries:
        before = position.qty
        position.book(entry)
        if before == 0 or before * position.qty < 0:
            since = entry.time_ns
    return since


def _voiding(fill: BookedFill) -> BookedFill:
    """The entry that takes a fill back which can no longer be taken out of the replay."""
    return replace(fill, execution_id=f"{fill.execution_id}~void", signed_qty=-fill.signed_qty)


def _cost(fills: Iterable[BookedFill]) -> Decimal:
    return sum((fill.signed_qty * fill.price for fill in fills), ZERO)


def _booked(order: str, state: OrderState) -> Iterator[BookedFill]:
    """The fills of an order that count; what the broker only claims is one fill at the price that the claim implies."""
    sign = -1 if state.side in ("sell", "sell_short") else 1
    counted = sorted(
        BookedFill(key_order(f.time_ns), order, f.execution_id, sign * f.qty, f.price) for f in state.fills
         if f.state == "counted"
    )  # fmt: skip
    yield from counted
    claimed = state.filled_qty - sum((abs(fill.signed_qty) for fill in counted), ZERO)
    if claimed > 0 and state.avg_fill_price is not None:
        value = state.avg_fill_price * state.filled_qty - abs(_cost(counted))
        yield BookedFill(key_order(state.last_fill_ns), order, "~claimed", sign * claimed, value / claimed)
