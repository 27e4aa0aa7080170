"""Whether orders may go to a live account: one pure function that names everything that is missing (``runtime.md`` 4).

Shipped closed. A gate that is not open halts trading; nothing here, and nobody who reads this, falls back to paper.
Where policy, approval and provenance come from is told in :mod:`torghut_runtime.engine.live_locks`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from torghut_runtime.risk.limits import smallest
from torghut_runtime.risk.trading_state import LIVE_GATE
from torghut_runtime.trading_settings import TradingSettings

SETTINGS: Final = "live_settings_missing"
FLAG: Final = "live_flag_off"
POLICY: Final = "live_gate_policy_denied"
APPROVAL: Final = "live_approval_missing"
EXPIRED: Final = "live_approval_expired"
PROVENANCE: Final = "live_provenance_unverified"
LIMITS: Final = "live_limits_missing"
EMERGENCY_STOP: Final = "live_emergency_stop_off"
CODES: Final = (SETTINGS, FLAG, POLICY, APPROVAL, EXPIRED, PROVENANCE, LIMITS, EMERGENCY_STOP)
"""Every code, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """What of the gate policy counts here; a policy that cannot be read is None."""

    gate5_live_enabled: bool
    promoted: bool
    """Whether the run of every enabled strategy was promoted to live, and nothing was decided against it since."""


@dataclass(frozen=True, slots=True)
class LiveApproval:
    """Of the approvals that were not revoked the one that ends first, and the time at which it is judged."""

    expires_at: datetime
    judged_at: datetime


@dataclass(frozen=True, slots=True)
class LiveFlags:
    """The effective values: environment and flag merged."""

    live_enabled: bool
    emergency_stop: bool


def live_gate(
    settings: TradingSettings,
    policy: LivePolicy | None,
    approval: LiveApproval | None,
    provenance: Mapping[str, bool] | None,
    flags: LiveFlags | None,
) -> list[str]:
    """What is missing for live trading; empty when nothing is. What is not known is missing.

    Args:
        settings: of the environment; mode and caps count.
        policy: the gate policy, and what was decided by one.
        approval: somebody's approval of every enabled strategy's run.
        provenance: of every enabled strategy, whether its attestation was verified.
        flags: what is in effect now.
    """
    mode = settings.mode
    checks = (
        (mode.mode == "live" and mode.live_enabled, SETTINGS),
        (flags is not None and flags.live_enabled, FLAG),
        (policy is not None and policy.gate5_live_enabled and policy.promoted, POLICY),
        (approval is not None, APPROVAL),
        (approval is None or approval.judged_at < approval.expires_at, EXPIRED),
        (provenance is not None and all(provenance.values()), PROVENANCE),
        (_has_caps(settings), LIMITS),
        (flags is not None and flags.emergency_stop, EMERGENCY_STOP),
    )
    return [code for holds, code in checks if not holds]


def live_gate_reason(settings: TradingSettings, missing: list[str]) -> str | None:
    """The reason to halt with in live mode while something is missing, None where trading may go on."""
    if settings.mode.mode != "live" or not missing:
        return None
    return f"{LIVE_GATE}:{','.join(missing)}"


def _has_caps(settings: TradingSettings) -> bool:
    """Whether notional per trade, gross exposure and the loss of a day have caps."""
    sizing, risk = settings.sizing, settings.risk
    caps = (
        sizing.max_notional_per_trade,
        smallest(sizing.max_gross_exposure, sizing.max_gross_exposure_pct),
        smallest(risk.max_daily_loss, risk.max_daily_loss_pct),
    )
    return all(cap is not None for cap in caps)
