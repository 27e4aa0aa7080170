"""What is judged every ``TRADING_POLL_MS``: signals, emergency stop, baselines, live gate, inputs of control records.

In the trading thread. What each of them means stands with it; here they are brought together.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from torghut_runtime.clock import Clock
from torghut_runtime.engine.control_records import ControlInputs, ReconcileOutcome
from torghut_runtime.engine.flag_source import ALLOW_SHORTS, EMERGENCY_STOP
from torghut_runtime.engine.live_locks import LiveLocks
from torghut_runtime.engine.market_system import MarketSystem
from torghut_runtime.engine.progress import Progress
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.engine.trader import Trader
from torghut_runtime.trading_settings import TradingSettings

_OVERDUE: Final = 4
"""Periods without a reconciliation after which one is overdue."""

FeedReasons = Callable[[], tuple[str, ...]]


class Evaluation:
    """One engine's."""

    def __init__(
        self,
        settings: TradingSettings,
        clock: Clock,
        stops: StopSystem,
        market: MarketSystem,
        locks: LiveLocks,
        feed_reasons: FeedReasons,
    ) -> None:
        self.live_gate_missing: tuple[str, ...] = ()
        self.control_inputs: ControlInputs | None = None
        """Of the last evaluation; None before the first."""
        self._settings = settings
        self._clock = clock
        self._stops = stops
        self._market = market
        self._locks = locks
        self._feed_reasons = feed_reasons
        self._triggers: tuple[str, ...] = ()

    def begin(self, trader: Trader) -> None:
        """A term begins: nothing is known of its signals, and live trading must be allowed before it."""
        self._triggers = ()
        trader.evaluates_bars = False
        trader.continuity = lambda: self._triggers
        flags = self._stops.flags
        trader.allows_shorts = lambda: flags.switch(ALLOW_SHORTS).effective
        trader.emergency_stop.armed = lambda: flags.switch(EMERGENCY_STOP).effective
        self._stops.serve(trader.dispatcher)
        self.live_gate_missing = self._locks.check()

    def evaluate(self, trader: Trader, progress: Progress) -> None:
        """One evaluation."""
        self._triggers = self._market.evaluate().triggers
        trader.watch()
        self._stops.store_baselines(trader.account.baselines)
        self.live_gate_missing = self._locks.check()
        self.control_inputs = self._inputs(trader, progress)

    def _inputs(self, trader: Trader, progress: Progress) -> ControlInputs:
        reconciled, period = progress.last_reconcile_at, self._settings.mode.reconcile_ms / 1_000
        age = None if reconciled is None else (self._clock.now() - reconciled).total_seconds()
        feed = self._feed_reasons()
        return ControlInputs(
            state=self._stops.stance.trading_state,
            vitals=trader.vitals(),
            limits=trader.limits,
            unknown_orders=len(trader.manager.unknown),
            broker_failure_streak=self._settings.stops.broker_failure_streak,
            order_feed_ok=not feed,
            order_feed_detail=", ".join(feed) or "ok",
            reconcile=ReconcileOutcome(
                age_seconds=age,
                discrepancies=Counter(each.kind for each in progress.discrepancies),
                frozen_symbols=tuple(sorted(each.symbol for each in trader.frozen.all())),
                max_age_seconds=max(_OVERDUE * period, 60.0),
            ),
        )
