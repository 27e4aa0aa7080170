"""The trading state per account, durable across restarts (contract ``runtime.md`` 4).

Saving is one transaction: the row, the ledger's record of a change, and on entering HALTED the freeze of promotion and
the incident. When to change it is the engine's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.freezes import TRADING_HALTED, open_freeze
from torghut_runtime.storage.guard_tables import trading_state
from torghut_runtime.storage.incidents import open_incident
from torghut_runtime.storage.ledger import append

State = Literal["ACTIVE", "REDUCING", "HALTED"]


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


def save_trading_state(
    connection: sa.Connection,
    account_label: str,
    state: State,
    *,
    reasons: Sequence[Mapping[str, Any]],
    actor: str,
    fencing_token: int,
) -> bool:
    """Store state and latched reasons (code, clears, at) of an account; whether anything was different before.

    A change is a ledger record. Entering HALTED opens a freeze and an incident in the same transaction.
    """
    with transaction(connection):
        row = connection.execute(
            sa.select(trading_state).where(trading_state.c.account_label == account_label).with_for_update()
        ).first()
        before = None if row is None else (row.state, list(row.reasons))
        if before == (state, list(reasons)):
            return False
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
        if state == "HALTED" and (row is None or row.state != "HALTED"):
            why = ", ".join(str(reason.get("code", "")) for reason in reasons) or TRADING_HALTED
            body["freeze_id"] = open_freeze(connection, cause=TRADING_HALTED, reason=why, actor=actor)
            body["incident_id"] = open_incident(connection, reason=why, actor=actor)
        append(connection, kind="trading_state", subject=account_label, actor=actor, body=body)
    return True


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
