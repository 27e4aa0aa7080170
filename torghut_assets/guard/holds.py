"""Pauses and freezes: what a person puts in a candidate's way, and takes out of it again.

A pause holds one candidate, a freeze holds promotion as a whole; both close forward edges only. Each is one transaction
with its row in the governance ledger.
"""

from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from torghut_assets.guard.session import Recorded, SqlSession
from torghut_assets.guard.store import known
from torghut_assets.guard.transitions import CandidateState
from torghut_runtime.storage.freezes import (
    TRADING_HALTED,
    freeze_cause,
    lift_freezes,
    open_freeze,
    trading_halted,
)
from torghut_runtime.storage.ledger import lock_head

OPERATOR: Final = "operator"
PROMOTION: Final = "promotion"
"""Subject of the ledger's rows about freezes."""


@dataclass(frozen=True)
class HoldOutcome:
    """What became of a pause, resume, freeze or lift; ``recorded`` is ``None`` when nothing changed."""

    allowed: bool
    reason: str
    recorded: Recorded | None = None
    state: CandidateState | None = None
    freeze: str | None = None


def pause(engine: sa.Engine, candidate: str, *, reason: str, actor: str) -> HoldOutcome:
    """Pause a candidate; one that is paused stays as it is, with its reason.

    Raises:
        GuardInputError: ``unknown_candidate``.
    """
    with engine.begin() as connection:
        session = SqlSession(connection)
        state = _locked(session, candidate)
        if state.paused:
            return HoldOutcome(allowed=True, reason="already_paused", state=state)
        saved = session.save(replace(state, paused=True, pause_reason=reason))
        recorded = _record(session, "pause", saved, actor, reason, approver=None)
        return HoldOutcome(allowed=True, reason="paused", recorded=recorded, state=saved)


def resume(engine: sa.Engine, candidate: str, *, reason: str, approver: str, actor: str) -> HoldOutcome:
    """Lift a candidate's pause and let the failures of its active stage count no longer.

    Raises:
        GuardInputError: ``unknown_candidate``.
    """
    with engine.begin() as connection:
        session = SqlSession(connection)
        state = _locked(session, candidate)
        cleared = session.clear_failures(state.name or "", state.active_stage or "")
        if not state.paused and not cleared:
            return HoldOutcome(allowed=True, reason="not_paused", state=state)
        saved = session.save(replace(state, paused=False, pause_reason=None))
        recorded = _record(session, "resume", saved, actor, reason, approver=approver, cleared=cleared)
        return HoldOutcome(allowed=True, reason="resumed", recorded=recorded, state=saved)


def freeze_promotion(engine: sa.Engine, *, reason: str, actor: str) -> HoldOutcome:
    """Open a freeze with cause ``operator``."""
    with engine.begin() as connection:
        lock_head(connection)
        freeze_id = open_freeze(connection, cause=OPERATOR, reason=reason, actor=actor)
        body = {"action": "freeze", "cause": OPERATOR, "reason": reason, "freezeId": freeze_id}
        recorded = SqlSession(connection).record("guard_state", PROMOTION, actor, body)
        return HoldOutcome(allowed=True, reason="frozen", recorded=recorded, freeze=freeze_cause(connection))


def lift_promotion_freezes(engine: sa.Engine, *, reason: str, approver: str, actor: str) -> HoldOutcome:
    """Lift all open freezes; refused with ``trading_halted`` while a trading state is HALTED."""
    with engine.begin() as connection:
        lock_head(connection)
        if trading_halted(connection):
            body = {"action": "lift_freeze", "allowed": False, "reason": reason, "approver": approver}
            recorded = SqlSession(connection).record(
                "guard_state", PROMOTION, actor, {**body, "refusedBecause": TRADING_HALTED}
            )
            return HoldOutcome(allowed=False, reason=TRADING_HALTED, recorded=recorded, freeze=TRADING_HALTED)
        lifted = lift_freezes(connection, actor=actor, reason=reason)
        left = freeze_cause(connection)
        if not lifted:
            return HoldOutcome(allowed=True, reason="not_frozen", freeze=left)
        body = {"action": "lift_freeze", "allowed": True, "reason": reason, "approver": approver, "freezeIds": lifted}
        recorded = SqlSession(connection).record("guard_state", PROMOTION, actor, body)
        return HoldOutcome(allowed=True, reason="lifted", recorded=recorded, freeze=left)


def _locked(session: SqlSession, candidate: str) -> CandidateState:
    found = known(session.find(candidate), candidate)
    return known(session.lock(found.name or ""), candidate)


def _record(
    session: SqlSession,
    action: str,
    state: CandidateState,
    actor: str,
    reason: str,
    *,
    approver: str | None,
    cleared: int | None = None,
) -> Recorded:
    body = {
        "action": action,
        "candidateId": state.candidate_id,
        "runId": state.run_id,
        "stage": state.active_stage,
        "reason": reason,
        "stateVersion": state.version,
    }
    if approver is not None:
        body = {**body, "approver": approver, "clearedFailures": cleared}
    return session.record("guard_state", state.name or "", actor, body)
