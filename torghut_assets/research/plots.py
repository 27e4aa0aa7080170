"""Pictures of an evaluation as PNG bytes: equity against baselines, drawdown, folds, months, rolling Sharpe, costs.

Equal reports give equal bytes: the backend is fixed, fonts come with matplotlib, and no time or version is written.
What stands in a picture is computed in ``report``.
"""

import io
import math
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from torghut_assets.research.metrics import SESSIONS_PER_YEAR
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.walkforward import WalkforwardReport
from torghut_runtime.compiled import Vector

ROLLING_SESSIONS = 126
_DPI = 96
_INK, _QUIET, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_LINE, _OTHERS, _GAIN, _LOSS = "#0b6e99", ("#b08900", "#8f5aa8", "#5a8f6b"), "#2f8f5b", "#c0392b"


def equity_and_drawdown(report: EvaluationReport) -> bytes:
    """Equity after each out-of-sample session against the baselines, and the fall from its peak below."""
    figure = _figure(9.6, 5.4)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    days = _days(report)
    capital = report.performance.capital
    equity = np.array(report.curves.equity)
    for color, (name, values) in zip(_OTHERS, sorted(report.curves.baselines.items()), strict=False):
        if len(values) == len(days):
            above.plot(days, values, color=color, linewidth=1.0, label=name)
    above.plot(days, equity, color=_LINE, linewidth=1.8, label=report.name)
    above.axhline(capital, color=_QUIET, linewidth=0.8, linestyle=":")
    above.set_ylabel("equity")
    if len(days):
        above.legend(loc="upper left", frameon=False, fontsize=8)
        peaks = np.maximum(np.maximum.accumulate(equity), capital)
        below.fill_between(days, -(1 - equity / peaks) * 100, 0, color=_LOSS, alpha=0.35, linewidth=0)
    below.set_ylabel("drawdown %")
    _style(above, below)
    _date_axis(below, len(days))
    return _png(figure, "Out-of-sample equity after costs, one account through all test windows")


def folds(report: WalkforwardReport) -> bytes:
    """Net profit per fold, in and out of sample."""
    figure = _figure(9.6, 3.2)
    axes = figure.subplots()
    places = np.arange(len(report.folds))
    inside = [fold.in_sample.net_pnl for fold in report.folds]
    outside = [fold.out_of_sample.net_pnl for fold in report.folds]
    axes.bar(places - 0.2, inside, 0.38, color=_GRID, edgecolor=_QUIET, label="in sample (training window)")
    axes.bar(places + 0.2, outside, 0.38, color=[_GAIN if v >= 0 else _LOSS for v in outside], label="out of sample")
    axes.axhline(0, color=_INK, linewidth=0.8)
    labels = [f"{fold.index + 1}\n{fold.test_first:%Y-%m-%d}\n{fold.test_last:%Y-%m-%d}" for fold in report.folds]
    axes.set_xticks(places, labels, fontsize=8)
    axes.set_ylabel("net PnL")
    if report.folds:
        axes.legend(frameon=False, fontsize=8)
    _style(axes)
    return _png(figure, "Walk-forward folds")


def monthly_returns(report: EvaluationReport) -> bytes:
    """Returns by year and month as a coloured table."""
    years = sorted({int(month[:4]) for month in report.monthly_returns})
    figure = _figure(9.6, max(1.6, 0.9 + 0.32 * len(years)))
    axes = figure.subplots()
    table = np.full((max(len(years), 1), 12), np.nan)
    for month, value in report.monthly_returns.items():
        table[years.index(int(month[:4])), int(month[5:]) - 1] = value * 100
    reach = max(float(np.nanmax(np.abs(table))), 1e-9) if years else 1.0
    axes.imshow(table, cmap="RdYlGn", vmin=-reach, vmax=reach, aspect="auto")
    axes.set_xticks(range(12), _MONTHS, fontsize=8)
    axes.set_yticks(range(len(years)), [str(year) for year in years], fontsize=8)
    for (row, column), value in np.ndenumerate(table):
        if not math.isnan(value):
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=_INK)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return _png(figure, "Monthly returns, %")


def rolling_sharpe(report: EvaluationReport) -> bytes:
    """Annualised Sharpe ratio of the last 126 sessions, where there are that many."""
    figure = _figure(9.6, 2.8)
    axes = figure.subplots()
    days = _days(report)
    values = _rolling_sharpe(_returns(report.curves.equity, report.performance.capital))
    axes.plot(days, values, color=_LINE, linewidth=1.2)
    axes.axhline(0, color=_INK, linewidth=0.8)
    axes.set_ylabel("Sharpe, annualised")
    _style(axes)
    _date_axis(axes, len(days))
    return _png(figure, f"Sharpe ratio over the last {ROLLING_SESSIONS} sessions")


def costs(report: EvaluationReport) -> bytes:
    """Costs by component."""
    figure = _figure(9.6, 2.2)
    axes = figure.subplots()
    parts = {
        "half-spread": report.costs.half_spread,
        "impact": report.costs.impact,
        "commission": report.costs.commission,
        "fees": report.costs.fees,
    }
    bars = axes.barh(list(parts), list(parts.values()), color=_LINE)
    axes.bar_label(bars, fmt="{:,.2f}", fontsize=8, padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    _style(axes)
    return _png(figure, "Costs, account currency")


def _figure(width: float, height: float) -> Any:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any, title: str) -> bytes:
    figure.suptitle(title, fontsize=10, color=_INK, x=0.01, ha="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _style(*axes: Any) -> None:
    for each in axes:
        each.grid(visible=True, color=_GRID, linewidth=0.7)
        each.set_axisbelow(True)
        each.tick_params(labelsize=8, colors=_QUIET, length=0)
        for name, spine in each.spines.items():
            spine.set_visible(name == "bottom")
            spine.set_color(_QUIET)


def _date_axis(axes: Any, count: int) -> None:
    if count:
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _days(report: EvaluationReport) -> list[date]:
    return [date.fromisoformat(day) for day in report.curves.sessions]


def _returns(equity: Sequence[float], capital: float) -> Vector:
    curve = np.array([capital, *equity], dtype=np.float64)
    return np.asarray(np.diff(curve) / curve[:-1], dtype=np.float64)


def _rolling_sharpe(returns: Vector) -> Vector:
    values = np.full(len(returns), np.nan)
    for end in range(ROLLING_SESSIONS, len(returns) + 1):
        window = returns[end - ROLLING_SESSIONS : end]
        deviation = float(window.std(ddof=1))
        if deviation > 1e-15:
            values[end - 1] = float(window.mean()) / deviation * math.sqrt(SESSIONS_PER_YEAR)
    return values
