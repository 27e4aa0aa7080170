"""Assets of the research layer: candidate, walk-forward, evaluation report, and the comparison of all candidates.

Thin shells over ``candidate``, ``walkforward`` and ``report``; a pure function of the inputs, so equal inputs have
equal data versions.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from pathlib import Path

import dagster as dg

from torghut_assets.guard.answering import answered
from torghut_assets.guard.stages import BACKTEST, BUILD
from torghut_assets.io_manager import Encoded
from torghut_assets.keys import (
    BARS,
    CANDIDATE_SPEC,
    DECISION,
    EVALUATION_REPORT,
    LEADERBOARD,
    RESEARCHERS,
    SIGNALS,
    WALKFORWARD_RESULTS,
)
from torghut_assets.partitions import CANDIDATES
from torghut_assets.presentation import frame_metadata, numbers, picture, table
from torghut_assets.promotion.decision import PromotionDecision
from torghut_assets.research import leaderboard as ranking
from torghut_assets.research import plots
from torghut_assets.research.candidate import CandidateSpec, specify
from torghut_assets.research.report import EvaluationReport, evaluate
from torghut_assets.research.settings import ResearchSettings, load_settings
from torghut_assets.research.strategies import load_strategies
from torghut_assets.research.walkforward import Setup, WalkforwardResults, set_up, walk_forward
from torghut_assets.resources import ProjectResource
from torghut_runtime.code_digest import code_digest
from torghut_runtime.market.bars import BarSet
from torghut_runtime.market.signals import SignalSet
from torghut_runtime.strategies.registry import BoundStrategy

_CODE = code_digest(
    "torghut_assets.research",
    "torghut_runtime.market",
    "torghut_runtime.risk",
    "torghut_runtime.strategies",
)[:16]


def _strategies(project: ProjectResource, name: str, signals: SignalSet) -> tuple[BoundStrategy, ...]:
    return load_strategies(project.folder / project.registration(name).strategy_config, signals)


def _settings(project: ProjectResource, name: str) -> ResearchSettings:
    path: Path | None = project.research_settings(name)
    return load_settings(path)


def _set_up(project: ProjectResource, name: str, signals: SignalSet) -> Setup:
    return set_up(signals, _strategies(project, name, signals), _settings(project, name))


@dg.asset(
    key=CANDIDATE_SPEC,
    ins={"signals": dg.AssetIn(SIGNALS)},
    partitions_def=CANDIDATES,
    group_name="research",
    kinds={"json"},
    owners=RESEARCHERS,
    code_version=_CODE,
    description="What is judged: strategies with every parameter, search space, data, settings and code, and the "
    "identity that follows from them.",
)
@answered(BUILD)
def candidate_spec(
    context: dg.AssetExecutionContext, project: ProjectResource, signals: SignalSet
) -> dg.MaterializeResult[Encoded]:
    """Describe the candidate."""
    name = context.partition_key
    spec = specify(name, signals, _strategies(project, name, signals), _settings(project, name))
    encoded = Encoded.of(spec)
    rows = [(each.strategy_id, each.strategy_type, each.version, each.base_timeframe) for each in spec.strategies]
    return encoded.materialized(
        metadata={
            "candidate_id": spec.candidate_id,
            "strategies": table(("strategy", "type", "version", "timeframe"), rows),
            "search_points": spec.search_points,
            "symbols": ", ".join(spec.universe.symbols),
            "dataset_id": spec.dataset.dataset_id,
            "code": table(("code", "sha256"), sorted(spec.code.items())),
        },
    )


@dg.asset(
    key=WALKFORWARD_RESULTS,
    ins={"signals": dg.AssetIn(SIGNALS), "spec": dg.AssetIn(CANDIDATE_SPEC)},
    partitions_def=CANDIDATES,
    group_name="research",
    kinds={"numba", "parquet"},
    owners=RESEARCHERS,
    code_version=_CODE,
    description="Parameters chosen on training data only and applied to the test window that follows, one account "
    "through all test windows; decisions, fills, equity, and every configuration that was tried.",
)
@answered(BACKTEST)
def walkforward_results(
    context: dg.AssetExecutionContext, project: ProjectResource, signals: SignalSet, spec: CandidateSpec
) -> dg.MaterializeResult[Encoded]:
    """Walk the candidate forward."""
    setup = _set_up(project, context.partition_key, signals)
    results = walk_forward(setup, spec.candidate_id)
    encoded = Encoded.of(results)
    folds = [
        (
            fold.index + 1,
            f"{fold.test_first} – {fold.test_last}",
            ", ".join(f"{name}={value}" for name, value in fold.parameters.items()) or "none searched",
            fold.in_sample.net_pnl,
            fold.out_of_sample.net_pnl,
        )
        for fold in results.report.folds
    ]
    return encoded.materialized(
        metadata={
            "candidate_id": spec.candidate_id,
            "folds": table(("fold", "test window", "chosen", "net PnL in sample", "net PnL out of sample"), folds),
            "folds_plot": picture(plots.folds(results.report), "Walk-forward folds"),
            "trials": len(results.report.trials),
            "decisions": results.decisions.height,
            "fills": results.fills.height,
            "decisions_sha256": results.report.decisions_sha256,
            **frame_metadata(results.equity),
        },
    )


@dg.asset(
    key=EVALUATION_REPORT,
    ins={
        "bars": dg.AssetIn(BARS),
        "signals": dg.AssetIn(SIGNALS),
        "spec": dg.AssetIn(CANDIDATE_SPEC),
        "results": dg.AssetIn(WALKFORWARD_RESULTS),
    },
    partitions_def=CANDIDATES,
    group_name="research",
    kinds={"json"},
    owners=RESEARCHERS,
    code_version=_CODE,
    description="Every metric that a gate reads, out of sample and after costs, with baselines and lookahead check.",
)
@answered(BACKTEST)
def evaluation_report(
    context: dg.AssetExecutionContext,
    project: ProjectResource,
    bars: BarSet | None,
    signals: SignalSet,
    spec: CandidateSpec,
    results: WalkforwardResults,
) -> dg.MaterializeResult[Encoded]:
    """Measure the walk-forward results."""
    setup = _set_up(project, context.partition_key, signals)
    report = evaluate(spec, setup, results, bars=bars)
    encoded = Encoded.of(report)
    performance = report.performance.model_dump(mode="json")
    baselines = [
        (each.name, each.net_pnl, each.net_pnl_at_equal_volatility, each.sharpe_annualized)
        for each in report.baselines.results
    ]
    return encoded.materialized(
        metadata={
            "equity": picture(plots.equity_and_drawdown(report), "Equity against baselines, and drawdown"),
            "monthly_returns": picture(plots.monthly_returns(report), "Monthly returns"),
            "rolling_sharpe": picture(plots.rolling_sharpe(report), "Rolling Sharpe ratio"),
            "performance": table(("metric", "value"), list(performance.items())),
            "baselines": table(("baseline", "net PnL", "at equal volatility", "Sharpe"), baselines),
            "lookahead_detected": str(report.lookahead.detected),
            **numbers({name: performance[name] for name in ("net_pnl", "sharpe_annualized", "drawdown_fraction")}),
            "trade_count": report.counts.trade_count,
        },
    )


@dg.asset(
    key=LEADERBOARD,
    ins={"reports": dg.AssetIn(EVALUATION_REPORT), "decisions": dg.AssetIn(DECISION)},
    group_name="research",
    kinds={"polars"},
    owners=RESEARCHERS,
    code_version=code_digest("torghut_assets.research.leaderboard")[:16],
    description="All candidates side by side, by annualised Sharpe ratio, with the verdict on each.",
)
def leaderboard(
    reports: dict[str, EvaluationReport], decisions: dict[str, PromotionDecision]
) -> dg.MaterializeResult[Encoded]:
    """Compare the candidates that have been evaluated."""
    ranked = ranking.rank(reports, decisions)
    encoded = Encoded.of(ranked)
    return encoded.materialized(
        metadata={**frame_metadata(ranked), "candidates": table(ranked.columns, ranked.rows())},
    )


RESEARCH_ASSETS = [candidate_spec, walkforward_results, evaluation_report, leaderboard]
