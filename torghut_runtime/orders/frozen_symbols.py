"""Symbols in which nothing is ordered until somebody has looked: the broker's position is not ours.

The set in memory that decisions ask, and the guard that freezes at the very bar whose price has jumped by an announced
split. Finding differences is the reconciler's business, storing them that of
:mod:`torghut_runtime.storage.position_adjustments`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.orders.splits import Split, announced

SPLIT: Final = "split_unreconciled"
MISMATCH: Final = "position_mismatch"
FROZEN: Final = "symbol_frozen"
"""The reason code of what is refused."""

Listener = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FrozenSymbol:
    """One frozen symbol, and what was seen when it was frozen; quantities and prices as text."""

    symbol: str
    reason: str
    ours: dict[str, Any]
    broker: dict[str, Any]


class FrozenSymbols:
    """What is frozen now; listeners hear of each symbol once."""

    def __init__(self) -> None:
        self.splits: tuple[Split, ...] = ()
        """Announced and not yet booked."""
        self.on_frozen: list[Listener] = []
        self.on_thawed: list[Listener] = []
        self._frozen: dict[str, FrozenSymbol] = {}

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._frozen

    def all(self) -> list[FrozenSymbol]:
        """Everything that is frozen."""
        return list(self._frozen.values())

    def __len__(self) -> int:
        return len(self._frozen)

    def get(self, symbol: str) -> FrozenSymbol | None:
        """Why a symbol is frozen, None when it is not."""
        return self._frozen.get(symbol)

    def reason(self, symbol: str) -> str | None:
        """The cause of a freeze: ``split_unreconciled``, ``position_mismatch``, None."""
        found = self._frozen.get(symbol)
        return None if found is None else found.reason

    def freeze(self, found: FrozenSymbol) -> bool:
        """Freeze a symbol; False when it is frozen already."""
        if found.symbol in self._frozen:
            return False
        self._frozen[found.symbol] = found
        for listener in self.on_frozen:
            listener(found.symbol)
        return True

    def thaw(self, symbol: str) -> None:
        """The difference has been booked."""
        if self._frozen.pop(symbol, None) is not None:
            for listener in self.on_thawed:
                listener(symbol)

    def price_moves(self, symbol: str, qty: Decimal, before: Decimal | None, after: Decimal) -> None:
        """A new price is about to be taken: one that jumps by an announced split freezes a symbol that is held."""
        if not qty or not self.splits:
            return
        for split in announced(self.splits, symbol):
            if split.moved(before, after):
                ours = {"qty": str(qty), "price": str(before)}
                self.freeze(FrozenSymbol(symbol, SPLIT, ours, {"price": str(after), "split": split.document()}))
                return
