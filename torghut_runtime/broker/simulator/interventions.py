"""What the controls do at once: events put into the stream, splits, transfers, halts, corrections, foreign orders.

Faults that strike later (lost answers, late bars, doubled frames) stand where they strike.
"""

from datetime import date
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.broker.simulator.controls import (
    AccountOverride,
    Controls,
    ControlSettings,
    InjectedEvent,
    Silence,
    Split,
    silence_ends,
)
from torghut_runtime.broker.simulator.data_feed import DataFeed
from torghut_runtime.broker.simulator.desk import OrderDesk
from torghut_runtime.broker.simulator.instants import parse_moment
from torghut_runtime.broker.simulator.market import AppliedSplit, Market
from torghut_runtime.broker.simulator.order import OPEN, Fill, Order
from torghut_runtime.broker.simulator.order_request import parse_order
from torghut_runtime.broker.simulator.outlet import TradeUpdates
from torghut_runtime.broker.simulator.refusals import Refusal, plain
from torghut_runtime.broker.simulator.timetable import SESSION_CLOSES, Sessions, Timetable
from torghut_runtime.errors import InputError

_ENDING: Final = frozenset({"canceled", "expired", "rejected"})
_CORRECTIONS: Final = frozenset({"trade_bust", "trade_correct"})


class Interventions:
    """Carries out controls that act by themselves."""

    def __init__(
        self,
        *,
        controls: Controls,
        desk: OrderDesk,
        market: Market,
        sessions: Sessions,
        timetable: Timetable,
        outlet: TradeUpdates,
        feed: DataFeed,
    ) -> None:
        self.account_number: str | None = None
        self._controls = controls
        self._desk = desk
        self._market = market
        self._sessions = sessions
        self._timetable = timetable
        self._outlet = outlet
        self._feed = feed

    def check(self, wanted: ControlSettings, keys: frozenset[str]) -> None:
        """Whether what the keys ask for exists; nothing changes.

        Raises:
            InputError: an unknown symbol, or no order.
        """
        symbols = [split.symbol for split in wanted.split if "split" in keys]
        try:
            if "foreign_order" in keys:
                symbols += [parse_order(fields).symbol for fields in wanted.foreign_order]
        except Refusal as refusal:
            raise InputError(refusal.message, field="foreign_order") from None
        for symbol in symbols:
            if symbol not in self._market.symbols:
                raise InputError(f"no such symbol: {symbol}", field="split or foreign_order")

    def carry_out(self, keys: frozenset[str]) -> None:
        """Act on keys that were just set."""
        if "account" in keys and self._controls.settings.account is not None:
            self._account(self._controls.settings.account)
        if "halt" in keys:
            self._halt()
        if self._timetable.skew != self._controls.clock_skew:
            self._timetable.skew = self._controls.clock_skew
            self._controls.applied["clock_skew_ms"] += 1
        for split in self._controls.take("split"):
            self._split(split)
        for key in ("mute", "disconnect"):
            for silence in self._controls.take(key):
                self._silence(silence, closed=key == "disconnect")
                self._controls.applied[key] += 1
        self.pending()

    def clear(self) -> None:
        """Everything is as usual again; what was done to account and market stays."""
        self._timetable.skew = 0
        for place in (self._outlet, self._feed):
            place.silent_until = place.refused_until = 0
        self._controls.clear()
        self._halt()
        self._controls.applied.clear()

    def pending(self) -> None:
        """Carry out what waits for its order, symbol or bar."""
        controls = self._controls
        controls.put_back("inject_event", [item for item in controls.take("inject_event") if not self._inject(item)])
        left: list[Any] = []
        for item in controls.take("correct_bars"):
            bar = self._market.correct(item.symbol, parse_moment(item.ts), dict(item.fields))
            if bar is None:
                left.append(item)
            else:
                controls.applied["correct_bars"] += 1
                self._feed.corrected(bar)
        controls.put_back("correct_bars", left)

    def foreign_orders(self) -> None:
        """Submit what somebody else orders on this account.

        Raises:
            InputError: the order is refused.
        """
        for fields in self._controls.take("foreign_order"):
            try:
                self._desk.submit(fields, foreign=True)
            except Refusal as refusal:
                raise InputError(refusal.message, field="foreign_order") from None
            self._controls.applied["foreign_order"] += 1

    def _silence(self, silence: Silence, *, closed: bool) -> None:
        place = self._outlet if silence.stream == "trading" else self._feed
        ends = silence_ends(silence, self._timetable.now)
        place.silent_until = max(place.silent_until, ends)
        if closed:
            place.refused_until = max(place.refused_until, ends)
            for close in place.on_disconnect:
                close()

    def _halt(self) -> None:
        wanted = set(self._controls.settings.halt)
        for symbol in sorted(wanted ^ self._market.halted):
            halted = symbol in wanted
            (self._market.halted.add if halted else self._market.halted.discard)(symbol)
            self._controls.applied["halt"] += 1
            self._feed.halted(symbol, halted)

    def _account(self, override: AccountOverride) -> None:
        account = self._desk.account
        transfer = Decimal(0)
        if override.cash is not None:
            transfer = override.cash - account.cash
        elif override.equity is not None:
            transfer = override.equity - self._desk.equity()
        if transfer:
            account.transfer(transfer)
            self._desk.activities.add_transfer(self._timetable.stamp(), transfer)
        account.buying_power_override = override.buying_power
        if override.account_number is not None:
            self.account_number = override.account_number
        if override.blocked is not None:
            account.blocked = override.blocked
        self._controls.applied["account"] += 1

    def _split(self, split: Split) -> None:
        effective = parse_moment(split.effective)
        if len(split.effective) == len("2026-01-02"):
            effective = self._sessions.first_open_from(date.fromisoformat(split.effective))
        announced = AppliedSplit(split.symbol, split.ratio, effective, self._timetable.now)
        self._market.announced.append(announced)
        # Before the session opens: what opens then opens at the new price.
        self._timetable.schedule(effective, lambda: self._apply_split(announced), SESSION_CLOSES)

    def _apply_split(self, split: AppliedSplit) -> None:
        desk = self._desk
        for order in desk.book.open_in(split.symbol):
            desk.end(order, "canceled")
        before = desk.account.position(split.symbol)
        self._market.split(split)
        desk.account.split(split.symbol, split.ratio)
        added = desk.account.position(split.symbol) - before
        if added:
            desk.activities.add_split(self._timetable.stamp(), split.symbol, added)
        self._controls.applied["split"] += 1

    def _inject(self, item: InjectedEvent) -> bool:
        order = self._desk.book.find(item.order)
        if order is None:
            return False
        if item.event in _CORRECTIONS and not order.fills:
            return False
        self._controls.applied["inject_event"] += 1
        fields = dict(item.fields)
        again = None if fields else self._outlet.sent(order.id, item.event)
        if item.event in _CORRECTIONS:
            self._correct(order, item.event, fields)
        elif again is not None:
            self._outlet.send(again)
        elif item.event in _ENDING and order.is_open:
            self._desk.end(order, item.event)
        else:
            if item.event in OPEN and order.is_open:
                order.status = item.event
            over: dict[str, Any] = fields.pop("order", {})
            self._desk.event(order, item.event, order_fields=over, **fields)
        return True

    def _correct(self, order: Order, event: str, fields: dict[str, Any]) -> None:
        """Void a fill (the last, or the one named), and with ``trade_correct`` book it again with other terms."""
        named = fields.pop("previous_execution_id", None)
        voided = next((fill for fill in order.fills if fill.execution_id == named), order.fills[-1])
        over: dict[str, Any] = fields.pop("order", {})
        account = self._desk.account
        order.void_fill(voided)
        account.untrade(voided.execution_id, order.terms.symbol)
        extra: dict[str, Any] = {"previous_execution_id": voided.execution_id}
        now = self._timetable.stamp()
        if event == "trade_correct":
            corrected = self._corrected(order, voided, fields, now)
            order.fills.append(corrected)
            order.filled_qty += corrected.qty
            order.filled_notional += corrected.qty * corrected.price
            account.trade(corrected.execution_id, order.terms.symbol, order.sign * corrected.qty, corrected.price)
            extra |= {
                "price": plain(corrected.price),
                "qty": plain(corrected.qty),
                "execution_id": corrected.execution_id,
            }
        short = event == "trade_bust" or (order.terms.qty is not None and order.filled_qty < order.terms.qty)
        if order.status == "filled" and short:
            # A trade that is void does not bring the order back to the market.
            order.status, order.canceled_at, order.filled_at = "canceled", now, None
        elif order.is_open:
            order.status = order.working_status()
        self._desk.release(order)
        extra["position_qty"] = plain(account.position(order.terms.symbol))
        self._desk.event(
            order, event, at=now, execution="execution_id" not in extra, order_fields=over, **{**extra, **fields}
        )

    def _corrected(self, order: Order, voided: Fill, fields: dict[str, Any], now: int) -> Fill:
        qty = Decimal(str(fields.pop("qty", voided.qty)))
        price = Decimal(str(fields.pop("price", voided.price)))
        return Fill(
            f"{voided.execution_id[:-1]}{'0' if voided.execution_id[-1] != '0' else '1'}",
            order.id,
            voided.symbol,
            voided.side,
            qty,
            price,
            order.filled_qty + qty,
            now,
        )
