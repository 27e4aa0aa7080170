"""What of the engine is a gauge of the metrics: set whenever its state is published."""

from collections.abc import Mapping, Sequence

from torghut_runtime.engine.core import TradingCore
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.stance import Stance
from torghut_runtime.risk.limits import drawdown
from torghut_runtime.risk.room import DAILY_LOSS, DRAWDOWN, GROSS, NET, OPEN_ORDERS, Cap
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
    limits: Sequence[Cap],
) -> None:
    """State, sources of the kill switch, leadership, cleanness of the last reconciliation, queues, account, limits."""
    metrics.risk.state(stance.trading_state.state)
    metrics.risk.kill_switch(env=kill_switch.environment, flag=kill_switch.flag, operator=kill_switch.operator)
    metrics.risk.leader(leads)
    metrics.risk.reconciled(clean)
    metrics.risk.live_gate(live_gate_missing)
    for name, depth in queues.items():
        metrics.process.queue_depth(name, depth)
    if core is not None and core.trader is not None:
        account, portfolio = core.trader.account, core.portfolio
        equity = portfolio.equity
        fallen = drawdown(equity, account.high_water_mark)
        metrics.risk.account(equity, equity - account.opening_equity, fallen, portfolio.gross, portfolio.net)
        # Before the account is known a share of its equity is no amount.
        values = {cap.code: cap.value for cap in limits if cap.source != "TRADING_MAX_OPEN_ORDERS_PER_SYMBOL"}
        metrics.risk.limits(
            daily_loss=values[DAILY_LOSS],
            drawdown=values[DRAWDOWN],
            gross=values.get(GROSS),
            net=values.get(NET),
            open_orders=values[OPEN_ORDERS],
        )
