"""Why one decision of the engine differs from the backtest's: classes, each found in the records of both sides.

The engine's record of a step has everything that the step saw; asked again with the position that the backtest had, it
says whether positions make the difference, and which part of them. What is behind the step (sizes, refusals) is told by
the decisions and by the account. What none of this shows is ``unexplained``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from torghut_assets.research.backtest_positions import PositionVector, Slot
from torghut_assets.research.settings import ResearchSettings
from torghut_runtime.orders.step_record import StepRecord
from torghut_runtime.risk.sizing import target_quantity
from torghut_runtime.strategies.decide import REASON_ENTRY, REASON_EXIT, REASON_HOLD, REASON_TARGET, REASONS, decide
from torghut_runtime.strategies.registry import BoundStrategy

_BY_REASON: Final[Mapping[str, str]] = {
    "market_closed": "session_end",
    "precheck_opposite_side_open_order": "opposite_side",
    "max_notional_exceeded": "strategy_cap",
    "max_position_pct_exceeded": "strategy_cap",
    "state_reducing": "hard_limit",
    "state_halted": "hard_limit",
    "daily_loss_limit_reached": "hard_limit",
    "max_drawdown_exceeded": "hard_limit",
    "order_rate_exceeded": "order_limit",
    "max_open_orders_exceeded": "order_limit",
    "insufficient_buying_power": "order_limit",
    "price_collar_exceeded": "order_limit",
}
UNEXPLAINED: Final = "unexplained"
CLASSES: Final[Mapping[str, str]] = {
    "session_end": "an intraday decision at the session's last bar: the engine refuses entries, the backtest waits",
    "opposite_side": "an order on the other side is open in the symbol",
    "strategy_cap": "the strategy's cap holds for position and open entries together",
    "hard_limit": "daily loss or drawdown has latched",
    "order_limit": "a limit on orders that the backtest does not have",
    "netting": "wishes of several strategies in a symbol are netted, and another one's differs at this bar",
    "order_terms": "limit entries are sized at their limit",
    "entry_price": "the same shares were bought at another price (the spread): a return is beyond a threshold, or not",
    "fill": "an order that both decided was filled at another time, to another part, or on one side only",
    "price": "the engine sizes at the newest quote, the backtest at the close",
    "account": "another equity or exposure leaves another size, or no room",
    "follows": "an earlier difference of the same strategy in the same symbol has left another position",
    UNEXPLAINED: "none of these",
}
"""Why a decision may differ; the last one is a defect."""

_EXITS: Final = frozenset(REASONS) - {REASON_HOLD, REASON_ENTRY, REASON_TARGET}
_REFUSED: Final = frozenset({"gross_exposure_exceeded", "qty_below_min", "shorts_not_allowed"})
"""Reasons of a backtest's decision behind which stands the wish to enter."""
_NEAR: Final = 1e-9

