"""What a difference between our position and the broker's is booked as: a split per strategy, or an unattributed rest.

Pure. Who asks for it, and where it is stored, is :mod:`torghut_runtime.commands.positions`' business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from torghut_runtime.orders.model import plain
from torghut_runtime.orders.positions import UNATTRIBUTED
from torghut_runtime.orders.splits import Split, announced

ONE = Decimal(1)
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Quantity × factor + change, average entry ÷ factor; the change at ``price``."""

    strategy_id: str
    qty_factor: Decimal
    qty_change: Decimal
    price: Decimal | None

    def document(self) -> dict[str, Any]:
        """As it is shown and recorded."""
        return {
            "strategy_id": self.strategy_id,
            "qty_factor": plain(self.qty_factor),
            "qty_change": plain(self.qty_change),
            "price": None if self.price is None else plain(self.price),
        }


def split_that_explains(
    splits: Sequence[Split], symbol: str, ours: Decimal, theirs: Decimal
) -> Split | None:  # fmt: skip
    """The announced split after which ours would be the broker's quantity, the latest if there are several."""
    return next((each for each in announced(splits, symbol) if each.explains(ours, theirs)), None)


def adjustments_for(
    held: Mapping[str, Decimal], theirs: Decimal, split: Split | None, price: Decimal | None
) -> list[Adjustment]:
    """What makes our quantities by strategy sum up to the broker's; nothing where they do.

    Args:
        held: signed shares by strategy.
        theirs: the broker's signed shares.
        split: the split that explains the difference, where one does.
        price: what a share of an unexplained difference is booked at.
    """
    if split is None:
        change = theirs - sum(held.values(), ZERO)
        return [Adjustment(UNATTRIBUTED, ONE, change, price)] if change else []
    whole = theirs == theirs.to_integral_value()
    booked: list[Adjustment] = []
    after = ZERO
    for strategy_id, qty in sorted(held.items()):
        wanted = split.whole_shares(qty) if whole else split.shares(qty)
        after += wanted
        booked.append(Adjustment(strategy_id, split.factor, wanted - qty * split.factor, price))
    rest = theirs - after
    if rest:
        booked.append(Adjustment(UNATTRIBUTED, ONE, rest, price))
    return [each if each.qty_change else Adjustment(each.strategy_id, each.qty_factor, ZERO, None) for each in booked]
