"""Positions by strategy and symbol, and cash, as fills made them.

A position is the replay of its orders' fills, and of what a reconciliation booked beside them, in the order of their
times, so that a corrected or busted fill changes it as if it had never been otherwise. Fills of orders that are
forgotten become the base that the replay begins from. Quantities and money are ``Decimal``; averages keep 28 digits.
"""

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from torghut_runtime.order_feed.state import OrderState
from torghut_runtime.orders.booked_fills import ZERO, BookedFill, cost, fills_of, voiding

Slot = tuple[str, str]
"""Strategy and symbol."""

OrderTrade = tuple[str, str | None, str, OrderState]
"""An order by the broker's id and the client's, whose it is, and its folded state."""

UNATTRIBUTED: Final = "unattributed"
"""Holder of what no strategy of ours asked for."""


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


class PositionBook:
    """Positions of every strategy and symbol, and the cash that their fills left."""

    def __init__(self, cash: Decimal) -> None:
        self.opening_cash = cash
        self.cash = cash
        self.version: int = 0
        """Grows with every change of a position."""
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

    def position(self, slot: Slot) -> Position:
        """The position of a strategy in a symbol."""
        return self._positions.setdefault(slot, Position())

    def positions(self) -> Iterator[tuple[Slot, Position]]:
        """Everything that is held, by strategy and symbol."""
        return ((slot, self._held[slot]) for slot in sorted(self._held))

    def symbol_qty(self, symbol: str) -> Decimal:
        """Signed shares of a symbol over all strategies, as the broker counts them."""
        return sum((each.qty for slot, each in self._held.items() if slot[1] == symbol), ZERO)

    def held_since(self, slot: Slot) -> int | None:
        """When the position of a slot was opened or turned round (nanoseconds); None where there is none."""
        if slot not in self._held:
            return None
        base = replace(self._base.get(slot, Position()))
        return _opened(base, self._settled.get(slot, (0, 0))[0], self._fills.get(slot, ()))

    def last_fill_ns(self, symbol: str) -> int:
        """Broker time of the newest entry of a symbol, -1 without one."""
        told = (entries[-1].time_ns for slot, entries in self._fills.items() if slot[1] == symbol and entries)
        settled = (newest for slot, (_, newest) in self._settled.items() if slot[1] == symbol)
        return max(*told, *settled, -1, -1)

    def bar_passed(self, slot: Slot) -> None:
        """One more bar of the strategy's timeframe has closed."""
        held = self._held.get(slot)
        if held is not None:
            held.bars_held += 1

    def align_cash(self, cash: Decimal) -> None:
        """The account holds this much: fees, transfers and what was there before us are not in our fills."""
        self.opening_cash += cash - self.cash
        self.cash = cash

    # Fills ------------------------------------------------------------------------------------------------------------

    def restore(self, orders: Sequence[OrderTrade], entries: Iterable[tuple[Slot, BookedFill]]) -> None:
        """Take orders and what was traded or booked beside them, all at once; nothing was booked before."""
        self.version += 1
        for order, _, strategy_id, state in orders:
            if state.symbol is not None and (fills := tuple(fills_of(order, state))):
                slot = (strategy_id, state.symbol)
                self._of_order[order] = (slot, fills)
                self._fills.setdefault(slot, []).extend(fills)
        for slot, entry in entries:
            self._fills.setdefault(slot, []).append(entry)
        for slot, booked in self._fills.items():
            booked.sort()
            self.cash -= cost(booked)
            self._replay(slot)
            self._settle(slot)

    def adjust(self, slot: Slot, entry: BookedFill) -> None:
        """Book what a reconciliation found, in its place among the fills."""
        entries = self._fills.setdefault(slot, [])
        if any(each.order == entry.order for each in entries):
            return
        insort(entries, entry)
        self.cash -= entry.signed_qty * entry.price
        self._replay(slot)

    def _book(self, order: str, slot: Slot, fills: tuple[BookedFill, ...]) -> None:
        before = self._of_order.get(order, (slot, ()))[1]
        if before == fills:
            return
        self._of_order[order] = (slot, fills)
        self.cash -= cost(fills) - cost(before)
        booked = self._fills.setdefault(slot, [])
        new = fills[len(before) :]
        if fills[: len(before)] == before and (not booked or new[0] > booked[-1]):
            for fill in new:
                booked.append(fill)
                self.position(slot).book(fill)
            self._moved(slot)
            return
        if order in self._recalled:
            kept = booked + [voiding(fill) for fill in before if fill not in fills]
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
            self._of_order[order] = ((strategy_id, state.symbol), tuple(fills_of(order, state)))
            self._recalled.add(order)


def _opened(position: Position, since: int, entries: Iterable[BookedFill]) -> int:
    """Book entries, and tell when what is held after them was opened or turned round."""
    for entry in entries:
        before = position.qty
        position.book(entry)
        if before == 0 or before * position.qty < 0:
            since = entry.time_ns
    return since
