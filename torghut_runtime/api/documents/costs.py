"""What executions cost: a row per execution, summaries and aggregates (``order-feed.md`` 7)."""

import uuid
from datetime import datetime

from torghut_runtime.api.documents.values import Document, Number


class TcaFields(Document):
    """What one execution cost, against the price that was decided on."""

    arrival_price: Number | None
    arrival_mid: Number | None
    avg_fill_price: Number | None
    filled_qty: Number
    signed_qty: Number
    slippage_bps: Number | None
    slippage_mid_bps: Number | None
    shortfall_notional: Number | None
    decision_to_submit_ms: int | None
    submit_to_ack_ms: int | None
    submit_to_first_fill_ms: int | None
    submit_to_last_fill_ms: int | None
    computed_at: datetime


class TcaRow(TcaFields):
    """The cost of one execution, in a list."""

    execution_id: uuid.UUID
    trade_decision_id: uuid.UUID | None
    strategy_id: str | None
    alpaca_account_label: str
    symbol: str | None
    side: str | None
    last_fill_at: datetime | None
    trace_id: str | None


class TcaSummary(Document):
    """Costs of the orders last filled in the window; weighted by filled notional where it says so."""

    order_count: int
    priced_order_count: int
    filled_notional: Number | None
    avg_slippage_bps: Number | None
    avg_slippage_mid_bps: Number | None
    p95_slippage_bps: Number | None
    sum_shortfall_notional: Number | None
    avg_shortfall_notional: Number | None
    last_computed_at: datetime | None


class StrategyTca(TcaSummary):
    """The same of one strategy's orders."""

    alpaca_account_label: str
    strategy_id: str | None


class SymbolTca(TcaSummary):
    """The same of one symbol's orders."""

    alpaca_account_label: str
    symbol: str | None


class TcaAggregates(Document):
    """By strategy and by symbol."""

    strategy: list[StrategyTca]
    symbol: list[SymbolTca]


class TcaWindow(Document):
    """Which orders were counted: those last filled since, the newest first, ``counted`` of them at most ``most``."""

    since: datetime
    most: int
    truncated: bool


class TcaReport(Document):
    """Execution costs."""

    window: TcaWindow
    summary: TcaSummary
    aggregates: TcaAggregates
    items: list[TcaRow]
    next_cursor: str | None
