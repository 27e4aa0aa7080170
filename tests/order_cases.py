"""Intents and order states for tests of portfolio, manager and engine."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from torghut_runtime.order_feed.state import Fill, OrderState
from torghut_runtime.orders.model import Decision, Intent, OrderTerms, client_order_id
from torghut_runtime.orders.step_record import StepRecord, StrategyCode

ACCOUNT = "paper"
BAR = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MS = 1_000_000


def intent(
    seq: int = 0,
    *,
    side: Any = "buy",
    qty: int = 10,
    price: int = 100,
    strategy: str = "s1",
    symbol: str = "AAPL",
    is_exit: bool = False,
    bar_ts: datetime = BAR,
    **terms: Any,
) -> Intent:
    given = {"order_type": "market", "time_in_force": "day", **terms}
    return Intent(
        client_order_id=client_order_id(ACCOUNT, strategy, symbol, bar_ts, seq),
        seq=seq,
        strategy_id=strategy,
        terms=OrderTerms(symbol, side, Decimal(qty), **given),
        is_exit=is_exit,
        worst_price=Decimal(price),
        arrival_price=Decimal(price),
    )


def decision(of: Intent, bar_ts: datetime = BAR) -> Decision:
    return Decision(
        decision_hash=client_order_id(ACCOUNT, of.strategy_id, of.terms.symbol, bar_ts, 0),
        strategy_id=of.strategy_id,
        symbol=of.terms.symbol,
        timeframe="1Min",
        bar_ts=bar_ts,
        decided_at=bar_ts,
        rationale="entry",
        detail={"reasons": []},
        step=step_record(of.strategy_id, of.terms.symbol, bar_ts),
    )


def step_record(strategy: str = "s1", symbol: str = "AAPL", bar_ts: datetime = BAR, **fields: Any) -> StepRecord:
    """The recorded step behind a decision."""
    code = StrategyCode(
        strategy_id=strategy,
        strategy_type="buy_and_hold",
        version="1.0.0",
        source_sha256="0" * 64,
        params={},
        params_sha256="1" * 64,
        feature_names=("price",),
        commit="c0ffee",
        provenance={"trading": {"mode": "paper", "adapter": "simulator"}},
    )
    given: dict[str, Any] = {
        "account_label": ACCOUNT,
        "strategy": code,
        "symbol": symbol,
        "timeframe": "1Min",
        "bar_ts": bar_ts,
        "features": (100.0,),
        "position": (0.0,) * 5,
        "memory": (),
        "seconds_to_close": 60.0,
        "code": 1,
        "output": (1.0, 1.0, 1.0, 0.0),
        "account": {"equity": Decimal(100_000)},
        "price": {"price": Decimal(100), "as_of": bar_ts, "spread": None, "source": "bar"},
        "decided_at": bar_ts,
    }
    return StepRecord(**{**given, **fields})


def fill(qty: int, price: int, at: int, name: str | None = None, state: Any = "counted") -> Fill:
    return Fill(name or f"x{at}", Decimal(price), Decimal(qty), None, at * MS, state, b"")


def state(*fills: Fill, side: str = "buy", qty: int = 10, status: str = "new", **more: Any) -> OrderState:
    filled = sum((each.qty for each in fills if each.state == "counted"), Decimal(0))
    return OrderState(
        **{
            "status": status,
            "filled_qty": filled,
            "symbol": "AAPL",
            "side": side,
            "qty": Decimal(qty),
            "fills": fills,
            **more,
        }
    )
