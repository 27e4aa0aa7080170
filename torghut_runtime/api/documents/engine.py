"""The engine as it shows itself: status, counters, account and positions, answers to operators (``runtime.md`` 2)."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from torghut_runtime.api.documents.values import Document, Number, OpenDocument


class StateReason(OpenDocument):
    """One latched reason."""

    code: str
    clears: str | None = None
    at: datetime | str | None = None


class TradingStateDocument(OpenDocument):
    """State and latches."""

    state: str
    reasons: list[StateReason] = Field(default_factory=list[StateReason])
    actor: str | None = None
    since: datetime | str | None = None


class KillSwitchDocument(OpenDocument):
    """The three sources; each blocks alone."""

    env: bool
    flag: bool
    operator: bool


class LiveGateDocument(OpenDocument):
    """Whether live orders may leave, and what is missing."""

    allowed: bool
    missing: list[str]


class LimitRow(OpenDocument):
    """One cap that is set: the reason code it refuses with, the variable it comes from, what it leaves."""

    code: str
    source: str
    value: Number
    room: Number | None


class Status(OpenDocument):
    """The engine, as it is."""

    enabled: bool
    mode: str
    adapter: str
    running: bool
    role: str
    last_run_at: datetime | str | None
    last_reconcile_at: datetime | str | None
    last_error: Any
    trading_state: TradingStateDocument
    kill_switch_enabled: bool
    kill_switch: KillSwitchDocument
    live_gate: LiveGateDocument
    signal_continuity: dict[str, Any]
    rollback: dict[str, Any]
    catalog: dict[str, Any]
    limits: list[LimitRow]
    queues: Any
    metrics: Any
    llm: dict[str, Any]
    operations: list[Any]


class Counters(OpenDocument):
    """The counters of ``/metrics``, as JSON: a number, or one per set of labels."""

    counters: dict[str, Any]
    signal_lag_seconds: float | None
    running: bool
    last_run_at: datetime | str | None
    last_reconcile_at: datetime | str | None
    tca: dict[str, Any] | None


class AccountDocument(OpenDocument):
    """The account by our books."""

    equity: Number | None
    cash: Number | None
    buying_power: Number | None
    gross_exposure: Number | None
    net_exposure: Number | None
    day_pnl: Number | None
    high_water_mark: Number | None
    drawdown: Number | None


class PositionRow(OpenDocument):
    """A position, ours beside the broker's."""

    symbol: str
    qty: Number
    avg_entry_price: Number | None
    price: Number | None
    market_value: Number | None
    unrealized_pl: Number | None
    realized_pl: Number | None
    reserved_qty: Number | None
    broker_qty: Number | None
    discrepancy_qty: Number | None
    frozen: bool
    by_strategy: list[Any]


class Positions(Document):
    """Account and positions."""

    account: AccountDocument | None
    items: list[PositionRow]


class OperatorAnswer(Document):
    """What an operator's call did; ``durable`` is false where the database takes it later."""

    ok: Literal[True]
    action: str
    actor: str
    state_before: str
    state_after: str
    effects: dict[str, Any]
    ledger_seq: int | None
    durable: bool
    at: datetime
