"""Entries of one account: sized beside what is taken, checked by every limit, then sent or held back for an exit.

Which verdicts are entries is :mod:`torghut_runtime.engine.trader`'s business, when a committed one goes out
:mod:`torghut_runtime.engine.dispatcher`'s.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from torghut_runtime.clock import Clock
from torghut_runtime.engine.account_view import AccountView, with_taken
from torghut_runtime.engine.circuit import StrategyCircuit
from torghut_runtime.engine.decision_notes import DecisionNotes
from torghut_runtime.engine.dispatcher import Dispatcher, collar_price, intent_of
from torghut_runtime.engine.driver import Verdict
from torghut_runtime.engine.entry_draft import EntryDraft, HeldEntry, cap_of, slot_of, time_in_force, wish_of
from torghut_runtime.engine.market_view import PriceSnapshot
from torghut_runtime.engine.price_book import PriceBook
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.strategy_blocks import StrategyBlocks
from torghut_runtime.market.features import Bar
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.model import Intent, OrderTerms
from torghut_runtime.orders.positions import UNATTRIBUTED
from torghut_runtime.risk.allocator import Sized, size_entry, size_step
from torghut_runtime.risk.limits import (
    Entry,
    Limits,
    Side,
    entry_reasons,
    gate_reasons,
    market_reasons,
)
from torghut_runtime.strategies.registry import BoundStrategy

ZERO: Final = Decimal(0)
DEGRADED: Final = "strategy_degraded"
DISABLED: Final = "strategy_disabled"
UNKNOWN: Final = "order_unknown_unresolved"
"""The strategy enters nothing in a symbol while an order of its own there has no certain answer."""
SHORTS: Final = "shorts_not_allowed"

Refusals = Callable[[str, str], Sequence[str]]
"""Reasons against any entry of a strategy in a symbol: catalog, provenance, universe, operator."""


class Entries:
    """Sizes, checks and sends the entries of one account, in the trading thread."""

    def __init__(
        self,
        *,
        account_label: str,
        limits: Limits,
        prefer_limit: bool,
        account: AccountView,
        manager: OrderManager,
        dispatcher: Callable[[], Dispatcher],
        prices: PriceBook,
        notes: DecisionNotes,
        stance: Stance,
        circuit: StrategyCircuit,
        blocks: StrategyBlocks,
        refusals: Refusals,
        allows_shorts: Callable[[], bool],
        strategies: Callable[[], Sequence[BoundStrategy]],
        clock: Clock,
    ) -> None:
        self.held_back: list[HeldEntry] = []
        """Entries against an exit that is open: they wait for its end, at most one bar."""
        self._label = account_label
        self._limits = limits
        self._prefer_limit = prefer_limit
        self._account = account
        self._portfolio = account.portfolio
        self._manager = manager
        self._dispatcher_of = dispatcher
        self._prices = prices
        self._notes = notes
        self._stance = stance
        self._circuit = circuit
        self._blocks = blocks
        self._refusals = refusals
        self._allows_shorts = allows_shorts
        self._strategies = strategies
        self._clock = clock

    @property
    def _dispatcher(self) -> Dispatcher:
        return self._dispatcher_of()

    def wished(self, verdict: Verdict, goal: Decimal | None, taken: Decimal) -> EntryDraft:
        """The size of an entry beside positions, reservations and the wishes before it (``taken``, signed).

        ``goal``: what a target asks for, None for a signal.
        """
        slot, price = slot_of(verdict), self._prices.of(verdict.bar.symbol)
        held = self._portfolio.position(slot).qty
        if goal is not None:
            self._dispatcher.take_back_entries(slot, "target")
            change = goal - held
            side: Side = "buy" if change > 0 else "sell"
        else:
            change = None
            side = "buy" if verdict.out[0] > 0.0 else "sell"
        limit = self.limit_price(side, price, queued=self._prices.waits(verdict.bar))
        entry = EntryDraft(verdict, side, price, limit, Sized(ZERO), [])
        exposure = with_taken(self._account.exposure(slot, side, self._clock.now_ns()), taken)
        worst = float(entry.worst_price)
        if side == "sell" and held <= 0 and not self._allows_shorts():
            entry.reasons.append(SHORTS)
        elif change is None:
            wish = wish_of(verdict.strategy, float(verdict.out[1]), price.increments.lot)
            entry.sized = size_entry(wish, side, worst, exposure, self._limits)
        else:
            wish = wish_of(verdict.strategy, float(verdict.out[1]), price.increments.lot)
            entry.sized = size_step(wish, abs(change), side, worst, exposure, self._limits)
        entry.reasons.extend(entry.sized.reasons)
        entry.qty = entry.sized.qty if side == "buy" else -entry.sized.qty
        return entry

    def enter(self, entry: EntryDraft, bar: Bar) -> None:
        slot, strategy = entry.slot, entry.verdict.strategy
        now_ns = self._clock.now_ns()
        queued = self._prices.waits(bar)
        market = self._prices.view(entry.verdict, entry.price, order_price=entry.limit)
        opens_short = entry.side == "sell" and self._portfolio.position(slot).qty <= 0
        reasons = [*gate_reasons(self._stance.gate(), is_exit=False), *self._blocks.reasons(slot[0], is_exit=False)]
        reasons += self._refusals(*slot)
        if self._circuit.is_open(slot[0], now_ns):
            reasons.append(DEGRADED)
        reasons += market_reasons(market, self._limits, is_exit=False, opens_short=opens_short)
        reasons += entry.reasons
        if any((each.strategy_id, each.terms.symbol) == slot for each in self._manager.unknown):
            reasons.append(UNKNOWN)
        if entry.qty:
            qty = abs(entry.qty)
            asked = self._entry_of(strategy, entry.side, qty, entry.worst_price, bar.symbol, opens_short)
            reasons += entry_reasons(asked, self._account.exposure(slot, entry.side, now_ns), self._limits)
        why = entry.verdict.reason
        goal = self._portfolio.position(slot).qty + entry.qty
        if reasons or not entry.qty:
            told = list(dict.fromkeys(reasons))
            self._notes.note(entry.verdict, why, told, entry.price, goal, sized=entry.sized)
            return
        tif = time_in_force(bar.symbol, entry.qty, is_open=not queued)
        kind = "market" if entry.limit is None else "limit"
        terms = OrderTerms(bar.symbol, entry.side, abs(entry.qty), kind, tif, entry.limit)
        decision = self._notes.decision(
            entry.verdict, why, [], entry.price, target_qty=goal, sized=entry.sized, terms=terms
        )
        intent = intent_of(self._label, decision, 0, terms, entry.price, is_exit=False)
        self._dispatcher.entry(decision, intent, queued=queued)

    def limit_price(self, side: Side, price: PriceSnapshot, *, queued: bool) -> Decimal | None:
        """Limit of an entry: the touch, or for an opening order the collar; None where market orders are preferred."""
        if not self._prefer_limit:
            return None
        if not queued:
            return price.touch(side)
        return collar_price(price, side, self._limits.price_collar_bps)

    # Entries that wait ------------------------------------------------------------------------------------------------

    def waits_for_exit(self, each: HeldEntry) -> bool:
        """Whether an entry's other side is open, and only by exits."""
        verdict = each.verdict
        slot, symbol = slot_of(verdict), verdict.bar.symbol
        ahead = verdict.out[0] if each.goal is None else float(each.goal - self._portfolio.position(slot).qty)
        against = [
            held
            for held in self._portfolio.reservations.values()
            if held.slot[1] == symbol and held.left and (held.left < 0) == (ahead > 0) and held.slot[0] != UNATTRIBUTED
        ]
        return bool(against) and all(held.is_exit for held in against) and not self._prices.waits(verdict.bar)

    def release(self, over: Callable[[HeldEntry], bool] = lambda _: False) -> None:
        """Send the entries whose way is free, refuse those that have waited a bar (or whose next bar is here)."""
        now_ns = self._clock.now_ns()
        for each in [*self.held_back]:
            if self.waits_for_exit(each) and now_ns < each.until_ns and not over(each):
                continue
            self.held_back.remove(each)
            entry = self.wished(each.verdict, each.goal, ZERO)
            self.enter(entry, each.verdict.bar)

    def recheck(self, intent: Intent) -> list[str]:
        """What stands against a queued order now, its own reservation left aside: every check of its decision again."""
        slot, terms = (intent.strategy_id, intent.terms.symbol), intent.terms
        now_ns = self._clock.now_ns()
        reasons = gate_reasons(self._stance.gate(), is_exit=intent.is_exit)
        reasons += self._blocks.reasons(intent.strategy_id, is_exit=intent.is_exit)
        strategy = next((each for each in self._strategies() if each.entry.strategy_id == slot[0]), None)
        market = self._prices.view_of_queued(strategy, intent)
        if intent.is_exit or strategy is None:
            reasons += market_reasons(market, self._limits, is_exit=True)
            return reasons if intent.is_exit else [*reasons, DISABLED]
        reasons += self._refusals(*slot)
        if self._circuit.is_open(slot[0], now_ns):
            reasons.append(DEGRADED)
        opens_short = terms.side == "sell" and self._portfolio.position(slot).qty <= 0
        if opens_short and not self._allows_shorts():
            reasons.append(SHORTS)
        reasons += market_reasons(market, self._limits, is_exit=False, opens_short=opens_short)
        self._portfolio.release(intent.client_order_id)
        exposure = self._account.exposure(slot, terms.side, now_ns)
        self._portfolio.reserve(intent)
        asked = self._entry_of(strategy, terms.side, terms.qty, intent.worst_price, terms.symbol, opens_short)
        return list(dict.fromkeys([*reasons, *entry_reasons(asked, exposure, self._limits)]))

    def _entry_of(
        self, strategy: BoundStrategy, side: Side, qty: Decimal, worst: Decimal, symbol: str, opens_short: bool
    ) -> Entry:
        known = self._prices.get(symbol)
        return Entry(
            side=side,
            qty=qty,
            worst_price=worst,
            opens_short=opens_short,
            strategy_notional_cap=cap_of(strategy.entry.max_notional_per_trade),
            strategy_position_pct=cap_of(strategy.entry.max_position_pct_equity),
            average_daily_volume=self._prices.average_volume(symbol),
            min_qty=ZERO if known is None else known.increments.min_qty,
        )
