"""The engine: its catalog, what it decided on, how far it has read, its baselines, and what stops a part of it."""

from alembic import op

revision = "0005_engine"
down_revision = "0004_runtime"

_TABLES = (
    """
CREATE TABLE strategies (
    account_label VARCHAR(64) NOT NULL,
    strategy_id TEXT NOT NULL,
    name TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    entry JSONB NOT NULL,
    entry_sha256 VARCHAR(64) NOT NULL,
    error TEXT,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_strategies PRIMARY KEY (account_label, strategy_id)
)
""",
    """
CREATE TABLE strategy_blocks (
    account_label VARCHAR(64) NOT NULL,
    strategy_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_strategy_blocks PRIMARY KEY (account_label, strategy_id),
    CONSTRAINT ck_strategy_blocks_mode CHECK (mode IN ('reduce', 'freeze'))
)
""",
    """
CREATE TABLE frozen_symbols (
    account_label VARCHAR(64) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    reason TEXT NOT NULL,
    ours JSONB NOT NULL,
    broker JSONB NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_frozen_symbols PRIMARY KEY (account_label, symbol)
)
""",
    """
CREATE TABLE position_adjustments (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    account_label VARCHAR(64) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    strategy_id TEXT NOT NULL,
    qty_factor NUMERIC(28, 10) DEFAULT '1' NOT NULL,
    qty_change NUMERIC(28, 10) DEFAULT '0' NOT NULL,
    price NUMERIC(28, 10),
    effective_at TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    ledger_seq BIGINT,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_position_adjustments PRIMARY KEY (id),
    CONSTRAINT ck_position_adjustments_qty_factor CHECK (qty_factor > 0),
    CONSTRAINT fk_position_adjustments_ledger_seq FOREIGN KEY(ledger_seq) REFERENCES governance_ledger (seq)
)
""",
    """
CREATE TABLE position_snapshots (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    account_label VARCHAR(64) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    strategy_id TEXT NOT NULL,
    qty NUMERIC(28, 10) NOT NULL,
    avg_entry_price NUMERIC(28, 10) NOT NULL,
    realized_pl NUMERIC(28, 10) NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_position_snapshots PRIMARY KEY (id)
)
""",
    """
CREATE TABLE trade_cursor (
    source VARCHAR(64) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    timeframe VARCHAR(16) NOT NULL,
    bar_ts TIMESTAMP WITH TIME ZONE NOT NULL,
    fencing_token BIGINT DEFAULT '0' NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_trade_cursor PRIMARY KEY (source, symbol, timeframe)
)
""",
    """
CREATE TABLE decision_inputs (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    account_label VARCHAR(64) NOT NULL,
    strategy_id TEXT NOT NULL,
    strategy_type TEXT NOT NULL,
    strategy_version TEXT NOT NULL,
    params JSONB NOT NULL,
    params_sha256 VARCHAR(64) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    timeframe VARCHAR(16) NOT NULL,
    bar_ts TIMESTAMP WITH TIME ZONE NOT NULL,
    features DOUBLE PRECISION[] NOT NULL,
    feature_sha256 VARCHAR(64) NOT NULL,
    position DOUBLE PRECISION[] NOT NULL,
    memory DOUBLE PRECISION[] NOT NULL,
    seconds_to_close DOUBLE PRECISION,
    code INTEGER NOT NULL,
    output DOUBLE PRECISION[] NOT NULL,
    account JSONB NOT NULL,
    price_snapshot JSONB NOT NULL,
    provenance JSONB DEFAULT '{}'::jsonb NOT NULL,
    commit TEXT NOT NULL,
    trace_id VARCHAR(64),
    decided_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_decision_inputs PRIMARY KEY (id),
    CONSTRAINT uq_decision_inputs_step UNIQUE (account_label, strategy_id, symbol, timeframe, bar_ts)
)
""",
    """
CREATE TABLE risk_baselines (
    account_label VARCHAR(64) NOT NULL,
    session DATE NOT NULL,
    opening_equity NUMERIC(28, 10) NOT NULL,
    high_water_mark NUMERIC(28, 10) NOT NULL,
    transfers NUMERIC(28, 10) DEFAULT '0' NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_risk_baselines PRIMARY KEY (account_label)
)
""",
    """
CREATE TABLE operator_requests (
    request_id VARCHAR(128) NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    status_code INTEGER NOT NULL,
    answer JSONB NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_operator_requests PRIMARY KEY (request_id)
)
""",
    """
CREATE TABLE llm_decision_reviews (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    account_label VARCHAR(64) NOT NULL,
    decision_hash VARCHAR(128) NOT NULL,
    trace_id VARCHAR(64),
    model TEXT NOT NULL,
    prompt_version TEXT NOT NULL,
    prompt_sha256 VARCHAR(64) NOT NULL,
    request BYTEA NOT NULL,
    request_sha256 VARCHAR(64) NOT NULL,
    response BYTEA,
    response_sha256 VARCHAR(64),
    verdict TEXT,
    multiplier NUMERIC(28, 10),
    confidence DOUBLE PRECISION,
    risk_flags JSONB DEFAULT '[]'::jsonb NOT NULL,
    mode TEXT NOT NULL,
    fail_mode TEXT,
    circuit TEXT NOT NULL,
    error TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    latency_ms INTEGER,
    late BOOLEAN DEFAULT false NOT NULL,
    applied BOOLEAN NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_llm_decision_reviews PRIMARY KEY (id)
)
""",
)
_INDEXES = (
    "CREATE INDEX ix_position_adjustments_symbol ON position_adjustments (account_label, symbol, effective_at)",
    "CREATE INDEX ix_position_snapshots_account_label_symbol_at ON position_snapshots (account_label, symbol, at)",
    "CREATE INDEX ix_position_snapshots_at ON position_snapshots (at)",
    "CREATE INDEX ix_decision_inputs_decided_at ON decision_inputs (decided_at)",
    "CREATE INDEX ix_llm_decision_reviews_created_at ON llm_decision_reviews (created_at)",
)
_NAMES = (
    "strategies",
    "strategy_blocks",
    "frozen_symbols",
    "position_adjustments",
    "position_snapshots",
    "trade_cursor",
    "decision_inputs",
    "risk_baselines",
    "operator_requests",
    "llm_decision_reviews",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in (*_TABLES, *_INDEXES):
        op.execute(statement)
    op.execute("ALTER TABLE incidents ADD COLUMN detail JSONB DEFAULT '{}'::jsonb NOT NULL")


def downgrade() -> None:
    """Remove them."""
    op.drop_column("incidents", "detail")
    for name in reversed(_NAMES):
        op.drop_table(name)
