"""Judging a presented approval token against the grants on record.

A grant holds only the token's sha256, bound to run, target and expiry. Granting, listing and revoking write the ledger
and do not belong here.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime

from torghut_assets.gates.rule import Target
from torghut_runtime.canonical import sha256_hex


@dataclass(frozen=True)
class Grant:
    """One approval on record; times are aware."""

    token_sha256: str
    run_id: str
    target: Target
    approver: str
    expires_at: datetime
    revoked: bool = False


@dataclass(frozen=True)
class PresentedApproval:
    """A token somebody holds up, and the grants it may belong to."""

    token: str
    grants: tuple[Grant, ...]


def approval_fault(presented: PresentedApproval | None, run_id: str, target: Target, now: datetime) -> str | None:
    """Reason code for which the approval does not hold, ``None`` when it does.

    Digests are compared in constant time. A grant of another run or target is no match.
    """
    if presented is None or not presented.token.strip():
        return "approval_token_missing"
    shown = sha256_hex(presented.token.encode(errors="surrogateescape"))
    matching = [grant for grant in presented.grants if hmac.compare_digest(grant.token_sha256, shown)]
    bound = [grant for grant in matching if grant.run_id == run_id and grant.target == target]
    if not bound:
        return "approval_token_mismatch"
    if any(grant.revoked for grant in bound):
        return "approval_token_revoked"
    return "approval_token_expired" if any(now >= grant.expires_at for grant in bound) else None
