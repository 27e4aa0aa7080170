"""What of the account is taken at the moment of a decision: exposures, order rates, losses (input of the limits).

The numbers come from the portfolio; here is what must be remembered beside it: when orders went out, what the equity
was when the session began, and its highest value.
"""

from collections import deque
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Final

from torghut_runtime.clock import NANOSECONDS
from torghut_runtime.orders.portfolio import UNATTRIBUTED, Portfolio, Slot
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.limits import Exposure, Side

_MINUTE_NS: Final = 60 * NANOSECONDS


class AccountView:
    """The account as limits see it."""

    def __init__(self, portfolio: Portfolio, tracker: OrderTracker, multiplier: Decimal) -> None:
        self.portfolio = portfolio
        self.opening_equity = portfolio.equity
        self.high_water_mark = portfolio.equity
        self._tracker = tracker
        self._multiplier = multiplier
        self._session: date | None = None
        self._sent: deque[tuple[int, str]] = deque()
        self._last_entry: dict[Slot, int] = {}

    def begin(self, session: date) -> None:
        """A bar of this session has come: the first one fixes the equity that the day is measured against."""
        if session != self._session:
            self._session = session
            self.opening_equity = self.portfolio.equity

    def value(self) -> None:
        """Prices have changed: the high-water mark follows."""
        self.high_water_mark = max(self.high_water_mark, self.portfolio.equity)

    def entry_sent(self, slot: Slot, now_ns: int) -> None:
        """An entry went out."""
        self._last_entry[slot] = now_ns
        self._sent.append((now_ns, slot[1]))

    def exposure(self, slot: Slot, side: Side, now_ns: int) -> Exposure:
        """Everything that is taken before one more entry of a strategy in a symbol."""
        portfolio, symbol = self.portfolio, slot[1]
        while self._sent and self._sent[0][0] <= now_ns - _MINUTE_NS:
            self._sent.popleft()
        equity, gross = portfolio.equity, portfolio.gross
        symbols = portfolio.symbols()
        waiting = [each for each in portfolio.reservations.values() if each.slot[1] == symbol]
        last = self._last_entry.get(slot)
        ours = [each for each in waiting if each.left and each.slot[0] != UNATTRIBUTED]
        opposite = any((each.left < 0) == (side == "buy") for each in ours)
        return Exposure(
            equity=equity,
            opening_equity=self.opening_equity,
            high_water_mark=self.high_water_mark,
            buying_power=max(equity * self._multiplier - gross, Decimal(0)),
            gross=gross,
            net=portfolio.net,
            symbol_net=portfolio.symbol_net(symbol),
            strategy_symbol=portfolio.in_slot(slot),
            symbols=len(symbols),
            in_symbol=symbol in symbols,
            open_orders=len(portfolio.reservations),
            open_orders_in_symbol=len(waiting),
            orders_last_minute=len(self._sent),
            orders_in_symbol_last_minute=sum(each == symbol for _, each in self._sent),
            opposite_order_open=opposite,
            seconds_since_entry=None if last is None else (now_ns - last) / NANOSECONDS,
        )


def with_taken(exposure: Exposure, signed_notional: Decimal) -> Exposure:
    """The same with an entry that is wished for and not yet ordered."""
    taken = abs(signed_notional)
    return replace(
        exposure,
        buying_power=max(exposure.buying_power - taken, Decimal(0)),
        gross=exposure.gross + taken,
        net=exposure.net + signed_notional,
        symbol_net=exposure.symbol_net + signed_notional,
    )
