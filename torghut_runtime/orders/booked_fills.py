"""What a position is replayed from: executions of its orders, and what a reconciliation booked beside them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from torghut_runtime.order_feed.event import key_order
from torghut_runtime.order_feed.state import OrderState

ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)


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


def fills_of(order: str, state: OrderState) -> Iterator[BookedFill]:
    """The fills of an order that count; what the broker only claims is one fill at the price that the claim implies."""
    sign = -1 if state.side in ("sell", "sell_short") else 1
    counted = sorted(
        BookedFill(key_order(f.time_ns), order, f.execution_id, sign * f.qty, f.price) for f in state.fills
         if f.state == "counted"
    )  # fmt: skip
    yield from counted
    claimed = state.filled_qty - sum((abs(fill.signed_qty) for fill in counted), ZERO)
    if claimed > 0 and state.avg_fill_price is not None:
        value = state.avg_fill_price * state.filled_qty - abs(cost(counted))
        yield BookedFill(key_order(state.last_fill_ns), order, "~claimed", sign * claimed, value / claimed)


def voiding(fill: BookedFill) -> BookedFill:
    """The entry that takes a fill back which can no longer be taken out of the replay."""
    return replace(fill, execution_id=f"{fill.execution_id}~void", signed_qty=-fill.signed_qty)


def cost(fills: Iterable[BookedFill]) -> Decimal:
    """What fills took from the account's cash; sales and short sales are negative."""
    return sum((fill.signed_qty * fill.price for fill in fills), ZERO)
