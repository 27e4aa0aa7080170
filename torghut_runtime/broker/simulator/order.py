"""One order: its terms, what was filled, its status and times, and its document as Alpaca writes it.

An order changes only through its methods; a terminal status is left only by a correction of the broker.
"""

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any, Final

from torghut_runtime.broker.simulator.identities import asset_id
from torghut_runtime.broker.simulator.instants import optional_rfc3339
from torghut_runtime.broker.simulator.order_request import OrderTerms
from torghut_runtime.broker.simulator.refusals import optional_plain, plain

OPEN: Final = frozenset(
    {
        "pending_new",
        "accepted",
        "new",
        "partially_filled",
        "held",
        "stopped",
        "suspended",
        "calculated",
        "done_for_day",
        "pending_cancel",
        "pending_replace",
        "accepted_for_bidding",
        "pending_review",
    }
)
TERMINAL: Final = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
SHARE: Final = Decimal(1)
SMALLEST_PART: Final = Decimal("0.000000001")
_AVERAGE_DECIMALS: Final = 6
_ZERO: Final = Decimal(0)


@dataclass(frozen=True)
class Fill:
    """One execution: shares at a price, with the shares of the order filled after it."""

    execution_id: str
    order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    cum_qty: Decimal
    ns: int


@dataclass(slots=True)
class Order:
    """An order at the broker. Times are nanoseconds, UTC."""

    id: str
    client_order_id: str
    terms: OrderTerms
    position_intent: str
    created_at: int
    status: str
    expires_at: int | None
    foreign: bool = False
    updated_at: int = 0
    submitted_at: int = 0
    filled_at: int | None = None
    expired_at: int | None = None
    cancel_requested_at: int | None = None
    canceled_at: int | None = None
    failed_at: int | None = None
    replaced_at: int | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    fills: list[Fill] = field(default_factory=list[Fill])
    filled_qty: Decimal = _ZERO
    filled_notional: Decimal = _ZERO
    triggered: bool = False
    working_from: int | None = None
    """The number of the market moment after which the order takes part; None while it does not."""
    opening_only: bool = False
    """Whether this order waits for an opening print."""
    reserved: Decimal = _ZERO
    """Buying power that the order holds back, dollars."""
    request: int = 0
    """Counts requests to cancel or replace; an answer to an older one than the newest is void."""

    @property
    def is_open(self) -> bool:
        """Whether the order can still be filled or canceled."""
        return self.status not in TERMINAL

    @property
    def lot(self) -> Decimal:
        """The smallest quantity that can be filled."""
        return SMALLEST_PART if self.terms.is_fractional else SHARE

    @property
    def sign(self) -> int:
        """1 for a buy, -1 for a sale."""
        return 1 if self.terms.side == "buy" else -1

    def remaining(self, price: Decimal) -> Decimal:
        """Shares still to be filled; of a notional order as many as the rest buys at ``price``."""
        if self.terms.qty is not None:
            return self.terms.qty - self.filled_qty
        rest = (self.terms.notional or _ZERO) - self.filled_notional
        return max(_ZERO, (rest / price).quantize(SMALLEST_PART, rounding=ROUND_DOWN))

    @property
    def average_price(self) -> Decimal | None:
        """Mean price of the fills, exact where it ends, else to six decimals as Alpaca shows it."""
        if self.filled_qty == 0:
            return None
        average = self.filled_notional / self.filled_qty
        short = round(average, 9)
        return short if short * self.filled_qty == self.filled_notional else round(average, _AVERAGE_DECIMALS)

    def add_fill(self, fill: Fill) -> None:
        """Count a fill; the status becomes ``filled`` when nothing is left."""
        self.fills.append(fill)
        self.filled_qty += fill.qty
        self.filled_notional += fill.qty * fill.price
        self.updated_at = fill.ns
        whole = self.terms.qty is not None and self.filled_qty >= self.terms.qty
        spent = self.terms.qty is None and self.remaining(fill.price) == 0
        if whole or spent:
            self.status = "filled"
            self.filled_at = fill.ns
        elif self.status not in {"pending_cancel", "pending_replace"}:
            self.status = "partially_filled"

    def void_fill(self, fill: Fill) -> None:
        """Take a fill back; the caller decides what the status is now."""
        self.fills.remove(fill)
        self.filled_qty -= fill.qty
        self.filled_notional -= fill.qty * fill.price

    def working_status(self) -> str:
        """The status of the order while it is open and nothing else is asked of it."""
        return "partially_filled" if self.filled_qty else "new"

    def document(self) -> dict[str, Any]:
        """The order as Alpaca's stream and REST interface write it, in the order of Alpaca's fields."""
        terms = self.terms
        return {
            "id": self.id,
            "client_order_id": self.client_order_id,
            "created_at": optional_rfc3339(self.created_at),
            "updated_at": optional_rfc3339(self.updated_at),
            "submitted_at": optional_rfc3339(self.submitted_at),
            "filled_at": optional_rfc3339(self.filled_at),
            "expired_at": optional_rfc3339(self.expired_at),
            "cancel_requested_at": optional_rfc3339(self.cancel_requested_at),
            "canceled_at": optional_rfc3339(self.canceled_at),
            "failed_at": optional_rfc3339(self.failed_at),
            "replaced_at": optional_rfc3339(self.replaced_at),
            "replaced_by": self.replaced_by,
            "replaces": self.replaces,
            "asset_id": asset_id(terms.symbol),
            "symbol": terms.symbol,
            "asset_class": "crypto" if "/" in terms.symbol else "us_equity",
            "notional": optional_plain(terms.notional),
            "qty": optional_plain(terms.qty),
            "filled_qty": plain(self.filled_qty),
            "filled_avg_price": optional_plain(self.average_price),
            "order_class": "simple",
            "order_type": terms.type,
            "type": terms.type,
            "side": terms.side,
            "position_intent": self.position_intent,
            "time_in_force": terms.time_in_force,
            "limit_price": optional_plain(terms.limit_price),
            "stop_price": optional_plain(terms.stop_price),
            "status": self.status,
            "extended_hours": False,
            "legs": None,
            "trail_percent": None,
            "trail_price": None,
            "hwm": None,
            "expires_at": optional_rfc3339(self.expires_at),
        }
