"""Tables of the trading runtime beside those of orders and of the guard.

Who may trade for an account, what was decided on which inputs, how far market data have been processed, what losses are
measured against. ``migrations/versions/0004_runtime.py`` and ``0005_engine.py`` make them.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB

from torghut_runtime.storage.tables import MOMENT, metadata

__all__ = ["metadata"]

_NUMBER = sa.Numeric(28, 10)


def _label() -> sa.Column[str]:
    return sa.Column("account_label", sa.String(64), primary_key=True)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, MOMENT, nullable=False, server_default=sa.func.clock_timestamp())


runtime_lease = sa.Table(
    "runtime_lease",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(128), nullable=False),
    sa.Column("fencing_token", sa.BigInteger, nullable=False),
    sa.Column("expires_at", MOMENT, nullable=False),
    sa.CheckConstraint("fencing_token > 0", name="fencing_token"),
)
"""One row per account label; the token grows with every holder and never falls."""

strategies = sa.Table(
    "strategies",
    metadata,
    _label(),
    sa.Column("strategy_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("entry", JSONB, nullable=False),
    sa.Column("entry_sha256", sa.String(64), nullable=False),
    sa.Column("error", sa.Text),
    _now("updated_at"),
)
"""The catalog as it was loaded last; ``error`` says why an enabled entry does not run."""

strategy_blocks = sa.Table(
    "strategy_blocks",
    metadata,
    _label(),
    sa.Column("strategy_id", sa.Text, primary_key=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    _now("at"),
    sa.CheckConstraint(sa.column("mode").in_(("reduce", "freeze")), name="mode"),
)
"""Strategies that an operator has stopped; lifting a block deletes its row, the ledger keeps both."""

frozen_symbols = sa.Table(
    "frozen_symbols",
    metadata,
    _label(),
    sa.Column("symbol", sa.String(64), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("ours", JSONB, nullable=False),
    sa.Column("broker", JSONB, nullable=False),
    _now("at"),
)
"""Symbols whose position the broker and we see differently; ``positions reconcile`` deletes the row."""

position_adjustments = sa.Table(
    "position_adjustments",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("account_label", sa.String(64), nullable=False),
    sa.Column("symbol", sa.String(64), nullable=False),
    sa.Column("strategy_id", sa.Text, nullable=False),
    sa.Column("qty_factor", _NUMBER, nullable=False, server_default="1"),
    sa.Column("qty_change", _NUMBER, nullable=False, server_default="0"),
    sa.Column("price", _NUMBER),
    sa.Column("effective_at", MOMENT, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("ledger_seq", sa.BigInteger, sa.ForeignKey("governance_ledger.seq")),
    _now("recorded_at"),
    sa.CheckConstraint("qty_factor > 0", name="qty_factor"),
    sa.Index("ix_position_adjustments_symbol", "account_label", "symbol", "effective_at"),
)
"""What a reconciliation booked beside the fills: quantity × factor + change, average entry ÷ factor."""

position_snapshots = sa.Table(
    "position_snapshots",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("account_label", sa.String(64), nullable=False),
    sa.Column("symbol", sa.String(64), nullable=False),
    sa.Column("strategy_id", sa.Text, nullable=False),
    sa.Column("qty", _NUMBER, nullable=False),
    sa.Column("avg_entry_price", _NUMBER, nullable=False),
    sa.Column("realized_pl", _NUMBER, nullable=False),
    sa.Column("at", MOMENT, nullable=False),
    sa.Index(None, "account_label", "symbol", "at"),
    sa.Index(None, "at"),
)
"""A row per change of a strategy's position in a symbol; kept 90 days."""

trade_cursor = sa.Table(
    "trade_cursor",
    metadata,
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("symbol", sa.String(64), primary_key=True),
    sa.Column("timeframe", sa.String(16), primary_key=True),
    sa.Column("bar_ts", MOMENT, nullable=False),
    sa.Column("fencing_token", sa.BigInteger, nullable=False, server_default="0"),
    _now("updated_at"),
)
"""Start of the last bar whose decisions are committed; the source names account and feed."""

