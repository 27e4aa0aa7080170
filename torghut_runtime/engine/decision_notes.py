"""Decisions of one account as they are made: counted, told in the log, and written down where no order follows.

What stands in the record of one is :mod:`torghut_runtime.engine.decision_record`'s business.
"""

import logging
from collections.abc import Sequence
from decimal import Decimal

from torghut_runtime.clock import Clock
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.decision_record import decision_of, parameters_digest
from torghut_runtime.engine.driver import StrategyDriver, Verdict
from torghut_runtime.engine.market_view import PriceSnapshot
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.orders.journal import Journal
from torghut_runtime.orders.model import Decision, OrderTerms
from torghut_runtime.orders.trace import tell_decision
from torghut_runtime.risk.allocator import Sized

logger = logging.getLogger(__name__)


class DecisionNotes:
    """Makes the decisions of one account."""

    def __init__(
        self,
        *,
        account_label: str,
        journal: Journal,
        account: AccountView,
        metrics: TradingMetrics,
        recorder: Recorder | None,
        clock: Clock,
    ) -> None:
        self._label = account_label
        self._journal = journal
        self._account = account
        self._metrics = metrics
        self._recorder = recorder
        self._clock = clock
        self._digests: dict[str, str] = {}

    def use(self, driver: StrategyDriver) -> None:
        """Decisions are those of other strategies from now on."""
        self._digests = {each.entry.strategy_id: parameters_digest(each) for each in driver.strategies}

    def decision(
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
        """A verdict and what became of it; ``reasons`` are those that refuse it."""
        self._metrics.decided()
        for code in reasons:
            self._metrics.rejected(code)
        decision = decision_of(
            verdict,
            account_label=self._label,
            params_sha256=self._digests[verdict.strategy.entry.strategy_id],
            decided_at=self._clock.now(),
            reason=reason,
            reasons=reasons,
            price=price,
            account=self._account.document(),
            sized=sized,
            target_qty=target_qty,
            terms=terms,
            flags=flags,
            step=None if self._recorder is None else self._recorder.of(verdict),
        )
        tell_decision(logger, decision, reasons)
        return decision

    def note(
        self,
        verdict: Verdict,
        reason: str,
        reasons: Sequence[str],
        price: PriceSnapshot,
        goal: Decimal,
        *,
        sized: Sized | None = None,
    ) -> None:
        """Write down a decision that sends no order of its own."""
        decision = self.decision(verdict, reason, reasons, price, target_qty=goal, sized=sized)
        self._journal.note(decision, "rejected" if reasons else "planned")
