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
from torghut_runtime.engine.account_view import AccountView, with_taken
from torghut_runtime.engine.circuit import StrategyCircuit
from torghut_runtime.engine.decision_record import decision_of, parameters_digest
from torghut_runtime.engine.dispatcher import Dispatcher, collar_price, intent_of
from torghut_runtime.engine.driver import StrategyDriver, Verdict, position_vector
from torghut_runtime.engine.entry_draft import EntryDraft, HeldEntry, cap_of, slot_of, time_in_force, wish_of
from torghut_runtime.engine.exit_terms import exit_flags, exit_limit
from torghut_runtime.engine.market_view import BarsOnly, DailyVolumes, MarketSource, PriceSnapshot, as_decimal
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.stops import EmergencyStop, Vitals
from torghut_runtime.engine.strategy_blocks import StrategyBlocks
from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.market.features import Bar
from torghut_runtime.market.timeframe import DAILY, timeframe_seconds
from torghut_runtime.orders.frozen_symbols import SPLIT, FrozenSymbols
from torghut_runtime.orders.journal import Journal
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.model import Decision, Intent, OrderTerms
from torghut_runtime.orders.portfolio import UNATTRIBUTED
from torghut_runtime.orders.trace import tell_decision, tell_order
from torghut_runtime.risk.allocator import Sized, net, size_entry, size_step, size_target
from torghut_runtime.risk.limits import (
    Entry,
    Limits,
    MarketView,
    Side,
    entry_reasons,
    gate_reasons,
    market_reasons,
)
from torghut_runtime.strategies.decide import REASON_ENTRY, REASON_EXIT, REASON_HOLD, REASON_TARGET, REASONS
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import TradingSettings

logger = logging.getLogger(__name__)

ZERO: Final = Decimal(0)
_GRACE_SECONDS: Final = 10.0
"""How much older than its timeframe a bar may be when it is decided on, unless a setting says otherwise."""
CONFLICT: Final = "intent_conflict_resolved"
DEGRADED: Final = "strategy_degraded"
DISABLED: Final = "strategy_disabled"
UNKNOWN: Final = "order_unknown_unresolved"
"""The strategy enters nothing in a symbol while an order of its own there has no certain answer."""
SHORTS: Final = "shorts_not_allowed"


