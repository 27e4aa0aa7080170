"""Metrics of trading (``runtime.md`` 12): one object that everybody tells what happened.

What happens to orders and requests, and how long it takes, is told to the object itself; market, strategies, risk,
process and adviser have a part of it each. It counts in memory and may be called from any thread; whoever has nothing
to show still has one, a registry of its own costs nothing. What is aggregated from tables is read by
:mod:`torghut_runtime.api.trading_rows` every 15 s.
"""

import time
from itertools import product
from typing import Literal

from prometheus_client import CollectorRegistry

from torghut_runtime.engine import metric_labels as labels
from torghut_runtime.engine.adviser_metrics import AdviserMetrics
from torghut_runtime.engine.market_metrics import MarketMetrics
from torghut_runtime.engine.metric_families import FAST, Families
from torghut_runtime.engine.metric_labels import closed, rejection
from torghut_runtime.engine.process_metrics import ProcessMetrics
from torghut_runtime.engine.risk_metrics import RiskMetrics
from torghut_runtime.engine.strategy_metrics import StrategyMetrics

Part = Literal["queue", "decide", "commit", "total"]


class TradingMetrics:
    """Every family that is counted where it happens, shown in the order in which they are made here."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        families = Families(self.registry)
        self._bars_taken_at: float | None = None
        self._orders(families)
        self.market = MarketMetrics(families)
        self.strategies = StrategyMetrics(families)
        self.risk = RiskMetrics(families)
        self.process = ProcessMetrics(families)
        self._requests(families)
        self._durations(families)
        self.adviser = AdviserMetrics(families)

    # Orders -----------------------------------------------------------------------------------------------------------

    def _orders(self, families: Families) -> None:
        self._decisions = families.counter("decisions", "Decisions, refused ones included.")
        self._submitted = families.counter("orders_submitted", "Order requests that left.")
        self._rejected = families.counter("orders_rejected", "Refused entries and orders, once per reason.", "reason")
        self._reconcile_updates = families.counter("reconcile_updates", "Orders that a reconciliation changed.")
        self._conflicts = families.counter("intent_conflict", "Entries that netting reduced or dropped.")
        self._queued = families.gauge("queued_orders", "Orders that wait for their session.")

    def decided(self) -> None:
        """A strategy's verdict became a decision, whatever follows from it."""
        self._decisions.inc()

    def submitted(self) -> None:
        """An order request left."""
        self._submitted.inc()

    def rejected(self, reason: str) -> None:
        """An entry or order was refused for this reason."""
        self._rejected.labels(rejection(reason)).inc()

    def reconcile_updated(self, orders: int = 1) -> None:
        """Orders whose state a reconciliation changed."""
        self._reconcile_updates.inc(orders)

    def conflict_resolved(self) -> None:
        """Netting took back all or part of an entry."""
        self._conflicts.inc()

    def queued(self, orders: int) -> None:
        """How many orders wait for their session now."""
        self._queued.set(orders)

    # Requests to the broker, of the operator, of the webhook ----------------------------------------------------------

    def _requests(self, families: Families) -> None:
        self._rate_limited = families.counter("rate_limited", "Requests that waited or failed for the rate limit.")
        self._broker_errors = families.counter("broker_errors", "Requests that the broker did not carry out.", "kind")
        for kind in sorted(labels.BROKER_ERRORS):
            self._broker_errors.labels(kind)
        self._operator = families.counter(
            "operator_requests", "Operator's calls.", "action", "outcome", prefix="torghut_"
        )
        self._auth = families.counter("operator_auth_failures", "Calls without a valid token.", prefix="torghut_")
        self._webhook = families.counter("webhook", "Calls of the webhook.", "event", "outcome", prefix="torghut_")
        for event, outcome in product(sorted(labels.WEBHOOK_EVENTS), sorted(labels.WEBHOOK_OUTCOMES)):
            self._webhook.labels(event, outcome)

    def rate_limited(self) -> None:
        """A request was held back, by our own budget or by the broker."""
        self._rate_limited.inc()

    def broker_error(self, kind: str) -> None:
        """The broker refused or did not answer."""
        self._broker_errors.labels(closed(kind, labels.BROKER_ERRORS)).inc()

    def operator_called(self, action: str, outcome: str) -> None:
        """An authenticated operator's call ended."""
        known = closed(action, labels.OPERATOR_ACTIONS), closed(outcome, labels.OPERATOR_OUTCOMES)
        self._operator.labels(*known).inc()

    def auth_failed(self) -> None:
        """A call came without a valid token."""
        self._auth.inc()

    def webhook(self, event: str, outcome: str) -> None:
        """A webhook's call ended."""
        self._webhook.labels(closed(event, labels.WEBHOOK_EVENTS), closed(outcome, labels.WEBHOOK_OUTCOMES)).inc()

    # Durations --------------------------------------------------------------------------------------------------------

    def _durations(self, families: Families) -> None:
        self._bar_to_order = families.histogram("bar_to_order_seconds", "Parts of the way.", "part", buckets=FAST)
        for part in labels.PARTS:
            self._bar_to_order.labels(part)
        self._feature_step = families.histogram("feature_step_seconds", "Features of one bar.", buckets=FAST)
        self._submit_ack = families.histogram("submit_ack_seconds", "Order request to answer.")
        self._apply = families.histogram("order_event_apply_seconds", "Fold of one order event.", buckets=FAST)
        self._cancel_all = families.histogram("cancel_all_seconds", "Wish to no open order.")
        self._reconcile = families.histogram("reconcile_seconds", "One reconciliation.")
        self._loop_lag = families.histogram("loop_lag_seconds", "Delay of the event loop.", buckets=FAST)

    def bars_taken(self, waited: float = 0.0) -> None:
        """Bars that closed together are being judged from now on; they waited so long (s) in their queue."""
        self.bar_to_order("queue", waited)
        self._bars_taken_at = time.perf_counter() - waited

    def bars_done(self) -> None:
        """Everything that these bars asked for was ordered."""
        self._bars_taken_at = None

    def order_decided(self) -> None:
        """An order is about to be written down."""
        self._since_bars("decide")

    def order_leaves(self) -> None:
        """An order request is about to leave."""
        self._since_bars("total")

    def _since_bars(self, part: Part) -> None:
        if self._bars_taken_at is not None:
            self.bar_to_order(part, time.perf_counter() - self._bars_taken_at)

    def bar_to_order(self, part: Part, seconds: float) -> None:
        """A part of the way from bar to order took so long."""
        self._bar_to_order.labels(part).observe(seconds)

    def feature_step(self, seconds: float) -> None:
        """The features of one bar took so long."""
        self._feature_step.observe(seconds)

    def submit_acked(self, seconds: float) -> None:
        """The broker answered an order request after so long."""
        self._submit_ack.observe(seconds)

    def order_event_applied(self, seconds: float) -> None:
        """The fold of one event took so long."""
        self._apply.observe(seconds)

    def all_cancelled(self, seconds: float) -> None:
        """No order is open any more, so long after it was wished."""
        self._cancel_all.observe(seconds)

    def reconcile_took(self, seconds: float) -> None:
        """One reconciliation took so long."""
        self._reconcile.observe(seconds)

    def loop_lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self._loop_lag.observe(seconds)
