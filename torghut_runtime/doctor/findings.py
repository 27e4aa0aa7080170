"""Why nothing trades: facts in, one line per thing that must hold out, in the order of ``runtime.md`` 1.

Pure. Facts come from :mod:`~torghut_runtime.doctor.runtime` or :mod:`~torghut_runtime.doctor.environment`; how lines
are shown is the command's affair.
What is not known blocks nothing and is said to be unknown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Check = Literal["enabled", "kill_switch", "state", "flags", "provenance", "calendar", "data", "limits"]
CHECKS: Final[tuple[Check, ...]] = (
    "enabled", "kill_switch", "state", "flags", "provenance", "calendar", "data", "limits",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One finding; ``code`` is the reason code that entries are refused with where it is blocked."""

    check: Check
    verdict: Literal["ok", "blocked", "unknown"]
    code: str | None
    value: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy of the catalog; ``fault`` is a reason code with its explanation, None where it may enter."""

    strategy_id: str
    fault: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """A cap that leaves nothing; ``value`` tells cap and room."""

    code: str
    value: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known; None where it is not."""

    asked: str
    """Who was asked: an address, or environment and database."""
    enabled: bool
    mode: str = "paper"
    engine_runs: bool | None = None
    kill_switch: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """By source: env, flag, operator."""
    state: str | None = None
    reasons: tuple[str, ...] = ()
    """Latched ones."""
    standing: Mapping[str, str] = field(default_factory=dict[str, str])
    """What else keeps orders back, by reason code: what was found."""
    flags: str | None = None
    """How flags are read now: a snapshot's version and age, or that they are not used."""
    degraded: tuple[str, ...] = ()
    """Codes of flags."""
    live_missing: tuple[str, ...] = ()
    """What the live gate lacks; empty in paper mode."""
    strategies: tuple[Strategy, ...] | None = None
    """Enabled ones."""
    catalog_fault: str | None = None
    is_open: bool | None = None
    next_open: str | None = None
    calendar_agrees: bool | None = None
    data_faults: Mapping[str, str] | None = None
    """By reason code."""
    data: str = ""
    """What is known of data that is not at fault."""
    limits: tuple[Limit, ...] | None = None
    """Caps that leave nothing."""
    limits_known: str = ""


_REMEDIES: Final = {
    "trading_disabled": "set TRADING_ENABLED=true and start the runtime again",
    "no_engine": "start torghut-runtime serve with an engine; its log says why none runs",
    "state_reducing": "find the cause of each reason; automatic ones clear by themselves, the others by "
    "POST /trading/resume naming them",
    "state_halted": "find the cause of each reason, see docs/runbooks; then POST /trading/resume naming them all",
    "not_reconciled": "wait for the reconciliation; its differences stand in reconcile_discrepancies and /readyz",
    "lease_not_held": "ask the process that holds the lease; this one takes over 10 s after that one has ended",
    "account_mismatch": "compare keys, APCA_API_BASE_URL and TRADING_MODE with the account",
    "database_unavailable": "start PostgreSQL, check DB_DSN",
    "migrations_behind": "torghut-runtime migrate",
    "broker_unavailable": "check the broker's address and keys, see APCA_* and TRADING_SIMULATOR_URL",
    "backpressure": "look at queues in /trading/status: the database does not keep up",
    "live_trading_disabled": "set TRADING_LIVE_ENABLED=true with TRADING_MODE=live, or trade on paper",
    "trading_flag_off": "turn the flag torghut_trading_enabled on",
    "flags_stale": "bring the flag service back; entries go on by themselves",
    "live_flag_off": "turn the flag torghut_trading_live_enabled on",
    "live_emergency_stop_off": "turn the emergency stop on: TRADING_EMERGENCY_STOP_ENABLED and its flag",
    "live_settings_missing": "set TRADING_MODE=live and TRADING_LIVE_ENABLED=true",
    "live_gate_policy_denied": "TRADING_GATE_POLICY_PATH must name a gate policy with gate5_live_enabled, and the "
    "newest decision about each strategy's candidate must promote it to live; see docs/stops.md",
    "live_approval_missing": "torghut approvals: a person has to approve live trading",
    "live_approval_expired": "torghut approvals: the approval has expired, a person has to renew it",
    "live_provenance_unverified": "every enabled strategy needs a verified attestation",
    "live_limits_missing": "set caps for notional per trade, gross exposure and daily loss",
    "catalog_error": "mend the catalog; the last good one stays in force until then",
    "no_strategy": "set TRADING_STRATEGY_CONFIG_PATH to a catalog with an enabled strategy",
    "strategy_disabled": "POST /strategies/ID/enable, or enable it in the catalog",
    "strategy_degraded": "it failed several times in a row and is tried again after its cooldown; see its errors",
    "market_closed": "wait for the session",
    "calendar_broker_mismatch": "compare this machine's clock with the broker's",
    "market_data_disconnected": "check the data stream's address and keys; it reconnects by itself",
    "signal_stale": "see whether the feed sends bars of these symbols; TRADING_DATA_FEED",
    "universe_source_unavailable": "set TRADING_STATIC_SYMBOLS, or mend the file of TRADING_UNIVERSE_PATH",
    "no_signals_in_window": "see whether the feed sends bars, and whether strategies have their features",
    "cursor_ahead_of_stream": "the clock or the feed went back; see docs/runbooks/signal-lag.md",
    "daily_loss_limit_reached": "the next session begins anew; or raise the cap knowingly and resume",
    "max_drawdown_exceeded": "find out what lost the money; resume knowingly",
}
_KILL_SWITCH_REMEDIES: Final = {
    "env": "set TRADING_KILL_SWITCH_ENABLED=false and start the runtime again",
    "flag": "turn the flag torghut_trading_kill_switch_enabled off, then POST /trading/resume",
    "operator": "POST /trading/resume naming every latched reason",
}
_PROVENANCE: Final = "torghut provenance verify: the strategy's attestation must be of this entry, mode and candidate"
_LIMIT: Final = "raise the cap or free what it counts; 0 allows nothing"
_LIVE: Final[dict[str, Check]] = {
    "live_flag_off": "flags",
    "live_emergency_stop_off": "flags",
    "live_provenance_unverified": "provenance",
    "live_limits_missing": "limits",
}
"""Where a condition of the live gate is told; the others belong to the state."""


