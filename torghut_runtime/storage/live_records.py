"""What the governance ledger says for and against live trading of a run: its promotion, and a person's approvals.

A promotion counts while the newest decision about its candidate promotes to live as well: whatever was decided later
on other evidence or under another policy closes it. An approval is a row of kind ``approval`` about a candidate:
``{action: "grant", token_sha256, run_id, target, approver, expires_at}``, until a row ``{action: "revoke",
token_sha256}`` follows. A row that is not of that form grants nothing; where a row's content does not give its hash, no
approval and no promotion of that row counts. Granting and deciding are the lane's business, what follows the engine's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from torghut_runtime.storage.ledger import LedgerRow, is_untouched, rows_about
from torghut_runtime.storage.tables import research_runs

LIVE: Final = "live"


@dataclass(frozen=True, slots=True)
class RunOnRecord:
    """One run: whether it was and still is promoted to live, and until when somebody has approved that."""

    promoted: bool = False
    approved_until: datetime | None = None
    """The latest end of its approvals that were not revoked, past ones included; None without one."""


def read_live_records(connection: sa.Connection, run_ids: Collection[str]) -> dict[str, RunOnRecord]:
    """What is on record of each run; one that nobody knows has nothing for it.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    found = dict.fromkeys(run_ids, RunOnRecord())
    if not found:
        return found
    runs = sa.select(research_runs.c.run_id, research_runs.c.name).where(research_runs.c.run_id.in_(list(found)))
    for run_id, name in connection.execute(runs).all():
        decisions = rows_about(connection, name, "promotion")
        own = any(_promotes(row) and row.body.get("run_id") == run_id for row in decisions)
        promoted = own and _promotes(decisions[-1])
        found[run_id] = RunOnRecord(promoted, _approved_until(rows_about(connection, name, "approval"), run_id))
    return found


def _promotes(row: LedgerRow) -> bool:
    body = row.body
    said = (body.get("action"), body.get("promotion_target"), body.get("recommended_mode"))
    return said == ("promote", LIVE, LIVE) and is_untouched(row)


def _approved_until(rows: Sequence[LedgerRow], run_id: str) -> datetime | None:
    granted: dict[str, datetime] = {}
    if not all(is_untouched(row) for row in rows):
        return None  # what was edited may have been a revocation
    for row in rows:
        token = row.body.get("token_sha256")
        if not isinstance(token, str):
            continue
        if row.body.get("action") == "revoke":
            granted.pop(token, None)
        elif row.body.get("action") == "grant":
            expires_at = _moment(row.body)
            if expires_at is not None and (row.body.get("run_id"), row.body.get("target")) == (run_id, LIVE):
                granted[token] = expires_at
    return max(granted.values(), default=None)


def _moment(body: Mapping[str, Any]) -> datetime | None:
    try:
        moment = datetime.fromisoformat(body["expires_at"])
    except (KeyError, TypeError, ValueError):
        return None
    return None if moment.tzinfo is None else moment
