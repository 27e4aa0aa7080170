"""Metrics of trading: exactly the contract's families and types, closed label sets, what was told of them."""

import math
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from shown_metrics import shown_metrics

from torghut_runtime.api.trading_rows import TradingRows
from torghut_runtime.engine.metric_labels import REJECTIONS, rejection
from torghut_runtime.engine.metrics import TradingMetrics

COUNTERS = {
    "decisions": (), "orders_submitted": (), "orders_rejected": ("reason",), "reconcile_updates": (),
    "intent_conflict": (), "no_signal_windows": (), "no_signal_reason": ("reason",),
    "signal_staleness_alert": ("reason",), "signal_continuity_breach": (), "feature_batch_rows": (),
    "feature_schema_mismatch": (), "feature_quality_rejections": (), "backfilled_bars": (),
    "strategy_events": ("strategy_id",), "strategy_intents": ("strategy_id",), "strategy_errors": ("strategy_id",),
    "strategy_runtime_isolated_failures": (), "catalog_errors": (), "decision_inputs": (),
    "queue_dropped": ("queue",), "component_restarts": ("component",), "rate_limited": (), "broker_errors": ("kind",),
    "torghut_operator_requests": ("action", "outcome"), "torghut_operator_auth_failures": (),
    "torghut_webhook": ("event", "outcome"), "llm_requests": (), "llm_approve": (), "llm_veto": (), "llm_reduce": (),
    "llm_error": (), "llm_validation_error": (), "llm_circuit_open": (), "llm_deadline": (), "llm_late": (),
    "llm_shadow": (), "llm_tokens_prompt": (), "llm_tokens_completion": (), "llm_fail_mode": ("mode",),
}  # fmt: skip
GAUGES = {
    "queued_orders": (), "no_signal_reason_streak": ("reason",), "no_signal_streak": (), "signal_lag_seconds": (),
    "feature_null_rate": ("field",), "feature_staleness_ms_p95": (), "feature_duplicate_ratio": (),
    "universe_status": ("status",), "universe_symbols": (), "symbol_staleness_seconds": ("symbol",),
    "strategy_latency_ms": ("strategy_id",), "state": ("state",), "kill_switch": ("source",), "leader": (),
    "reconciled": (), "exposure": ("kind",), "equity": (), "day_pnl": (), "drawdown": (), "live_gate_missing": (),
    "daily_loss_limit": (), "drawdown_limit": (), "exposure_limit": ("kind",), "open_orders_limit": (),
    "queue_depth": ("queue",), "order_events_age_seconds": (), "llm_circuit_state": (),
}  # fmt: skip
FROM_TABLES = {
    "unknown_orders", "open_orders", "reconcile_discrepancies", "frozen_symbols", "incidents_open", "tca_order_count",
    "tca_avg_slippage_bps", "tca_avg_shortfall_notional", "tca_avg_churn_ratio",
}  # fmt: skip
HISTOGRAMS = {
    "bar_to_order_seconds": ("part",), "feature_step_seconds": (), "submit_ack_seconds": (),
    "order_event_apply_seconds": (), "cancel_all_seconds": (), "reconcile_seconds": (), "llm_latency_seconds": (),
    "loop_lag_seconds": (),
}  # fmt: skip


def full(name: str) -> str:
    return name if name.startswith("torghut_") else f"torghut_trading_{name}"


def everything_happened() -> TradingMetrics:
    """Every family has a sample."""
    metrics = TradingMetrics()
    metrics.strategies.are(["s1"])
    metrics.strategies.stepped("s1", 0.002, acted=True, failed=False)
    metrics.rejected("market_closed")
    metrics.market.stale_signals("no_signals_in_window")
    metrics.market.feature_quality({"rsi14": 0.5}, 10, 0.25)
    metrics.market.symbol_staleness({"AAPL": 3})
    metrics.risk.account(Decimal(100), Decimal(-1), Decimal("0.01"), Decimal(50), Decimal(-20))
    metrics.risk.limits(
        daily_loss=Decimal(3), drawdown=Decimal("0.08"), gross=Decimal(200), net=None, open_orders=Decimal(50)
    )
    metrics.process.queue_depth("bars", 3)
    metrics.process.queue_dropped("adviser")
    metrics.process.restarted("market_data")
    metrics.operator_called("halt", "done")
    metrics.webhook("trading_halted", "delivered")
    return metrics


def test_the_families_are_those_of_the_contract_with_their_types_and_labels() -> None:
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for family in everything_happened().registry.collect():
        names = {tuple(name for name in sample.labels if name != "le") for sample in family.samples}
        assert len(names) == 1, family.name
        found[family.name] = (family.type, names.pop())
    assert found == {
        full(name): (kind, names)
        for kind, group in (("counter", COUNTERS), ("gauge", GAUGES), ("histogram", HISTOGRAMS))
        for name, names in group.items()
    }


