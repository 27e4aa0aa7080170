"""Everything that stops trading for one account, wired together: state, kill switch, cancel-all, account, blocks.

Entering HALTED, from whatever side, has every open order cancelled at once; what came of it joins the incident. The
engine starts and stops this; what an operator asks is :mod:`torghut_runtime.engine.operator_desk`'s business.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future

import sqlalchemy as sa

from torghut_runtime.broker.protocol import BrokerReader
from torghut_runtime.clock import Clock
from torghut_runtime.engine.account_guard import AccountGuard
from torghut_runtime.engine.cancel_all import CancelAll, CancelReport
from torghut_runtime.engine.dispatcher import Dispatcher
from torghut_runtime.engine.flag_source import EMERGENCY_STOP, LIVE_ENABLED, TRADING_ENABLED, FlagSource
from torghut_runtime.engine.kill_switch import KillSwitchWatch
from torghut_runtime.engine.stance import Cause, Stance
from torghut_runtime.engine.state_keeper import StateKeeper
from torghut_runtime.engine.strategy_blocks import StrategyBlocks
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.risk.baselines import Baselines
from torghut_runtime.risk.live_gate import LiveApproval, LiveFlags, LivePolicy, live_gate, live_gate_reason
from torghut_runtime.risk.trading_state import ACTIVE, HALTED, TradingState
from torghut_runtime.storage.baselines import read_baselines, save_baselines
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.incidents import extend_incidents
from torghut_runtime.storage.lease import Lease
from torghut_runtime.storage.strategy_blocks import StrategyBlock
from torghut_runtime.trading_settings import TradingSettings


class StopSystem:
    """The stops of one account; see the parts."""

    def __init__(
        self,
        *,
        settings: TradingSettings,
        base_url: str,
        database: sa.Engine,
        stance: Stance,
        firewall: Firewall,
        reader: BrokerReader,
        flags: FlagSource,
        clock: Clock,
        lease: Callable[[], Lease | None],
    ) -> None:
        self.halting: Future[CancelReport] | None = None
        """The cancel-all that entering HALTED began, of the last time."""
        self.account_label = settings.mode.account_label
        self._database = database
        self._settings = settings
        self._baselines: Baselines | None = None
        self._cancels = CancelReport(0, 0)
        self.stance = stance
        self.firewall = firewall
        self.reader = reader
        self.flags = flags
        self.clock = clock
        self.keeper = StateKeeper(database, self.account_label, stance, lease=lease)
        self.cancel_all = CancelAll(firewall, reader, told=self._cancelled)
        self.kill_switch = KillSwitchWatch(stance, flags, self.cancel_all, clock)
        self.account = AccountGuard(stance, settings, base_url, clock)
        self.blocks = StrategyBlocks()
        self.keeper.on_look.append(lambda connection: self.blocks.read(connection, self.account_label))
        stance.observers.append(self._changed)
        stance.cancels_at_once = True
        stance.is_known = self.keeper.restored.is_set
        stance.entry_refusals = lambda: flags.degraded
        stance.set(trading_enabled=flags.switch(TRADING_ENABLED).environment)

    def start(self) -> None:
        """Begin, in an order in which nothing is missed: who cancels first, then who finds reasons to."""
        self.cancel_all.start()
        self.kill_switch.start()
        self.keeper.start()

    def stop(self) -> bool:
        """End; whether everything is stored."""
        self.kill_switch.stop()
        durable = self.keeper.stop()
        self.cancel_all.stop()
        return durable

    def serve(self, dispatcher: Dispatcher) -> None:
        """Have a dispatcher take back the orders of a strategy that is blocked, and tell what it cancelled."""
        dispatcher.told_cancels = lambda done, failed: self._cancelled(CancelReport(done, failed))

        def blocked(block: StrategyBlock) -> None:
            frozen = block.mode == "freeze"
            self.stance.deliver(lambda: dispatcher.strategy_blocked(block.strategy_id, frozen=frozen))

        self.blocks.on_block.append(blocked)

    def store_blocks(self, seconds: float) -> bool:
        """Have the blocks written; whether they are, after so long at most."""
        self.keeper.later("strategy_blocks", lambda connection: self.blocks.write(connection, self.account_label))
        return self.keeper.written("strategy_blocks", seconds)

    def check_live_gate(
        self, policy: LivePolicy | None, approval: LiveApproval | None, provenance: Mapping[str, bool] | None
    ) -> list[str]:
        """What is missing for live trading; in live mode anything that is halts. For the start and for every poll."""
        switches = LiveFlags(
            live_enabled=self.flags.switch(LIVE_ENABLED).effective,
            emergency_stop=self.flags.switch(EMERGENCY_STOP).effective,
        )
        missing = live_gate(self._settings, policy, approval, provenance, switches)
        reason = live_gate_reason(self._settings, missing)
        if reason is not None:
            self.stance.latch(reason, self.clock.now(), detail={"inputs": {"missing": missing}})
        return missing

    def stored_baselines(self) -> Baselines | None:
        """What losses were measured against by the process before.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        with connect(self._database) as connection:
            return read_baselines(connection, self.account_label)

    def store_baselines(self, baselines: Baselines | None) -> None:
        """Have the baselines written if they have changed: whoever evaluates hands them over each time."""
        if baselines is None or baselines == self._baselines:
            return
        self._baselines = baselines
        self.keeper.later("baselines", lambda connection: save_baselines(connection, self.account_label, baselines))

    def _changed(self, before: TradingState, after: TradingState, cause: Cause) -> None:
        del cause
        if before.state == ACTIVE:
            self._cancels = CancelReport(0, 0)
        if after.state == HALTED and before.state != HALTED:
            self.halting = self.cancel_all.demand()

    def _cancelled(self, report: CancelReport) -> None:
        so_far = self._cancels
        self._cancels = CancelReport(so_far.cancelled + report.cancelled, so_far.failed + report.failed)
        detail = {"orders_cancelled": self._cancels.cancelled, "cancels_failed": self._cancels.failed}
        self.keeper.later("cancels", lambda connection: extend_incidents(connection, self.account_label, detail))
