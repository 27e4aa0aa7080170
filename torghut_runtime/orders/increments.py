"""The steps in which an asset's prices and quantities go, and rounding to them (``runtime.md`` 5 and 8).

A broker may name them for an asset; where it names none the rules for US shares hold: cents from one dollar on,
hundredths of a cent below, entries in whole shares. Which step an asset has is read elsewhere
(:mod:`torghut_runtime.market_data.broker_facts`); whether an order is large enough is a limit's question.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Final

from torghut_runtime.risk.limits import Side

_ONE: Final = Decimal(1)
_CENT: Final = Decimal("0.01")
_HUNDREDTH_CENT: Final = Decimal("0.0001")
_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Increments:
    """Steps of one asset, each above 0; None where the broker names none."""

    price: Decimal | None = None
    qty: Decimal | None = None
    """Shares; an asset that cannot be split has 1."""
    min_qty: Decimal = _ZERO
    """Fewer shares than this are no order."""

    @property
    def lot(self) -> Decimal:
        """What the quantity of an entry is a multiple of: whole shares unless the broker names a step."""
        return self.qty or _ONE

    def nearest_price(self, price: Decimal) -> Decimal:
        """Rounded half up to the step, one step at least: the limit of an order."""
        return self._rounded(price, ROUND_HALF_UP)

    def price_within(self, worst: Decimal, side: Side) -> Decimal:
        """The step at ``worst`` or before it, seen from a better price: a buy no dearer, a sale no cheaper."""
        return self._rounded(worst, ROUND_FLOOR if side == "buy" else ROUND_CEILING)

    def sellable(self, qty: Decimal) -> Decimal:
        """The part of a position's shares (not negative) that can leave; all of them where no step is named."""
        if self.qty is not None:
            qty = qty // self.qty * self.qty
        return qty if qty >= self.min_qty else _ZERO

    def _rounded(self, price: Decimal, rounding: str) -> Decimal:
        step = self.price or (_CENT if price >= _ONE else _HUNDREDTH_CENT)
        return max((price / step).to_integral_value(rounding), _ONE) * step


US_SHARES: Final = Increments()
"""Steps where the broker names none."""
