"""The HTTP service over real rows, and a small engine that keeps a trading state, for tests.

:class:`KeptEngine` is no mock: state and latches are the runtime's own values and are stored in the test's database as
the runtime stores them; it has no market data and no broker.
"""

import hashlib
import json
import threading
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import sqlalchemy as sa
import uvicorn
from alpaca_streams import until
from engine_world import settings_of
from fastapi import FastAPI
from feed_settings import feed_settings
from postgres import free_port

from torghut_runtime.api.deadlines import Deadlines
from torghut_runtime.api.no_engine import NoEngine
from torghut_runtime.api.service import HttpService
from torghut_runtime.engine.surface import Component, Dependency, Operation, OperationRefusedError, UnknownStrategyError
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.main import create_app
from torghut_runtime.order_feed.ingest import ingest_values
from torghut_runtime.risk.trading_state import TradingState, stored_reasons
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.trading_state import change_trading_state

OPERATOR, VIEWER = "operator-token", "viewer-token"
DOWN = "postgresql://torghut:torghut@127.0.0.1:1/torghut"
ACCOUNT = "paper"
PATIENT = Deadlines(probe=20, answer=20, stop_claim=20, claim=20, record=20)
"""For tests that are about something else than the database's silence."""


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


TOKENS = json.dumps(
    [
        {"actor": "anna", "role": "operator", "sha256": digest_of(OPERATOR)},
        {"actor": "otto", "role": "operator", "sha256": digest_of("another-token")},
        {"actor": "vera", "role": "viewer", "sha256": digest_of(VIEWER)},
    ]
)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# Made once: settings are read from the environment, which no two threads may change at a time.
_NOTHING = NoEngine(settings_of())


@dataclass
class KeptEngine:
    """Keeps a trading state and some positions; stores the state where there is a database."""

    dsn: str
    role: Any = "leader"
    trading: TradingState = field(default_factory=TradingState)
    positions_held: dict[str, Decimal] = field(default_factory=lambda: {"AAPL": Decimal(10), "MSFT": Decimal(-4)})
    open_orders: int = 3
    strategies: tuple[str, ...] = ("momentum", "reversal")
    blocks: dict[str, str] = field(default_factory=dict)
    unready_reasons: tuple[str, ...] = ()
    parts: dict[str, Component] = field(default_factory=lambda: {"loop": Component(0.1, "ok")})
    found: dict[str, Dependency] = field(
        default_factory=lambda: {
            name: Dependency(ok=True, detail="answers")
            for name in ("postgres", "alpaca", "market_data", "order_feed", "flags")
        }
    )
    calls: list[str] = field(default_factory=list)
    gate: threading.Event | None = None
    lag: float = 1.5

    def status(self) -> Mapping[str, Any]:
        now = datetime.now(UTC)
        return {
            **_NOTHING.status(),
            "enabled": True,
            "running": True,
            "role": self.role,
            "last_run_at": now,
            "last_reconcile_at": now,
            "trading_state": {
                "state": self.trading.state,
                "reasons": stored_reasons(self.trading.latches),
                "actor": "anna",
                "since": datetime(2026, 1, 5, 14, 30, tzinfo=UTC),
            },
            "kill_switch_enabled": False,
            "kill_switch": {"env": False, "flag": False, "operator": False},
            "signal_continuity": {
                "universe_source": "static", "universe_status": "ok", "universe_reason": None,
                "universe_symbols_count": 2, "universe_cache_age_seconds": 1.0,
            },
            "limits": [
                {
                    "code": "gross_exposure_exceeded", "source": "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE",
                    "value": Decimal(10000), "room": Decimal(1500),
                },
            ],
            "catalog": {
                "digest": "a" * 64, "loaded_at": now, "error": None,
                "strategies": [
                    {"strategy_id": each, "enabled": True, "block": self.blocks.get(each)} for each in self.strategies
                ],
            },
            "queues": {"bars": 0, "order_updates": 2},
            "metrics": {"signal_lag_seconds": self.lag},
        }  # fmt: skip

    def positions(self) -> Mapping[str, Any]:
        account = dict.fromkeys(
            ("equity", "cash", "buying_power", "gross_exposure", "net_exposure", "high_water_mark"), Decimal("100000.5")
        )
        rows = [
            {
                "symbol": symbol, "qty": qty, "avg_entry_price": Decimal("190.25"), "price": Decimal("191.5"),
                "market_value": qty * Decimal("191.5"), "unrealized_pl": qty * Decimal("1.25"),
                "realized_pl": Decimal(0), "reserved_qty": Decimal(0), "broker_qty": qty, "discrepancy_qty": Decimal(0),
                "frozen": False, "by_strategy": [{"strategy_id": "momentum", "qty": qty}],
            }
            for symbol, qty in self.positions_held.items()
        ]  # fmt: skip
        return {"account": {**account, "day_pnl": Decimal("-120.75"), "drawdown": Decimal("0.0012")}, "items": rows}

    def components(self) -> Mapping[str, Component]:
        return self.parts

    def dependencies(self) -> Mapping[str, Dependency]:
        return self.found

    # Operations

    def halt(self, actor: str, reason: str) -> Operation:
        return self._moved("halt", actor, self.trading.latched("operator_halt", datetime.now(UTC)), cancels=True)

    def reduce(self, actor: str, reason: str) -> Operation:
        return self._moved("reduce", actor, self.trading.latched("operator_reduce", datetime.now(UTC)))

    def resume(self, actor: str, reason: str, ack: Sequence[str]) -> Operation:
        self._leads()
        missing = [code for code in self.trading.codes if code not in ack]
        if missing:
            raise OperationRefusedError("unacknowledged_reasons", missing=missing)
        return self._moved("resume", actor, TradingState())

    def cancel_all(self, actor: str, reason: str) -> Operation:
        return self._moved("cancel-all", actor, self.trading, cancels=True)

    def flatten(
        self, actor: str, reason: str, symbols: Sequence[str] | None, *, override_kill_switch: bool
    ) -> Operation:
        self._leads()
        wanted = list(self.positions_held) if symbols is None else list(symbols)
        closed = {symbol: str(self.positions_held.pop(symbol)) for symbol in wanted if symbol in self.positions_held}
        done = self._moved("flatten", actor, self.trading, cancels=True)
        return Operation("flatten", done.state_before, done.state_after, {"closed": closed}, done.ledger_seq)

    def disable_strategy(self, actor: str, reason: str, strategy_id: str, mode: Any) -> Operation:
        self._knows(strategy_id)
        self.blocks[strategy_id] = mode
        return self._moved("disable", actor, self.trading)

    def enable_strategy(self, actor: str, reason: str, strategy_id: str) -> Operation:
        self._knows(strategy_id)
        self.blocks.pop(strategy_id, None)
        return self._moved("enable", actor, self.trading)

    def _leads(self) -> None:
        if self.role != "leader":
            raise OperationRefusedError("lease_not_held")

    def _knows(self, strategy_id: str) -> None:
        if strategy_id not in self.strategies:
            raise UnknownStrategyError(strategy_id)

    def _moved(self, action: str, actor: str, after: TradingState, *, cancels: bool = False) -> Operation:
        self.calls.append(action)
        if self.gate is not None:
            assert self.gate.wait(60)
        before, self.trading = self.trading.state, after
        effects = {"orders_canceled": self.open_orders} if cancels else {}
        if cancels:
            self.open_orders = 0
        is_stored = True
        try:
            with connect(create_engine(self.dsn)) as connection:
                change_trading_state(connection, ACCOUNT, lambda _: after, actor=actor, fencing_token=1)
        except StoreUnavailableError:
            is_stored = False
        return Operation(action, before, after.state, effects, durable=is_stored)


