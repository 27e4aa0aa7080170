"""What is shown where no engine runs in the process: that none does. Nobody can ask anything of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torghut_runtime.engine.surface import Component, Dependency, Role
from torghut_runtime.trading_settings import TradingSettings


class NoEngine:
    """An :class:`~torghut_runtime.engine.surface.EngineView` of nothing."""

    def __init__(self, settings: TradingSettings) -> None:
        self._settings = settings

    def status(self) -> Mapping[str, Any]:
        """Every key; what an engine would fill is empty."""
        settings = self._settings
        kill_switch = settings.stops.kill_switch
        return {
            "enabled": settings.mode.enabled,
            "mode": settings.mode.mode,
            "adapter": settings.broker.adapter,
            "running": False,
            "role": self.role,
            "last_run_at": None,
            "last_reconcile_at": None,
            "last_error": None,
            "trading_state": {"state": "HALTED", "reasons": [{"code": "no_engine"}], "actor": None, "since": None},
            "kill_switch_enabled": kill_switch,
            "kill_switch": {"env": kill_switch, "flag": False, "operator": False},
            "live_gate": {"allowed": False, "missing": []},
            "signal_continuity": {},
            "rollback": {},
            "catalog": {},
            "limits": [],
            "queues": {},
            "metrics": {},
            "llm": {},
            "operations": [],
        }

    def positions(self) -> Mapping[str, Any]:
        """Nothing is known."""
        names = (
            "equity", "cash", "buying_power", "gross_exposure", "net_exposure", "day_pnl", "high_water_mark",
            "drawdown",
        )  # fmt: skip
        return {"account": dict.fromkeys(names), "items": []}

    def components(self) -> Mapping[str, Component]:
        """None."""
        return {}

    def dependencies(self) -> Mapping[str, Dependency]:
        """None was asked for."""
        return {
            name: Dependency(ok=False, detail="no engine runs in this process")
            for name in ("postgres", "alpaca", "market_data", "order_feed", "flags")
        }

    @property
    def role(self) -> Role:
        """It holds no lease."""
        return "standby"

    @property
    def unready_reasons(self) -> Sequence[str]:
        """Nothing could become ready here."""
        return ()
