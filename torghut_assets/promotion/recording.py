"""Recording a promotion decision: its ledger row, its run, and who is champion now, in one transaction.

The edge to the database; how a decision comes about is told in ``decision``.
"""

from datetime import UTC, date, datetime, time

import sqlalchemy as sa

from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.gates.rule import EVIDENCE
from torghut_assets.promotion.decision import PromotionDecision
from torghut_assets.research import records
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.walkforward import WalkforwardReport
from torghut_runtime.canonical import canonical_value
from torghut_runtime.storage import ledger
from torghut_runtime.storage.database import transaction


def record_decision(
    connection: sa.Connection,
    decision: PromotionDecision,
    evaluation: GateEvaluation,
    walkforward: WalkforwardReport,
    report: EvaluationReport,
    strategies: tuple[str, ...],
    *,
    actor: str,
    code_version: str,
) -> PromotionDecision:
    """Write the decision to the ledger and return it with its reference.

    Every decision is a row, also when the same evaluation is decided on again; the run itself is recorded once.

    Args:
        connection: of the database ``torghut``.
        decision: what was decided.
        evaluation: what it was decided on.
        walkforward: folds of the run.
        report: its summary metrics are kept with the run.
        strategies: ids of the candidate's strategies, whose champion it becomes when it is promoted.
        actor: who asked.
        code_version: of the lane.

    Raises:
        StoreUnavailableError: the database does not answer; then nothing is recorded.
    """
    with transaction(connection):
        row = ledger.append(
            connection,
            kind="promotion",
            subject=decision.name,
            actor=actor,
            body=decision.ledger_body(),
            at=decision.decided_at,
        )
        records.record_run(
            connection,
            records.RunRecord(
                run_id=decision.run_id,
                name=decision.name,
                candidate_id=decision.candidate_id,
                policy_sha256=decision.policy.sha256,
                evidence_sha256=evaluation.inputs[EVIDENCE],
                code_version=code_version,
                promotion_target=decision.promotion_target,
                recommended_mode=decision.recommended_mode,
                action=decision.action,
                reasons=decision.reasons,
                report=canonical_value(summary(report)),
                ledger_seq=row.seq,
            ),
        )
        records.record_folds(connection, decision.run_id, fold_records(walkforward))
        if decision.promotion_allowed:
            for strategy in strategies:
                records.record_promotion(
                    connection,
                    strategy=strategy,
                    candidate_id=decision.candidate_id,
                    run_id=decision.run_id,
                    target=decision.promotion_target,
                    actor=actor,
                    ledger_seq=row.seq,
                )
    return decision.recorded(row.seq, row.hash)


def summary(report: EvaluationReport) -> dict[str, object]:
    """The metrics that lists and comparisons of candidates show."""
    return {
        "counts": report.counts,
        "performance": report.performance,
        "costs": report.costs,
        "folds": report.folds,
        "statistics": report.statistics,
        "net_pnl_delta": report.baselines.net_pnl_delta,
        "best_baseline": report.baselines.best,
    }


def fold_records(walkforward: WalkforwardReport) -> list[records.FoldRecord]:
    """The folds as rows; a window's days are kept as 00:00 UTC."""
    return [
        records.FoldRecord(
            fold=fold.index,
            train_start=_midnight(fold.train_first),
            train_end=_midnight(fold.train_last),
            test_start=_midnight(fold.test_first),
            test_end=_midnight(fold.test_last),
            parameters=fold.parameters,
            in_sample=canonical_value(fold.in_sample),
            out_of_sample=canonical_value(fold.out_of_sample),
        )
        for fold in walkforward.folds
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
