"""The tear sheet (``backtest/tearsheet.html``): one self-contained page about one evaluation.

Reproducible like the reports it shows: no clock, no path, nothing fetched from anywhere. What the numbers mean is told
in ``report`` and in the gates.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from torghut_assets.gates.engine import RuleRecord
from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.research import plots
from torghut_assets.research.candidate import CandidateSpec
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.walkforward import WalkforwardReport

_SIGNS = {"<=": "≤", ">=": "≥"}


def render_tearsheet(
    spec: CandidateSpec,
    walkforward: WalkforwardReport,
    report: EvaluationReport,
    evaluation: GateEvaluation | None = None,
) -> bytes:
    """The page as UTF-8 HTML.

    Args:
        spec: the candidate.
        walkforward: its folds and trials.
        report: its metrics.
        evaluation: the gates; left out where nobody has judged (``torghut backtest``).
    """
    environment = Environment(
        loader=PackageLoader("torghut_assets.research"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update({"num": number, "pct": percent})
    page = environment.get_template("tearsheet.html.j2").render(
        spec=spec,
        walkforward=walkforward,
        report=report,
        evaluation=evaluation,
        records=_rows(evaluation.records) if evaluation else (),
        pictures=_pictures(report, walkforward),
        headline=_headline(report),
    )
    return page.encode()


def number(value: object) -> str:
    """A number as people read it, a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(number(item) for item in cast("Sequence[Any]", value)) or "none"
    return str(value)


def percent(value: float | None) -> str:
    """A fraction as per cent."""
    return "–" if value is None else f"{value * 100:.2f} %"


def _pictures(report: EvaluationReport, walkforward: WalkforwardReport) -> dict[str, str]:
    drawn: Mapping[str, Callable[[], bytes]] = {
        "equity": lambda: plots.equity_and_drawdown(report),
        "folds": lambda: plots.folds(walkforward),
        "months": lambda: plots.monthly_returns(report),
        "sharpe": lambda: plots.rolling_sharpe(report),
        "costs": lambda: plots.costs(report),
    }
    return {name: f"data:image/png;base64,{base64.b64encode(draw()).decode()}" for name, draw in drawn.items()}


def _headline(report: EvaluationReport) -> tuple[tuple[str, str], ...]:
    performance = report.performance
    return (
        ("net PnL", number(performance.net_pnl)),
        ("annual return", percent(performance.annual_return)),
        ("annual volatility", percent(performance.annual_volatility)),
        ("Sharpe, annualised", number(performance.sharpe_annualized)),
        ("max. drawdown", percent(performance.drawdown_fraction)),
        ("trades", number(report.counts.trade_count)),
        ("turnover per year", number(performance.turnover_ratio)),
        ("cost, bps of turnover", number(performance.cost_bps)),
    )


def _rows(records: Sequence[RuleRecord]) -> tuple[dict[str, str], ...]:
    return tuple(
        {
            "rule": record.rule_id,
            "observed": f"{number(record.observed)} {record.unit}".strip(),
            "sign": _SIGNS.get(record.comparator, record.comparator),
            "threshold": number(record.threshold),
            "status": record.status,
            "css": "open" if record.denies else record.status,
            "reason": record.reason_code or "",
            "note": record.note,
        }
        for record in records
    )
