"""``decision_json``: everything that a decision was made on, as plain values (``runtime.md`` 5)."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from torghut_runtime.canonical import canonical_value, digest
from torghut_runtime.engine.driver import Verdict
from torghut_runtime.engine.market_view import PriceSnapshot
from torghut_runtime.orders.model import Decision, OrderTerms, client_order_id
from torghut_runtime.orders.step_record import StepRecord
from torghut_runtime.risk.allocator import Sized
from torghut_runtime.strategies.contract import POSITION
from torghut_runtime.strategies.registry import BoundStrategy


def _numbers(names: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in zip(names, values, strict=True)}


def parameters_digest(strategy: BoundStrategy) -> str:
    """sha256 of type, version and parameters."""
    kind = strategy.strategy_class
    return digest({"type": kind.type, "version": kind.version, "params": strategy.params})


def decision_of(
    verdict: Verdict,
    *,
    account_label: str,
    params_sha256: str,
    decided_at: datetime,
    reason: str,
    reasons: Sequence[str],
    price: PriceSnapshot,
    account: Mapping[str, Decimal],
    sized: Sized | None = None,
    target_qty: Decimal | None = None,
    terms: OrderTerms | None = None,
    flags: Sequence[str] = (),
    step: StepRecord | None = None,
) -> Decision:
    """The record of a verdict and of what became of it; ``reasons`` are those that refuse it, ``reason`` why it is."""
    strategy, bar = verdict.strategy, verdict.bar
    features = _numbers(strategy.feature_columns, verdict.features.tolist())
    signal, target, confidence, _ = verdict.out.tolist()
    detail: dict[str, Any] = {
        "strategy": {
            "type": strategy.strategy_class.type,
            "version": strategy.strategy_class.version,
            "params_sha256": params_sha256,
            "source_sha256": strategy.source_digest,
        },
        "signal": int(signal),
        "target": target,
        "confidence": confidence,
        "tags": verdict.tags,
        "reason": reason,
        "target_qty": target_qty,
        "features": features,
        "features_sha256": digest(features),
        "position": _numbers(POSITION, verdict.position.tolist()),
        "params": {"price_snapshot": price.document()},
        "account": account,
        "risk_reasons": list(reasons),
        "portfolio_sizing": None if sized is None else {"qty": sized.qty, "clipped_by": sized.clipped_by},
        "execution_policy": None
        if terms is None
        else {
            "side": terms.side,
            "qty": terms.qty,
            "order_type": terms.order_type,
            "time_in_force": terms.time_in_force,
            "limit_price": terms.limit_price,
            "flags": list(flags),
        },
    }
    strategy_id = strategy.entry.strategy_id
    return Decision(
        decision_hash=client_order_id(account_label, strategy_id, bar.symbol, bar.open_ts, 0),
        strategy_id=strategy_id,
        symbol=bar.symbol,
        timeframe=bar.timeframe,
        bar_ts=bar.open_ts,
        decided_at=decided_at,
        rationale=reason,
        detail=canonical_value(detail),
        step=step,
    )
