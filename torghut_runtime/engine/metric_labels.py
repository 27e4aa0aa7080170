"""The closed sets that label values come from: what is none of them is counted as ``other``.

A label's value never holds a number that was measured, an id, or a text from outside: a family with such a label grows
without end. Strategies, symbols, fields, queues and components are closed by catalog, universe, feature contract and
code, and stand as they are.
"""

from collections.abc import Collection
from typing import Final

from torghut_runtime.market_data.continuity import LAG_ALERT
from torghut_runtime.trading_settings import NO_SIGNAL_REASONS

OTHER: Final = "other"

QUALITY_REASONS: Final = (
    "schema_mismatch",
    "required_feature_null_rate_exceeds_threshold",
    "duplicate_ratio_exceeds_threshold",
    "non_monotonic_progression",
    "feature_staleness_exceeds_budget",
)

REJECTIONS: Final = frozenset(
    {
        # state
        "trading_disabled", "trading_flag_off", "flags_stale", "live_trading_disabled", "kill_switch_enabled",
        "state_reducing", "state_halted", "not_reconciled", "lease_not_held", "account_mismatch", "backpressure",
        # live gate
        "live_settings_missing", "live_flag_off", "live_gate_policy_denied", "live_approval_missing",
        "live_approval_expired", "live_provenance_unverified", "live_limits_missing", "live_emergency_stop_off",
        # strategy
        "strategy_disabled", "strategy_degraded", "plugin_conflict", "symbol_not_allowed", "intent_conflict_resolved",
        "cooldown_active", *(f"feature_quality:{reason}" for reason in QUALITY_REASONS),
        # provenance
        "provenance_missing", "provenance_candidate_unknown", "provenance_hash_mismatch",
        "provenance_mode_insufficient", "provenance_signature_invalid", "provenance_ledger_broken",
        # market
        "market_closed", "calendar_broker_mismatch", "symbol_halted", "symbol_frozen", "signal_stale", "missing_price",
        "price_stale", "price_collar_exceeded", "asset_not_tradable", "asset_not_shortable",
        # size
        "qty_below_min", "min_notional_not_met", "max_notional_exceeded", "max_position_pct_exceeded",
        "symbol_notional_exceeded", "max_positions_exceeded", "shorts_not_allowed", "participation_exceeds_max",
        "adv_unavailable",
        # account
        "insufficient_buying_power", "gross_exposure_exceeded", "net_exposure_exceeded", "order_rate_exceeded",
        "max_open_orders_exceeded", "daily_loss_limit_reached", "max_drawdown_exceeded",
        # order
        "precheck_opposite_side_open_order", "alpaca_order_rejected", "submit_not_received", "queue_expired",
        "order_unknown_unresolved",
        # adviser
        "llm_veto", "llm_error", "llm_schema_invalid", "llm_deadline_exceeded", "llm_circuit_open",
        "llm_token_budget_exceeded", "llm_daily_token_budget_exceeded", "llm_provider_not_configured",
    }
)  # fmt: skip
"""Reason codes of refused entries (``runtime.md`` 8)."""

SILENCES: Final = frozenset(NO_SIGNAL_REASONS)
ALERTS: Final = SILENCES | {LAG_ALERT}
UNIVERSE: Final = ("ok", "degraded", "error")
"""What a universe can be."""
STATES: Final = ("ACTIVE", "REDUCING", "HALTED")
KILL_SWITCH_SOURCES: Final = ("env", "flag", "operator")
EXPOSURES: Final = ("gross", "net")
BROKER_ERRORS: Final = frozenset({"rejected", "rate_limited", "uncertain", "disconnected"})
WEBHOOK_EVENTS: Final = frozenset({"trading_halted", "champion_denied", "dead_letters_open", "order_feed_stalled"})
WEBHOOK_OUTCOMES: Final = frozenset({"delivered", "failed"})
OPERATOR_ACTIONS: Final = frozenset({"halt", "reduce", "resume", "cancel_all", "flatten", "disable", "enable"})
OPERATOR_OUTCOMES: Final = frozenset({"done", "stored_later", "repeated", "forbidden", "invalid", "refused", "failed"})
"""``stored_later`` was done without the database (202), ``repeated`` got an earlier call's answer."""
PARTS: Final = ("queue", "decide", "commit", "total")
"""Of the way from bar to order; the total ends when the request leaves, the broker's answer is not in it."""
FAIL_MODES: Final = frozenset({"veto", "pass_through"})
CIRCUITS: Final = ("closed", "half_open", "open")


def closed(value: str, known: Collection[str]) -> str:
    """The value, or ``other``."""
    return value if value in known else OTHER


def rejection(reason: str) -> str:
    """The label of a reason code; what follows its colon is cut off, but for the reasons of feature quality."""
    return closed(reason if reason.startswith("feature_quality:") else reason.partition(":")[0], REJECTIONS)
