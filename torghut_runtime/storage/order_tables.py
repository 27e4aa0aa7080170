"""Tables of orders: decisions, intents, executions, events, fills, cost analysis, and the order feed's own state.

They are the contract of ``order-feed.md`` 12 in the ``MetaData`` of ``tables``. The ingest transaction is the only
writer of events, executions, fills and cost analysis; the runtime writes decisions and intents. Events, fills and dead
letters are never deleted.
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, UUID

from torghut_runtime.order_feed.event import ORDER_STATUSES, TERMINAL
from torghut_runtime.storage.tables import MOMENT, metadata

__all__ = [
    "durable_counters",
    "event_seq_head",
    "execution_order_events",
    "execution_tca_metrics",
    "executions",
    "feed_dead_letters",
    "feed_gaps",
    "feed_offsets",
    "metadata",
    "order_fills",
    "order_intents",
    "reconcile_discrepancies",
    "trade_decisions",
]

NUMBER: Final = sa.Numeric(28, 10)
INTENT_STATES: Final = (
    "initialised",
    "submitting",
    "unknown",
    "accepted",
    "partially_filled",
    "filled",
    "canceled",
    "rejected",
    "expired",
    "replaced",
)


def _column(name: str, kind: Any, *, null: bool = True, default: Any = None, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, server_default=default, **more)


def _texts(**limits: int) -> list[sa.Column[Any]]:
    return [_column(name, sa.String(limit)) for name, limit in limits.items()]


def _numbers(*names: str) -> list[sa.Column[Any]]:
    return [_column(name, NUMBER) for name in names]


def _moments(*names: str) -> list[sa.Column[Any]]:
    return [_column(name, MOMENT) for name in names]


def _created() -> sa.Column[Any]:
    return _column("created_at", MOMENT, null=False, default=sa.func.now())


def _times() -> list[sa.Column[Any]]:
    return [_created(), _column("updated_at", MOMENT, null=False, default=sa.func.now())]


def _account() -> sa.Column[Any]:
    return _column("alpaca_account_label", sa.String(64), null=False)


def _coordinates() -> list[sa.Column[Any]]:
    return [
        _column("source", sa.Text, null=False),
        _column("source_partition", sa.Integer),
        _column("source_offset", sa.BigInteger),
    ]


def _finite(*names: str) -> sa.CheckConstraint:
    """NaN sorts above every number in PostgreSQL, so one comparison refuses it; NULL passes."""
    return sa.CheckConstraint(" AND ".join(f"{name} < 'Infinity'::numeric" for name in names), name="finite")


def _one_of(column: str, values: Sequence[str]) -> sa.CheckConstraint:
    return sa.CheckConstraint(sa.column(column).in_(tuple(values)), name=column)


trade_decisions = sa.Table(
    "trade_decisions",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    _column("decision_hash", sa.String(128), null=False, unique=True),
    _column("strategy_id", sa.Text, null=False),
    _account(),
    _column("symbol", sa.String(64), null=False),
    _column("timeframe", sa.String(16), null=False),
    _column("bar_ts", MOMENT, null=False),
    _column("decided_at", MOMENT, null=False),
    _column("status", sa.String(32), null=False, default="planned"),
    _column("decision_json", JSONB, null=False),
    _column("rationale", sa.Text),
    _column("trace_id", sa.String(64)),
    _column("executed_at", MOMENT),
    *_times(),
    sa.Index(None, "strategy_id", "created_at"),
    sa.Index(None, "symbol", "created_at"),
    sa.Index(None, "created_at", "id"),
    # room for the next status on the same page, so that no index has to follow
    postgresql_with={"fillfactor": 70},
)

order_intents = sa.Table(
    "order_intents",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("trade_decision_id", UUID, sa.ForeignKey("trade_decisions.id")),
    _column("intent_seq", sa.Integer, null=False),
    _account(),
    _column("client_order_id", sa.String(128), null=False),
    _column("strategy_id", sa.Text),
    _column("adapter", sa.String(16), null=False),
    _column("symbol", sa.String(64), null=False),
    _column("side", sa.String(8), null=False),
    _column("order_type", sa.String(32), null=False),
    _column("time_in_force", sa.String(16), null=False),
    *_numbers("qty", "notional", "limit_price", "stop_price"),
    _column("extended_hours", sa.Boolean, null=False),
    *_numbers("arrival_price", "arrival_mid"),
    _column("submit_payload", JSONB, null=False),
    _column("state", sa.String(24), null=False, default="initialised"),
    *_texts(reason=128, alpaca_order_id=128),
    _column("sent_at", MOMENT),
    *_times(),
    # what a restarted process needs to hold back again
    _column("is_exit", sa.Boolean, null=False, default=sa.false()),
    _column("worst_price", NUMBER),
    sa.UniqueConstraint("alpaca_account_label", "client_order_id"),
    sa.UniqueConstraint("trade_decision_id", "intent_seq"),
    _one_of("state", INTENT_STATES),
    _one_of("adapter", ("alpaca", "simulator")),
    sa.CheckConstraint("(qty IS NULL) <> (notional IS NULL)", name="qty_or_notional"),
    _finite("qty", "notional", "limit_price", "stop_price", "arrival_price", "arrival_mid"),
    sa.Index(
        "ix_order_intents_working",
        "alpaca_account_label",
        "symbol",
        postgresql_where=sa.column("state").not_in(sorted(TERMINAL)),
    ),
    sa.Index(None, "created_at", "id"),
)

executions = sa.Table(
    "executions",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    _account(),
    *_texts(alpaca_order_id=128, client_order_id=128),
    sa.Column("intent_id", UUID, sa.ForeignKey("order_intents.id")),
    sa.Column("trade_decision_id", UUID, sa.ForeignKey("trade_decisions.id")),
    _column("strategy_id", sa.Text),
    *_texts(symbol=64, side=8, order_type=32, time_in_force=16),
    *_numbers("submitted_qty", "notional", "limit_price", "stop_price"),
    _column("extended_hours", sa.Boolean),
    _column("status", sa.String(32), null=False),
    _column("filled_qty", NUMBER, null=False, default=sa.text("0")),
    _column("avg_fill_price", NUMBER),
    _column("fills_complete", sa.Boolean, null=False),
    _column("pending_cancel", sa.Boolean, null=False),
    _column("pending_replace", sa.Boolean, null=False),
    *_texts(replaces_order_id=128, replaced_by_order_id=128),
    *_moments("submitted_at", "acked_at", "first_fill_at", "last_fill_at", "terminal_at", "last_update_at"),
    _column("last_event_seq", sa.BigInteger, null=False),
    *_times(),
    sa.UniqueConstraint("alpaca_order_id", "alpaca_account_label"),
    sa.CheckConstraint("alpaca_order_id IS NOT NULL OR client_order_id IS NOT NULL", name="identity"),
    _one_of("status", ORDER_STATUSES),
    sa.CheckConstraint("filled_qty >= 0", name="filled_qty"),
    _finite("filled_qty", "submitted_qty", "notional", "limit_price", "stop_price", "avg_fill_price"),
    sa.Index(
        "ix_executions_client_only",
        "client_order_id",
        "alpaca_account_label",
        unique=True,
        postgresql_where=sa.text("alpaca_order_id IS NULL"),
    ),
    sa.Index(None, "client_order_id", "alpaca_account_label"),
    sa.Index(None, "trade_decision_id"),
    sa.Index(None, "last_fill_at"),
    sa.Index("ix_executions_working", "symbol", "status", postgresql_where=sa.text("terminal_at IS NULL")),
    sa.Index(None, "created_at", "id"),
)

_EVENT_NUMBERS: Final = (
    "fill_price",
    "fill_qty",
    "position_qty",
    "qty",
    "filled_qty",
    "avg_fill_price",
    "notional",
    "limit_price",
    "stop_price",
)

execution_order_events = sa.Table(
    "execution_order_events",
    metadata,
    sa.Column("event_fingerprint", sa.LargeBinary, primary_key=True),
    _column("event_seq", sa.BigInteger, null=False, unique=True),
    _column("trading_date", sa.Date, null=False),
    *_coordinates(),
    *_moments("record_ts", "event_ts"),
    _column("event_ts_ns", sa.BigInteger),
    _account(),
    *_texts(
        alpaca_order_id=128,
        client_order_id=128,
        symbol=64,
        event_type=64,
        status=64,
        broker_execution_id=128,
        previous_execution_id=128,
    ),
    *_numbers("fill_price", "fill_qty", "position_qty", "qty", "filled_qty", "avg_fill_price"),
    *_texts(replaces_order_id=128, replaced_by_order_id=128),
    # terms of the order, which the fold reads from here instead of decoding raw_event again
    *_texts(side=8, order_type=32, time_in_force=16),
    *_numbers("notional", "limit_price", "stop_price"),
    _column("extended_hours", sa.Boolean),
    _column("submitted_ts_ns", sa.BigInteger),
    _column("content_sha256", sa.LargeBinary, null=False),
    _column("raw_event", JSONB, null=False),
    _created(),
    sa.UniqueConstraint("source", "source_partition", "source_offset"),
    sa.CheckConstraint("alpaca_order_id IS NOT NULL OR client_order_id IS NOT NULL", name="identity"),
    _finite(*_EVENT_NUMBERS),
    sa.Index(None, "alpaca_order_id", "alpaca_account_label"),
    sa.Index(None, "client_order_id", "alpaca_account_label"),
    sa.Index(
        "ix_execution_order_events_replaces",
        "replaces_order_id",
        "alpaca_account_label",
        postgresql_where=sa.text("replaces_order_id IS NOT NULL"),
    ),
    sa.Index(
        "ix_execution_order_events_replaced_by",
        "replaced_by_order_id",
        "alpaca_account_label",
        postgresql_where=sa.text("replaced_by_order_id IS NOT NULL"),
    ),
    sa.Index(None, "trading_date", postgresql_using="brin"),
)

order_fills = sa.Table(
    "order_fills",
    metadata,
    sa.Column("alpaca_account_label", sa.String(64), primary_key=True),
    sa.Column("broker_execution_id", sa.String(128), primary_key=True),
    *_texts(alpaca_order_id=128, symbol=64, side=8),
    _column("price", NUMBER, null=False),
    _column("qty", NUMBER, null=False),
    _column("cum_qty", NUMBER),
    _column("event_ts", MOMENT),
    _column("state", sa.String(16), null=False),
    _column("event_fingerprint", sa.LargeBinary, null=False),
    _column("event_seq", sa.BigInteger, null=False),
    *_times(),
    _one_of("state", ("counted", "matched", "voided")),
    _finite("price", "qty", "cum_qty"),
    sa.Index(None, "alpaca_account_label", "alpaca_order_id"),
    sa.Index(None, "event_ts"),
)

feed_dead_letters = sa.Table(
    "feed_dead_letters",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    *_coordinates(),
    _column("record_ts", MOMENT),
    _column("record_key", sa.LargeBinary),
    _column("record_value", sa.LargeBinary),
    _column("reason", sa.String(64), null=False),
    _column("error_detail", sa.String(2000), null=False),
    _column("state", sa.String(16), null=False, default="open"),
    _column("attempts", sa.Integer, null=False, default=sa.text("0")),
    _column("last_attempt_at", MOMENT),
    _column("replayed_event_seq", sa.BigInteger),
    _column("note", sa.String(500)),
    *_times(),
    sa.UniqueConstraint("source", "source_partition", "source_offset"),
    _one_of("state", ("open", "replayed", "duplicate", "discarded")),
    sa.Index(None, "state", "reason"),
)

feed_offsets = sa.Table(
    "feed_offsets",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("source_partition", sa.Integer, primary_key=True, autoincrement=False),
    _column("cluster_id", sa.String(64), null=False),
    _column("topic", sa.String(249), null=False),
    _column("topic_id", sa.String(64)),
    _column("incarnation", sa.Integer, null=False),
    _column("active", sa.Boolean, null=False),
    _column("start_offset", sa.BigInteger, null=False),
    _column("start_policy", sa.String(16), null=False),
    _column("next_offset", sa.BigInteger, null=False),
    _column("log_start_offset", sa.BigInteger),
    _column("log_end_offset", sa.BigInteger),
    _column("last_polled_at", MOMENT),
    _column("driver", sa.String(128)),
    *_times(),
    sa.Index(
        "ix_feed_offsets_active",
        "cluster_id",
        "topic",
        "source_partition",
        unique=True,
        postgresql_where=sa.text("active"),
    ),
)

feed_gaps = sa.Table(
    "feed_gaps",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    _column("source", sa.Text, null=False),
    _column("source_partition", sa.Integer, null=False),
    _column("from_offset", sa.BigInteger, null=False),
    _column("to_offset", sa.BigInteger, null=False),
    _column("reason", sa.String(32), null=False),
    _column("since_ts", MOMENT),
    _column("detected_at", MOMENT, null=False),
    _column("resolved_at", MOMENT),
    _column("resolved_by", sa.String(128)),
    *_times(),
    sa.UniqueConstraint("source", "source_partition", "from_offset"),
)

event_seq_head = sa.Table(
    "event_seq_head",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False, server_default=sa.text("1")),
    _column("last_event_seq", sa.BigInteger, null=False, default=sa.text("0")),
    *_times(),
    sa.CheckConstraint("id = 1", name="one_row"),
)

durable_counters = sa.Table(
    "durable_counters",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    _column("value", sa.BigInteger, null=False, default=sa.text("0")),
    *_times(),
    sa.CheckConstraint("value >= 0", name="value"),
)

reconcile_discrepancies = sa.Table(
    "reconcile_discrepancies",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    _account(),
    *_texts(alpaca_order_id=128, symbol=64),
    _column("kind", sa.String(64), null=False),
    _column("ours", JSONB),
    _column("broker", JSONB),
    _column("seen_count", sa.Integer, null=False, default=sa.text("1")),
    _column("first_seen_at", MOMENT, null=False),
    _column("last_seen_at", MOMENT, null=False),
    _column("resolved_at", MOMENT),
    _column("resolution", sa.String(64)),
    *_times(),
    sa.Index(
        "ix_reconcile_discrepancies_open",
        "alpaca_account_label",
        "alpaca_order_id",
        "symbol",
        "kind",
        unique=True,
        postgresql_where=sa.text("resolved_at IS NULL"),
        postgresql_nulls_not_distinct=True,
    ),
)

execution_tca_metrics = sa.Table(
    "execution_tca_metrics",
    metadata,
    sa.Column("execution_id", UUID, sa.ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    _column("trade_decision_id", UUID),
    _column("strategy_id", sa.Text),
    _account(),
    *_texts(symbol=64, side=8),
    *_numbers("arrival_price", "arrival_mid", "avg_fill_price"),
    _column("filled_qty", NUMBER, null=False, default=sa.text("0")),
    _column("signed_qty", NUMBER, null=False, default=sa.text("0")),
    *_numbers("slippage_bps", "slippage_mid_bps", "shortfall_notional"),
    _column("decision_to_submit_ms", sa.Integer),
    _column("submit_to_ack_ms", sa.Integer),
    _column("submit_to_first_fill_ms", sa.Integer),
    _column("submit_to_last_fill_ms", sa.Integer),
    _column("last_fill_at", MOMENT),
    _column("computed_at", MOMENT, null=False),
    _created(),
    _finite(
        "arrival_price",
        "arrival_mid",
        "avg_fill_price",
        "filled_qty",
        "signed_qty",
        "slippage_bps",
        "slippage_mid_bps",
        "shortfall_notional",
    ),
    sa.Index(None, "strategy_id", "last_fill_at"),
    sa.Index(None, "symbol", "last_fill_at"),
)
