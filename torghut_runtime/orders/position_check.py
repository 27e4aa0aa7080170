"""Positions of ours against the broker's, pass after pass: announced splits, and differences that stay.

A split by which position and price have both jumped freezes its symbol at once, any other difference when it is there
in two passes running. Nothing is booked here.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.orders.adjusting import split_that_explains
from torghut_runtime.orders.broker_view import Held
from torghut_runtime.orders.frozen_symbols import MISMATCH, SPLIT, FrozenSymbol, FrozenSymbols
from torghut_runtime.orders.model import plain
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.reconcile import POSITION, Discrepancy
from torghut_runtime.orders.splits import Split

_ZERO: Final = Decimal(0)
_RUNNING: Final = 2
"""Passes in a row after which a difference that stays the same is one."""
_ANYHOW: Final = 3
"""Passes in a row after which a difference is one although it changes."""


class PositionCheck:
    """Remembers what the passes before have seen: differences in a row, and the broker's prices."""

    def __init__(self, portfolio: Portfolio, frozen: FrozenSymbols) -> None:
        self._portfolio = portfolio
        self._frozen = frozen
        self._running: dict[str, tuple[Decimal, int, int]] = {}
        self._prices: dict[str, Decimal] = {}

    @property
    def mismatched(self) -> tuple[str, ...]:
        """Symbols whose position has differed in two passes running."""
        return tuple(sorted(symbol for symbol in self._running if self._is_running(symbol)))

    def divide_price(self, symbol: str, factor: Decimal) -> None:
        """A split has been booked: a price from before it moves with it."""
        if symbol in self._prices:
            self._prices[symbol] /= factor

    def forget(self, symbol: str) -> None:
        """The difference in a symbol has been booked."""
        self._running.pop(symbol, None)

    def compare(self, held: Mapping[str, Held], *, all_read: bool) -> Iterable[Discrepancy]:
        """What differs; ``all_read``: every row of the broker's positions could be read."""
        ours = {slot[1]: self._portfolio.symbol_qty(slot[1]) for slot, _ in self._portfolio.positions()}
        for symbol in sorted({*ours, *held} if all_read else held):
            # With a row that cannot be read, what is missing may be in it.
            we, (they, average, price) = ours.get(symbol, _ZERO), held.get(symbol, (_ZERO, None, None))
            if we == they:
                self._running.pop(symbol, None)
                if price is not None and symbol not in self._frozen:
                    self._prices[symbol] = price
                continue
            before = self._prices.get(symbol) or self._portfolio.marks.get(symbol)
            mine = {"qty": plain(we), "price": None if before is None else plain(before)}
            theirs: dict[str, Any] = {"qty": plain(they), "price": None if price is None else plain(price)}
            split = self._jumped(symbol, we, they, (before, price), average)
            if split is not None:
                theirs["split"] = split.document()
                self._running.pop(symbol, None)
                self._frozen.freeze(FrozenSymbol(symbol, SPLIT, mine, theirs))
                yield Discrepancy(SPLIT, symbol, None, mine, theirs)
                continue
            self._note_running(symbol, they - we)
            if self._is_running(symbol):
                self._frozen.freeze(FrozenSymbol(symbol, MISMATCH, mine, theirs))
            yield Discrepancy(POSITION, symbol, None, {"qty": plain(we)}, {"qty": plain(they)})
        for symbol in [each for each in self._running if each not in ours and each not in held]:
            del self._running[symbol]

    def _jumped(
        self,
        symbol: str,
        we: Decimal,
        they: Decimal,
        prices: tuple[Decimal | None, Decimal | None],
        their_average: Decimal | None,
    ) -> Split | None:
        """The announced split by which position and price have both jumped, None where there is none."""
        split = split_that_explains(self._frozen.splits, symbol, we, they)
        if split is None:
            return None
        slots = [each for slot, each in self._portfolio.positions() if slot[1] == symbol]
        shares = sum((abs(each.qty) for each in slots), _ZERO)
        average = sum((abs(each.qty) * each.average_entry for each in slots), _ZERO) / shares if shares else None
        seen = self._frozen.reason(symbol) == SPLIT
        return split if seen or split.moved(*prices) or split.moved(average, their_average) else None

    def _note_running(self, symbol: str, difference: Decimal) -> None:
        before, same, total = self._running.get(symbol, (None, 0, 0))
        self._running[symbol] = (difference, same + 1 if difference == before else 1, total + 1)

    def _is_running(self, symbol: str) -> bool:
        _, same, total = self._running[symbol]
        return same >= _RUNNING or total >= _ANYHOW
