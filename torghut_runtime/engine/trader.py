"""From closed bars to orders: the pipeline of one account, sequential, every decision seeing those before it.

A bar is judged by its strategies; exits go first, entries are sized into the room that is left, netted, checked by the
limits and handed to the order manager. Nothing here waits, reads a socket or asks the machine's clock: whoever owns the
trader feeds it bars, order events and the time. Research's account does the same in
:mod:`torghut_assets.research.simulation_decisions`; what differs between the two is told in ``docs/runtime.md``.
"""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from torghut_runtime.clock import NANOSECONDS, Clock, nanoseconds_of
from torghut_runtime.compiled import Vector
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.circuit import StrategyCircuit
from torghut_runtime.engine.decision_notes import DecisionNotes
from torghut_runtime.engine.dispatcher import Dispatcher, intent_of
from torghut_runtime.engine.driver import StrategyDriver, Verdict, position_vector
from torghut_runtime.engine.entries import Entries, Refusals
from torghut_runtime.engine.entry_draft import EntryDraft, HeldEntry, slot_of, time_in_force, wish_of
from torghut_runtime.engine.exit_terms import exit_flags, exit_limit
from torghut_runtime.engine.market_view import BarsOnly, MarketSource
from torghut_runtime.engine.price_book import PriceBook
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.stops import EmergencyStop, Vitals
from torghut_runtime.engine.strategy_blocks import StrategyBlocks
from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.market.features import Bar
from torghut_runtime.market.timeframe import timeframe_seconds
from torghut_runtime.orders.frozen_symbols import FrozenSymbols
from torghut_runtime.orders.journal import Journal
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.model import OrderTerms
from torghut_runtime.orders.trace import tell_order
from torghut_runtime.risk.allocator import net, size_target
from torghut_runtime.risk.limits import (
    Limits,
    Side,
    gate_reasons,
    market_reasons,
)
from torghut_runtime.strategies.decide import REASON_ENTRY, REASON_EXIT, REASON_HOLD, REASON_TARGET, REASONS
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import TradingSettings

logger = logging.getLogger(__name__)

ZERO: Final = Decimal(0)
CONFLICT: Final = "intent_conflict_resolved"
TOO_FEW: Final = "qty_below_min"