decision_inputs = sa.Table(
    "decision_inputs",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("account_label", sa.String(64), nullable=False),
    sa.Column("strategy_id", sa.Text, nullable=False),
    sa.Column("strategy_type", sa.Text, nullable=False),
    sa.Column("strategy_version", sa.Text, nullable=False),
    sa.Column("params", JSONB, nullable=False),
    sa.Column("params_sha256", sa.String(64), nullable=False),
    sa.Column("symbol", sa.String(64), nullable=False),
    sa.Column("timeframe", sa.String(16), nullable=False),
    sa.Column("bar_ts", MOMENT, nullable=False),
    sa.Column("features", sa.ARRAY(DOUBLE_PRECISION), nullable=False),
    sa.Column("feature_sha256", sa.String(64), nullable=False),
    sa.Column("position", sa.ARRAY(DOUBLE_PRECISION), nullable=False),
    sa.Column("memory", sa.ARRAY(DOUBLE_PRECISION), nullable=False),
    sa.Column("seconds_to_close", DOUBLE_PRECISION),
    sa.Column("code", sa.Integer, nullable=False),
    sa.Column("output", sa.ARRAY(DOUBLE_PRECISION), nullable=False),
    sa.Column("account", JSONB, nullable=False),
    sa.Column("price_snapshot", JSONB, nullable=False),
    sa.Column("provenance", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("commit", sa.Text, nullable=False),
    sa.Column("trace_id", sa.String(64)),
    sa.Column("decided_at", MOMENT, nullable=False),
    sa.UniqueConstraint(
        "account_label", "strategy_id", "symbol", "timeframe", "bar_ts", name="uq_decision_inputs_step"
    ),
    sa.Index(None, "decided_at"),
)
"""What every step of a strategy was asked with and what it said, holds included; kept 90 days.

NaN is stored as NaN: double precision keeps the bits that the comparison needs.
"""

risk_baselines = sa.Table(
    "risk_baselines",
    metadata,
    _label(),
    sa.Column("session", sa.Date, nullable=False),
    sa.Column("opening_equity", _NUMBER, nullable=False),
    sa.Column("high_water_mark", _NUMBER, nullable=False),
    sa.Column("transfers", _NUMBER, nullable=False, server_default="0"),
    _now("updated_at"),
)
"""What losses are measured against; deposits and withdrawals (``transfers``, their sum) have shifted both already."""

operator_requests = sa.Table(
    "operator_requests",
    metadata,
    sa.Column("request_id", sa.String(128), primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("status_code", sa.Integer, nullable=False),
    sa.Column("answer", JSONB, nullable=False),
    _now("at"),
)
"""Answers of the operator's calls; a call repeated within 24 hours gets the first one again."""

llm_decision_reviews = sa.Table(
    "llm_decision_reviews",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("account_label", sa.String(64), nullable=False),
    sa.Column("decision_hash", sa.String(128), nullable=False),
    sa.Column("trace_id", sa.String(64)),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("prompt_version", sa.Text, nullable=False),
    sa.Column("prompt_sha256", sa.String(64), nullable=False),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("response", sa.LargeBinary),
    sa.Column("response_sha256", sa.String(64)),
    sa.Column("verdict", sa.Text),
    sa.Column("multiplier", _NUMBER),
    sa.Column("confidence", DOUBLE_PRECISION),
    sa.Column("risk_flags", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("fail_mode", sa.Text),
    sa.Column("circuit", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),
    sa.Column("latency_ms", sa.Integer),
    sa.Column("late", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("applied", sa.Boolean, nullable=False),
    _now("created_at"),
    sa.Index(None, "created_at"),
)
"""What the adviser was asked and what it said, byte for byte."""
