"""When an order goes out: at once, at the next open, after an order on the other side has ended, or at a new price.

Everything here has been decided and sized, and is committed before it waits, so that the next process can take it over.
What may still change is the moment, the limit, for an exit the kind of order, and whether it goes at all. Deciding is
:mod:`torghut_runtime.engine.trader`'s business, sending the order manager's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from torghut_runtime.clock import NANOSECONDS, Clock, nanoseconds_of
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.market_view import PriceSnapshot
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.strategy_blocks import STRATEGY_DISABLED, StrategyBlocks
from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.orders.frozen_symbols import FROZEN
from torghut_runtime.orders.journal import StoredIntent
from torghut_runtime.orders.manager import NOT_RECEIVED, RATE, OrderManager, Outcome
from torghut_runtime.orders.model import Decision, Intent, OrderTerms, client_order_id
from torghut_runtime.orders.positions import Slot
from torghut_runtime.orders.reconcile import goes_on
from torghut_runtime.orders.tracker import TrackedOrder
from torghut_runtime.risk.limits import Side, gate_reasons
from torghut_runtime.risk.trading_state import HALTED, REDUCING, State

BEFORE_OPEN_NS: Final = 15 * 60 * NANOSECONDS
"""So long before the open a queued order is checked again and sent."""
_CUT_OFF_NS: Final = 2 * 60 * NANOSECONDS
"""Opening orders are no longer taken from 09:28 New York on."""
_RETRY_NS: Final = NANOSECONDS
CLIPPED: Final = "exit_clipped"
"""Why a committed exit was withdrawn: the position has become smaller than it."""
_BPS: Final = Decimal(10_000)

Recheck = Callable[[Intent], list[str]]
"""What stands against a queued order at its moment: every check of its decision again."""
PriceOf = Callable[[str], PriceSnapshot | None]
"""The newest reference price of a symbol, None before there is one."""


def collar_price(reference: PriceSnapshot, side: Side, collar_bps: Decimal) -> Decimal:
    """The worst price within the collar, rounded towards the reference."""
    sign = 1 if side == "buy" else -1
    return reference.increments.price_within(reference.price * (1 + sign * collar_bps / _BPS), side)


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
    """A committed order that waits for its moment, or one that is sent and has a time to live."""

    decision: Decision
    intent: Intent
    due_ns: int
    opens_ns: int = 0
    closes_ns: int = 0
    repriced: bool = False
    marked: bool = False
    """An exit that an earlier process has marked as sent: it may be at the broker."""
    ending: bool = False
    """Its cancel has been asked for; asked for again until it has ended."""
    before: Intent | None = None
    """What it was to replace: still at the broker where the replacement did not arrive."""

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
        recheck: Recheck,
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
        self._recheck = recheck
        self._ttl_ns = order_ttl_seconds * NANOSECONDS
        self._price_of = price_of
        self._clock = clock
        self._calendar = TradingCalendar()
        self._queued: list[_Waiting] = []
        self._working: list[_Waiting] = []
        self._exits: list[_Waiting] = []
        """Exits that are not sent yet: another side is open, or the budget of requests is used up."""
        stance.listeners.append(self._state_changed)

    def is_open(self, symbol: str) -> bool:
        """Whether the symbol trades now."""
        return not is_exchange_traded(symbol) or self._calendar.session_at(self._clock.now()) is not None

    # From the trader --------------------------------------------------------------------------------------------------

    def exit(self, decision: Decision, intent: Intent) -> None:
        """Send an exit: at the next open outside the session, after the end of any order on the other side."""
        if not self.is_open(intent.terms.symbol):
            self._queue(decision, intent)
            return
        each = _Waiting(decision, intent, self._clock.now_ns())
        if not self._opposite_open(intent):
            self._exit_sent(each, self._manager.place(decision, intent))
        elif self._manager.commit(decision, intent):
            self._send_exit(each)

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

    def freeze(self, symbol: str) -> None:
        """Withdraw and cancel everything of ours in a symbol."""
        self._withdraw((each for each in self._queued if each.slot[1] == symbol), FROZEN)
        self._drop_exits(lambda each: each.slot[1] == symbol, FROZEN)
        self._manager.end_unknown(lambda intent: intent.terms.symbol == symbol)
        self._cancel(
            order.order_id
            for order in self._tracker.open_orders()
            if order.intent is not None and order.intent.terms.symbol == symbol
        )

    # From the engine --------------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Orders that wait for their session."""
        return len(self._queued)

    @property
    def next_due_ns(self) -> int | None:
        """When :meth:`on_time` has something to do."""
        return min((each.due_ns for each in (*self._queued, *self._working, *self._exits)), default=None)

    @property
    def open_decisions(self) -> frozenset[str]:
        """Hashes of the decisions of which an order waits here, is open with a time to live, or may still follow."""
        return frozenset(each.decision.decision_hash for each in (*self._queued, *self._working, *self._exits))

    def on_time(self) -> None:
        """Release queued orders, re-price or cancel what waited at the broker, send exits that could not go before."""
        now_ns = self._clock.now_ns()
        for each in [each for each in self._queued if each.due_ns <= now_ns]:
            self._release(each, now_ns)
        for each in [each for each in self._working if each.due_ns <= now_ns]:
            self._working.remove(each)
            self._work(each, now_ns)
        self.on_order_change()

    def on_order_change(self) -> None:
        """An order has changed: an exit that waited for its end may go, one that is cancelled becomes another."""
        now_ns = self._clock.now_ns()
        for each in [each for each in self._working if each.ending]:
            order = self._tracker.order_of(each.intent.client_order_id)
            if order is None or not order.is_open:
                self._working.remove(each)
                self._work(each, now_ns)
        for each in [*self._exits]:
            self._exits.remove(each)
            self._send_exit(each)

    def strategy_blocked(self, strategy_id: str, *, frozen: bool) -> None:
        """An operator has stopped a strategy: its entries are taken back, frozen its exits as well."""

        def ends(intent: Intent) -> bool:
            return intent.strategy_id == strategy_id and (frozen or not intent.is_exit)

        self._withdraw((each for each in self._queued if ends(each.intent)), STRATEGY_DISABLED)
        if frozen:
            self._drop_exits(lambda each: each.slot[0] == strategy_id, STRATEGY_DISABLED)
        self._manager.end_unknown(ends)
        open_orders = self._tracker.open_orders()
        self._cancel(each.order_id for each in open_orders if each.intent is not None and ends(each.intent))

    def _state_changed(self, state: State) -> None:
        if state == REDUCING:
            self._withdraw((each for each in self._queued if not each.intent.is_exit), "state_reducing")
            self._manager.end_unknown(lambda intent: not intent.is_exit)
            self.told_cancels(*self._cancel(order.order_id for order in self._tracker.open_entries()))
        elif state == HALTED:
            self._withdraw(self._queued, "state_halted")
            self._drop_exits(lambda _: True, "state_halted")
            self._manager.end_unknown(lambda _: True)
            if not self._stance.cancels_at_once:
                self._cancel(order.order_id for order in self._tracker.open_orders())

    # After a restart --------------------------------------------------------------------------------------------------

    def take_over(self, left: Iterable[StoredIntent]) -> None:
        """Go on with what an earlier process committed and did not finish."""
        for stored in left:
            decision, intent = stored.decision, stored.intent
            if decision is None:
                continue
            if stored.state != "initialised":
                if goes_on(stored) and self._tracker.order_of(intent.client_order_id) is None:
                    self._exits.append(_Waiting(decision, intent, self._clock.now_ns(), marked=True))
                elif intent.terms.limit_price is not None and intent.terms.time_in_force != "opg":
                    sent_ns = self._clock.now_ns() if stored.sent_at is None else nanoseconds_of(stored.sent_at)
                    self._working.append(_Waiting(decision, intent, sent_ns + self._ttl_ns, repriced=intent.seq > 0))
            elif intent.terms.time_in_force == "opg" or not intent.is_exit:
                self.requeue(decision, intent)
            elif self._is_same_session(decision):
                self._exits.append(_Waiting(decision, intent, self._clock.now_ns()))
            else:
                self._manager.withdraw(intent, "queue_expired", expired=True)

    def _is_same_session(self, decision: Decision) -> bool:
        """Whether the session of a decision lasts; of one that was made outside of any, the session after it."""
        if not is_exchange_traded(decision.symbol):
            return True
        of = self._calendar.session_at(decision.decided_at) or self._calendar.next_session(decision.decided_at)
        session = self._calendar.session_at(self._clock.now())
        return session is not None and session == of

    def requeue(self, decision: Decision, intent: Intent) -> None:
        """Keep a committed order for the session after its decision."""
        session = self._calendar.next_session(decision.decided_at)
        if session is None:
            return
        opens_ns = _ns(self._calendar.session_open(session))
        closes_ns = _ns(self._calendar.session_close(session))
        self._queued.append(_Waiting(decision, intent, opens_ns - BEFORE_OPEN_NS, opens_ns, closes_ns))
        self._manager.metrics.queued(len(self._queued))

    # Within -----------------------------------------------------------------------------------------------------------

    def _send_exit(self, each: _Waiting) -> None:
        """Send a committed exit, of the quantity that is still there; it waits where it may not go.

        One that an earlier process has marked goes when the broker does not know it, in the session of its decision.
        """
        now_ns, intent = self._clock.now_ns(), each.intent
        if each.marked and self._tracker.order_of(intent.client_order_id) is not None:
            self._exit_sent(each, Outcome("accepted"))
            return
        is_unknown = self._manager.is_unknown(intent.client_order_id)
        if each.marked and not is_unknown and not self._is_same_session(each.decision):
            self._manager.refuse(intent, NOT_RECEIVED)
            return
        if is_unknown or not self._stance.gate().reconciled or self._opposite_open(intent):
            each.due_ns = now_ns + _RETRY_NS
            self._exits.append(each)
            return
        if each.due_ns > now_ns:
            self._exits.append(each)
            return
        clipped = self._clipped(each)
        if clipped is None:
            return
        self._exit_sent(clipped, self._manager.send(clipped.intent))

    def _exit_sent(self, each: _Waiting, outcome: Outcome) -> None:
        """An exit has left, or could not: one that the budget of requests held back goes later."""
        now_ns = self._clock.now_ns()
        if outcome.reason == RATE:
            again = self._again(each, each.intent.terms, is_exit=True)
            if self._manager.commit(each.decision, again):
                wait = max(_RETRY_NS, int(outcome.retry_after * NANOSECONDS))
                self._exits.append(_Waiting(each.decision, again, now_ns + wait))
        elif outcome.kind in ("accepted", "unknown") and each.intent.terms.limit_price is not None:
            self._working.append(_Waiting(each.decision, each.intent, now_ns + self._ttl_ns))

    def _clipped(self, each: _Waiting) -> _Waiting | None:
        """An exit within the position less other exits on their way; None where nothing is left of it."""
        intent, portfolio = each.intent, self._account.portfolio
        others = portfolio.waiting(each.slot, exits=True) - intent.signed_qty
        left = portfolio.position(each.slot).qty + others
        if left * intent.signed_qty < 0 and abs(left) >= intent.terms.qty:
            return each
        self._take_back(each, CLIPPED)
        price = self._price_of(intent.terms.symbol)
        qty = abs(left) if price is None else price.increments.sellable(abs(left))
        if left * intent.signed_qty >= 0 or not qty:
            return None
        again = self._again(each, replace(intent.terms, qty=qty), is_exit=True)
        return _Waiting(each.decision, again, each.due_ns) if self._manager.commit(each.decision, again) else None

    def _drop_exits(self, of: Callable[[_Waiting], bool], reason: str) -> None:
        for each in [each for each in self._exits if of(each)]:
            self._exits.remove(each)
            self._take_back(each, reason)
        self._working = [each for each in self._working if not (each.intent.is_exit and of(each))]

    def _take_back(self, each: _Waiting, reason: str) -> None:
        """End an exit that is not sent; one that may turn up all the same is given up as what has not arrived."""
        if not each.marked:
            self._manager.withdraw(each.intent, reason)
        elif not self._manager.is_unknown(each.intent.client_order_id):
            self._manager.refuse(each.intent, NOT_RECEIVED)

    def _opposite_open(self, intent: Intent) -> bool:
        """Whether an order of ours is open on the other side of the symbol: brokers take the pair for a wash trade."""
        symbol, sells = intent.terms.symbol, intent.signed_qty < 0
        return any(
            order.intent is not None and order.state.symbol == symbol and (order.state.side == "buy") == sells
            for order in self._tracker.open_orders()
        )

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
        if not self._stance.gate().reconciled:
            each.due_ns = now_ns + _RETRY_NS
            return
        reasons = self._recheck(each.intent)
        if reasons:
            for reason in reasons:
                self._manager.metrics.rejected(reason)
            self._withdraw([each], reasons[0])
            return
        intent = each.intent
        if late and intent.terms.time_in_force == "opg":
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

    def _work(self, each: _Waiting, now_ns: int) -> None:
        """A limit order has waited its time: an entry has one new price, then the end; an exit becomes a market order.

        A cancel is asked for until the order has ended: a lost one would leave it working for the day.
        """
        intent = each.intent
        order = self._tracker.order_of(intent.client_order_id)
        if order is None and self._manager.is_unknown(intent.client_order_id):
            each.due_ns = now_ns + _RETRY_NS
            self._working.append(each)
        elif order is not None and not order.is_open:
            if each.ending and intent.is_exit:
                self._as_market(each, order)
        elif order is not None and (intent.is_exit or each.ending or each.repriced or self._stopped(intent)):
            self._end(each, order, now_ns)
        elif order is not None:
            self._reprice(each, order, now_ns)
        elif each.before is not None:
            old = self._tracker.order_of(each.before.client_order_id)
            if old is not None and old.is_open:
                self._end(_Waiting(each.decision, each.before, now_ns), old, now_ns)

    def _stopped(self, intent: Intent) -> bool:
        blocked = self._blocks.reasons(intent.strategy_id, is_exit=False)
        return bool(blocked or gate_reasons(self._stance.gate(), is_exit=False))

    def _end(self, each: _Waiting, order: TrackedOrder, now_ns: int) -> None:
        each.ending, each.due_ns = True, now_ns + _RETRY_NS
        self._working.append(each)
        self._manager.cancel(order.order_id)

    def _as_market(self, each: _Waiting, order: TrackedOrder) -> None:
        left = each.intent.terms.qty - order.state.filled_qty
        if left <= 0:
            return
        terms = replace(each.intent.terms, qty=left, order_type="market", limit_price=None)
        again = self._again(each, terms, is_exit=True)
        if self._manager.commit(each.decision, again):
            self._send_exit(_Waiting(each.decision, again, self._clock.now_ns()))

    def _reprice(self, each: _Waiting, order: TrackedOrder, now_ns: int) -> None:
        intent = each.intent
        price = self._price_of(intent.terms.symbol)
        limit = intent.terms.limit_price if price is None else price.touch(intent.terms.side)
        if limit == intent.terms.limit_price:
            self._working.append(_Waiting(each.decision, intent, now_ns + self._ttl_ns, repriced=True))
            return
        left = intent.terms.qty - order.state.filled_qty
        again = self._again(each, replace(intent.terms, qty=left, limit_price=limit), is_exit=False)
        outcome = self._manager.replace(each.decision, order.order_id, again)
        if outcome.kind in ("rejected", "known"):
            self._end(each, order, now_ns)
        else:
            due_ns = now_ns + self._ttl_ns
            self._working.append(_Waiting(each.decision, again, due_ns, repriced=True, before=intent))

    def _again(self, each: _Waiting, terms: OrderTerms, *, is_exit: bool) -> Intent:
        price = self._price_of(terms.symbol) or _price_before(each.intent, each.decision.decided_at)
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


def _price_before(intent: Intent, at: datetime) -> PriceSnapshot:
    """What an intent was sized on, where nothing newer is known."""
    return PriceSnapshot(intent.arrival_price or intent.worst_price, at, "bar")


def _ns(moment: datetime | None) -> int:
    assert moment is not None
    return nanoseconds_of(moment)