def app_of(dsn: str, engine: KeptEngine | None = None, *, deadlines: Deadlines = PATIENT, **fields: Any) -> FastAPI:
    """The service, with that engine attached."""
    values = {"given_dsn": dsn, "operator_tokens": TOKENS, **fields}
    settings = feed_settings(**{name: value for name, value in values.items() if value is not None})
    app = create_app(settings, deadlines=deadlines)
    if engine is not None:
        service: HttpService = app.state.http
        service.attach(engine, engine)
    return app


@contextmanager
def serving(app: FastAPI) -> Generator[httpx.Client]:
    """A real server on a free port, and a client."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            # The first request makes all routes, and two at once would take each other's filters of warnings away.
            client.get("/nowhere")
            yield client
    finally:
        server.should_exit = True
        thread.join(60)


def ledger_of(dsn: str) -> list[Any]:
    """Every ``operator_action``, oldest first."""
    query = sa.text(
        "SELECT seq, subject, actor, body FROM governance_ledger WHERE kind = 'operator_action' ORDER BY seq"
    )
    with connect(create_engine(dsn)) as connection:
        return list(connection.execute(query).all())


def order_world(connection: sa.Connection, count: int = 3) -> list[uuid.UUID]:
    """Decisions with intents, filled through the ingest function; returns the decisions, oldest first."""
    from feed_database import intend
    from order_messages import DAY_NS, envelope, payload, rfc3339

    made: list[uuid.UUID] = []
    for number in range(count):
        client = f"client-{number}"
        decision, _ = intend(connection, client)
        made.append(decision)
        connection.execute(
            sa.text(
                "UPDATE trade_decisions SET trace_id = :trace, rationale = 'signal',"
                ' decision_json = \'{"risk_reasons": ["price_stale", "cooldown_active"]}\' WHERE id = :id'
            ),
            {"trace": f"trace-{number}", "id": decision},
        )
        order = {"id": f"order-{number}", "client_order_id": client, "qty": "3", "status": "new"}
        now = datetime.now(UTC)
        at = int(now.timestamp()) * 10**9 + number
        updates = [
            payload("new", order=order, timestamp=rfc3339(at)),
            payload(
                "fill", order={**order, "status": "filled", "filled_qty": "3", "filled_avg_price": "101"},
                timestamp=rfc3339(at + 10**6), price="101", qty="3", execution_id=f"exec-{number}",
            ),
        ]  # fmt: skip
        assert at > DAY_NS
        ingest_values(connection, [envelope(update) for update in updates], "stream", ACCOUNT)
        connection.commit()
    return made