Key = tuple[datetime, str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """One side's decision."""

    signal: int
    target_qty: float
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What the engine's step was asked, and the position with which the backtest's was."""

    record: StepRecord
    theirs: PositionVector
    price: float
    """Close of the bar, at which the backtest sizes."""

    @property
    def is_alike(self) -> bool:
        """Whether both held, since as many bars, and waited for the same shares."""
        ours = self.record.position
        return all(abs(ours[part] - self.theirs[part]) < _NEAR for part in (0, 2, 4))

    def again(self, bound: BoundStrategy) -> int:
        """What the step decides with the backtest's position: a code of ``REASONS``."""
        record = self.record
        return decide(
            bound.step,
            np.array(record.features),
            bound.parameter_vector,
            bound.exits_vector,
            np.array(self.theirs),
            record.seconds_to_close,
            bound.params.pyramid,
            np.array(record.memory),
            np.zeros(4),
        )


class Explainer:
    """Explains differences in the order of their times; every step between them is shown to :meth:`seen`."""

    def __init__(
        self,
        strategies: Sequence[BoundStrategy],
        account: Callable[[datetime], tuple[float, float]],
        last_bars: frozenset[tuple[str, datetime]],
        research: ResearchSettings,
        *,
        limit_orders: bool,
    ) -> None:
        """Begin.

        Args:
            strategies: who decides.
            account: equity and gross exposure of the backtest before the bars that close at a time.
            research: limits of the backtest.
            last_bars: symbol and end of the last bar of each session, of intraday bars.
            limit_orders: the engine prefers limit orders.
        """
        self._bound = {each.entry.strategy_id: each for each in strategies}
        self._account = account
        self._last_bars = last_bars
        self._research = research
        self._limit_orders = limit_orders
        self._roots: dict[Slot, tuple[datetime, str]] = {}
        self._decided: set[Slot] = set()

    def seen(self, slot: Slot, asked: Asked) -> None:
        """A step: where both hold the same again, what follows has another cause."""
        root = self._roots.get(slot)
        if root is not None and asked.record.decided_at > root[0] and asked.is_alike:
            del self._roots[slot]

    def decided(self, key: Key) -> None:
        """Both have decided alike."""
        self._decided.add((key[1], key[2]))

    def explain(
        self, key: Key, ours: Said | None, theirs: Said | None, asked: Asked | None, *, is_netted: bool = False
    ) -> tuple[str, str]:
        """The class of a difference, and that of the difference that it began with.

        ``is_netted``: another strategy decides at this bar in this symbol, too, and not alike on both sides.
        """
        slot = (key[1], key[2])
        found = self._class(key, ours, theirs, asked, is_netted=is_netted)
        root = self._roots.get(slot)
        first = root[1] if found == "follows" and root is not None else found
        if found != "follows":
            self._roots[slot] = (key[0], found)
        self._decided.add(slot)
        return found, first

    def _class(self, key: Key, ours: Said | None, theirs: Said | None, asked: Asked | None, *, is_netted: bool) -> str:
        decided_at, strategy, symbol = key
        refused = None if ours is None else _BY_REASON.get(ours.reason)
        wished = ours is not None and theirs is not None and ours.signal == theirs.signal
        if refused is not None and (wished or asked is None or asked.is_alike):
            return refused
        if asked is None:
            return UNEXPLAINED
        ours_code, theirs_code = asked.record.code, asked.again(self._bound[strategy])
        if not _is_of(theirs_code, theirs):
            return UNEXPLAINED
        if not asked.is_alike:
            return self._of_position((strategy, symbol))
        if ours_code != theirs_code:
            return "entry_price"
        if (symbol, decided_at) in self._last_bars and ours is None:
            return "session_end"
        if ours_code in _EXITS:
            return UNEXPLAINED
        if self._limit_orders:
            return "order_terms"
        found = self._of_size(key, ours, theirs, asked)
        return "netting" if is_netted and found == UNEXPLAINED else found

    def _of_position(self, slot: Slot) -> str:
        if slot in self._roots:
            return "follows"
        # All that was decided since both held the same is equal: only its fills can have made the difference.
        return "fill" if slot in self._decided else UNEXPLAINED

    def _of_size(self, key: Key, ours: Said | None, theirs: Said | None, asked: Asked) -> str:
        """Which of price and account makes the difference, by the rule of sizes that both sides have."""
        record = asked.record
        bound = self._bound[key[1]]
        price, account = float(dict(record.price)["price"]), record.account
        equity, gross = self._account(key[0])
        own_equity, own_gross = float(account["equity"]), float(account["gross_exposure"])
        sizes = (0.0 if ours is None else abs(ours.target_qty), 0.0 if theirs is None else abs(theirs.target_qty))
        apart = sizes[0] - sizes[1]
        if apart == 0.0:
            return UNEXPLAINED
        base = self._size(bound, record, asked.price, equity)
        if self._size(bound, record, price, equity) - base == apart:
            return "price"
        own = self._size(bound, record, price, own_equity)
        if apart in (own - base, self._size(bound, record, asked.price, own_equity) - base):
            return "account"
        # Where there was no room for a whole size, rooms are no further apart than the accounts are.
        if sizes[0] >= own and sizes[1] >= base:
            return UNEXPLAINED
        room = abs(own_equity - equity) * self._research.gross_limit + abs(own_gross - gross)
        return "account" if room > 0.0 and (abs(apart) - 1.0) * price <= room else UNEXPLAINED

    def _size(self, bound: BoundStrategy, record: StepRecord, price: float, equity: float) -> float:
        entry, research = bound.entry, self._research
        return target_quantity(
            price,
            equity,
            _or_nan(entry.max_notional_per_trade),
            _or_nan(entry.max_position_pct_equity),
            _or_nan(bound.params.qty),
            abs(record.output[1]),
            research.gross_limit,
            research.fractional_shares,
        )


def _or_nan(cap: float | None) -> float:
    return float("nan") if cap is None else float(cap)


def _is_of(code: int, said: Said | None) -> bool:
    """Whether a decision of the backtest is what a code of a step leads to."""
    if said is None:
        return code <= REASON_HOLD
    if said.reason in _REFUSED:
        return code in (REASON_ENTRY, REASON_TARGET)
    return (
        said.reason == "intent_conflict_resolved"
        or REASONS.get(code) == said.reason
        or (code == REASON_ENTRY and REASONS[REASON_EXIT] == said.reason)
    )
