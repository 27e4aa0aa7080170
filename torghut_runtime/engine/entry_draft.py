"""An entry on its way from a strategy's wish to an order: the draft, and how a catalog's entry becomes its caps."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from torghut_runtime.engine.driver import Verdict
from torghut_runtime.engine.market_view import PriceSnapshot, as_decimal
from torghut_runtime.market.calendar import is_exchange_traded
from torghut_runtime.orders.model import TimeInForce
from torghut_runtime.orders.positions import Slot
from torghut_runtime.risk.allocator import Sized, Wish
from torghut_runtime.risk.limits import Side
from torghut_runtime.strategies.registry import BoundStrategy

ZERO: Final = Decimal(0)


@dataclass(slots=True)
class EntryDraft:
    """An entry on its way from wish to order; ``qty`` is signed."""

    verdict: Verdict
    side: Side
    price: PriceSnapshot
    limit: Decimal | None
    sized: Sized
    reasons: list[str]
    qty: Decimal = ZERO

    @property
    def slot(self) -> Slot:
        """Strategy and symbol."""
        return slot_of(self.verdict)

    @property
    def worst_price(self) -> Decimal:
        """The worse of limit and reference price."""
        return self.price.price if self.limit is None else max(self.limit, self.price.price)


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """An entry as its strategy meant it, not yet sized; ``goal`` is what a target asks for, None for a signal."""

    verdict: Verdict
    goal: Decimal | None
    until_ns: int
    """How long it may wait for the end of an exit on the other side."""

    @property
    def symbol(self) -> str:
        """Of its bar."""
        return self.verdict.bar.symbol

    @property
    def timeframe(self) -> str:
        """Of its bar."""
        return self.verdict.bar.timeframe


def slot_of(verdict: Verdict) -> Slot:
    """Strategy and symbol of a verdict."""
    return verdict.strategy.entry.strategy_id, verdict.bar.symbol


def wish_of(strategy: BoundStrategy, fraction: float, lot: Decimal) -> Wish:
    """A signed fraction of the budget with the caps of the strategy's entry, in lots of so many shares."""
    entry = strategy.entry
    return Wish(
        fraction=fraction,
        fixed_qty=strategy.params.qty,
        notional_cap=cap_of(entry.max_notional_per_trade),
        position_pct=cap_of(entry.max_position_pct_equity),
        lot=lot,
    )


def cap_of(value: float | None) -> Decimal | None:
    """A cap of the catalog as money; None where it is not set."""
    return None if value is None else as_decimal(value)


def time_in_force(symbol: str, qty: Decimal, *, is_open: bool) -> TimeInForce:
    """For the day while the exchange is open, for the opening otherwise; around the clock until cancelled.

    An opening takes whole shares only; a part of one waits for the session's own trading.
    """
    if not is_exchange_traded(symbol):
        return "gtc"
    return "day" if is_open or qty % 1 else "opg"
