"""Metrics of trading (``runtime.md`` 12): one object that everybody tells what happened.

It counts in memory and may be called from any thread; whoever has nothing to show still has one, a registry of its own
costs nothing. What is aggregated from tables is read by :mod:`torghut_runtime.api.trading_rows` every 15 s.
"""

import math
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import product
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from torghut_runtime.engine import metric_labels as labels
from torghut_runtime.engine.adviser_metrics import AdviserMetrics
from torghut_runtime.engine.metric_labels import OTHER, closed, rejection

PREFIX: Final = "torghut_trading_"
Part = Literal["queue", "decide", "commit", "total"]

_FAST: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)
_MS: Final = 1000.0


class TradingMetrics:
    """Every family that is counted where it happens."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._bars_taken_at: float | None = None
        self._orders()
        self._data()
        self._strategies()
        self._risk()
        self._process()
        self._durations()
        self.adviser = AdviserMetrics(self.registry, PREFIX)

    def _counter(self, name: str, text: str, *names: str, prefix: str = PREFIX) -> Counter:
        return Counter(f"{prefix}{name}", text, names, registry=self.registry)

    def _gauge(self, name: str, text: str, *names: str) -> Gauge:
        return Gauge(f"{PREFIX}{name}", text, names, registry=self.registry)

    def _histogram(self, name: str, text: str, *names: str, buckets: tuple[float, ...] = _SLOW) -> Histogram:
        return Histogram(f"{PREFIX}{name}", text, names, buckets=buckets, registry=self.registry)

    # Orders -----------------------------------------------------------------------------------------------------------

    def _orders(self) -> None:
        self._decisions = self._counter("decisions", "Decisions, refused ones included.")
        self._submitted = self._counter("orders_submitted", "Order requests that left.")
        self._rejected = self._counter("orders_rejected", "Refused entries and orders, once per reason.", "reason")
        self._reconcile_updates = self._counter("reconcile_updates", "Orders that a reconciliation changed.")
        self._conflicts = self._counter("intent_conflict", "Entries that netting reduced or dropped.")
        self._queued = self._gauge("queued_orders", "Orders that wait for their session.")

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

    # Data -------------------------------------------------------------------------------------------------------------

    def _data(self) -> None:
        self._silent = self._counter("no_signal_windows", "Windows in which no signal came.")
        self._silences = self._counter("no_signal_reason", "The same by reason.", "reason")
        self._reason_streaks = self._gauge("no_signal_reason_streak", "Windows in a row with this reason.", "reason")
        for reason in sorted(labels.SILENCES):
            self._silences.labels(reason)
            self._reason_streaks.labels(reason)
        self._streak = self._gauge("no_signal_streak", "Windows without a signal in a row.")
        self._lag = self._gauge("signal_lag_seconds", "How long the next bar is overdue by the calendar.")
        self._stale = self._counter("signal_staleness_alert", "Alerts of stale signals.", "reason")
        self._breaches = self._counter("signal_continuity_breach", "Breaches of continuity that stopped entries.")
        self._batch_rows = self._counter("feature_batch_rows", "Rows that the feature quality check has seen.")
        self._schema = self._counter("feature_schema_mismatch", "Rows that the feature contract refuses.")
        self._quality = self._counter("feature_quality_rejections", "Windows that the feature quality check refused.")
        self._null_rate = self._gauge("feature_null_rate", "Share of rows without the feature.", "field")
        self._staleness_p95 = self._gauge("feature_staleness_ms_p95", "Age of features, 95th percentile.")
        self._duplicates = self._gauge("feature_duplicate_ratio", "Share of rows that came twice.")
        self._universe = self._gauge("universe_status", "1 for the status that holds.", "status")
        self._universe_symbols = self._gauge("universe_symbols", "Symbols of the universe.")
        self._symbol_staleness = self._gauge("symbol_staleness_seconds", "Age of a symbol's newest bar.", "symbol")
        self._backfilled = self._counter("backfilled_bars", "Bars that a back-fill brought.")
        self.universe(None, 0)

    def no_signal(self, reason: str) -> None:
        """A window passed without a signal."""
        self._silent.inc()
        self._silences.labels(closed(reason, labels.SILENCES)).inc()

    def no_signal_streaks(self, streak: int, by_reason: Mapping[str, int]) -> None:
        """Windows without a signal in a row, and of each reason; a reason that is not named has none."""
        self._streak.set(streak)
        for reason in labels.SILENCES:
            self._reason_streaks.labels(reason).set(by_reason.get(reason, 0))

    def signal_lag(self, seconds: float) -> None:
        """How long the next expected bar is overdue now."""
        self._lag.set(seconds)

    def stale_signals(self, reason: str) -> None:
        """An alert of stale signals was raised."""
        self._stale.labels(closed(reason, labels.SILENCES)).inc()

    def continuity_breached(self) -> None:
        """Signals were missing for so long that entries stop."""
        self._breaches.inc()

    def features_checked(self, rows: int, *, mismatches: int = 0, rejections: int = 0) -> None:
        """Rows went through the quality check; so many windows were refused."""
        self._batch_rows.inc(rows)
        self._schema.inc(mismatches)
        self._quality.inc(rejections)

    def feature_quality(self, null_rates: Mapping[str, float], staleness_ms_p95: float, duplicate_ratio: float) -> None:
        """What the newest check has measured."""
        for field, rate in null_rates.items():
            self._null_rate.labels(field).set(rate)
        self._staleness_p95.set(staleness_ms_p95)
        self._duplicates.set(duplicate_ratio)

    def universe(self, status: Literal["ok", "degraded", "error"] | None, symbols: int) -> None:
        """What the universe is now; None before it was read."""
        _one_of(self._universe, labels.UNIVERSE, status)
        self._universe_symbols.set(symbols)

    def symbol_staleness(self, seconds: Mapping[str, float]) -> None:
        """Age of the newest bar of every symbol; others are no longer shown."""
        self._symbol_staleness.clear()
        for symbol, age in seconds.items():
            self._symbol_staleness.labels(symbol).set(age)

    def backfilled(self, bars: int) -> None:
        """A back-fill brought bars."""
        self._backfilled.inc(bars)

    # Strategies -------------------------------------------------------------------------------------------------------

    def _strategies(self) -> None:
        self._steps = self._counter("strategy_events", "Bars that a strategy was asked about.", "strategy_id")
        self._intents = self._counter("strategy_intents", "Its verdicts that were no hold.", "strategy_id")
        self._errors = self._counter("strategy_errors", "Its outputs that could not be used.", "strategy_id")
        self._latency = self._gauge("strategy_latency_ms", "Duration of its last step.", "strategy_id")
        self._shown_steps: dict[str, tuple[Counter, Gauge]] = {}
        """What is counted at every bar, looked up once per strategy."""
        self._isolated = self._counter(
            "strategy_runtime_isolated_failures", "Failures of one strategy that left the others running."
        )
        self._catalog_errors = self._counter("catalog_errors", "Catalogs, or entries, that could not be loaded.")
        self._inputs = self._counter("decision_inputs", "Steps whose inputs were recorded.")

    def stepped(self, strategy_id: str, seconds: float, *, acted: bool, failed: bool) -> None:
        """A strategy was asked about a bar."""
        shown = self._shown_steps.get(strategy_id)
        if shown is None:
            shown = self._shown_steps[strategy_id] = self._steps.labels(strategy_id), self._latency.labels(strategy_id)
        shown[0].inc()
        shown[1].set(seconds * _MS)
        if failed:
            self._errors.labels(strategy_id).inc()
            self._isolated.inc()
        elif acted:
            self._intents.labels(strategy_id).inc()

    def strategies_are(self, strategy_ids: Iterable[str]) -> None:
        """The catalog has these now: families of a strategy begin at 0; one that is gone is no longer shown."""
        kept = set(strategy_ids)
        self._shown_steps.clear()
        for family in (self._steps, self._intents, self._errors, self._latency):
            shown = {sample.labels["strategy_id"] for metric in family.collect() for sample in metric.samples}
            for gone in shown - kept:
                family.remove(gone)
            if family is not self._latency:
                for strategy_id in kept:
                    family.labels(strategy_id)

    def catalog_error(self) -> None:
        """A catalog, or an entry of it, could not be loaded."""
        self._catalog_errors.inc()

    def inputs_recorded(self, steps: int) -> None:
        """Inputs of steps were written."""
        self._inputs.inc(steps)

    # Risk -------------------------------------------------------------------------------------------------------------

    def _risk(self) -> None:
        self._state = self._gauge("state", "1 for the trading state that holds.", "state")
        self._kill_switch = self._gauge("kill_switch", "1 where the source has it on.", "source")
        self._leader = self._gauge("leader", "1 while this process holds the lease.")
        self._reconciled = self._gauge("reconciled", "1 while the last reconciliation was clean.")
        self._exposure = self._gauge("exposure", "Positions and reservations, currency.", "kind")
        self._equity = self._gauge("equity", "Equity, currency.")
        self._day_pnl = self._gauge("day_pnl", "Equity less that of the session's start, currency.")
        self._drawdown = self._gauge("drawdown", "Fall of equity below its high-water mark, fraction.")
        self._live_gate = self._gauge("live_gate_missing", "What the live gate lacks.")
        self.state(None)
        self.kill_switch()

    def state(self, state: str | None) -> None:
        """The trading state now; None before it is known."""
        _one_of(self._state, labels.STATES, state)

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

    def live_gate(self, missing: int) -> None:
        """How much the live gate lacks."""
        self._live_gate.set(missing)

    # Process ----------------------------------------------------------------------------------------------------------

    def _process(self) -> None:
        self._depth = self._gauge("queue_depth", "Items that wait.", "queue")
        self._dropped = self._counter("queue_dropped", "Items that a full queue has lost.", "queue")
        self._events_age = self._gauge("order_events_age_seconds", "How long events of orders wait to be stored.")
        self._restarts = self._counter("component_restarts", "Restarts of a supervised part.", "component")
        self._rate_limited = self._counter("rate_limited", "Requests that waited or failed for the rate limit.")
        self._broker_errors = self._counter("broker_errors", "Requests that the broker did not carry out.", "kind")
        for kind in sorted(labels.BROKER_ERRORS):
            self._broker_errors.labels(kind)
        self._operator = self._counter("operator_requests", "Operator's calls.", "action", "outcome", prefix="torghut_")
        self._auth = self._counter("operator_auth_failures", "Calls without a valid token.", prefix="torghut_")
        self._webhook = self._counter("webhook", "Calls of the webhook.", "event", "outcome", prefix="torghut_")
        for event, outcome in product(sorted(labels.WEBHOOK_EVENTS), sorted(labels.WEBHOOK_OUTCOMES)):
            self._webhook.labels(event, outcome)

    def parts_are(self, components: Iterable[str], queues: Iterable[str]) -> None:
        """The process has these: their counters begin at 0, so that the first event is an increase."""
        for component in components:
            self._restarts.labels(component)
        for queue in queues:
            self._dropped.labels(queue)
            self._depth.labels(queue)

    def queue_depth(self, queue: str, items: int) -> None:
        """How many items wait in a queue."""
        self._depth.labels(queue).set(items)

    def queue_dropped(self, queue: str, items: int = 1) -> None:
        """A full queue has lost items."""
        self._dropped.labels(queue).inc(items)

    def oldest_event(self, seconds: float) -> None:
        """How long the oldest event of an order waits to be stored; 0 when none waits."""
        self._events_age.set(seconds)

    def restarted(self, component: str) -> None:
        """A supervised part was started again."""
        self._restarts.labels(component).inc()

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

    def _durations(self) -> None:
        self._bar_to_order = self._histogram("bar_to_order_seconds", "Parts of the way.", "part", buckets=_FAST)
        for part in labels.PARTS:
            self._bar_to_order.labels(part)
        self._feature_step = self._histogram("feature_step_seconds", "Features of one bar.", buckets=_FAST)
        self._submit_ack = self._histogram("submit_ack_seconds", "Order request to answer.")
        self._apply = self._histogram("order_event_apply_seconds", "Fold of one order event.", buckets=_FAST)
        self._cancel_all = self._histogram("cancel_all_seconds", "Wish to no open order.")
        self._reconcile = self._histogram("reconcile_seconds", "One reconciliation.")
        self._loop_lag = self._histogram("loop_lag_seconds", "Delay of the event loop.", buckets=_FAST)

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


def _one_of(gauge: Gauge, values: Iterable[str], current: str | None) -> None:
    """1 for the value that holds, 0 for the others; one that nobody knows is shown as ``other``."""
    known = tuple(values)
    for value in (*known, OTHER):
        gauge.labels(value).set(value == current or (value == OTHER and current is not None and current not in known))


def as_json(registry: CollectorRegistry) -> dict[str, Any]:
    """What a registry holds as plain values, for ``/trading/metrics``.

    Families are named as in Prometheus without ``torghut_trading_``; labelled ones are mappings from label value to
    value, nested in the order of the labels; a histogram is its count and sum.
    """
    found: dict[str, Any] = {}
    for family in registry.collect():
        name = family.name.removeprefix(PREFIX)
        for sample in family.samples:
            suffix = sample.name.removeprefix(family.name)
            if suffix in ("_bucket", "_created"):
                continue
            path = [f"{name}_total" if suffix == "_total" else name, *sample.labels.values()]
            if suffix in ("_count", "_sum"):
                path.append(suffix[1:])
            into = found
            for step in path[:-1]:
                into = into.setdefault(step, {})
            into[path[-1]] = _plain(sample.value)
    return found


def _plain(value: float) -> int | float | None:
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value
