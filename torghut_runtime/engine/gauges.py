"""What of the engine is a gauge of the metrics: set whenever its state is published."""

from collections.abc import Mapping

from torghut_runtime.engine.core import TradingCore
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.stance import Stance
from torghut_runtime.risk.limits import drawdown
from torghut_runtime.risk.trading_state import KillSwitch


def set_gauges(
    metrics: TradingMetrics,
    stance: Stance,
    kill_switch: KillSwitch,
    core: TradingCore | None,
    queues: Mapping[str, int],
    *,
    leads: bool,
    clean: bool,
    live_gate_missing: int,
) -> None:
    """State, sources of the kill switch, leadership, cleanness of the last reconciliation, queues and account."""
    metrics.state(stance.trading_state.state)
    metrics.kill_switch(env=kill_switch.environment, flag=kill_switch.flag, operator=kill_switch.operator)
    metrics.leader(leads)
    metrics.reconciled(clean)
    metrics.live_gate(live_gate_missing)
    for name, depth in queues.items():
        metrics.queue_depth(name, depth)
    if core is not None and core.trader is not None:
        account, portfolio = core.trader.account, core.portfolio
        equity = portfolio.equity
        fallen = drawdown(equity, account.high_water_mark)
        metrics.account(equity, equity - account.opening_equity, fallen, portfolio.gross, portfolio.net)
