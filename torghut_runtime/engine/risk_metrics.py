"""Gauges of what may be traded now: trading state, lease, the account as valued last, and its caps."""

import math
from decimal import Decimal

from torghut_runtime.engine import metric_labels as labels
from torghut_runtime.engine.metric_families import Families, show_one


class RiskMetrics:
    """Set whenever the engine's state is published (:mod:`torghut_runtime.engine.gauges`)."""

    def __init__(self, families: Families) -> None:
        self._state = families.gauge("state", "1 for the trading state that holds.", "state")
        self._kill_switch = families.gauge("kill_switch", "1 where the source has it on.", "source")
        self._leader = families.gauge("leader", "1 while this process holds the lease.")
        self._reconciled = families.gauge("reconciled", "1 while the last reconciliation was clean.")
        self._exposure = families.gauge("exposure", "Positions and reservations, currency.", "kind")
        self._equity = families.gauge("equity", "Equity, currency.")
        self._day_pnl = families.gauge("day_pnl", "Equity less that of the session's start, currency.")
        self._drawdown = families.gauge("drawdown", "Fall of equity below its high-water mark, fraction.")
        self._daily_loss_limit = families.gauge(
            "daily_loss_limit", "Loss of a day that stops entries, currency; NaN before the account is known."
        )
        self._drawdown_limit = families.gauge(
            "drawdown_limit", "Drawdown that stops entries, fraction; NaN before the account is known."
        )
        self._exposure_limit = families.gauge(
            "exposure_limit", "Cap on exposure, currency; absent without one.", "kind"
        )
        self._open_orders_limit = families.gauge(
            "open_orders_limit", "Cap on open orders; NaN before the account is known."
        )
        for limit in (self._daily_loss_limit, self._drawdown_limit, self._open_orders_limit):
            limit.set(math.nan)
        self._live_gate = families.gauge("live_gate_missing", "What the live gate lacks.")
        self.state(None)
        self.kill_switch()

    def state(self, state: str | None) -> None:
        """The trading state now; None before it is known."""
        show_one(self._state, labels.STATES, state)

    def kill_switch(self, *, env: bool = False, flag: bool = False, operator: bool = False) -> None:
        """Which sources have the kill switch on."""
        for source, engaged in zip(labels.KILL_SWITCH_SOURCES, (env, flag, operator), strict=True):
            self._kill_switch.labels(source).set(engaged)

    def leader(self, holds: bool) -> None:
        """Whether this process holds the lease."""
        self._leader.set(holds)

    def reconciled(self, clean: bool) -> None:
        """Whether the last reconciliation was clean."""
        self._reconciled.set(clean)

    def account(self, equity: Decimal, day_pnl: Decimal, drawdown: Decimal, gross: Decimal, net: Decimal) -> None:
        """The account as it was valued last."""
        self._equity.set(float(equity))
        self._day_pnl.set(float(day_pnl))
        self._drawdown.set(float(drawdown))
        for kind, value in zip(labels.EXPOSURES, (gross, net), strict=True):
            self._exposure.labels(kind).set(float(value))

    def limits(
        self,
        *,
        daily_loss: Decimal,
        drawdown: Decimal,
        gross: Decimal | None,
        net: Decimal | None,
        open_orders: Decimal,
    ) -> None:
        """The caps on the account as they are in effect now."""
        self._daily_loss_limit.set(float(daily_loss))
        self._drawdown_limit.set(float(drawdown))
        self._open_orders_limit.set(float(open_orders))
        for kind, value in zip(labels.EXPOSURES, (gross, net), strict=True):
            if value is not None:
                self._exposure_limit.labels(kind).set(float(value))

    def live_gate(self, missing: int) -> None:
        """How much the live gate lacks."""
        self._live_gate.set(missing)
