"""The order desk: what becomes of an order from submit to its end, and the stream event of every step.

When the market moves and at what price orders trade is the engine's business; the desk books what it is told.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.broker.simulator.account import ZERO, Account
from torghut_runtime.broker.simulator.activities import Activities
from torghut_runtime.broker.simulator.admission import (
    AccountConfiguration,
    Circumstances,
    admit,
    inferred_intent,
    worst_price,
)
from torghut_runtime.broker.simulator.book import OrderBook
from torghut_runtime.broker.simulator.controls import Controls
from torghut_runtime.broker.simulator.identities import Identities
from torghut_runtime.broker.simulator.instants import MICROSECOND, SECOND, in_new_york, new_york, rfc3339
from torghut_runtime.broker.simulator.market import Market
from torghut_runtime.broker.simulator.order import Fill, Order
from torghut_runtime.broker.simulator.order_request import (
    OrderTerms,
    ReplaceTerms,
    check_terms,
    parse_order,
    parse_replace,
)
from torghut_runtime.broker.simulator.outlet import TradeUpdates
from torghut_runtime.broker.simulator.refusals import Refusal, forbidden, invalid, not_found, plain, unprocessable
from torghut_runtime.broker.simulator.timetable import Sessions, Timetable
from torghut_runtime.market.calendar import is_exchange_traded

GOOD_TILL_CANCELED_DAYS: Final = 89
"""Alpaca cancels GTC orders at the close of this day after their creation (captured: ``expires_at``)."""
TOO_LATE: Final = "TOO_LATE_TO_CANCEL"
_OPENING_ORDERS_UNTIL: Final = (9, 28)
_OPENING_ORDERS_FROM: Final = (19, 0)


class OrderDesk:
    """Takes, works and ends orders."""

    def __init__(
        self,
        *,
        account: Account,
        market: Market,
        sessions: Sessions,
        timetable: Timetable,
        controls: Controls,
        identities: Identities,
        outlet: TradeUpdates,
    ) -> None:
        self.book = OrderBook()
        self.account = account
        self.configuration = AccountConfiguration()
        self.activities = Activities()
        self.moment = 0
        """The number of market moments so far."""
        self._market = market
        self._sessions = sessions
        self._timetable = timetable
        self._controls = controls
        self._identities = identities
        self._outlet = outlet
        self._reserved = ZERO

    # Requests -----------------------------------------------------------------------------------------------------

    def submit(self, body: object, *, foreign: bool = False) -> dict[str, Any]:
        """Take an order; returns its document as it stood when it was taken.

        Raises:
            Refusal: as Alpaca refuses it; no order is left behind.
        """
        terms = parse_order(body)
        rejection = None if foreign else self._controls.take_rejection()
        if rejection is not None:
            extra = {} if rejection.existing_order_id is None else {"existing_order_id": rejection.existing_order_id}
            raise Refusal(int(str(rejection.code)[:3]), rejection.code, rejection.message, extra)
        order = self._admitted(terms, None)
        order.foreign = foreign
        self.book.add(order)
        if self.is_trading(terms.symbol) and not order.opening_only:
            self.event(order, "pending_new", execution=False)
            document = order.document()
            self._after(self._controls.latency(), lambda: self._activate(order))
        else:
            order.status = "accepted"
            self.event(order, "accepted")
            document = order.document()
            due = self._sessions.next_open(self._timetable.now)
            self._timetable.schedule(due, lambda: self._activate(order))
        return document

    def replace(self, order_id: str, body: object) -> dict[str, Any]:
        """Replace an open order by one with other terms; returns the new order's document.

        Raises:
            Refusal: unknown or ended order, bad terms.
        """
        old = self.existing(order_id)
        changes = parse_replace(body)
        self._refuse_busy(old)
        terms = self._replaced_terms(old, changes)
        new = self._admitted(terms, old)
        new.replaces = old.id
        new.status = "pending_new"
        self.book.add(new)
        old.request += 1
        request = old.request
        before = old.status
        old.status = "pending_replace"
        self.event(old, "pending_replace")
        document = new.document()
        keep_rest = changes.qty is None

        def settle() -> None:
            self._settle_replace(old, new, request, before, keep_rest)

        self._after(self._controls.cancel_latency(), settle)
        return document

    def cancel(self, order_id: str) -> None:
        """Ask for the end of an open order.

        Raises:
            Refusal: unknown or ended order.
        """
        order = self.existing(order_id)
        self._refuse_busy(order)
        self._request_cancel(order)

    def cancel_all(self) -> list[Order]:
        """Ask for the end of every open order; returns them."""
        orders = self.book.open_orders()
        for order in orders:
            if order.is_open and order.status != "pending_cancel":
                self._request_cancel(order)
        return orders

    def existing(self, order_id: str) -> Order:
        """The order of this id.

        Raises:
            Refusal: 404.
        """
        order = self.book.get(order_id)
        if order is None:
            raise not_found(f"order not found for {order_id}")
        return order

    # Values -------------------------------------------------------------------------------------------------------

    @property
    def reserved(self) -> Decimal:
        """Buying power that open orders hold back, dollars."""
        return self._reserved

    def equity(self) -> Decimal:
        """Cash and positions at market, dollars."""
        return self.account.equity(self._market.price)

    def buying_power(self) -> Decimal:
        """What new positions may still cost, dollars."""
        return self.account.buying_power(self._market.price, self._reserved)

    def is_trading(self, symbol: str) -> bool:
        """Whether the symbol trades now: in the exchange's hours, or around the clock."""
        return not is_exchange_traded(symbol) or self._sessions.is_open(self._timetable.now)

    # What the market does to orders -------------------------------------------------------------------------------

    def fill(self, order: Order, qty: Decimal, price: Decimal) -> None:
        """Book an execution, in parts where the controls say so."""
        for part in self._parts(order, qty):
            self._fill_part(order, part, price)

    def end(self, order: Order, status: str) -> None:
        """End an open order: canceled, expired or rejected."""
        now = self._timetable.stamp()
        order.status = status
        order.updated_at = now
        if status == "canceled":
            order.canceled_at = now
        elif status == "expired":
            order.expired_at = now
        elif status == "rejected":
            order.failed_at = now
        self._close(order)
        self.event(order, status, at=now)

    def event(
        self,
        order: Order,
        name: str,
        *,
        at: int | None = None,
        execution: bool = True,
        order_fields: dict[str, Any] | None = None,
        **fields: object,
    ) -> None:
        """Send a stream event of the order as it stands; ``order_fields`` are put over the order's document."""
        stamp = self._timetable.stamp() if at is None else at
        order.updated_at = max(order.updated_at, stamp)
        data: dict[str, Any] = {
            "at": rfc3339(stamp // MICROSECOND * MICROSECOND),
            "event_id": self._identities.event(stamp),
            "event": name,
            "timestamp": rfc3339(stamp),
            "order": {**order.document(), **(order_fields or {})},
        }
        if execution:
            data["execution_id"] = self._identities.draw("execution")
        data.update(fields)
        self._outlet.publish(data)

    def release(self, order: Order) -> None:
        """Adapt what the order reserves to what is left of it."""
        left = ZERO
        if order.is_open and order.reserved:
            price = worst_price(order.terms, self._market.price(order.terms.symbol))
            left = min(order.reserved, order.remaining(price) * price)
        self._reserved += left - order.reserved
        order.reserved = left

    # Within -------------------------------------------------------------------------------------------------------

    def _admitted(self, terms: OrderTerms, replaced: Order | None) -> Order:
        """A new order with its reservation made."""
        if terms.symbol not in self._market.symbols:
            raise unprocessable(f'asset "{terms.symbol}" not found')
        if terms.client_order_id is not None and self.book.by_client_id(terms.client_order_id) is not None:
            raise invalid("client_order_id must be unique")
        if replaced is None:
            self._refuse_late_opening_order(terms)
        self._controls.note_asset(terms.symbol)
        freed = ZERO if replaced is None else replaced.reserved
        reserved = admit(
            terms,
            Circumstances(
                account=self.account,
                configuration=self.configuration,
                overrides=self._controls.settings.assets,
                open_orders=[order for order in self.book.open_in(terms.symbol) if order is not replaced],
                price=self._market.price(terms.symbol),
                equity=self.equity(),
                buying_power=self.buying_power() + freed,
            ),
        )
        now = self._timetable.stamp()
        self._reserved += reserved
        return Order(
            id=self._identities.draw("order"),
            client_order_id=terms.client_order_id or self._identities.draw("client"),
            terms=terms,
            position_intent=inferred_intent(terms.side, self.account.position(terms.symbol)),
            created_at=now,
            updated_at=now,
            submitted_at=now,
            status="pending_new",
            expires_at=self._expiry(terms),
            opening_only=terms.time_in_force == "opg",
            reserved=reserved,
        )

    def _expiry(self, terms: OrderTerms) -> int | None:
        now = self._timetable.now
        if terms.time_in_force == "gtc":
            day = new_york(now + GOOD_TILL_CANCELED_DAYS * 86_400 * SECOND).date()
            return in_new_york(day, 16, 0)
        return self._sessions.next_close(now) if is_exchange_traded(terms.symbol) else None

    def _refuse_late_opening_order(self, terms: OrderTerms) -> None:
        if terms.time_in_force != "opg":
            return
        wall = new_york(self._timetable.now)
        if _OPENING_ORDERS_UNTIL <= (wall.hour, wall.minute) < _OPENING_ORDERS_FROM:
            raise forbidden("opg orders are only accepted after 7:00pm and before 9:28am ET")

    def _after(self, delay: int, action: Any) -> None:
        if delay:
            self._timetable.schedule(self._timetable.now + delay, action)
        else:
            action()

    def _activate(self, order: Order) -> None:
        if not order.is_open or order.working_from is not None:
            return
        if not self.is_trading(order.terms.symbol):
            self._timetable.schedule(self._sessions.next_open(self._timetable.now), lambda: self._activate(order))
            return
        order.working_from = self.moment
        if order.status in {"pending_new", "accepted"}:
            order.status = "new"
        self.event(order, "new")

    def _refuse_busy(self, order: Order) -> None:
        if not order.is_open or order.status in {"pending_cancel", "pending_replace"}:
            raise unprocessable(f'order is already in "{order.status}" state')

    def _request_cancel(self, order: Order) -> None:
        order.request += 1
        request = order.request
        now = self._timetable.stamp()
        order.status = "pending_cancel"
        order.cancel_requested_at = now
        self.event(order, "pending_cancel", at=now)

        def settle() -> None:
            if order.request != request:
                return
            if order.is_open:
                self.end(order, "canceled")
            else:
                self.event(order, "order_cancel_rejected", reason=TOO_LATE)

        self._after(self._controls.cancel_latency(), settle)

    def _replaced_terms(self, old: Order, changes: ReplaceTerms) -> OrderTerms:
        terms = replace(
            old.terms,
            qty=changes.qty if changes.qty is not None else old.terms.qty,
            limit_price=changes.limit_price if changes.limit_price is not None else old.terms.limit_price,
            stop_price=changes.stop_price if changes.stop_price is not None else old.terms.stop_price,
            time_in_force=changes.time_in_force or old.terms.time_in_force,
            client_order_id=changes.client_order_id,
        )
        if old.terms.notional is not None:
            raise unprocessable("notional orders cannot be replaced")
        check_terms(terms)
        if changes.qty is None:
            terms = replace(terms, qty=(old.terms.qty or ZERO) - old.filled_qty)
        return terms

    def _settle_replace(self, old: Order, new: Order, request: int, before: str, keep_rest: bool) -> None:
        if not old.is_open or old.request != request:
            self.event(old, "order_replace_rejected", reason=TOO_LATE)
            if new.is_open:
                self.end(new, "rejected")
            return
        if not new.is_open:
            old.status = before if not old.filled_qty else old.working_status()
            self.event(old, "order_replace_rejected", reason=TOO_LATE)
            return
        if keep_rest:
            new.terms = replace(new.terms, qty=(old.terms.qty or ZERO) - old.filled_qty)
        now = self._timetable.stamp()
        old.status, old.replaced_at, old.replaced_by, old.updated_at = "replaced", now, new.id, now
        self._close(old)
        self.event(old, "replaced", at=now)
        new.triggered = old.triggered and new.terms.stop_price == old.terms.stop_price
        self.release(new)
        self._activate(new)

    def _parts(self, order: Order, qty: Decimal) -> list[Decimal]:
        split = self._controls.settings.partial_fill
        if split is None or not self._controls.happens("partial_fill", split.probability):
            return [qty]
        lot = order.lot
        lots = int(qty / lot)
        count = min(split.parts, lots)
        if count < 2:
            return [qty]
        share, more = divmod(lots, count)
        parts = [lot * (share + (1 if index < more else 0)) for index in range(count)]
        parts[-1] += qty - sum(parts, ZERO)
        return parts

    def _fill_part(self, order: Order, qty: Decimal, price: Decimal) -> None:
        symbol = order.terms.symbol
        fill = Fill(
            execution_id=self._identities.draw("execution"),
            order_id=order.id,
            symbol=symbol,
            side=order.terms.side,
            qty=qty,
            price=price,
            cum_qty=order.filled_qty + qty,
            ns=self._timetable.stamp(),
        )
        order.add_fill(fill)
        self.account.trade(fill.execution_id, symbol, order.sign * qty, price)
        self.activities.add_fill(fill, order)
        if order.is_open:
            self.release(order)
        else:
            self._close(order)
        self.event(
            order,
            "partial_fill" if order.is_open else "fill",
            at=fill.ns,
            execution=False,
            price=plain(price),
            qty=plain(qty),
            position_qty=plain(self.account.position(symbol)),
            execution_id=fill.execution_id,
        )

    def _close(self, order: Order) -> None:
        order.working_from = None
        self.release(order)
        self.book.settle(order)
