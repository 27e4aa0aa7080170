"""Rows of decisions, executions and orders (``runtime.md`` 2). Money, prices and quantities are decimal text."""

import uuid
from datetime import datetime
from typing import Any

from torghut_runtime.api.documents.costs import TcaFields
from torghut_runtime.api.documents.values import Document, Number


class DecisionRow(Document):
    """A decision of a strategy and what became of it."""

    id: uuid.UUID
    strategy_id: str
    symbol: str
    timeframe: str
    status: str
    rationale: str | None
    decision: dict[str, Any]
    created_at: datetime
    executed_at: datetime | None
    alpaca_account_label: str
    client_order_id: str
    reasons: list[str]
    trace_id: str | None


class ExecutionRow(Document):
    """An order as the broker's events tell it, and its cost."""

    id: uuid.UUID
    trade_decision_id: uuid.UUID | None
    symbol: str | None
    side: str | None
    order_type: str | None
    time_in_force: str | None
    submitted_qty: Number | None
    filled_qty: Number
    avg_fill_price: Number | None
    status: str
    created_at: datetime
    last_update_at: datetime | None
    alpaca_order_id: str | None
    tca: TcaFields | None
    trace_id: str | None


class OrderRow(Document):
    """An intent and the order that it became."""

    id: uuid.UUID
    client_order_id: str
    intent_seq: int
    alpaca_order_id: str | None
    strategy_id: str | None
    symbol: str
    side: str
    order_type: str
    time_in_force: str
    qty: Number | None
    limit_price: Number | None
    stop_price: Number | None
    filled_qty: Number
    avg_fill_price: Number | None
    state: str
    reason: str | None
    replaces: str | None
    replaced_by: str | None
    created_at: datetime
    submitted_at: datetime | None
    acked_at: datetime | None
    terminal_at: datetime | None
    trace_id: str | None
