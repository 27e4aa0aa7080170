"""Splits: what was announced, and whether a quantity and a price have jumped by it.

Values and comparisons only. Who announces is :mod:`torghut_runtime.broker.corporate_actions`; what is done about a jump
is the reconciler's and the operator's business.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

_PLACES = Decimal("1e-10")


@dataclass(frozen=True, slots=True)
class Split:
    """``new_rate`` shares for ``old_rate``, from the session of ``ex_date`` (New York) on."""

    symbol: str
    new_rate: Decimal
    old_rate: Decimal
    ex_date: date

    @property
    def ratio(self) -> Fraction:
        """Shares after the split for one before it."""
        return Fraction(self.new_rate) / Fraction(self.old_rate)

    @property
    def factor(self) -> Decimal:
        """The ratio to ten decimals, as it is stored."""
        return (Decimal(self.ratio.numerator) / Decimal(self.ratio.denominator)).quantize(_PLACES)

    def shares(self, qty: Decimal) -> Decimal:
        """What a quantity becomes, to ten decimals."""
        after = Fraction(qty) * self.ratio
        return (Decimal(after.numerator) / Decimal(after.denominator)).quantize(_PLACES)

    def whole_shares(self, qty: Decimal) -> Decimal:
        """What a quantity becomes where fractions are paid out in cash."""
        return self.shares(qty).to_integral_value(ROUND_DOWN)

    def document(self) -> dict[str, str]:
        """As it is shown and recorded."""
        return {
            "symbol": self.symbol,
            "ratio": f"{self.new_rate.normalize():f}:{self.old_rate.normalize():f}",
            "ex_date": self.ex_date.isoformat(),
        }

    def explains(self, ours: Decimal, theirs: Decimal) -> bool:
        """Whether the broker's quantity is ours after the split; what is below one share may be paid out in cash."""
        if not ours:
            return False
        after = self.shares(ours)
        paid_out = abs(after) - abs(theirs)
        return after == theirs or (after * theirs > 0 and 0 <= paid_out < 1 and theirs == theirs.to_integral_value())

    def moved(self, before: Decimal | float | None, after: Decimal | float | None) -> bool:
        """Whether a price has fallen (or risen) by the ratio, the market's own move aside."""
        if before is None or after is None or before <= 0 or after <= 0:
            return False
        expected = math.log(float(self.ratio))
        return abs(math.log(float(before) / float(after)) - expected) < abs(expected) / 2


def announced(splits: Iterable[Split], symbol: str) -> list[Split]:
    """The splits of a symbol, the latest first."""
    return sorted((each for each in splits if each.symbol == symbol), key=lambda each: each.ex_date, reverse=True)
