"""Log lines about decisions and orders, all with the decision's ``trace_id``: from a bar to its fills by one text."""

import logging
from collections.abc import Sequence

from torghut_runtime.orders.model import Decision, Intent
from torghut_runtime.orders.tracker import TrackedOrder


def fields_of(intent: Intent) -> dict[str, str]:
    """What a line about an intent is about."""
    return {
        "trace_id": intent.trace_id,
        "strategy_id": intent.strategy_id,
        "symbol": intent.terms.symbol,
        "client_order_id": intent.client_order_id,
    }


def tell_decision(logger: logging.Logger, decision: Decision, reasons: Sequence[str]) -> None:
    """One line per decision; ``reasons`` are those that refuse it."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "decision refused" if reasons else "decision",
            extra={
                "trace_id": decision.trace_id,
                "strategy_id": decision.strategy_id,
                "symbol": decision.symbol,
                "bar_ts": decision.bar_ts,
                "rationale": decision.rationale,
                "reasons": list(reasons),
            },
        )


def tell_order(logger: logging.Logger, order: TrackedOrder) -> None:
    """One line per change of an order, fills among them."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "order %s",
            order.state.status,
            extra={
                **({"symbol": order.state.symbol} if order.intent is None else fields_of(order.intent)),
                "order_id": order.order_id,
                "filled_qty": order.state.filled_qty,
                "avg_fill_price": order.state.avg_fill_price,
            },
        )
