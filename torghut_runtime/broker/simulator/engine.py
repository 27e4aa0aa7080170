"""The simulated broker: a tape, a clock, an account and the orders between them.

A pure state machine without threads, sockets or the machine's clock. Equal tape, seed, settings, controls and requests
give equal stream frames, byte for byte. The server puts HTTP in front of it; tests, drills and replays use it as it is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any, Final

from torghut_runtime.broker.simulator.account import ZERO, Account
from torghut_runtime.broker.simulator.controls import Controls
from torghut_runtime.broker.simulator.data_feed import DataFeed
from torghut_runtime.broker.simulator.desk import OrderDesk
from torghut_runtime.broker.simulator.identities import Identities, uuid_of
from torghut_runtime.broker.simulator.interventions import Interventions
from torghut_runtime.broker.simulator.market import Market
from torghut_runtime.broker.simulator.market_event import MarketBar, MarketQuote
from torghut_runtime.broker.simulator.matching import Moment, Phase, closing, match, opening, quoted
from torghut_runtime.broker.simulator.order import Order
from torghut_runtime.broker.simulator.outlet import TradeUpdates
from torghut_runtime.broker.simulator.refusals import forbidden, not_found
from torghut_runtime.broker.simulator.tape import CLOSE, OPEN, Tape, TapeMoment
from torghut_runtime.broker.simulator.timetable import (
    BAR_CLOSES,
    BAR_OPENS,
    QUOTE_ARRIVES,
    SESSION_CLOSES,
    Sessions,
    Timetable,
)

_RANKS: Final = {OPEN: BAR_OPENS, CLOSE: BAR_CLOSES}
_NOT_WORKING: Final = frozenset({"suspended", "done_for_day"})


@dataclass(frozen=True)
class BrokerSettings:
    """How the simulated account and market are set up.

    Attributes:
        seed: of every identifier and every fault that is drawn.
        cash: dollars at the start.
        multiplier: buying power per dollar of equity.
        participation: the largest share of a bar's volume that our orders get.
        start: nanoseconds UTC at which the simulation begins; earlier bars are history. None: at the first bar.
    """

    seed: int = 0
    cash: Decimal = Decimal(100_000)
    multiplier: Decimal = Decimal(2)
    participation: Decimal = Decimal("0.1")
    start: int | None = None


@dataclass(frozen=True)
class Step:
    """What a step did: the time it led to, the bars it delivered, whether the tape is at its end."""

    now: int
    delivered: int
    done: bool


@dataclass(frozen=True)
class EquityPoint:
    """Equity in dollars at a time (nanoseconds UTC)."""

    at: int
    equity: Decimal


class SimulatedBroker:
    """A broker account that trades against a tape."""

    def __init__(self, tape: Tape, settings: BrokerSettings | None = None) -> None:
        settings = settings or BrokerSettings()
        start = tape.starts_at if settings.start is None else settings.start
        end = max([start, *(bar.closes_at for bar in tape.bars[-1:]), *(quote.at for quote in tape.quotes[-1:])])
        self.settings = settings
        self.controls = Controls(settings.seed)
        self.timetable = Timetable(start)
        self.sessions = Sessions(min(start, tape.starts_at), end)
        self.market = Market(tape, start)
        self.trade_updates = TradeUpdates(self.timetable, self.controls)
        self.feed = DataFeed(self.market, self.sessions, self.timetable, self.controls)
        self.desk = OrderDesk(
            account=Account(settings.cash, settings.multiplier),
            market=self.market,
            sessions=self.sessions,
            timetable=self.timetable,
            controls=self.controls,
            identities=Identities(settings.seed),
            outlet=self.trade_updates,
        )
        self.interventions = Interventions(
            controls=self.controls,
            desk=self.desk,
            market=self.market,
            sessions=self.sessions,
            timetable=self.timetable,
            outlet=self.trade_updates,
            feed=self.feed,
        )
        self.account_id = uuid_of(f"account:{settings.seed}")
        self.created_at = start
        self._equity_curve = [EquityPoint(start, settings.cash)]
        self._unvalued: int | None = None
        self.last_close: dict[str, Decimal] = {}
        """Prices at the last session close."""
        self.held_at_close: frozenset[str] = frozenset()
        """Symbols that were held at the last session close."""
        self._moments = tape.moments(start)
        self._head = next(self._moments, None)
        self._capacity: dict[str, Decimal | None] = {}
        self._opened: dict[str, int] = {}
        self._openings_seen: dict[str, int] = {}
        self._schedule_close()

    # Time -----------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Simulated time, nanoseconds UTC."""
        return self.timetable.now

    @property
    def done(self) -> bool:
        """Whether the tape is at its end."""
        return self._head is None

    @property
    def next_event_at(self) -> int | None:
        """When the tape goes on; None at its end."""
        return None if self._head is None else self._head.at

    @property
    def account_number(self) -> str:
        """The number of the account; ``SIM`` and eight digits unless a control changed it."""
        digits = int(self.account_id.replace("-", "")[:8], 16) % 100_000_000
        return self.interventions.account_number or f"SIM{digits:08d}"

    def step(self, events: int = 1) -> Step:
        """Move on to the end of the next ``events`` bars (quotes count as bars).

        At the end of the tape the session that is open runs to its close.
        """
        delivered = 0
        while delivered < events and self._head is not None:
            delivered += self._advance()
        if self._head is None and delivered < events:
            self._run_until(self.now)
            if self.sessions.is_open(self.now):
                self._run_until(self.sessions.next_close(self.now))
        self.trade_updates.flush()
        return Step(self.now, delivered, self.done)

    def advance_to(self, at: int) -> int:
        """Let time come to ``at`` (nanoseconds); returns how many bars that delivered."""
        delivered = self._run_until(at)
        self.trade_updates.flush()
        return delivered

    def _run_until(self, at: int) -> int:
        delivered = 0
        while True:
            due = self.timetable.next_key()
            head = None if self._head is None else self._head.at
            if (due is None or due[0] > at) and (head is None or head > at):
                break
            delivered += self._advance()
        self.timetable.now = max(self.now, at)
        return delivered

    def _advance(self) -> int:
        """Do whatever comes next; 1 when that delivered a bar or quote."""
        due = self.timetable.next_key()
        head = self._head
        if head is None or (due is not None and due < (head.at, _RANKS.get(head.kind, QUOTE_ARRIVES))):
            self.timetable.run_next()
            return 0
        self._head = next(self._moments, None)
        self.timetable.now = max(self.now, head.at)
        self._play(head)
        return 0 if head.kind == OPEN else 1

    def _play(self, moment: TapeMoment) -> None:
        event = moment.event
        if self._unvalued is not None and moment.at > self._unvalued:
            self._value_account(self._unvalued)
        if isinstance(event, MarketQuote):
            self._quote_arrives(self.market.scale_quote(event))
        elif moment.kind == OPEN:
            self._bar_opens(self.market.scale(event))
        else:
            self._bar_closes(self.market.scale(event))
            self._unvalued = moment.at
        if self.controls.settings.inject_event or self.controls.settings.correct_bars:
            self.interventions.pending()

    def _schedule_close(self) -> None:
        closes_at = self.sessions.next_close(self.now)
        self.timetable.schedule(closes_at, self._session_closes, SESSION_CLOSES)

    def _session_closes(self) -> None:
        now = self.now
        for order in self.desk.book.open_orders():
            if order.expires_at is not None and order.expires_at <= now:
                self.desk.end(order, "expired")
        account = self.desk.account
        account.last_equity = self.desk.equity()
        self.last_close = {symbol: self.market.price(symbol) for symbol in account.positions}
        self.held_at_close = frozenset(symbol for symbol, held in account.positions.items() if held.qty)
        self._schedule_close()

    # Requests -------------------------------------------------------------------------------------------------------

    def submit(self, order: object) -> dict[str, Any]:
        """Submit an order given as the JSON of ``POST /v2/orders``; returns its document.

        Raises:
            Refusal: as Alpaca refuses it.
        """
        return self._after_request(self.desk.submit(order))

    def replace(self, order_id: str, changes: object) -> dict[str, Any]:
        """Replace an open order; returns the new order's document. Raises ``Refusal``."""
        return self._after_request(self.desk.replace(order_id, changes))

    def cancel(self, order_id: str) -> None:
        """Ask for the end of an order. Raises ``Refusal``."""
        self.desk.cancel(order_id)

    def cancel_all(self) -> list[Order]:
        """Ask for the end of every open order."""
        return self.desk.cancel_all()

    def close_position(
        self, symbol: str, *, qty: Decimal | None = None, percentage: Decimal | None = None
    ) -> dict[str, Any]:
        """Submit the market order that closes a position, or a part of it. Raises ``Refusal``."""
        held = self.desk.account.position(symbol)
        if held == 0:
            raise not_found("position does not exist")
        wanted = abs(held)
        if qty is not None:
            wanted = qty
        elif percentage is not None:
            lot = Decimal(1) if held == held.to_integral_value() else Decimal("0.000000001")
            wanted = (wanted * percentage / 100).quantize(lot, rounding=ROUND_DOWN)
        if wanted <= 0 or wanted > abs(held):
            raise forbidden("requested quantity is more than what is held")
        order = {
            "symbol": symbol,
            "qty": str(wanted),
            "side": "sell" if held > 0 else "buy",
            "type": "market",
            "time_in_force": "day" if "/" not in symbol else "gtc",
        }
        return self.submit(order)

    def control(self, changes: object) -> None:
        """Set fault controls, all or none.

        Raises:
            InputError: an unknown key, a bad value, or something that does not exist.
        """
        wanted, keys = self.controls.merged(changes)
        self.interventions.check(wanted, keys)
        self.controls.settings = wanted
        self.interventions.carry_out(keys)
        self.interventions.foreign_orders()

    def clear_controls(self) -> None:
        """Clear all controls."""
        self.interventions.clear()

    def on_trade_update(self, listener: Callable[[bytes], None]) -> None:
        """Have a listener called with every frame of the ``trade_updates`` stream."""
        self.trade_updates.listeners.append(listener)

    def _after_request(self, document: dict[str, Any]) -> dict[str, Any]:
        if self.controls.settings.inject_event:
            self.interventions.pending()
        return document

    # The market -----------------------------------------------------------------------------------------------------

    def _bar_opens(self, bar: MarketBar) -> None:
        symbol = bar.symbol
        self.desk.moment += 1
        self._capacity[symbol] = self._share_of(bar)
        if symbol in self.market.halted:
            return  # no print, and the session's first is yet to come
        self._opened[symbol] = self.desk.moment
        first = bar.in_session and self._is_first(bar)
        if bar.in_session and self.desk.book.has_open(symbol):
            self._match_all(symbol, opening(bar, self.market.spread(symbol)), first=first)
        self.market.open(bar)
        self.feed.opened(bar)

    def _bar_closes(self, bar: MarketBar) -> None:
        symbol = bar.symbol
        if symbol not in self._capacity:  # the simulation began within this bar
            self._capacity[symbol] = self._share_of(bar)
        if bar.in_session and self.desk.book.has_open(symbol):
            self._match_all(symbol, closing(bar, self.market.spread(symbol)))
        self._capacity.pop(symbol, None)
        self._opened.pop(symbol, None)
        if symbol not in self.market.halted:
            self.market.close(bar)
            self.feed.closed(bar)

    def _quote_arrives(self, quote: MarketQuote) -> None:
        self.market.quote(quote)
        if self.desk.book.has_open(quote.symbol) and self.desk.is_trading(quote.symbol):
            self._capacity[quote.symbol] = None
            sizes = {"buy": quote.ask_size, "sell": quote.bid_size}
            for side, size in sizes.items():
                whole = Decimal(int(size)) if size != float("inf") else None
                self._capacity[quote.symbol] = whole
                self._match_all(quote.symbol, quoted(quote), side=side)
            self._capacity.pop(quote.symbol)
        self.feed.quoted(quote)

    def _share_of(self, bar: MarketBar) -> Decimal | None:
        if math.isnan(bar.volume):
            return None
        return Decimal(repr(bar.volume)) * self.settings.participation

    def _is_first(self, bar: MarketBar) -> bool:
        """Whether this is the opening print of the session."""
        session = self.sessions.date_of(bar.opens_at).toordinal()
        first = self._openings_seen.get(bar.symbol) != session
        self._openings_seen[bar.symbol] = session
        return first

    def _match_all(self, symbol: str, moment: Moment, *, first: bool = False, side: str | None = None) -> None:
        if symbol in self.market.halted:
            return
        opened = self._opened.get(symbol)
        for order in self.desk.book.open_in(symbol):
            if order.working_from is None or order.status in _NOT_WORKING or side not in (None, order.terms.side):
                continue
            if order.opening_only:
                if first:
                    self._trade(order, moment)
                    self._end_rest(order)
                continue
            view = moment
            if moment.phase is Phase.WHOLE and (opened is None or order.working_from >= opened):
                view = Moment(Phase.LAST, moment.price, moment.bid, moment.ask, moment.low, moment.high)
            self._trade(order, view)
            if order.terms.time_in_force == "ioc":
                self._end_rest(order)

    def _trade(self, order: Order, moment: Moment) -> None:
        found = match(order.terms, order.triggered, moment)
        order.triggered = found.triggered
        if found.price is None:
            return
        symbol = order.terms.symbol
        wanted = order.remaining(found.price)
        capacity = self._capacity.get(symbol)
        qty = wanted if capacity is None else min(wanted, capacity.quantize(order.lot, rounding=ROUND_DOWN))
        if qty <= ZERO:
            return
        if capacity is not None:
            self._capacity[symbol] = capacity - qty
        self.desk.fill(order, qty, found.price)

    def _end_rest(self, order: Order) -> None:
        if order.is_open:
            self.desk.end(order, "canceled")

    @property
    def equity_curve(self) -> list[EquityPoint]:
        """Equity at the start and at every time at which bars closed."""
        if self._unvalued is not None:
            self._value_account(self._unvalued)
        return self._equity_curve

    def _value_account(self, at: int) -> None:
        """Add a point to the equity curve; a sum of floats, to the cent."""
        account = self.desk.account
        value = float(account.cash) + sum(
            float(position.qty) * self.market.price_float(symbol)
            for symbol, position in account.positions.items()
            if position.qty
        )
        point = EquityPoint(at, Decimal(repr(round(value, 2))))
        if self._equity_curve[-1].at == at:
            self._equity_curve[-1] = point
        else:
            self._equity_curve.append(point)
        self._unvalued = None
