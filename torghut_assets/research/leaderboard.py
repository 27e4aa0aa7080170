"""The leaderboard: all evaluated candidates side by side."""

from collections.abc import Mapping

import polars as pl

from torghut_assets.promotion.decision import PromotionDecision
from torghut_assets.research.report import EvaluationReport

_SCHEMA: dict[str, pl.DataType] = {
    "rank": pl.Int64(),
    "name": pl.String(),
    "candidate_id": pl.String(),
    "sharpe_annualized": pl.Float64(),
    "net_pnl": pl.Float64(),
    "net_pnl_delta": pl.Float64(),
    "drawdown_fraction": pl.Float64(),
    "turnover_ratio": pl.Float64(),
    "trade_count": pl.Int64(),
    "verdict": pl.String(),
    "recommended_mode": pl.String(),
    "reasons": pl.String(),
}


def rank(reports: Mapping[str, EvaluationReport], decisions: Mapping[str, PromotionDecision]) -> pl.DataFrame:
    """Candidates by annualised Sharpe ratio, those without one last; equal ones by name.

    A verdict on another candidate than the one of the report (an older configuration of the same name) is not shown.
    """
    ordered = sorted(
        reports.values(),
        key=lambda report: (
            report.performance.sharpe_annualized is None,
            -(report.performance.sharpe_annualized or 0.0),
            report.name,
        ),
    )
    rows: list[tuple[object, ...]] = []
    for place, report in enumerate(ordered, start=1):
        decision = decisions.get(report.name)
        if decision is not None and decision.candidate_id != report.candidate_id:
            decision = None
        rows.append(
            (
                place,
                report.name,
                report.candidate_id,
                report.performance.sharpe_annualized,
                report.performance.net_pnl,
                report.baselines.net_pnl_delta,
                report.performance.drawdown_fraction,
                report.performance.turnover_ratio,
                report.counts.trade_count,
                None if decision is None else decision.action,
                None if decision is None else decision.recommended_mode,
                None if decision is None else ", ".join(decision.reasons),
            )
        )
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")