class Trader:
    """Decides for one account."""

    def __init__(
        self,
        *,
        settings: TradingSettings,
        driver: StrategyDriver,
        account: AccountView,
        manager: OrderManager,
        journal: Journal,
        stance: Stance,
        clock: Clock,
        frozen: FrozenSymbols | None = None,
        refusals: Refusals = lambda _strategy_id, _symbol: (),
        recorder: Recorder | None = None,
        blocks: StrategyBlocks | None = None,
        market: MarketSource | None = None,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self.frozen = FrozenSymbols() if frozen is None else frozen
        self.driver = driver
        self.account = account
        self.portfolio = account.portfolio
        self.manager = manager
        self.tracker = manager.tracker
        self.metrics = manager.metrics
        self.stance = stance
        self.limits = Limits.of(settings)
        self._settings = settings
        self._label = settings.mode.account_label
        self._clock = clock
        self._warmed: set[tuple[str, str]] = set()
        self._recorder = recorder
        self._is_behind = is_behind
        """Whether so much waits to be stored that nothing may be entered."""
        self._was_behind = False
        self._calendar = TradingCalendar()
        self._circuit = StrategyCircuit(
            settings.strategies.circuit_errors, settings.strategies.circuit_cooldown_seconds
        )
        self.blocks = blocks or StrategyBlocks()
        self.continuity: Callable[[], Sequence[str]] = tuple
        """Reasons that market data give to stop, asked at every evaluation."""
        self.allows_shorts: Callable[[], bool] = lambda: self.limits.allow_shorts
        """Whether shorts may be opened now; a flag may forbid what the limits allow."""
        self.evaluates_bars = True
        """Whether new bars are evaluations of the emergency stop; a process that trades evaluates by the clock."""
        self.emergency_stop = EmergencyStop(
            limits=self.limits, stops=settings.stops, stance=stance, clock=clock, vitals=self.vitals
        )
        self._prices = PriceBook(
            market=market or BarsOnly(),
            portfolio=self.portfolio,
            frozen=self.frozen,
            bar_max_age_seconds=settings.data.bar_max_age_seconds,
            is_open=lambda symbol: self.dispatcher.is_open(symbol),
            clock=clock,
        )
        self._notes = DecisionNotes(
            account_label=self._label,
            journal=journal,
            account=account,
            metrics=self.metrics,
            recorder=recorder,
            clock=clock,
        )
        self._entries = Entries(
            account_label=self._label,
            limits=self.limits,
            prefer_limit=settings.execution.prefer_limit,
            account=account,
            manager=manager,
            dispatcher=lambda: self.dispatcher,
            prices=self._prices,
            notes=self._notes,
            stance=stance,
            circuit=self._circuit,
            blocks=self.blocks,
            refusals=refusals,
            allows_shorts=lambda: self.allows_shorts(),
            strategies=lambda: self.driver.strategies,
            clock=clock,
        )
        self.dispatcher = Dispatcher(
            account_label=self._label,
            manager=manager,
            account=account,
            stance=stance,
            recheck=self._entries.recheck,
            order_ttl_seconds=settings.execution.order_ttl_seconds,
            price_of=self._prices.newest,
            clock=clock,
            blocks=self.blocks,
        )
        self.frozen.on_frozen.append(self.dispatcher.freeze)
        self.use(driver)

    def use(self, driver: StrategyDriver) -> None:
        """Ask other strategies from the next bar on; positions and orders stay."""
        self.driver = driver
        self._notes.use(driver)

    # What happens -----------------------------------------------------------------------------------------------------

    def on_bars(self, bars: Sequence[Bar], waited: float = 0.0) -> None:
        """Take the bars that closed at one time, one per symbol and timeframe, in order of symbol.

        ``waited``: real seconds since they came, for metrics alone.
        """
        self.metrics.bars_taken(waited)
        now = self._clock.now()
        if self._is_behind() != self._was_behind:
            self._was_behind = not self._was_behind
            self.stance.set(backpressure=self._was_behind)
        for bar in bars:
            if bar.session is not None:
                self.account.begin(bar.session)
            self._prices.take(bar, now)
        self.account.value()
        if self.evaluates_bars:
            self.watch()
        else:
            self.emergency_stop.check_losses()
        for bar in bars:
            self._entries.release(lambda held, bar=bar: (held.symbol, held.timeframe) == (bar.symbol, bar.timeframe))
            for strategy in self.driver.strategies:
                if strategy.entry.base_timeframe == bar.timeframe and bar.session is not None:
                    self.portfolio.bar_passed((strategy.entry.strategy_id, bar.symbol))
            self._judge(bar, now)
        self.metrics.bars_done()

    def _judge(self, bar: Bar, now: datetime) -> None:
        """Ask the strategies about a bar, record what they say and act on it."""
        seconds_to_close = self.seconds_to_close(bar)
        verdicts = self.driver.push(bar, seconds_to_close, self._position)
        if self._recorder is None:
            self._act(bar, verdicts)
            return
        account, price = self.account.document(), self._prices.of(bar.symbol)
        with self._recorder.steps(verdicts, seconds_to_close, account, price, now):
            self._act(bar, verdicts)

    def warm_up(self, bars: Sequence[Bar]) -> None:
        """Take all the history of one symbol and timeframe, in order of time, and decide nothing.

        What was known of the two is forgotten. Only the first time are volumes counted by it: later they have been
        counted already.
        """
        if not bars:
            return
        symbol, timeframe = bars[0].symbol, bars[0].timeframe
        is_first = (symbol, timeframe) not in self._warmed
        if is_first:
            self._warmed.add((symbol, timeframe))
        self._count_held(bars)
        self.driver.forget(symbol, timeframe)
        self._prices.forget(symbol, timeframe)
        self.driver.warm_up((bar, self.seconds_to_close(bar)) for bar in bars)
        self._prices.learn(bars, is_first=is_first)

    def forget(self, symbol: str) -> None:
        """Know nothing of a symbol's past any more, for example because it was told in other units."""
        for timeframe in {each.entry.base_timeframe for each in self.driver.strategies}:
            self.driver.forget(symbol, timeframe)
            self._prices.forget(symbol, timeframe)

    def _count_held(self, bars: Sequence[Bar]) -> None:
        """How many bars positions have been held: since an earlier process, or over bars that were never brought."""
        for strategy in self.driver.strategies:
            slot = (strategy.entry.strategy_id, bars[0].symbol)
            since = self.portfolio.held_since(slot)
            if strategy.entry.base_timeframe == bars[0].timeframe and since is not None:
                passed = sum(bar.session is not None and since < nanoseconds_of(bar.event_ts) for bar in bars)
                for _ in range(passed - self.portfolio.position(slot).bars_held):
                    self.portfolio.bar_passed(slot)

    def on_order_event(self, value: bytes) -> None:
        """Take an event of the broker's stream."""
        began = time.perf_counter()
        order = self.tracker.apply(value)
        self.metrics.order_event_applied(time.perf_counter() - began)
        if order is not None:
            tell_order(logger, order)
            self.dispatcher.on_order_change()
            self._entries.release()

    def on_time(self) -> None:
        """Do what is due: look for unknown orders, then whatever waits for its moment."""
        self.manager.resolve()
        self.dispatcher.on_time()
        self._entries.release()

    @property
    def next_due_ns(self) -> int | None:
        """When :meth:`on_time` has something to do, without a bar or an event."""
        held = min((each.until_ns for each in self._entries.held_back), default=None)
        times = (self.manager.next_look_up_ns, self.dispatcher.next_due_ns, held)
        return min((at for at in times if at is not None), default=None)

    def watch(self) -> None:
        """One evaluation of the emergency stop."""
        self.emergency_stop.evaluate()

    def vitals(self) -> Vitals:
        """What the emergency stop judges by."""
        return Vitals(
            equity=self.portfolio.equity,
            opening_equity=self.account.opening_equity,
            high_water_mark=self.account.high_water_mark,
            broker_failures=self.manager.failures_in_a_row,
            unresolved_orders=self.manager.unresolved,
            continuity=tuple(self.continuity()),
            flags_stale="flags_stale" in self.stance.gate().entry_refusals,
        )

    # Judging a bar ----------------------------------------------------------------------------------------------------

    def _position(self, strategy: BoundStrategy, bar: Bar) -> Vector:
        slot = (strategy.entry.strategy_id, bar.symbol)
        held = self.portfolio.position(slot)
        return position_vector(
            float(held.qty), float(held.average_entry), held.bars_held, bar.close, float(self.portfolio.pending(slot))
        )

    def seconds_to_close(self, bar: Bar) -> float:
        """Seconds from a bar's end to the end of its session; NaN outside every session."""
        if bar.session is None:
            return float("nan")
        if not is_exchange_traded(bar.symbol):
            return 86_400.0 - bar.event_ts.timestamp() % 86_400.0
        closes_at = self._calendar.session_close(bar.session)
        return float("nan") if closes_at is None else (closes_at - bar.event_ts).total_seconds()

    def _act(self, bar: Bar, verdicts: Sequence[Verdict]) -> None:
        now_ns = self._clock.now_ns()
        entries: list[EntryDraft] = []
        taken = ZERO
        for verdict in verdicts:
            self._circuit.note(verdict.strategy.entry.strategy_id, now_ns, failed=verdict.is_invalid)
        growing: list[HeldEntry] = []
        until_ns = now_ns + int(timeframe_seconds(bar.timeframe) * NANOSECONDS)
        for verdict in verdicts:
            code = self._meant(verdict)
            goal = self._target(verdict) if code == REASON_TARGET else None
            if code == REASON_ENTRY or (goal is not None and not self._shrinks(verdict, goal)):
                growing.append(HeldEntry(verdict, goal, until_ns))
            elif code != REASON_HOLD and not verdict.is_invalid:
                self._exit(verdict, REASONS[code], goal or ZERO)
        for each in growing:
            if self._entries.waits_for_exit(each):
                self._entries.held_back.append(each)
                continue
            entry = self._entries.wished(each.verdict, each.goal, taken)
            taken += entry.qty * entry.worst_price
            entries.append(entry)
        lot = self._prices.of(bar.symbol).increments.lot
        netted = net([each.qty for each in entries], lot) if entries else []
        for entry, qty in zip(entries, netted, strict=True):
            if entry.qty != qty:
                self.metrics.conflict_resolved()
            if entry.qty and not qty:
                entry.reasons.append(CONFLICT)
            entry.qty = qty
            self._entries.enter(entry, bar)

    def _meant(self, verdict: Verdict) -> int:
        """The code of a verdict; an entry against the position is an exit."""
        held = self.portfolio.position(slot_of(verdict)).qty
        if verdict.code == REASON_ENTRY and verdict.out[0] * float(held) < 0.0:
            return REASON_EXIT
        return verdict.code

    # Exits ------------------------------------------------------------------------------------------------------------

    def _target(self, verdict: Verdict) -> Decimal:
        """Signed shares that a target asks for: none on the other side of what is held, none short unless allowed."""
        slot = slot_of(verdict)
        held = self.portfolio.position(slot).qty
        fraction = float(verdict.out[1])
        if fraction < 0.0 and not self.allows_shorts():
            return ZERO
        side: Side = "buy" if fraction >= 0.0 else "sell"
        price = self._prices.of(verdict.bar.symbol)
        worst = self._entries.limit_price(side, price, queued=self._prices.waits(verdict.bar)) or price.price
        wish = wish_of(verdict.strategy, fraction, price.increments.lot)
        goal = size_target(wish, float(max(worst, price.price)), self.portfolio.equity, self.limits)
        return ZERO if goal * held < 0 else goal

    def _shrinks(self, verdict: Verdict, goal: Decimal) -> bool:
        return abs(goal) <= abs(self.portfolio.position(slot_of(verdict)).qty)

    def _exit(self, verdict: Verdict, reason: str, goal: Decimal) -> None:
        """Take waiting entries back and sell (or buy back) down to ``goal``, never across zero."""
        slot, price = slot_of(verdict), self._prices.of(verdict.bar.symbol)
        left = self.portfolio.position(slot).qty + self.portfolio.waiting(slot, exits=True)
        entering = self.portfolio.waiting(slot, exits=False)
        change = goal - left
        if change * left > 0 or abs(change) > abs(left):
            change = ZERO
        if not change and not entering:
            return
        self.dispatcher.take_back_entries(slot, reason)
        if not change:
            self._notes.note(verdict, reason, [], price, goal)
            return
        gate = [*gate_reasons(self.stance.gate(), is_exit=True), *self.blocks.reasons(slot[0], is_exit=True)]
        gate += market_reasons(self._prices.view(verdict, price), self.limits, is_exit=True)
        qty = price.increments.sellable(abs(change))
        if not qty:
            gate.append(TOO_FEW)
        if gate:
            self._notes.note(verdict, reason, gate, price, goal)
            return
        side: Side = "buy" if change > 0 else "sell"
        is_open = self.dispatcher.is_open(slot[1])
        limit = exit_limit(price, side, self._settings) if is_open else None
        kind = "market" if limit is None else "limit"
        terms = OrderTerms(slot[1], side, qty, kind, time_in_force(slot[1], qty, is_open=is_open), limit)
        flags = exit_flags(price, self._clock.now(), self._settings)
        decision = self._notes.decision(verdict, reason, [], price, target_qty=goal, terms=terms, flags=flags)
        self.dispatcher.exit(decision, intent_of(self._label, decision, 0, terms, price, is_exit=True))
