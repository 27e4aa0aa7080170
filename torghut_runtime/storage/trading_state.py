"""The trading state per account, durable across restarts (contract ``runtime.md`` 4).

Saving is one transaction: the row, the ledger's record of a change, the incident, and on entering HALTED the freeze of
promotion. What is stored changes by single reasons, so that two processes that stop trading at once both count. When to
change it is the engine's business.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.risk.trading_state import OPERATORS_OWN, State, TradingState, from_stored, stored_reasons
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.freezes import TRADING_HALTED, open_freeze
from torghut_runtime.storage.guard_tables import trading_state
from torghut_runtime.storage.incidents import ACCOUNT, close_incidents, extend_incidents, open_incident
from torghut_runtime.storage.ledger import append, lock_head


@dataclass(frozen=True)
class StoredTradingState:
    """What is stored for one account; ``state`` may be a text that this version does not know."""

    account_label: str
    state: str
    reasons: Sequence[Mapping[str, Any]]
    actor: str
    since: datetime
    updated_at: datetime
    fencing_token: int
    stops: Mapping[str, Any]


def read_trading_state(connection: sa.Connection, account_label: str) -> StoredTradingState | None:
    """The stored state of an account; ``None`` when no runtime ever ran for it."""
    statement = sa.select(trading_state).where(trading_state.c.account_label == account_label)
    row = connection.execute(statement).mappings().first()
    return None if row is None else StoredTradingState(**row)


@dataclass(frozen=True)
class Saved:
    """What a change came to: the stored row after it, and the ledger's record, None where nothing was different."""

    row: StoredTradingState | None
    ledger_seq: int | None


def restored_state(row: StoredTradingState | None) -> TradingState:
    """What is stored as a value: ACTIVE for a fresh account, halted where the row cannot be read."""
    if row is None:
        return TradingState()
    try:
        return from_stored(row.state, row.reasons, row.since)
    except ValueError:
        return from_stored("unreadable", [], row.since)


def change_trading_state(
    connection: sa.Connection,
    account_label: str,
    change: Callable[[TradingState], TradingState],
    *,
    actor: str,
    fencing_token: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Saved:
    """Change what is stored of an account, whatever another process has stored meanwhile.

    Args:
        connection: of the database ``torghut``; the change is one transaction, or part of the caller's.
        account_label: whose state.
        change: what becomes of the state that is stored.
        actor: who wants it.
        fencing_token: of the lease, None for a process that holds none: a larger one that is stored stays.
        detail: what was measured, for the incident.
    """
    with transaction(connection):
        row = _locked(connection, account_label)
        before = restored_state(row)
        after = change(before)
        if row is not None and after.latches == before.latches:
            return Saved(row, None)
        token = max(0 if row is None else row.fencing_token, fencing_token or 0)
        new = [latch for latch in after.latches if latch not in before.latches]
        seq = _save(
            connection,
            account_label,
            row,
            after.state,
            stored_reasons(after.latches),
            actor=actor,
            fencing_token=token,
            detail=detail or {},
            is_trouble=any(latch.name not in OPERATORS_OWN for latch in new),
        )
        return Saved(read_trading_state(connection, account_label), seq)


def _locked(connection: sa.Connection, account_label: str) -> StoredTradingState | None:
    statement = sa.select(trading_state).where(trading_state.c.account_label == account_label).with_for_update()
    row = connection.execute(statement).mappings().first()
    if row is None:
        # There is no row to lock: two first changes at once would overwrite each other.
        lock_head(connection)
        row = connection.execute(statement).mappings().first()
    return None if row is None else StoredTradingState(**row)


def _save(
    connection: sa.Connection,
    account_label: str,
    row: StoredTradingState | None,
    state: State,
    reasons: Sequence[Mapping[str, Any]],
    *,
    actor: str,
    fencing_token: int,
    detail: Mapping[str, Any],
    is_trouble: bool = False,
) -> int:
    """Write row, incident, freeze and record; returns the record's number."""
    now = sa.func.clock_timestamp()
    values: dict[str, Any] = {
        "state": state,
        "reasons": list(reasons),
        "actor": actor,
        "updated_at": now,
        "fencing_token": fencing_token,
        "since": row.since if row is not None and row.state == state else now,
    }
    statement = insert(trading_state).values(account_label=account_label, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["account_label"], set_=values))
    body: dict[str, Any] = {
        "action": "trading_state",
        "from": None if row is None else row.state,
        "to": state,
        "reasons": list(reasons),
        "fencing_token": fencing_token,
    }
    why = ", ".join(str(reason.get("code", "")) for reason in reasons) or TRADING_HALTED
    told = {**detail, ACCOUNT: account_label, "state": state, "reasons": list(reasons)}
    if state == "HALTED" and (row is None or row.state != "HALTED"):
        body["freeze_id"] = open_freeze(connection, cause=TRADING_HALTED, reason=why, actor=actor)
        body["incident_id"] = open_incident(connection, reason=why, actor=actor, detail=told)
    elif state == "ACTIVE":
        body["closed_incidents"] = close_incidents(connection, account_label, actor=actor)
    elif not extend_incidents(connection, account_label, told) and is_trouble:
        body["incident_id"] = open_incident(connection, reason=why, actor=actor, detail=told)
    return append(connection, kind="trading_state", subject=account_label, actor=actor, body=body).seq


def save_stops(connection: sa.Connection, account_label: str, stops: Mapping[str, Any], *, actor: str) -> None:
    """Store the last effective stop flags of an account, keeping its state; a fresh account is ACTIVE."""
    now = sa.func.clock_timestamp()
    statement = insert(trading_state).values(
        account_label=account_label, state="ACTIVE", actor=actor, since=now, updated_at=now, stops=dict(stops)
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["account_label"], set_={"stops": dict(stops), "updated_at": now}
        )
    )