Refusals = Callable[[str, str], Sequence[str]]
"""Reasons against any entry of a strategy in a symbol: catalog, provenance, universe, operator."""


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
        self.refusals = refusals
        self._market = market or BarsOnly()
        self.account = account
        self.portfolio = account.portfolio
        self.manager = manager
        self.tracker = manager.tracker
        self.metrics = manager.metrics
        self.stance = stance
        self.limits = Limits.of(settings)
        self._settings = settings
        self._label = settings.mode.account_label
        self._journal = journal
        self._clock = clock
        self._digests: dict[str, str] = {}
        self._warmed: set[tuple[str, str]] = set()
        self.use(driver)
        self._recorder = recorder
        self._is_behind = is_behind
        """Whether so much waits to be stored that nothing may be entered."""
        self._was_behind = False
        self._calendar = TradingCalendar()
        self._volumes = DailyVolumes()
        self._circuit = StrategyCircuit(
            settings.strategies.circuit_errors, settings.strategies.circuit_cooldown_seconds
        )
        self._prices: dict[str, PriceSnapshot] = {}
        self._held_back: list[HeldEntry] = []
        """Entries against an exit that is open: they wait for its end, at most one bar."""
        self.blocks = blocks or StrategyBlocks()
        self.continuity: Callable[[], Sequence[str]] = tuple
        """Reasons that market data give to stop, asked at every evaluation."""
        self.evaluates_bars = True
        """Whether new bars are evaluations of the emergency stop; a process that trades evaluates by the clock."""
        self.emergency_stop = EmergencyStop(
            limits=self.limits, stops=settings.stops, stance=stance, clock=clock, vitals=self.vitals
        )
        self.dispatcher = Dispatcher(
            account_label=self._label,
            manager=manager,
            account=account,
            stance=stance,
            recheck=self._recheck,
            order_ttl_seconds=settings.execution.order_ttl_seconds,
            price_of=self._price_now,
            clock=clock,
            blocks=self.blocks,
        )
        self.frozen.on_frozen.append(self.dispatcher.freeze)

    def use(self, driver: StrategyDriver) -> None:
        """Ask other strategies from the next bar on; positions and orders stay."""
        self.driver = driver
        self._digests = {each.entry.strategy_id: parameters_digest(each) for each in driver.strategies}

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
            self._volumes.add(bar)
            self._prices[bar.symbol] = self._market.price(bar, now, waits=self._waits(bar))
            self._mark(bar.symbol, as_decimal(bar.close))
        self.account.value()
        if self.evaluates_bars:
            self.watch()
        else:
            self.emergency_stop.check_losses()
        for bar in bars:
            self._release_entries(lambda held, bar=bar: (held.symbol, held.timeframe) == (bar.symbol, bar.timeframe))
            for strategy in self.driver.strategies:
                if strategy.entry.base_timeframe == bar.timeframe:
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
        account, price = self.account.document(), self._prices[bar.symbol]
        with self._recorder.steps(verdicts, seconds_to_close, account, price, now):
            self._act(bar, verdicts)

    def warm_up(self, bars: Sequence[Bar]) -> None:
        """Take all the history of one symbol and timeframe, in order of time, and decide nothing.

        What was known of the two is forgotten. Only the first time are volumes and held bars counted by it: later they
        have been counted already.
        """
        if not bars:
            return
        symbol, timeframe = bars[0].symbol, bars[0].timeframe
        if (symbol, timeframe) not in self._warmed:
            self._warmed.add((symbol, timeframe))
            for bar in bars:
                self._volumes.add(bar)
            self._count_held(bars)
        self.driver.forget(symbol, timeframe)
        self._market.forget(symbol, timeframe)
        self.driver.warm_up((bar, self.seconds_to_close(bar)) for bar in bars)
        self._prices[symbol] = self._market.price(bars[-1], self._clock.now(), waits=self._waits(bars[-1]))
        self._mark(symbol, as_decimal(bars[-1].close))

    def forget(self, symbol: str) -> None:
        """Know nothing of a symbol's past any more, for example because it was told in other units."""
        for timeframe in {each.entry.base_timeframe for each in self.driver.strategies}:
            self.driver.forget(symbol, timeframe)
            self._market.forget(symbol, timeframe)

    def _count_held(self, bars: Sequence[Bar]) -> None:
        """How many bars the positions of an earlier process have been held."""
        for strategy in self.driver.strategies:
            slot = (strategy.entry.strategy_id, bars[0].symbol)
            since = self.portfolio.held_since(slot)
            if strategy.entry.base_timeframe == bars[0].timeframe and since is not None:
                for bar in bars:
                    if since < nanoseconds_of(bar.event_ts):
                        self.portfolio.bar_passed(slot)

    def on_order_event(self, value: bytes) -> None:
        """Take an event of the broker's stream."""
        began = time.perf_counter()
        order = self.tracker.apply(value)
        self.metrics.order_event_applied(time.perf_counter() - began)
        if order is not None:
            tell_order(logger, order)
            self.dispatcher.on_order_change()
            self._release_entries()

    def on_time(self) -> None:
        """Do what is due: look for unknown orders, then whatever waits for its moment."""
        self.manager.resolve()
        self.dispatcher.on_time()
        self._release_entries()

    @property
    def next_due_ns(self) -> int | None:
        """When :meth:`on_time` has something to do, without a bar or an event."""
        held = min((each.until_ns for each in self._held_back), default=None)
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

    def _mark(self, symbol: str, price: Decimal) -> None:
        """Take a new price; where it jumps by an announced split the symbol is frozen and keeps its value."""
        held = self.portfolio.symbol_qty(symbol)
        self.frozen.price_moves(symbol, held, self.portfolio.marks.get(symbol), price)
        if self.frozen.reason(symbol) != SPLIT:
            self.portfolio.mark(symbol, price)

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
            if self._waits_for_exit(each):
                self._held_back.append(each)
                continue
            entry = self._wished(each.verdict, each.goal, taken)
            taken += entry.qty * entry.worst_price
            entries.append(entry)
        netted = net([each.qty for each in entries]) if entries else []
        for entry, qty in zip(entries, netted, strict=True):
            if entry.qty != qty:
                self.metrics.conflict_resolved()
            if entry.qty and not qty:
                entry.reasons.append(CONFLICT)
            entry.qty = qty
            self._enter(entry, bar)

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
        if fraction < 0.0 and not self.limits.allow_shorts:
            return ZERO
        side: Side = "buy" if fraction >= 0.0 else "sell"
        price = self._prices[verdict.bar.symbol]
        worst = self._limit_price(side, price, queued=self._waits(verdict.bar)) or price.price
        wish = wish_of(verdict.strategy, fraction)
        goal = size_target(wish, float(max(worst, price.price)), self.portfolio.equity, self.limits)
        return ZERO if goal * held < 0 else goal

    def _shrinks(self, verdict: Verdict, goal: Decimal) -> bool:
        return abs(goal) <= abs(self.portfolio.position(slot_of(verdict)).qty)

    def _exit(self, verdict: Verdict, reason: str, goal: Decimal) -> None:
        """Take waiting entries back and sell (or buy back) down to ``goal``, never across zero."""
        slot, price = slot_of(verdict), self._prices[verdict.bar.symbol]
        left = self.portfolio.position(slot).qty + self.portfolio.waiting(slot, exits=True)
        entering = self.portfolio.waiting(slot, exits=False)
        change = goal - left
        if change * left > 0 or abs(change) > abs(left):
            change = ZERO
        if not change and not entering:
            return
        self.dispatcher.take_back_entries(slot, reason)
        if not change:
            self._note(verdict, reason, [], price, goal)
            return
        gate = [*gate_reasons(self.stance.gate(), is_exit=True), *self.blocks.reasons(slot[0], is_exit=True)]
        gate += market_reasons(self._market_view(verdict, price), self.limits, is_exit=True)
        if gate:
            self._note(verdict, reason, gate, price, goal)
            return
        side: Side = "buy" if change > 0 else "sell"
        is_open = self.dispatcher.is_open(slot[1])
        limit = exit_limit(price, side, self._settings) if is_open else None
        kind = "market" if limit is None else "limit"
        terms = OrderTerms(slot[1], side, abs(change), kind, time_in_force(slot[1], is_open=is_open), limit)
        flags = exit_flags(price, self._clock.now(), self._settings)
        decision = self._decision(verdict, reason, [], price, target_qty=goal, terms=terms, flags=flags)
        self.dispatcher.exit(decision, intent_of(self._label, decision, 0, terms, price, is_exit=True))

    # Entries ----------------------------------------------------------------------------------------------------------

    def _wished(self, verdict: Verdict, goal: Decimal | None, taken: Decimal) -> EntryDraft:
        """The size of an entry beside positions, reservations and the wishes before it (``taken``, signed).

        ``goal``: what a target asks for, None for a signal.
        """
        slot, price = slot_of(verdict), self._prices[verdict.bar.symbol]
        held = self.portfolio.position(slot).qty
        if goal is not None:
            self.dispatcher.take_back_entries(slot, "target")
            change = goal - held
            side: Side = "buy" if change > 0 else "sell"
        else:
            change = None
            side = "buy" if verdict.out[0] > 0.0 else "sell"
        limit = self._limit_price(side, price, queued=self._waits(verdict.bar))
        entry = EntryDraft(verdict, side, price, limit, Sized(ZERO), [])
        exposure = with_taken(self.account.exposure(slot, side, self._clock.now_ns()), taken)
        worst = float(entry.worst_price)
        if side == "sell" and held <= 0 and not self.limits.allow_shorts:
            entry.reasons.append(SHORTS)
        elif change is None:
            wish = wish_of(verdict.strategy, float(verdict.out[1]))
            entry.sized = size_entry(wish, side, worst, exposure, self.limits)
        else:
            wish = wish_of(verdict.strategy, float(verdict.out[1]))
            entry.sized = size_step(wish, abs(change), side, worst, exposure, self.limits)
        entry.reasons.extend(entry.sized.reasons)
        entry.qty = entry.sized.qty if side == "buy" else -entry.sized.qty
        return entry

    def _enter(self, entry: EntryDraft, bar: Bar) -> None:
        slot, strategy = entry.slot, entry.verdict.strategy
        now_ns = self._clock.now_ns()
        queued = self._waits(bar)
        market = self._market_view(entry.verdict, entry.price, order_price=entry.limit)
        opens_short = entry.side == "sell" and self.portfolio.position(slot).qty <= 0
        reasons = [*gate_reasons(self.stance.gate(), is_exit=False), *self.blocks.reasons(slot[0], is_exit=False)]
        reasons += self.refusals(*slot)
        if self._circuit.is_open(slot[0], now_ns):
            reasons.append(DEGRADED)
        reasons += market_reasons(market, self.limits, is_exit=False, opens_short=opens_short)
        reasons += entry.reasons
        if any((each.strategy_id, each.terms.symbol) == slot for each in self.manager.unknown):
            reasons.append(UNKNOWN)
        if entry.qty:
            qty = abs(entry.qty)
            asked = self._entry_of(strategy, entry.side, qty, entry.worst_price, bar.symbol, opens_short)
            reasons += entry_reasons(asked, self.account.exposure(slot, entry.side, now_ns), self.limits)
        why = entry.verdict.reason
        goal = self.portfolio.position(slot).qty + entry.qty
        if reasons or not entry.qty:
            told = list(dict.fromkeys(reasons))
            self._note(entry.verdict, why, told, entry.price, goal, sized=entry.sized)
            return
        tif = time_in_force(bar.symbol, is_open=not queued)
        kind = "market" if entry.limit is None else "limit"
        terms = OrderTerms(bar.symbol, entry.side, abs(entry.qty), kind, tif, entry.limit)
        decision = self._decision(entry.verdict, why, [], entry.price, target_qty=goal, sized=entry.sized, terms=terms)
        intent = intent_of(self._label, decision, 0, terms, entry.price, is_exit=False)
        self.dispatcher.entry(decision, intent, queued=queued)

    def _limit_price(self, side: Side, price: PriceSnapshot, *, queued: bool) -> Decimal | None:
        """Limit of an entry: the touch, or for an opening order the collar; None where market orders are preferred."""
        if not self._settings.execution.prefer_limit:
            return None
        if not queued:
            return price.touch(side)
        return collar_price(price.price, side, self.limits.price_collar_bps)

    # Entries that wait ------------------------------------------------------------------------------------------------

    def _waits_for_exit(self, each: HeldEntry) -> bool:
        """Whether an entry's other side is open, and only by exits."""
        verdict = each.verdict
        slot, symbol = slot_of(verdict), verdict.bar.symbol
        ahead = verdict.out[0] if each.goal is None else float(each.goal - self.portfolio.position(slot).qty)
        against = [
            held
            for held in self.portfolio.reservations.values()
            if held.slot[1] == symbol and held.left and (held.left < 0) == (ahead > 0) and held.slot[0] != UNATTRIBUTED
        ]
        return bool(against) and all(held.is_exit for held in against) and not self._waits(verdict.bar)

    def _release_entries(self, over: Callable[[HeldEntry], bool] = lambda _: False) -> None:
        """Send the entries whose way is free, refuse those that have waited a bar (or whose next bar is here)."""
        now_ns = self._clock.now_ns()
        for each in [*self._held_back]:
            if self._waits_for_exit(each) and now_ns < each.until_ns and not over(each):
                continue
            self._held_back.remove(each)
            entry = self._wished(each.verdict, each.goal, ZERO)
            self._enter(entry, each.verdict.bar)

    def _recheck(self, intent: Intent) -> list[str]:
        """What stands against a queued order now, its own reservation left aside: every check of its decision again."""
        slot, terms = (intent.strategy_id, intent.terms.symbol), intent.terms
        now_ns = self._clock.now_ns()
        reasons = gate_reasons(self.stance.gate(), is_exit=intent.is_exit)
        reasons += self.blocks.reasons(intent.strategy_id, is_exit=intent.is_exit)
        reasons += market_reasons(MarketView(frozen=slot[1] in self.frozen), self.limits, is_exit=True)
        if intent.is_exit:
            return reasons
        strategy = next((each for each in self.driver.strategies if each.entry.strategy_id == slot[0]), None)
        if strategy is None:
            return [*reasons, DISABLED]
        if self._circuit.is_open(slot[0], now_ns):
            reasons.append(DEGRADED)
        opens_short = terms.side == "sell" and self.portfolio.position(slot).qty <= 0
        self.portfolio.release(intent.client_order_id)
        exposure = self.account.exposure(slot, terms.side, now_ns)
        self.portfolio.reserve(intent)
        asked = self._entry_of(strategy, terms.side, terms.qty, intent.worst_price, terms.symbol, opens_short)
        return reasons + entry_reasons(asked, exposure, self.limits)

    def _entry_of(
        self, strategy: BoundStrategy, side: Side, qty: Decimal, worst: Decimal, symbol: str, opens_short: bool
    ) -> Entry:
        return Entry(
            side=side,
            qty=qty,
            worst_price=worst,
            opens_short=opens_short,
            strategy_notional_cap=cap_of(strategy.entry.max_notional_per_trade),
            strategy_position_pct=cap_of(strategy.entry.max_position_pct_equity),
            average_daily_volume=self._average_volume(symbol),
        )

    def _market_view(self, verdict: Verdict, price: PriceSnapshot, *, order_price: Decimal | None = None) -> MarketView:
        bar, now = verdict.bar, self._clock.now()
        facts = self._market.facts(bar, verdict.strategy, now)
        return MarketView(
            is_open=self._waits(bar) or self.dispatcher.is_open(bar.symbol),
            calendar_agrees=facts.calendar_agrees,
            halted=facts.halted,
            frozen=facts.frozen or bar.symbol in self.frozen,
            bar_age=(now - bar.event_ts).total_seconds(),
            bar_max_age=self._bar_max_age(bar.timeframe),
            reference_price=price.price,
            reference_stale=price.stale,
            order_price=order_price or price.price,
            tradable=facts.tradable,
            shortable=facts.shortable,
            allowed=facts.allowed,
            quality=facts.quality,
            from_history=bar.signal_quality_flag > 0.0,
        )

    # Small things -----------------------------------------------------------------------------------------------------

    def _waits(self, bar: Bar) -> bool:
        """Whether a decision on this bar waits for the next session: daily ones, once the session is over."""
        return bar.timeframe == DAILY and not self.dispatcher.is_open(bar.symbol)

    def _price_now(self, symbol: str) -> PriceSnapshot | None:
        """The newest price of a symbol, for orders that are priced again; None before there is one."""
        return self._market.price_now(symbol, self._clock.now()) or self._prices.get(symbol)

    def _average_volume(self, symbol: str) -> Decimal | None:
        known = self._market.average_daily_volume(symbol)
        return self._volumes.average(symbol) if known is None else known

    def _bar_max_age(self, timeframe: str) -> float:
        given = self._settings.data.bar_max_age_seconds
        return timeframe_seconds(timeframe) + _GRACE_SECONDS if given is None else float(given)

    def _decision(
        self,
        verdict: Verdict,
        reason: str,
        reasons: Sequence[str],
        price: PriceSnapshot,
        *,
        target_qty: Decimal | None = None,
        sized: Sized | None = None,
        terms: OrderTerms | None = None,
        flags: Sequence[str] = (),
    ) -> Decision:
        self.metrics.decided()
        for code in reasons:
            self.metrics.rejected(code)
        decision = decision_of(
            verdict,
            account_label=self._label,
            params_sha256=self._digests[verdict.strategy.entry.strategy_id],
            decided_at=self._clock.now(),
            reason=reason,
            reasons=reasons,
            price=price,
            account=self.account.document(),
            sized=sized,
            target_qty=target_qty,
            terms=terms,
            flags=flags,
            step=None if self._recorder is None else self._recorder.of(verdict),
        )
        tell_decision(logger, decision, reasons)
        return decision

    def _note(
        self,
        verdict: Verdict,
        reason: str,
        reasons: Sequence[str],
        price: PriceSnapshot,
        goal: Decimal,
        *,
        sized: Sized | None = None,
    ) -> None:
        decision = self._decision(verdict, reason, reasons, price, target_qty=goal, sized=sized)
        self._journal.note(decision, "rejected" if reasons else "planned")
