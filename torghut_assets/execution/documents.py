"""The blobs of the execution assets: the same bytes for the same rows."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from torghut_runtime.canonical import canonical_json, compact_json

Row = Mapping[str, Any]


def executions_jsonl(rows: Iterable[Row]) -> bytes:
    """One line per order."""
    return b"".join(compact_json(row) + b"\n" for row in rows)


def tca_json(day: str, rows: Sequence[Row]) -> bytes:
    """Costs per order with their churn, and both sums of churn per strategy."""
    executions = [{**row, "churn_ratio": row["churn_qty"] / row["filled_qty"]} for row in rows]
    sums: dict[tuple[str, str | None], list[Decimal]] = {}
    for row in rows:
        pair = sums.setdefault((row["account"], row["strategy_id"]), [Decimal(0), Decimal(0)])
        pair[0] += row["churn_qty"]
        pair[1] += row["filled_qty"]
    strategies = [
        {
            "account": account,
            "strategy_id": strategy,
            "churn_qty": churned,
            "filled_qty": filled,
            "churn_ratio": churned / filled,
        }
        for (account, strategy), (churned, filled) in sorted(
            sums.items(), key=lambda item: (item[0][0], item[0][1] or "")
        )
    ]
    return canonical_json({"trading_date": day, "executions": executions, "strategies": strategies})


def report_json(report: Mapping[str, Any]) -> bytes:
    """The reconciliation report."""
    return canonical_json(report)
