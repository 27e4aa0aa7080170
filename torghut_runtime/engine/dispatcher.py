"""When an order goes out: at once, at the next open, after an order on the other side has ended, or at a new price.

Everything here has been decided and sized; what may still change is the moment, the limit of an entry, and whether it
goes at all. Deciding is :mod:`torghut_runtime.engine.trader`'s business, sending the order manager's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from torghut_runtime.clock import NANOSECONDS, Clock, nanoseconds_of
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.market_view import PriceSnapshot
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.strategy_blocks import STRATEGY_DISABLED, StrategyBlocks
from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.orders.manager import RATE, OrderManager
from torghut_runtime.orders.model import Decision, Intent, OrderTerms, client_order_id
from torghut_runtime.orders.portfolio import Slot
from torghut_runtime.risk.limits import Entry, Limits, Side, entry_reasons, gate_reasons
from torghut_runtime.risk.trading_state import HALTED, REDUCING, State

BEFORE_OPEN_NS: Final = 15 * 60 * NANOSECONDS
"""So long before the open a queued order is checked again and sent."""
_CUT_OFF_NS: Final = 2 * 60 * NANOSECONDS
"""Opening orders are no longer taken from 09:28 New York on."""
_EXIT_RETRY_NS: Final = NANOSECONDS
_BPS: Final = Decimal(10_000)

PriceOf = Callable[[str], PriceSnapshot]
"""The newest reference price of a symbol."""


def collar_price(reference: Decimal, side: Side, collar_bps: Decimal) -> Decimal:
    """The worst price within the collar, rounded towards the reference."""
    sign = 1 if side == "buy" else -1
    worst = reference * (1 + sign * collar_bps / _BPS)
    step = Decimal("0.01") if worst >= 1 else Decimal("0.0001")
    return worst.quantize(step, rounding=ROUND_FLOOR if side == "buy" else ROUND_CEILING)


def intent_of(
    account_label: str,
    decision: Decision,
    seq: int,
    terms: OrderTerms,
    price: PriceSnapshot,
    *,
    is_exit: bool,
) -> Intent:
    """An intent of a decision, sized on ``price``."""
    limit = terms.limit_price
    return Intent(
        client_order_id=client_order_id(account_label, decision.strategy_id, terms.symbol, decision.bar_ts, seq),
        seq=seq,
        strategy_id=decision.strategy_id,
        terms=terms,
        is_exit=is_exit,
        worst_price=price.price if limit is None else max(limit, price.price),
        arrival_price=price.price,
        arrival_mid=price.mid,
        trace_id=decision.trace_id,
    )


@dataclass(slots=True)
class _Waiting:
    """A committed order that waits for its session, or one that is sent and has a time to live."""

    decision: Decision
    intent: Intent
    due_ns: int
    opens_ns: int = 0
    closes_ns: int = 0
    repriced: bool = False

    @property
    def slot(self) -> Slot:
        return self.intent.strategy_id, self.intent.terms.symbol


class Dispatcher:
    """Sends what was decided at its time."""

    def __init__(
        self,
        *,
        account_label: str,
        manager: OrderManager,
        account: AccountView,
        stance: Stance,
        limits: Limits,
        order_ttl_seconds: int,
        price_of: PriceOf,
        clock: Clock,
        blocks: StrategyBlocks | None = None,
    ) -> None:
        self._blocks = blocks or StrategyBlocks()
        self.told_cancels: Callable[[int, int], None] = lambda _done, _failed: None
        """Hears of the entries that were cancelled when trading was reduced: asked, and failed."""
        self._label = account_label
        self._manager = manager
        self._tracker = manager.tracker
        self._account = account
        self._stance = stance
        self._limits = limits
        self._ttl_ns = order_ttl_seconds * NANOSECONDS
        self._price_of = price_of
        self._clock = clock
        self._calendar = TradingCalendar()
        self._queued: list[_Waiting] = []
        self._working: list[_Waiting] = []
        self._exits: dict[Slot, _Waiting] = {}
        """Exits that are not committed yet: another side is open, or the budget of requests is used up."""
        stance.listeners.append(self._state_changed)

    def is_open(self, symbol: str) -> bool:
        """Whether the symbol trades now."""
        return not is_exchange_traded(symbol) or self._calendar.session_at(self._clock.now()) is not None

    # From the trader --------------------------------------------------------------------------------------------------

    def exit(self, decision: Decision, intent: Intent) -> None:
        """Send an exit: at the next open outside the session, after the end of any order on the other side."""
        if self.is_open(intent.terms.symbol):
            self._send_exit(_Waiting(decision, intent, self._clock.now_ns()))
        else:
            self._queue(decision, intent)

    def entry(self, decision: Decision, intent: Intent, *, queued: bool) -> None:
        """Send an entry, or keep it for the next session."""
        if queued:
            self._queue(decision, intent)
            return
        outcome = self._manager.place(decision, intent)
        if outcome.kind in ("accepted", "unknown"):
            now_ns = self._clock.now_ns()
            self._account.entry_sent((intent.strategy_id, intent.terms.symbol), now_ns)
            if intent.terms.limit_price is not None:
                self._working.append(_Waiting(decision, intent, now_ns + self._ttl_ns))

    def take_back_entries(self, slot: Slot, reason: str) -> None:
        """Withdraw a strategy's queued entries in a symbol and have its open ones cancelled."""
        self._withdraw((each for each in self._queued if each.slot == slot and not each.intent.is_exit), reason)
        self._cancel(order.order_id for order in self._tracker.open_entries(slot))

    # From the engine --------------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Orders that wait for their session."""
        return len(self._queued)

    @property
    def next_due_ns(self) -> int | None:
        """When :meth:`on_time` has something to do."""
        return min((each.due_ns for each in (*self._queued, *self._working, *self._exits.values())), default=None)

    @property
    def open_decisions(self) -> frozenset[str]:
        """Hashes of the decisions of which an order waits here, is open with a time to live, or may still follow."""
        return frozenset(each.decision.decision_hash for each in (*self._queued, *self._working, *self._exits.values()))

    def on_time(self) -> None:
        """Release queued orders, re-price or cancel entries that waited, send exits that could not go before."""
        now_ns = self._clock.now_ns()
        for each in [each for each in self._queued if each.due_ns <= now_ns]:
            self._release(each, now_ns)
        for each in [each for each in self._working if each.due_ns <= now_ns]:
            self._working.remove(each)
            self._work(each, now_ns)
        self.on_order_change()

    def on_order_change(self) -> None:
        """An order has changed: an exit that waited for its end may go."""
        for each in [*self._exits.values()]:
            self._send_exit(each)

    def strategy_blocked(self, strategy_id: str, *, frozen: bool) -> None:
        """An operator has stopped a strategy: its entries are taken back, frozen its exits as well."""

        def ends(intent: Intent) -> bool:
            return intent.strategy_id == strategy_id and (frozen or not intent.is_exit)

        self._withdraw((each for each in self._queued if ends(each.intent)), STRATEGY_DISABLED)
        if frozen:
            for slot in [slot for slot in self._exits if slot[0] == strategy_id]:
                del self._exits[slot]
        open_orders = self._tracker.open_orders()
        self._cancel(each.order_id for each in open_orders if each.intent is not None and ends(each.intent))

    def _state_changed(self, state: State) -> None:
        if state == REDUCING:
            self._withdraw((each for each in self._queued if not each.intent.is_exit), "state_reducing")
            self.told_cancels(*self._cancel(order.order_id for order in self._tracker.open_entries()))
        elif state == HALTED:
            self._withdraw(self._queued, "state_halted")
            self._exits.clear()
            if not self._stance.cancels_at_once:
                self._cancel(order.order_id for order in self._tracker.open_orders())

    # Within -----------------------------------------------------------------------------------------------------------

    def _send_exit(self, each: _Waiting) -> None:
        slot = each.slot
        self._exits.pop(slot, None)
        if self._opposite_open(each.intent):
            each.due_ns = self._clock.now_ns() + _EXIT_RETRY_NS
            self._exits[slot] = each
            return
        outcome = self._manager.place(each.decision, each.intent)
        if outcome.reason == RATE:
            again = self._again(each, each.intent.terms, is_exit=True)
            self._exits[slot] = _Waiting(each.decision, again, self._clock.now_ns() + _EXIT_RETRY_NS)

    def _opposite_open(self, intent: Intent) -> bool:
        """Whether an order on the other side is open in the symbol: brokers take the pair for a wash trade."""
        symbol, sells = intent.terms.symbol, intent.signed_qty < 0
        return any(
            order.state.symbol == symbol and (order.state.side == "buy") == sells
            for order in self._tracker.open_orders()
        )

    def requeue(self, decision: Decision, intent: Intent) -> None:
        """Take over an order that an earlier process committed for the session after its decision."""
        session = self._calendar.next_session(decision.decided_at)
        if session is None:
            return
        opens_ns = _ns(self._calendar.session_open(session))
        closes_ns = _ns(self._calendar.session_close(session))
        self._queued.append(_Waiting(decision, intent, opens_ns - BEFORE_OPEN_NS, opens_ns, closes_ns))
        self._manager.metrics.queued(len(self._queued))

    def resume(self, decision: Decision, intent: Intent) -> None:
        """Take over an open limit entry of an earlier process: it gets its time to live anew, and one new price."""
        due_ns = self._clock.now_ns() + self._ttl_ns
        self._working.append(_Waiting(decision, intent, due_ns, repriced=intent.seq > 0))

    def _queue(self, decision: Decision, intent: Intent) -> None:
        if self._manager.commit(decision, intent):
            self.requeue(decision, intent)

    def _release(self, each: _Waiting, now_ns: int) -> None:
        """A queued order's moment has come: all checks again, then it goes out, as a day order where it is late."""
        late = now_ns >= each.opens_ns - _CUT_OFF_NS
        if late and now_ns < each.opens_ns:
            each.due_ns = each.opens_ns
            return
        if now_ns >= each.closes_ns:
            self._manager.metrics.rejected("queue_expired")
            self._withdraw([each], "queue_expired", expired=True)
            return
        reasons = self._refusals(each.intent)
        if reasons:
            for reason in reasons:
                self._manager.metrics.rejected(reason)
            self._withdraw([each], reasons[0])
            return
        intent = each.intent
        if late:
            self._withdraw([each], "opening_missed")
            intent = self._again(each, replace(intent.terms, time_in_force="day"), is_exit=intent.is_exit)
            if not self._manager.commit(each.decision, intent):
                return
        else:
            self._queued.remove(each)
        self._manager.metrics.queued(len(self._queued))
        outcome = self._manager.send(intent)
        if outcome.kind != "rejected" and not intent.is_exit:
            self._account.entry_sent(each.slot, now_ns)

    def _refusals(self, intent: Intent) -> list[str]:
        """What stands against a queued order now, its own reservation left aside."""
        reasons = gate_reasons(self._stance.gate(), is_exit=intent.is_exit)
        reasons += self._blocks.reasons(intent.strategy_id, is_exit=intent.is_exit)
        if intent.is_exit:
            return reasons
        portfolio = self._account.portfolio
        portfolio.release(intent.client_order_id)
        slot = (intent.strategy_id, intent.terms.symbol)
        exposure = self._account.exposure(slot, intent.terms.side, self._clock.now_ns())
        portfolio.reserve(intent)
        asked = Entry(intent.terms.side, intent.terms.qty, intent.worst_price)
        return reasons + entry_reasons(asked, exposure, self._limits)

    def _work(self, each: _Waiting, now_ns: int) -> None:
        """A limit entry has waited its time: one new price, then the end."""
        intent = each.intent
        order = self._tracker.order_of(intent.client_order_id)
        if order is None or not order.is_open:
            return
        limit = self._price_of(intent.terms.symbol).touch(intent.terms.side)
        unchanged = limit == intent.terms.limit_price
        stopped = self._blocks.reasons(intent.strategy_id, is_exit=False)
        if each.repriced or stopped or gate_reasons(self._stance.gate(), is_exit=False):
            self._manager.cancel(order.order_id)
            return
        if unchanged:
            self._working.append(_Waiting(each.decision, intent, now_ns + self._ttl_ns, repriced=True))
            return
        left = intent.terms.qty - order.state.filled_qty
        again = self._again(each, replace(intent.terms, qty=left, limit_price=limit), is_exit=False)
        outcome = self._manager.replace(each.decision, order.order_id, again)
        if outcome.kind == "rejected":
            self._manager.cancel(order.order_id)
        elif outcome.kind != "known":
            self._working.append(_Waiting(each.decision, again, now_ns + self._ttl_ns, repriced=True))

    def _again(self, each: _Waiting, terms: OrderTerms, *, is_exit: bool) -> Intent:
        price = self._price_of(terms.symbol)
        return intent_of(self._label, each.decision, each.intent.seq + 1, terms, price, is_exit=is_exit)

    def _withdraw(self, waiting: Iterable[_Waiting], reason: str, *, expired: bool = False) -> None:
        for each in list(waiting):
            self._queued.remove(each)
            self._manager.withdraw(each.intent, reason, expired=expired)
        self._manager.metrics.queued(len(self._queued))

    def _cancel(self, order_ids: Iterable[str]) -> tuple[int, int]:
        """Ask for the end of these orders; how many were asked, and for how many that failed."""
        done = [self._manager.cancel(order_id) for order_id in list(order_ids)]
        return sum(done), len(done) - sum(done)


def _ns(moment: datetime | None) -> int:
    assert moment is not None
    return nanoseconds_of(moment)
