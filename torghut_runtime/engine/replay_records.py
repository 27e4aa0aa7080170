"""What a replay writes down: decisions, orders and fills as plain rows, each as soon as nothing changes it any more.

Rows come in the order in which decisions were made, orders were committed and fills happened. With ``forget``
everything that was written is dropped from journal, tracker, portfolio and broker, so that a replay needs no more
memory for a week than for a day. Where rows go is the caller's business.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from heapq import heappop, heappush
from typing import Any, Final, Protocol

from torghut_runtime.order_feed.event import TERMINAL
from torghut_runtime.order_feed.values import instant
from torghut_runtime.orders.journal import MemoryJournal, WrittenIntent
from torghut_runtime.orders.model import Decision, Intent, trace_of
from torghut_runtime.orders.tracker import OrderTracker, TrackedOrder

Row = dict[str, Any]
_ENDED: Final = frozenset({"rejected", "expired", "canceled"})


class Records(Protocol):
    """Who takes the rows."""

    def decision(self, row: Row) -> None:
        """Take a decision."""
        ...

    def order(self, row: Row) -> None:
        """Take an order."""
        ...

    def fill(self, row: Row) -> None:
        """Take a fill."""
        ...


@dataclass
class CollectedRecords:
    """All rows, in memory."""

    decisions: list[Row] = field(default_factory=list[Row])
    orders: list[Row] = field(default_factory=list[Row])
    fills: list[Row] = field(default_factory=list[Row])

    def decision(self, row: Row) -> None:
        """See :class:`Records`."""
        self.decisions.append(row)

    def order(self, row: Row) -> None:
        """See :class:`Records`."""
        self.orders.append(row)

    def fill(self, row: Row) -> None:
        """See :class:`Records`."""
        self.fills.append(row)


@dataclass(slots=True)
class _Chain:
    """A decision and its intents, oldest first."""

    decision: Decision
    keys: list[str] = field(default_factory=list[str])
    told: int = 0
    """Rows of it that were written: of intents, and one of its own."""


class RecordingJournal(MemoryJournal):
    """A journal that remembers what is still to be written, and forgets what was."""

    _REMEMBERED: Final = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.chains: dict[str, _Chain] = {}
        self.untold_decisions: deque[str] = deque()
        self.untold_orders: deque[str] = deque()
        self._past: dict[str, None] = {}

    def commit(self, decision: Decision, intent: Intent, *, sent_at: datetime | None = None) -> bool:
        """See :class:`~torghut_runtime.orders.journal.Journal`."""
        if decision.decision_hash in self._past or not super().commit(decision, intent, sent_at=sent_at):
            return False
        self._chain(decision).keys.append(intent.client_order_id)
        self.untold_orders.append(intent.client_order_id)
        return True

    def note(self, decision: Decision, status: Any) -> bool:
        """See :class:`~torghut_runtime.orders.journal.Journal`."""
        if decision.decision_hash in self._past or not super().note(decision, status):
            return False
        self._chain(decision)
        return True

    def _chain(self, decision: Decision) -> _Chain:
        key = decision.decision_hash
        if key not in self.chains:
            self.chains[key] = _Chain(decision)
            self.untold_decisions.append(key)
        return self.chains[key]

    def forget(self, decision_hash: str) -> None:
        """Drop a decision and its intents; the newest ones are still known as decided."""
        chain = self.chains.pop(decision_hash)
        self.decisions.pop(decision_hash, None)
        self.statuses.pop(decision_hash, None)
        for key in chain.keys:
            self.intents.pop(key, None)
        self._past[decision_hash] = None
        if len(self._past) > self._REMEMBERED:
            self._past.pop(next(iter(self._past)))


class RecordStream:
    """Writes what is final.

    Args:
        journal: what was decided and ordered.
        tracker: what became of the orders.
        records: takes the rows.
        still_open: hashes of the decisions of which an order may still follow.
        forget: told the order of every intent that was written and is to be dropped; None keeps all.
    """

    def __init__(
        self,
        journal: RecordingJournal,
        tracker: OrderTracker,
        records: Records,
        still_open: Callable[[], frozenset[str]],
        forget: Callable[[TrackedOrder], None] | None = None,
    ) -> None:
        self.decisions = self.orders = self.fills = 0
        """Rows so far."""
        self._journal = journal
        self._tracker = tracker
        self._records = records
        self._still_open = still_open
        self._forget = forget
        self._fills: list[tuple[int, str, Row]] = []

    def advance(self, now_ns: int) -> None:
        """Write what nothing can change any more at this time."""
        self._write(self._still_open(), now_ns)

    def finish(self) -> None:
        """Write the rest, as it stands."""
        self._write(None, None)

    def _write(self, still_open: frozenset[str] | None, now_ns: int | None) -> None:
        journal = self._journal
        while journal.untold_orders:
            written = journal.intents[journal.untold_orders[0]]
            if still_open is not None and (written.decision_hash in still_open or not self._is_over(written)):
                break
            self._tell_order(journal.untold_orders.popleft(), written)
        while journal.untold_decisions:
            chain = journal.chains[journal.untold_decisions[0]]
            if still_open is not None and (
                chain.decision.decision_hash in still_open
                or not all(self._is_over(journal.intents[key]) for key in chain.keys)
            ):
                break
            journal.untold_decisions.popleft()
            self._records.decision(self._decision_row(chain))
            self.decisions += 1
            self._told(chain)
        self._tell_fills(now_ns)

    def _is_over(self, written: WrittenIntent) -> bool:
        order = self._tracker.order_of(written.intent.client_order_id)
        return written.state in _ENDED if order is None else order.state.status in TERMINAL

    def _tell_order(self, key: str, written: WrittenIntent) -> None:
        order = self._tracker.order_of(key)
        self._records.order(_order_row(key, written, order))
        self.orders += 1
        for at, execution_id, row in () if order is None else _fill_rows(order, trace_of(written.decision_hash)):
            heappush(self._fills, (at, execution_id, row))
        self._told(self._journal.chains[written.decision_hash])

    def _told(self, chain: _Chain) -> None:
        chain.told += 1
        if self._forget is None or chain.told <= len(chain.keys):
            return
        for key in chain.keys:
            order = self._tracker.order_of(key)
            if order is not None:
                self._forget(order)
        self._journal.forget(chain.decision.decision_hash)

    def _tell_fills(self, now_ns: int | None) -> None:
        """Write the fills before any that may still come: of an order that is not written yet, or from now on."""
        until = now_ns
        if now_ns is not None:
            for key in self._journal.untold_orders:
                order = self._tracker.order_of(key)
                for fill in () if order is None else order.state.fills:
                    until = min(now_ns if until is None else until, fill.time_ns or 0)
        while self._fills and (until is None or self._fills[0][0] < until):
            self._records.fill(heappop(self._fills)[2])
            self.fills += 1

    def _decision_row(self, chain: _Chain) -> Row:
        decision = chain.decision
        written = self._journal.intents[chain.keys[-1]] if chain.keys else None
        order = None if written is None else self._tracker.order_of(written.intent.client_order_id)
        status = self._journal.statuses.get(decision.decision_hash)
        if status is None and written is not None:
            status = written.state if order is None else order.state.status
        reason = None if written is None or order is not None else written.reason
        return {
            "decision_hash": decision.decision_hash,
            "trace_id": decision.trace_id,
            "strategy_id": decision.strategy_id,
            "symbol": decision.symbol,
            "timeframe": decision.timeframe,
            "bar_ts": decision.bar_ts,
            "decided_at": decision.decided_at,
            "status": status,
            "rationale": decision.rationale,
            "reasons": [*decision.detail["risk_reasons"], *([reason] if reason else [])],
            "decision": decision.detail,
        }


def _order_row(key: str, written: WrittenIntent, order: TrackedOrder | None) -> Row:
    intent = written.intent
    state = None if order is None else order.state
    return {
        "client_order_id": key,
        "decision_hash": written.decision_hash,
        "trace_id": trace_of(written.decision_hash),
        "intent_seq": intent.seq,
        "alpaca_order_id": None if order is None else order.order_id,
        "strategy_id": intent.strategy_id,
        "symbol": intent.terms.symbol,
        "side": intent.terms.side,
        "order_type": intent.terms.order_type,
        "time_in_force": intent.terms.time_in_force,
        "qty": intent.terms.qty,
        "limit_price": intent.terms.limit_price,
        "is_exit": intent.is_exit,
        "arrival_price": intent.arrival_price,
        "state": written.state if state is None else state.status,
        "reason": written.reason,
        "filled_qty": Decimal(0) if state is None else state.filled_qty,
        "avg_fill_price": None if state is None else state.avg_fill_price,
        "replaces": None if state is None else state.replaces,
        "replaced_by": None if state is None else state.replaced_by,
        "sent_at": written.sent_at,
        "submitted_at": None if state is None else instant(state.submitted_ns),
        "terminal_at": None if state is None else instant(state.terminal_ns),
    }


def _fill_rows(order: TrackedOrder, trace_id: str) -> Iterator[tuple[int, str, Row]]:
    for fill in order.state.fills:
        if fill.state == "counted":
            row = {
                "execution_id": fill.execution_id,
                "alpaca_order_id": order.order_id,
                "client_order_id": None if order.intent is None else order.intent.client_order_id,
                "trace_id": trace_id,
                "strategy_id": None if order.intent is None else order.intent.strategy_id,
                "symbol": order.state.symbol,
                "side": order.state.side,
                "qty": fill.qty,
                "price": fill.price,
                "filled_at": instant(fill.time_ns),
            }
            yield fill.time_ns or 0, fill.execution_id, row
