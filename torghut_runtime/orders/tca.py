"""Transaction cost analysis: what each order cost against the price it was decided on.

The analysis is one set-based statement that the ingest transaction runs for the orders it changed (contract
``order-feed.md`` 7); positive values are costs. Aggregates over 30 days are the views ``execution_tca_strategy_agg_v1``
and ``execution_tca_symbol_agg_v1``.
"""

from typing import Final

_LONGEST_MS: Final = 2_147_483_647


def _milliseconds(since: str, until: str) -> str:
    """Whole milliseconds between two times; none when a clock ran behind, at most what an integer holds."""
    return (
        f"CASE WHEN {until} >= {since} THEN least(extract(epoch FROM {until} - {since}) * 1000, {_LONGEST_MS})::integer"
        " END"
    )


REFRESH: Final = f"""
INSERT INTO execution_tca_metrics AS t (
    execution_id, trade_decision_id, strategy_id, alpaca_account_label, symbol, side, arrival_price, arrival_mid,
    avg_fill_price, filled_qty, signed_qty, slippage_bps, slippage_mid_bps, shortfall_notional,
    decision_to_submit_ms, submit_to_ack_ms, submit_to_first_fill_ms, submit_to_last_fill_ms, last_fill_at, computed_at
)
SELECT
    e.id, e.trade_decision_id, e.strategy_id, e.alpaca_account_label, e.symbol, e.side, i.arrival_price, i.arrival_mid,
    e.avg_fill_price, e.filled_qty, coalesce(d.sign * e.filled_qty, 0),
    CASE WHEN abs(v.bps) < 1e18 THEN v.bps END,
    CASE WHEN abs(v.mid_bps) < 1e18 THEN v.mid_bps END,
    CASE WHEN abs(v.shortfall) < 1e18 THEN v.shortfall END,
    {_milliseconds("n.decided_at", "i.sent_at")},
    {_milliseconds("e.submitted_at", "e.acked_at")},
    {_milliseconds("e.submitted_at", "e.first_fill_at")},
    {_milliseconds("e.submitted_at", "e.last_fill_at")},
    e.last_fill_at, clock_timestamp()
FROM executions e
LEFT JOIN order_intents i ON i.id = e.intent_id
LEFT JOIN trade_decisions n ON n.id = e.trade_decision_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.side = 'buy' THEN 1 WHEN e.side IN ('sell', 'sell_short') THEN -1 END AS sign,
        e.avg_fill_price > 0 AND e.filled_qty > 0 AS priced
) d
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN d.priced AND i.arrival_price > 0
            THEN d.sign * (e.avg_fill_price - i.arrival_price) / i.arrival_price * 10000 END AS bps,
        CASE WHEN d.priced AND i.arrival_mid > 0
            THEN d.sign * (e.avg_fill_price - i.arrival_mid) / i.arrival_mid * 10000 END AS mid_bps,
        CASE WHEN d.priced AND i.arrival_price > 0
            THEN d.sign * (e.avg_fill_price - i.arrival_price) * e.filled_qty END AS shortfall
) v
WHERE e.id = ANY(%s::uuid[])
ON CONFLICT (execution_id) DO UPDATE SET
    trade_decision_id = excluded.trade_decision_id, strategy_id = excluded.strategy_id,
    alpaca_account_label = excluded.alpaca_account_label, symbol = excluded.symbol, side = excluded.side,
    arrival_price = excluded.arrival_price, arrival_mid = excluded.arrival_mid,
    avg_fill_price = excluded.avg_fill_price, filled_qty = excluded.filled_qty, signed_qty = excluded.signed_qty,
    slippage_bps = excluded.slippage_bps, slippage_mid_bps = excluded.slippage_mid_bps,
    shortfall_notional = excluded.shortfall_notional, decision_to_submit_ms = excluded.decision_to_submit_ms,
    submit_to_ack_ms = excluded.submit_to_ack_ms, submit_to_first_fill_ms = excluded.submit_to_first_fill_ms,
    submit_to_last_fill_ms = excluded.submit_to_last_fill_ms, last_fill_at = excluded.last_fill_at,
    computed_at = excluded.computed_at
""".encode()  # noqa: S608 - the expressions are ours
"""Parameter: the ids of the executions to compute again."""
