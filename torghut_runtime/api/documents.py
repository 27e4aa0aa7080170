"""What the HTTP service answers, as models: OpenAPI is made from them, and rows are rendered through them.

Money, prices and quantities are decimal text; times are UTC. What a value means stands in the contract (``runtime.md``
2, ``order-feed.md`` 7, ``flags.md`` 8).
"""

import re
import uuid
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from torghut_runtime.canonical import canonical_value

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def _moment_text(given: object) -> object:
    if not isinstance(given, str) or not _MOMENT.fullmatch(given):
        raise ValueError("must be a time with its zone, such as 2026-01-05T14:30:00Z")
    return given


Number = Annotated[Decimal, PlainSerializer(canonical_value, return_type=str)]
"""A decimal number as text, without trailing zeros."""
Moment = Annotated[
    datetime,
    BeforeValidator(_moment_text),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation"),
]
"""A time that a client gives."""
_Row = TypeVar("_Row", bound=BaseModel)


class Document(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="ignore")


class OpenDocument(BaseModel):
    """An answer of the engine's, which may say more than is listed here."""

    model_config = ConfigDict(extra="allow")


class Fault(Document):
    """Why a call was not answered."""

    ok: Literal[False] = False
    error: str = Field(examples=["database_unavailable"])
    detail: Any = None


class Service(Document):
    """Who answers."""

    service: str
    status: Literal["ok"]
    version: str
    commit: str


class Check(Document):
    """Whether something works, and what is known of it."""

    ok: bool
    detail: str


class DatabaseCheck(Document):
    """The database answered."""

    ok: Literal[True]


class ComponentHealth(Document):
    """A supervised part and the age of its heartbeat."""

    age_seconds: float
    state: str


class Liveness(Document):
    """Whether the process lives."""

    status: Literal["ok", "stale"]
    service: str
    heartbeat_age_seconds: float
    components: dict[str, ComponentHealth]


class Readiness(Document):
    """Whether the process could trade, and why not."""

    status: Literal["ready", "not ready"]
    role: Literal["leader", "standby"]
    reasons: list[str]


class Health(Document):
    """The engine and what it depends on."""

    status: Literal["ok", "degraded"]
    scheduler: Check
    dependencies: dict[str, Check]


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


class Page(Document, Generic[_Row]):
    """Rows from the newest on; ``next_cursor`` is ``null`` at the end."""

    items: list[_Row]
    next_cursor: str | None


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
    limits: Any
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


class FlagSnapshot(Document):
    """What the flag server said last."""

    ok: bool
    version: str | None
    source: str
    fetched_at: datetime | None
    age_seconds: float | None
    stale: bool


class FlagRow(Document):
    """One flag and what it amounts to."""

    model_config = ConfigDict(serialize_by_alias=True)

    key: str
    setting: str
    flag_class: str = Field(serialization_alias="class")
    rule: str
    effective: bool
    env_value: bool
    flag_value: bool | None
    safe_value: bool
    source: str
    version: str | None
    age_seconds: float | None
    reason: str
    owner: str
    expires: str


class Flags(Document):
    """Flags, merged with the environment."""

    enabled: bool
    namespace: str
    entity_id: str
    snapshot: FlagSnapshot
    last_error: Any
    degraded: list[str]
    flags: list[FlagRow]


class Tokens(Document):
    """Tokens that reviews have used."""

    prompt: int
    completion: int
    total: int


class RiskFlag(Document):
    """How often a risk was named."""

    flag: str
    count: int


class ReviewMetrics(Document):
    """Reviews of the day; shares are of all reviews, ``decision_contribution`` of those that changed an order."""

    total_reviews: int
    verdict_counts: dict[str, int]
    error_rate: float | None
    avg_confidence: float | None
    decision_contribution: float | None
    tokens: Tokens
    top_risk_flags: list[RiskFlag]
    late_total: int


class ReviewWindow(Document):
    """The day that is looked at."""

    timezone: str
    start: datetime
    end: datetime
    start_utc: datetime
    end_utc: datetime


class LlmEvaluation(Document):
    """The adviser's day."""

    ok: Literal[True]
    window: ReviewWindow
    metrics: ReviewMetrics


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
