"""Passes of reconciliation in the running engine: when one is due, and what follows from what it found.

In the trading thread. Comparing is :mod:`torghut_runtime.orders.reconciler`'s business, asking the broker that of
:mod:`torghut_runtime.engine.reconciler`.
"""

import threading
from collections.abc import Callable

from torghut_runtime.broker.protocol import BrokerError
from torghut_runtime.clock import NANOSECONDS, Clock
from torghut_runtime.engine.core import TradingCore
from torghut_runtime.engine.progress import Progress
from torghut_runtime.engine.reconciler import BrokerAnswers, BrokerReading
from torghut_runtime.engine.stance import Stance
from torghut_runtime.errors import UpstreamError
from torghut_runtime.orders.reconcile import OF_POSITIONS
from torghut_runtime.orders.reconciler import PassResult
from torghut_runtime.risk.trading_state import POSITION_MISMATCH


class Reconciliation:
    """One engine's.

    Args:
        reading: the thread that asks the broker.
        in_trading_thread: has something done there; does not wait for it.
        stance: where mismatches are latched.
        clock: of trading.
        period_ms: between two passes.
        progress: what is shown.
        heard: how many order updates have come so far, taken or not.
        note: tells of trouble.
    """

    def __init__(
        self,
        *,
        reading: BrokerReading,
        in_trading_thread: Callable[[Callable[[], None]], object],
        stance: Stance,
        clock: Clock,
        period_ms: int,
        progress: Progress,
        heard: Callable[[], int],
        note: Callable[[str], None],
    ) -> None:
        self._reading = reading
        self._in_trading_thread = in_trading_thread
        self._stance = stance
        self._clock = clock
        self._period_ns = period_ms * NANOSECONDS // 1_000
        self._progress = progress
        self._heard = heard
        self._note = note
        self._core: TradingCore | None = None
        self._due_ns = 0
        self._wanted = threading.Event()

    def soon(self) -> None:
        """Ask the broker at the next occasion; from any thread."""
        self._wanted.set()

    def begin(self, core: TradingCore) -> None:
        """A term trades now."""
        self._core = core
        self._ask(core)

    def end(self) -> None:
        """The term is over; what is still being read is of no use."""
        self._core = None

    def look(self) -> None:
        """Ask the broker when it is time to."""
        if self._core is not None and (self._wanted.is_set() or self._clock.now_ns() >= self._due_ns):
            self._ask(self._core)

    def _ask(self, core: TradingCore) -> None:
        self._wanted.clear()
        self._due_ns = self._clock.now_ns() + self._period_ns
        heard = self._heard()

        def deliver(answers: BrokerAnswers | BrokerError) -> None:
            self._in_trading_thread(lambda: self._take(core, heard, answers))

        self._reading.ask(core.reconciler.asked(), core.fills_since(), deliver)

    def _take(self, core: TradingCore, heard: int, answers: BrokerAnswers | BrokerError) -> None:
        if core is not self._core:
            return
        if isinstance(answers, BrokerError):
            self._note(f"reconciliation: {answers}")
            return
        # What was read while something happened may be older or newer than what we know: positions are asked for again.
        is_quiet = self._heard() == heard
        if not (is_quiet and answers.is_settled):
            self._wanted.set()
        result = core.take(answers, is_quiet=is_quiet)
        self.conclude(core, result)
        if result.account_fault is None:
            self._take_fills(core, answers)

    def _take_fills(self, core: TradingCore, answers: BrokerAnswers) -> None:
        if isinstance(answers.fills, UpstreamError):
            self._note(f"missing fills: {answers.fills}")
        if core.take_missing(answers) and answers.fills is None:
            # That fills are missing has just turned up: they are asked for at once, and again with every pass.
            self._wanted.set()

    def conclude(self, core: TradingCore, result: PassResult) -> None:
        """Show what a pass found, and latch or clear what follows from it."""
        if result.account_fault is not None:
            self._note(f"account {result.account.get('account_number')} {result.account_fault}")
        progress, found = self._progress, list(result.found)
        if not result.is_whole:
            found += [each for each in progress.discrepancies if each.kind in OF_POSITIONS]
        else:
            progress.last_reconcile_at = self._clock.now()
        progress.discrepancies = found
        now = self._clock.now()
        for symbol in result.mismatched:
            told = [{"ours": each.ours, "broker": each.broker} for each in found if each.symbol == symbol]
            self._stance.latch(f"{POSITION_MISMATCH}:{symbol}", now, detail={"inputs": {"differences": told}})
        for latch in self._stance.trading_state.latches:
            symbol = latch.code.partition(":")[2]
            if latch.name == POSITION_MISMATCH and symbol not in core.frozen and symbol not in result.mismatched:
                self._stance.position_reconciled(symbol)
