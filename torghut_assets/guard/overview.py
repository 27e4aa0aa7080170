"""Where a candidate stands, in one answer for people and programs; reads one snapshot and changes nothing."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from torghut_assets.guard.policy import FAILURE_CLASSES, OrchestrationPolicy
from torghut_assets.guard.session import SqlSessions
from torghut_assets.guard.store import known
from torghut_runtime.storage.freezes import freeze_cause
from torghut_runtime.storage.guard_tables import guard_candidates
from torghut_runtime.storage.tables import governance_ledger


def overview(engine: sa.Engine, policy: OrchestrationPolicy, key: str) -> dict[str, Any]:
    """The candidate with that id or name; failure counts are those of its active stage, by class.

    Raises:
        GuardInputError: ``unknown_candidate``.
    """
    with SqlSessions(engine).reading() as session:
        state = known(session.find(key), key)
        name, stage = state.name or "", state.active_stage or ""
        counts = {
            failure_class: session.count_failures(
                name,
                stage,
                failure_class,
                timedelta(seconds=policy.failure_policies.of(failure_class).window_seconds),
                None,
                of_run=False,
            )
            for failure_class in FAILURE_CLASSES
        }
        ledger, candidates = governance_ledger.c, guard_candidates.c
        last = session.connection.execute(
            sa.select(sa.func.max(ledger.seq)).where(ledger.subject == name, ledger.kind == "guard_decision")
        ).scalar_one()
        updated = session.connection.execute(
            sa.select(candidates.updated_at).where(candidates.name == name)
        ).scalar_one()
        freeze = session.freeze()
    return {
        "name": state.name,
        "candidateId": state.candidate_id,
        "runId": state.run_id,
        "activeStage": state.active_stage,
        "paused": state.paused,
        "pauseReason": state.pause_reason,
        "promotionFrozen": freeze is not None,
        "freezeReason": freeze,
        "version": state.version,
        "failureCounts": {failure_class: count for failure_class, count in counts.items() if count},
        "lastDecisionSeq": last,
        "updatedAt": updated,
    }


def freeze_now(engine: sa.Engine) -> str | None:
    """The cause for which promotion is frozen now."""
    with engine.connect() as connection:
        return freeze_cause(connection)
