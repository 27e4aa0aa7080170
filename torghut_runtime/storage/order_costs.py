"""What orders cost beside what they were decided on, with churn: one statement for research, checks and metrics.

It reads; ``execution_tca_metrics`` is written by the ingest transaction.
"""

from typing import Final

COSTS: Final = """
    SELECT t.alpaca_account_label AS account, t.strategy_id, t.symbol, e.alpaca_order_id, e.client_order_id, t.side,
        t.arrival_price, t.arrival_mid, t.avg_fill_price, t.filled_qty, t.signed_qty, t.slippage_bps,
        t.slippage_mid_bps, t.shortfall_notional, t.decision_to_submit_ms, t.submit_to_ack_ms,
        t.submit_to_first_fill_ms, t.submit_to_last_fill_ms, e.first_fill_at, t.last_fill_at,
        CASE WHEN sign(p.signed_qty) * sign(t.signed_qty) < 0
            THEN least(abs(p.signed_qty), abs(t.signed_qty)) ELSE 0 END AS churn_qty
    FROM execution_tca_metrics t
    JOIN executions e ON e.id = t.execution_id
    LEFT JOIN LATERAL (
        SELECT q.signed_qty FROM execution_tca_metrics q
        WHERE q.alpaca_account_label = t.alpaca_account_label AND q.symbol = t.symbol
            AND q.strategy_id IS NOT DISTINCT FROM t.strategy_id AND q.execution_id <> t.execution_id
            AND q.last_fill_at >= e.first_fill_at - interval '900 seconds' AND q.last_fill_at < e.first_fill_at
        ORDER BY q.last_fill_at DESC, q.execution_id DESC LIMIT 1
    ) p ON true
    WHERE t.filled_qty > 0
"""
"""Costs per order with churn: what it took back of the same strategy's position filled within 900 s before it."""