def test_families_of_tables_are_the_rest_of_the_contract() -> None:
    families = list(TradingRows("paper").families())
    assert {family.name for family in families} == {full(name) for name in FROM_TABLES}
    assert {family.type for family in families} == {"gauge"}
    assert not FROM_TABLES & (COUNTERS.keys() | GAUGES.keys() | HISTOGRAMS.keys())


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("market_closed", "market_closed"),
        ("max_drawdown_exceeded:0.120000", "max_drawdown_exceeded"),
        ("feature_quality:schema_mismatch", "feature_quality:schema_mismatch"),
        ("feature_quality:sunspots", "other"),
        ("order 17 was refused", "other"),
        ("", "other"),
    ],
)
def test_a_reason_is_counted_under_its_code_or_as_other(reason: str, label: str) -> None:
    assert rejection(reason) == label


def test_label_values_never_leave_their_sets() -> None:
    metrics = TradingMetrics()
    for text in ("a", "b", "secret-token-1", "x:9"):
        metrics.rejected(text)
        metrics.broker_error(text)
        metrics.market.no_signal(text)
        metrics.market.stale_signals(text)
        metrics.operator_called(text, text)
        metrics.webhook(text, text)
        metrics.adviser.failed_over(text)
        metrics.risk.state(text)
    found = {
        sample.labels[name]
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
        for name in sample.labels
        if name in {"reason", "kind", "action", "outcome", "event", "mode", "state"} and sample.value
    }
    assert found == {"other"}
    assert "secret-token-1" not in generate_latest(metrics.registry).decode()


def test_every_reason_code_that_the_limits_give_is_known() -> None:
    from torghut_runtime.risk import limits

    gate = limits.Gate(
        trading_enabled=False,
        kill_switch=True,
        state="HALTED",
        reconciled=False,
        lease_held=False,
        account_matches=False,
        backpressure=True,
    )
    assert set(limits.gate_reasons(gate, is_exit=False)) <= REJECTIONS


def test_one_state_holds_at_a_time_and_an_unknown_one_is_shown() -> None:
    metrics = TradingMetrics()

    def states() -> dict[str, float]:
        return {name: value for name, value in shown_metrics(metrics.registry)["state"].items() if value}

    assert states() == {}
    metrics.risk.state("REDUCING")
    assert states() == {"REDUCING": 1}
    metrics.risk.state("HALTED")
    assert states() == {"HALTED": 1}
    metrics.risk.state("SLEEPING")
    assert states() == {"other": 1}


def test_a_strategy_that_left_the_catalog_is_no_longer_shown() -> None:
    metrics = TradingMetrics()
    metrics.strategies.are(["s1", "s2"])
    metrics.strategies.stepped("s1", 0.001, acted=False, failed=True)
    assert shown_metrics(metrics.registry)["strategy_events_total"] == {"s1": 1, "s2": 0}
    metrics.strategies.are(["s2"])
    copy = shown_metrics(metrics.registry)
    assert copy["strategy_events_total"] == {"s2": 0}
    assert copy["strategy_errors_total"] == {"s2": 0}
    assert "strategy_latency_ms" not in copy
    assert copy["strategy_runtime_isolated_failures_total"] == 1


def test_an_order_is_timed_from_its_bar_and_only_while_bars_are_judged() -> None:
    metrics = TradingMetrics()
    metrics.order_leaves()
    metrics.bars_taken(waited=2.0)
    metrics.order_decided()
    metrics.order_leaves()
    metrics.bars_done()
    metrics.order_leaves()
    parts = shown_metrics(metrics.registry)["bar_to_order_seconds"]
    assert parts["queue"] == {"count": 1, "sum": 2}
    assert parts["total"]["count"] == 1
    assert parts["total"]["sum"] >= 2
    assert parts["decide"]["count"] == 1
    assert parts["commit"]["count"] == 0


def test_what_was_told_is_shown_under_its_family_and_labels() -> None:
    shown = shown_metrics(everything_happened().registry)
    assert shown["orders_rejected_total"] == {"market_closed": 1}
    assert shown["exposure"] == {"gross": 50, "net": -20}
    assert shown["torghut_operator_requests_total"] == {"halt": {"done": 1}}
    assert shown["drawdown"] == 0.01
    assert shown["strategy_latency_ms"] == {"s1": 2}
    assert shown["daily_loss_limit"] == 3
    assert shown["exposure_limit"] == {"gross": 200}


def test_a_limit_is_no_number_before_the_account_is_known() -> None:
    shown = shown_metrics(TradingMetrics().registry)
    assert all(math.isnan(shown[name]) for name in ("daily_loss_limit", "drawdown_limit", "open_orders_limit"))
    assert "exposure_limit" not in shown


def test_two_instances_share_nothing() -> None:
    one, other = TradingMetrics(), TradingMetrics(CollectorRegistry())
    one.decided()
    assert shown_metrics(other.registry)["decisions_total"] == 0
    assert shown_metrics(one.registry)["decisions_total"] == 1