def examine(facts: Facts) -> list[Line]:
    """One line or more per check, in the order of the contract."""
    by_check = {
        "enabled": _enabled,
        "kill_switch": _kill_switch,
        "state": _state,
        "flags": _flags,
        "provenance": _provenance,
        "calendar": _calendar,
        "data": _data,
        "limits": _limits,
    }
    lines: list[Line] = []
    for check in CHECKS:
        found = [*by_check[check](facts), *(line for line in _live(facts) if line.check == check)]
        blocked = [line for line in found if line.verdict == "blocked"]
        lines += blocked or found
    return lines


def is_blocked(lines: list[Line]) -> bool:
    """Whether anything keeps entries back."""
    return any(line.verdict == "blocked" for line in lines)


def _blocked(check: Check, code: str, value: str, remedy: str | None = None) -> Line:
    return Line(check, "blocked", code, value, remedy or _REMEDIES.get(code))


def _enabled(facts: Facts) -> Iterator[Line]:
    if not facts.enabled:
        yield _blocked("enabled", "trading_disabled", "TRADING_ENABLED=false")
    if facts.engine_runs is False:
        yield _blocked("enabled", "no_engine", "the service runs no engine")
    yield Line("enabled", "ok", None, f"mode {facts.mode}")


def _kill_switch(facts: Facts) -> Iterator[Line]:
    for source, engaged in facts.kill_switch.items():
        if engaged:
            yield _blocked("kill_switch", "kill_switch_enabled", source, _KILL_SWITCH_REMEDIES.get(source))
    yield Line("kill_switch", "ok", None, ", ".join(f"{source} off" for source in facts.kill_switch))


def _state(facts: Facts) -> Iterator[Line]:
    if facts.state is None:
        yield Line("state", "unknown", None, "no state is stored")
    elif facts.state == "ACTIVE":
        yield Line("state", "ok", None, "ACTIVE")
    else:
        code = "state_reducing" if facts.state == "REDUCING" else "state_halted"
        yield _blocked("state", code, " ".join((facts.state, ", ".join(facts.reasons))).strip())
    for code, value in facts.standing.items():
        yield _blocked("state", code, value)


def _flags(facts: Facts) -> Iterator[Line]:
    for code in facts.degraded:
        yield _blocked("flags", code, facts.flags or "")
    yield Line("flags", "unknown" if facts.flags is None else "ok", None, facts.flags or "not known")


def _live(facts: Facts) -> Iterator[Line]:
    for code in facts.live_missing:
        if code not in facts.degraded:
            yield _blocked(_LIVE.get(code, "state"), code, "the live gate is closed")


def _provenance(facts: Facts) -> Iterator[Line]:
    if facts.catalog_fault is not None:
        yield _blocked("provenance", "catalog_error", facts.catalog_fault)
    if facts.strategies is None:
        yield Line("provenance", "unknown", None, "the catalog is not known")
        return
    if not facts.strategies and facts.catalog_fault is None:
        yield _blocked("provenance", "no_strategy", "no strategy is enabled")
    for strategy in facts.strategies:
        if strategy.fault is not None:
            value = f"{strategy.strategy_id}: {strategy.detail}" if strategy.detail else strategy.strategy_id
            remedy = _PROVENANCE if strategy.fault.startswith("provenance_") else None
            yield _blocked("provenance", strategy.fault, value, remedy)
    yield Line("provenance", "ok", None, ", ".join(each.strategy_id for each in facts.strategies))


def _calendar(facts: Facts) -> Iterator[Line]:
    if facts.calendar_agrees is False:
        yield _blocked("calendar", "calendar_broker_mismatch", "our clock and the broker's are over 60 s apart")
    if facts.is_open is False:
        after = "closed" if facts.next_open is None else f"closed, opens {facts.next_open}"
        yield _blocked("calendar", "market_closed", after)
    elif facts.is_open is None:
        yield Line("calendar", "unknown", None, "the simulator keeps its own time")
    else:
        yield Line("calendar", "ok", None, "open")


def _data(facts: Facts) -> Iterator[Line]:
    if facts.data_faults is None:
        yield Line("data", "unknown", None, facts.data or "not known")
        return
    for code, value in facts.data_faults.items():
        yield _blocked("data", code, value)
    yield Line("data", "ok", None, facts.data)


def _limits(facts: Facts) -> Iterator[Line]:
    if facts.limits is None:
        yield Line("limits", "unknown", None, "not known")
        return
    for limit in facts.limits:
        yield _blocked("limits", limit.code, limit.value, _REMEDIES.get(limit.code, _LIMIT))
    yield Line("limits", "ok", None, facts.limits_known or "every cap leaves room")
