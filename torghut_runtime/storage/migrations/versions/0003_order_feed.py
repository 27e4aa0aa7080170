"""Orders: decisions, intents, executions, events, fills, cost analysis and the order feed's own state."""

from alembic import op

revision = "0003_order_feed"
down_revision = "0002_guard"

_TABLES = (
    "durable_counters",
    "event_seq_head",
    "execution_order_events",
    "feed_dead_letters",
    "feed_gaps",
    "feed_offsets",
    "order_fills",
    "reconcile_discrepancies",
    "trade_decisions",
    "order_intents",
    "executions",
    "execution_tca_metrics",
)
_VIEWS = ("execution_tca_strategy_agg_v1", "execution_tca_symbol_agg_v1")


def upgrade() -> None:
    """Make tables, indexes, the rows that counters start from, and the aggregates of cost analysis."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Remove everything; events, fills and dead letters with it."""
    for view in _VIEWS:
        op.execute(f"DROP VIEW {view}")
    for table in reversed(_TABLES):
        op.drop_table(table)


_STATEMENTS = (
    """
CREATE TABLE durable_counters (
    name VARCHAR(128) NOT NULL,
    value BIGINT DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_durable_counters PRIMARY KEY (name),
    CONSTRAINT ck_durable_counters_value CHECK (value >= 0)
)
""",
    """
CREATE TABLE event_seq_head (
    id SMALLINT DEFAULT 1 NOT NULL,
    last_event_seq BIGINT DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_event_seq_head PRIMARY KEY (id),
    CONSTRAINT ck_event_seq_head_one_row CHECK (id = 1)
)
""",
    """
CREATE TABLE execution_order_events (
    event_fingerprint BYTEA NOT NULL,
    event_seq BIGINT NOT NULL,
    trading_date DATE NOT NULL,
    source TEXT NOT NULL,
    source_partition INTEGER,
    source_offset BIGINT,
    record_ts TIMESTAMP WITH TIME ZONE,
    event_ts TIMESTAMP WITH TIME ZONE,
    event_ts_ns BIGINT,
    alpaca_account_label VARCHAR(64) NOT NULL,
    alpaca_order_id VARCHAR(128),
    client_order_id VARCHAR(128),
    symbol VARCHAR(64),
    event_type VARCHAR(64),
    status VARCHAR(64),
    broker_execution_id VARCHAR(128),
    previous_execution_id VARCHAR(128),
    fill_price NUMERIC(28, 10),
    fill_qty NUMERIC(28, 10),
    position_qty NUMERIC(28, 10),
    qty NUMERIC(28, 10),
    filled_qty NUMERIC(28, 10),
    avg_fill_price NUMERIC(28, 10),
    replaces_order_id VARCHAR(128),
    replaced_by_order_id VARCHAR(128),
    side VARCHAR(8),
    order_type VARCHAR(32),
    time_in_force VARCHAR(16),
    notional NUMERIC(28, 10),
    limit_price NUMERIC(28, 10),
    stop_price NUMERIC(28, 10),
    extended_hours BOOLEAN,
    submitted_ts_ns BIGINT,
    content_sha256 BYTEA NOT NULL,
    raw_event JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_execution_order_events PRIMARY KEY (event_fingerprint),
    CONSTRAINT uq_execution_order_events_source_source_partition_source_offset UNIQUE (source, source_partition,
        source_offset),
    CONSTRAINT ck_execution_order_events_identity CHECK (alpaca_order_id IS NOT NULL OR client_order_id IS NOT NULL),
    CONSTRAINT ck_execution_order_events_finite CHECK (fill_price < 'Infinity'::numeric AND fill_qty <
        'Infinity'::numeric AND position_qty < 'Infinity'::numeric AND qty < 'Infinity'::numeric AND filled_qty <
        'Infinity'::numeric AND avg_fill_price < 'Infinity'::numeric AND notional < 'Infinity'::numeric AND
        limit_price < 'Infinity'::numeric AND stop_price < 'Infinity'::numeric),
    CONSTRAINT uq_execution_order_events_event_seq UNIQUE (event_seq)
)
""",
    """
CREATE INDEX ix_execution_order_events_alpaca_account_label_alpaca_order_id ON execution_order_events
    (alpaca_account_label, alpaca_order_id)
""",
    """
CREATE INDEX ix_execution_order_events_alpaca_account_label_client_order_id ON execution_order_events
    (alpaca_account_label, client_order_id)
""",
    """
CREATE INDEX ix_execution_order_events_replaced_by ON execution_order_events (alpaca_account_label,
    replaced_by_order_id) WHERE replaced_by_order_id IS NOT NULL
""",
    """
CREATE INDEX ix_execution_order_events_replaces ON execution_order_events (alpaca_account_label, replaces_order_id)
    WHERE replaces_order_id IS NOT NULL
""",
    """
CREATE INDEX ix_execution_order_events_trading_date ON execution_order_events USING brin (trading_date)
""",
    """
CREATE TABLE feed_dead_letters (
    id UUID NOT NULL,
    source TEXT NOT NULL,
    source_partition INTEGER,
    source_offset BIGINT,
    record_ts TIMESTAMP WITH TIME ZONE,
    record_key BYTEA,
    record_value BYTEA,
    reason VARCHAR(64) NOT NULL,
    error_detail VARCHAR(2000) NOT NULL,
    state VARCHAR(16) DEFAULT 'open' NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    last_attempt_at TIMESTAMP WITH TIME ZONE,
    replayed_event_seq BIGINT,
    note VARCHAR(500),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_feed_dead_letters PRIMARY KEY (id),
    CONSTRAINT uq_feed_dead_letters_source_source_partition_source_offset UNIQUE (source, source_partition,
        source_offset),
    CONSTRAINT ck_feed_dead_letters_state CHECK (state IN ('open', 'replayed', 'duplicate', 'discarded'))
)
""",
    """
CREATE INDEX ix_feed_dead_letters_state_reason ON feed_dead_letters (state, reason)
""",
    """
CREATE TABLE feed_gaps (
    id UUID NOT NULL,
    source TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    from_offset BIGINT NOT NULL,
    to_offset BIGINT NOT NULL,
    reason VARCHAR(32) NOT NULL,
    since_ts TIMESTAMP WITH TIME ZONE,
    detected_at TIMESTAMP WITH TIME ZONE NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    resolved_by VARCHAR(128),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_feed_gaps PRIMARY KEY (id),
    CONSTRAINT uq_feed_gaps_source_source_partition_from_offset UNIQUE (source, source_partition, from_offset)
)
""",
    """
CREATE TABLE feed_offsets (
    source TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    cluster_id VARCHAR(64) NOT NULL,
    topic VARCHAR(249) NOT NULL,
    topic_id VARCHAR(64),
    incarnation INTEGER NOT NULL,
    active BOOLEAN NOT NULL,
    start_offset BIGINT NOT NULL,
    start_policy VARCHAR(16) NOT NULL,
    next_offset BIGINT NOT NULL,
    log_start_offset BIGINT,
    log_end_offset BIGINT,
    last_polled_at TIMESTAMP WITH TIME ZONE,
    driver VARCHAR(128),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_feed_offsets PRIMARY KEY (source, source_partition)
)
""",
    """
CREATE UNIQUE INDEX ix_feed_offsets_active ON feed_offsets (cluster_id, topic, source_partition) WHERE active
""",
    """
CREATE TABLE order_fills (
    alpaca_account_label VARCHAR(64) NOT NULL,
    broker_execution_id VARCHAR(128) NOT NULL,
    alpaca_order_id VARCHAR(128),
    symbol VARCHAR(64),
    side VARCHAR(8),
    price NUMERIC(28, 10) NOT NULL,
    qty NUMERIC(28, 10) NOT NULL,
    cum_qty NUMERIC(28, 10),
    event_ts TIMESTAMP WITH TIME ZONE,
    state VARCHAR(16) NOT NULL,
    event_fingerprint BYTEA NOT NULL,
    event_seq BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_order_fills PRIMARY KEY (alpaca_account_label, broker_execution_id),
    CONSTRAINT ck_order_fills_state CHECK (state IN ('counted', 'matched', 'voided')),
    CONSTRAINT ck_order_fills_finite CHECK (price < 'Infinity'::numeric AND qty < 'Infinity'::numeric AND cum_qty <
        'Infinity'::numeric)
)
""",
    """
CREATE INDEX ix_order_fills_alpaca_account_label_alpaca_order_id ON order_fills (alpaca_account_label,
    alpaca_order_id)
""",
    """
CREATE INDEX ix_order_fills_event_ts ON order_fills (event_ts)
""",
    """
CREATE TABLE reconcile_discrepancies (
    id UUID NOT NULL,
    alpaca_account_label VARCHAR(64) NOT NULL,
    alpaca_order_id VARCHAR(128),
    symbol VARCHAR(64),
    kind VARCHAR(64) NOT NULL,
    ours JSONB,
    broker JSONB,
    seen_count INTEGER DEFAULT 1 NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    resolution VARCHAR(64),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_reconcile_discrepancies PRIMARY KEY (id)
)
""",
    """
CREATE UNIQUE INDEX ix_reconcile_discrepancies_open ON reconcile_discrepancies (alpaca_account_label,
    alpaca_order_id, symbol, kind) NULLS NOT DISTINCT WHERE resolved_at IS NULL
""",
    """
CREATE TABLE trade_decisions (
    id UUID NOT NULL,
    decision_hash VARCHAR(128) NOT NULL,
    strategy_id TEXT NOT NULL,
    alpaca_account_label VARCHAR(64) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    timeframe VARCHAR(16) NOT NULL,
    bar_ts TIMESTAMP WITH TIME ZONE NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE NOT NULL,
    status VARCHAR(32) DEFAULT 'planned' NOT NULL,
    decision_json JSONB NOT NULL,
    rationale TEXT,
    trace_id VARCHAR(64),
    executed_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_trade_decisions PRIMARY KEY (id),
    CONSTRAINT uq_trade_decisions_decision_hash UNIQUE (decision_hash)
)
""",
    """
CREATE INDEX ix_trade_decisions_strategy_id_created_at ON trade_decisions (strategy_id, created_at)
""",
    """
CREATE INDEX ix_trade_decisions_symbol_created_at ON trade_decisions (symbol, created_at)
""",
    """
CREATE TABLE order_intents (
    id UUID NOT NULL,
    trade_decision_id UUID,
    intent_seq INTEGER NOT NULL,
    alpaca_account_label VARCHAR(64) NOT NULL,
    client_order_id VARCHAR(128) NOT NULL,
    strategy_id TEXT,
    adapter VARCHAR(16) NOT NULL,
    symbol VARCHAR(64) NOT NULL,
    side VARCHAR(8) NOT NULL,
    order_type VARCHAR(32) NOT NULL,
    time_in_force VARCHAR(16) NOT NULL,
    qty NUMERIC(28, 10),
    notional NUMERIC(28, 10),
    limit_price NUMERIC(28, 10),
    stop_price NUMERIC(28, 10),
    extended_hours BOOLEAN NOT NULL,
    arrival_price NUMERIC(28, 10),
    arrival_mid NUMERIC(28, 10),
    submit_payload JSONB NOT NULL,
    state VARCHAR(24) DEFAULT 'initialised' NOT NULL,
    reason VARCHAR(128),
    alpaca_order_id VARCHAR(128),
    sent_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_order_intents PRIMARY KEY (id),
    CONSTRAINT uq_order_intents_alpaca_account_label_client_order_id UNIQUE (alpaca_account_label, client_order_id),
    CONSTRAINT uq_order_intents_trade_decision_id_intent_seq UNIQUE (trade_decision_id, intent_seq),
    CONSTRAINT ck_order_intents_state CHECK (state IN ('initialised', 'submitting', 'unknown', 'accepted',
        'partially_filled', 'filled', 'canceled', 'rejected', 'expired', 'replaced')),
    CONSTRAINT ck_order_intents_adapter CHECK (adapter IN ('alpaca', 'simulator')),
    CONSTRAINT ck_order_intents_qty_or_notional CHECK ((qty IS NULL) <> (notional IS NULL)),
    CONSTRAINT ck_order_intents_finite CHECK (qty < 'Infinity'::numeric AND notional < 'Infinity'::numeric AND
        limit_price < 'Infinity'::numeric AND stop_price < 'Infinity'::numeric AND arrival_price <
        'Infinity'::numeric AND arrival_mid < 'Infinity'::numeric),
    CONSTRAINT fk_order_intents_trade_decision_id FOREIGN KEY(trade_decision_id) REFERENCES trade_decisions (id)
)
""",
    """
CREATE INDEX ix_order_intents_working ON order_intents (alpaca_account_label, symbol) WHERE (state NOT IN
    ('canceled', 'expired', 'filled', 'rejected', 'replaced'))
""",
    """
CREATE TABLE executions (
    id UUID NOT NULL,
    alpaca_account_label VARCHAR(64) NOT NULL,
    alpaca_order_id VARCHAR(128),
    client_order_id VARCHAR(128),
    intent_id UUID,
    trade_decision_id UUID,
    strategy_id TEXT,
    symbol VARCHAR(64),
    side VARCHAR(8),
    order_type VARCHAR(32),
    time_in_force VARCHAR(16),
    submitted_qty NUMERIC(28, 10),
    notional NUMERIC(28, 10),
    limit_price NUMERIC(28, 10),
    stop_price NUMERIC(28, 10),
    extended_hours BOOLEAN,
    status VARCHAR(32) NOT NULL,
    filled_qty NUMERIC(28, 10) DEFAULT 0 NOT NULL,
    avg_fill_price NUMERIC(28, 10),
    fills_complete BOOLEAN NOT NULL,
    pending_cancel BOOLEAN NOT NULL,
    pending_replace BOOLEAN NOT NULL,
    replaces_order_id VARCHAR(128),
    replaced_by_order_id VARCHAR(128),
    submitted_at TIMESTAMP WITH TIME ZONE,
    acked_at TIMESTAMP WITH TIME ZONE,
    first_fill_at TIMESTAMP WITH TIME ZONE,
    last_fill_at TIMESTAMP WITH TIME ZONE,
    terminal_at TIMESTAMP WITH TIME ZONE,
    last_update_at TIMESTAMP WITH TIME ZONE,
    last_event_seq BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_executions PRIMARY KEY (id),
    CONSTRAINT uq_executions_alpaca_account_label_alpaca_order_id UNIQUE (alpaca_account_label, alpaca_order_id),
    CONSTRAINT ck_executions_identity CHECK (alpaca_order_id IS NOT NULL OR client_order_id IS NOT NULL),
    CONSTRAINT ck_executions_status CHECK (status IN ('pending_new', 'held', 'pending_review',
        'accepted_for_bidding', 'accepted', 'new', 'stopped', 'suspended', 'calculated', 'done_for_day',
        'partially_filled', 'rejected', 'expired', 'canceled', 'replaced', 'filled', 'unknown')),
    CONSTRAINT ck_executions_filled_qty CHECK (filled_qty >= 0),
    CONSTRAINT ck_executions_finite CHECK (filled_qty < 'Infinity'::numeric AND submitted_qty < 'Infinity'::numeric
        AND notional < 'Infinity'::numeric AND limit_price < 'Infinity'::numeric AND stop_price <
        'Infinity'::numeric AND avg_fill_price < 'Infinity'::numeric),
    CONSTRAINT fk_executions_intent_id FOREIGN KEY(intent_id) REFERENCES order_intents (id),
    CONSTRAINT fk_executions_trade_decision_id FOREIGN KEY(trade_decision_id) REFERENCES trade_decisions (id)
)
""",
    """
CREATE INDEX ix_executions_alpaca_account_label_client_order_id ON executions (alpaca_account_label, client_order_id)
""",
    """
CREATE UNIQUE INDEX ix_executions_client_only ON executions (alpaca_account_label, client_order_id) WHERE
    alpaca_order_id IS NULL
""",
    """
CREATE INDEX ix_executions_last_fill_at ON executions (last_fill_at)
""",
    """
CREATE INDEX ix_executions_trade_decision_id ON executions (trade_decision_id)
""",
    """
CREATE INDEX ix_executions_working ON executions (symbol, status) WHERE terminal_at IS NULL
""",
    """
CREATE TABLE execution_tca_metrics (
    execution_id UUID NOT NULL,
    trade_decision_id UUID,
    strategy_id TEXT,
    alpaca_account_label VARCHAR(64) NOT NULL,
    symbol VARCHAR(64),
    side VARCHAR(8),
    arrival_price NUMERIC(28, 10),
    arrival_mid NUMERIC(28, 10),
    avg_fill_price NUMERIC(28, 10),
    filled_qty NUMERIC(28, 10) DEFAULT 0 NOT NULL,
    signed_qty NUMERIC(28, 10) DEFAULT 0 NOT NULL,
    slippage_bps NUMERIC(28, 10),
    slippage_mid_bps NUMERIC(28, 10),
    shortfall_notional NUMERIC(28, 10),
    decision_to_submit_ms INTEGER,
    submit_to_ack_ms INTEGER,
    submit_to_first_fill_ms INTEGER,
    submit_to_last_fill_ms INTEGER,
    last_fill_at TIMESTAMP WITH TIME ZONE,
    computed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_execution_tca_metrics PRIMARY KEY (execution_id),
    CONSTRAINT ck_execution_tca_metrics_finite CHECK (arrival_price < 'Infinity'::numeric AND arrival_mid <
        'Infinity'::numeric AND avg_fill_price < 'Infinity'::numeric AND filled_qty < 'Infinity'::numeric AND
        signed_qty < 'Infinity'::numeric AND slippage_bps < 'Infinity'::numeric AND slippage_mid_bps <
        'Infinity'::numeric AND shortfall_notional < 'Infinity'::numeric),
    CONSTRAINT fk_execution_tca_metrics_execution_id FOREIGN KEY(execution_id) REFERENCES executions (id) ON DELETE
        CASCADE
)
""",
    """
CREATE INDEX ix_execution_tca_metrics_strategy_id_last_fill_at ON execution_tca_metrics (strategy_id, last_fill_at)
""",
    """
CREATE INDEX ix_execution_tca_metrics_symbol_last_fill_at ON execution_tca_metrics (symbol, last_fill_at)
""",
    """
INSERT INTO event_seq_head (id) VALUES (1)
""",
    """
INSERT INTO durable_counters (name) VALUES
    ('torghut_trading_order_feed_messages_total'),
    ('torghut_trading_order_feed_events_persisted_total'),
    ('torghut_trading_order_feed_duplicates_total'),
    ('torghut_trading_order_feed_missing_fields_total'),
    ('torghut_trading_order_feed_out_of_order_total'),
    ('torghut_trading_order_feed_apply_updates_total'),
    ('torghut_trading_order_feed_consumer_errors_total')
""",
    """
CREATE VIEW execution_tca_strategy_agg_v1 AS
SELECT alpaca_account_label, strategy_id, count(*) AS order_count,
    count(slippage_bps) AS priced_order_count,
    sum(filled_qty * avg_fill_price) AS filled_notional,
    sum(slippage_bps * filled_qty * avg_fill_price)
        / nullif(sum(filled_qty * avg_fill_price) FILTER (WHERE slippage_bps IS NOT NULL), 0) AS avg_slippage_bps,
    sum(slippage_mid_bps * filled_qty * avg_fill_price)
        / nullif(sum(filled_qty * avg_fill_price) FILTER (WHERE slippage_mid_bps IS NOT NULL), 0)
        AS avg_slippage_mid_bps,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY slippage_bps) AS p95_slippage_bps,
    sum(shortfall_notional) AS sum_shortfall_notional,
    sum(shortfall_notional) / nullif(count(shortfall_notional), 0) AS avg_shortfall_notional,
    max(computed_at) AS last_computed_at
FROM execution_tca_metrics
WHERE last_fill_at >= now() - interval '30 days'
GROUP BY alpaca_account_label, strategy_id
""",
    """
CREATE VIEW execution_tca_symbol_agg_v1 AS
SELECT alpaca_account_label, symbol, count(*) AS order_count,
    count(slippage_bps) AS priced_order_count,
    sum(filled_qty * avg_fill_price) AS filled_notional,
    sum(slippage_bps * filled_qty * avg_fill_price)
        / nullif(sum(filled_qty * avg_fill_price) FILTER (WHERE slippage_bps IS NOT NULL), 0) AS avg_slippage_bps,
    sum(slippage_mid_bps * filled_qty * avg_fill_price)
        / nullif(sum(filled_qty * avg_fill_price) FILTER (WHERE slippage_mid_bps IS NOT NULL), 0)
        AS avg_slippage_mid_bps,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY slippage_bps) AS p95_slippage_bps,
    sum(shortfall_notional) AS sum_shortfall_notional,
    sum(shortfall_notional) / nullif(count(shortfall_notional), 0) AS avg_shortfall_notional,
    max(computed_at) AS last_computed_at
FROM execution_tca_metrics
WHERE last_fill_at >= now() - interval '30 days'
GROUP BY alpaca_account_label, symbol
""",
)
