"""Collecting the facts that an evaluation freezes: trials on record, drills, standing, what to roll back to.

This is the edge to the database. What a fact means is told in ``evidence``, how it is judged in the rule tables. A fact
that nobody has measured stays ``None``.
"""

from datetime import datetime

import sqlalchemy as sa

from torghut_assets.execution.costs import execution_facts
from torghut_assets.execution.parity import paper_days_fact, parity_fact
from torghut_assets.gates.evidence import (
    CandidateState,
    Drill,
    Drills,
    Executions,
    Facts,
    RollbackTarget,
    TransactionCosts,
    Trials,
)
from torghut_assets.gates.policy import ROLLBACK_CHECKS
from torghut_assets.promotion.configmap import source_digest
from torghut_assets.research import records, trial_records
from torghut_assets.research.candidate import CandidateSpec
from torghut_assets.research.walkforward import WalkforwardReport, sharpe_variance
from torghut_runtime.canonical import canonical_value
from torghut_runtime.storage import ledger
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.guard_tables import guard_candidates


def collect_facts(
    connection: sa.Connection | None, spec: CandidateSpec, walkforward: WalkforwardReport, configmap_text: str
) -> Facts:
    """What is known about a candidate now; with a database its trials are recorded first, so they count themselves.

    Args:
        connection: of the database ``torghut``; None where nothing is recorded, the trials are then the candidate's own
            and no drill, no earlier promotion is known.
        spec: the candidate.
        walkforward: its trials.
        configmap_text: the ConfigMap that a patch would be made against, which a rollback restores.

    Raises:
        StoreUnavailableError: the database does not answer; nothing is then concluded from its silence.
    """
    rollback_target = RollbackTarget(source_sha256=source_digest(configmap_text))
    if connection is None:
        own = Trials(count=len(walkforward.trials), sharpe_variance=sharpe_variance(walkforward.trials))
        state = CandidateState(paused=False, superseded=False)
        return Facts(trials=own, candidate_state=state, rollback_target=rollback_target)
    with transaction(connection):
        content = {name: value for name, value in canonical_value(spec).items() if name != "name"}
        records.record_candidate(
            connection, records.CandidateRecord(spec.candidate_id, spec.dataset.dataset_id, content)
        )
        now = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        counts, executions, tca = _execution_facts(connection, spec, now)
        return Facts(
            trials=_trials_on_record(connection, walkforward),
            executions=executions,
            tca=tca,
            parity=parity_fact(connection, spec.strategies, counts, now),
            paper_days=paper_days_fact(connection, spec.strategies),
            drills=_newest_drills(connection, spec.name),
            candidate_state=CandidateState(
                paused=_is_paused(connection, spec.name), superseded=_is_superseded(connection, spec)
            ),
            rollback_target=rollback_target,
        )


def _trials_on_record(connection: sa.Connection, walkforward: WalkforwardReport) -> Trials:
    first, last = walkforward.span_first, walkforward.span_last
    if first is None or last is None:
        return Trials(count=0, sharpe_variance=None)
    key = trial_records.TrialKey(
        walkforward.trial_family, walkforward.trial_timeframe, walkforward.trial_symbols, first, last
    )
    trial_records.record_trials(
        connection,
        [
            trial_records.TrialRecord(
                key.family,
                key.timeframe,
                key.symbols,
                trial.parameters,
                first,
                last,
                trial.sharpe_per_period,
                trial.n_observations,
            )
            for trial in walkforward.trials
        ],
    )
    found = trial_records.trials_on_record(connection, key)
    return Trials(count=found.count, sharpe_variance=found.sharpe_variance)


def _execution_facts(
    connection: sa.Connection, spec: CandidateSpec, now: datetime
) -> tuple[dict[str, int], Executions, TransactionCosts | None]:
    """Executions of the candidate's strategies, each and all, and the worst of what those of the last 30 days cost."""
    found = [execution_facts(connection, each.strategy_id, now) for each in spec.strategies]
    executions = Executions(
        record_id="+".join(count.record_id for count, _ in found), count=sum(count.count for count, _ in found)
    )
    counts = {each.strategy_id: count.count for each, (count, _) in zip(spec.strategies, found, strict=True)}
    costs = [each for _, each in found if each is not None]
    if not costs:
        return counts, executions, None
    worst = TransactionCosts(
        record_id="+".join(each.record_id for each in costs),
        slippage_bps=max(each.slippage_bps for each in costs),
        shortfall_notional=max(each.shortfall_notional for each in costs),
        churn_ratio=max(each.churn_ratio for each in costs),
    )
    return counts, executions, worst


def _newest_drills(connection: sa.Connection, name: str) -> Drills:
    """The newest record of each drill about this candidate."""
    newest: dict[str, Drill] = {}
    for row in ledger.history(connection, name):
        drill = ROLLBACK_CHECKS.get(row.body.get("drill", "")) if row.kind == "drill" else None
        if drill is not None:
            newest[drill] = Drill(
                record_id=f"ledger:{row.seq}", passed=row.body.get("passed") is True, completed_at=row.at
            )
    return Drills(**newest)


def _is_paused(connection: sa.Connection, name: str) -> bool:
    """Whether the guard holds the candidate for review; one that it has never seen is not."""
    table = guard_candidates
    return connection.execute(sa.select(table.c.paused).where(table.c.name == name)).scalar_one_or_none() is True


def _is_superseded(connection: sa.Connection, spec: CandidateSpec) -> bool:
    """Whether one of its strategies has been promoted with a candidate that came after this one."""
    own = records.candidate_of(connection, spec.candidate_id)
    for strategy in spec.strategies:
        champion = records.champion(connection, strategy.strategy_id)
        if own is None or champion is None or champion.candidate_id == spec.candidate_id:
            continue
        theirs = records.candidate_of(connection, champion.candidate_id)
        if theirs is not None and _came_after(theirs, own):
            return True
    return False


def _came_after(theirs: records.CandidateRecord, own: records.CandidateRecord) -> bool:
    return own.created_at is not None and theirs.created_at is not None and theirs.created_at > own.created_at
