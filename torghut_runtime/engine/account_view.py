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
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.positions import UNATTRIBUTED, Slot
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.baselines import Baselines
from torghut_runtime.risk.limits import Exposure, Side

_MINUTE_NS: Final = 60 * NANOSECONDS
_NOWHERE: Final[Slot] = ("", "")


class AccountView:
    """The account as limits see it."""

    def __init__(self, portfolio: Portfolio, tracker: OrderTracker, multiplier: Decimal) -> None:
        self.portfolio = portfolio
        self.baselines: Baselines | None = None
        """None until the first session has begun; what is stored of an earlier process is put here before it trades."""
        self._tracker = tracker
        self._multiplier = multiplier
        self._opening = self._highest = portfolio.equity
        self._transfers = Decimal(0)
        self._sent: deque[tuple[int, str]] = deque()
        self._last_entry: dict[Slot, int] = {}
        self._shown: tuple[int, Decimal, dict[str, Decimal]] | None = None

    def begin(self, session: date) -> None:
        """A bar of this session has come: the first one fixes the equity that the day is measured against."""
        if self.baselines is not None and self.baselines.session == session:
            return
        equity = self.portfolio.equity
        if self.baselines is None:
            self.baselines = Baselines(session, equity, max(equity, self._highest), self._transfers)
        else:
            self.baselines = self.baselines.begun(session, equity)

    def value(self) -> None:
        """Prices have changed: the high-water mark follows."""
        if self.baselines is None:
            self._highest = max(self._highest, self.portfolio.equity)
        else:
            self.baselines = self.baselines.valued(self.portfolio.equity)

    def restore(self, stored: Baselines | None, transfers: Decimal) -> None:
        """Go on with what an earlier process measured against; ``transfers``: all that ever came and went.

        What came or went while no process ran is in the cash that the broker shows already. The equity of this moment
        is no high-water mark: positions have no prices yet.
        """
        self._transfers = transfers
        self.baselines = None if stored is None else stored.transferred(transfers)

    def transferred(self, transfers: Decimal) -> Decimal:
        """All deposits less withdrawals come to this now: the baselines move by what is new of it; tells that.

        The cash itself is the broker's and taken over with it, at the same moment.
        """
        before = self._transfers if self.baselines is None else self.baselines.transfers
        change = transfers - before
        if not change:
            return change
        self._transfers = transfers
        self._opening += change
        self._highest += change
        if self.baselines is not None:
            self.baselines = self.baselines.transferred(transfers)
        return change

    @property
    def opening_equity(self) -> Decimal:
        """Equity at the start of the session."""
        return self._opening if self.baselines is None else self.baselines.opening_equity

    @property
    def high_water_mark(self) -> Decimal:
        """The highest equity ever."""
        return self._highest if self.baselines is None else self.baselines.high_water_mark

    def entry_sent(self, slot: Slot, now_ns: int) -> None:
        """An entry went out."""
        self._last_entry[slot] = now_ns
        self._sent.append((now_ns, slot[1]))

    def document(self) -> dict[str, Decimal]:
        """The account as decisions and recorded steps show it, in currency; the same object while nothing changes."""
        portfolio = self.portfolio
        if self._shown is not None and self._shown[:2] == (portfolio.version, portfolio.cash):
            return self._shown[2]
        equity, gross = portfolio.equity, portfolio.gross
        document = {
            "equity": equity,
            "cash": portfolio.cash,
            "buying_power": self._buying_power(equity, gross),
            "gross_exposure": gross,
            "net_exposure": portfolio.net,
        }
        self._shown = (portfolio.version, portfolio.cash, document)
        return document

    def _buying_power(self, equity: Decimal, gross: Decimal) -> Decimal:
        return max(equity * self._multiplier - gross, Decimal(0))

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
            buying_power=self._buying_power(equity, gross),
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

    def before_new_symbol(self, now_ns: int) -> Exposure:
        """What is taken before an entry in a symbol of which nothing is held or ordered."""
        return self.exposure(_NOWHERE, "buy", now_ns)


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
