"""The trading state of an account as a value: which reasons are latched, and how they clear (``runtime.md`` 4).

Every function here can only tighten, but for the two that the contract names: the recovery of automatic reasons and an
operator's resume. Whoever holds the value stores it; clocks, orders and the ledger are other modules' business.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, cast

from torghut_runtime.canonical import utc_text

State = Literal["ACTIVE", "REDUCING", "HALTED"]
Clears = Literal["auto", "operator"]

ACTIVE: Final = "ACTIVE"
REDUCING: Final = "REDUCING"
HALTED: Final = "HALTED"
_ORDER: Final[dict[str, int]] = {ACTIVE: 0, REDUCING: 1, HALTED: 2}

OPERATOR_HALT: Final = "operator_halt"
OPERATOR_REDUCE: Final = "operator_reduce"
KILL_SWITCH: Final = "kill_switch_enabled"
LIVE_GATE: Final = "live_gate_closed"
DAILY_LOSS: Final = "daily_loss_limit_reached"
DRAWDOWN: Final = "max_drawdown_exceeded"
BROKER_FAILURES: Final = "broker_failure_streak_exceeded"
ORDER_UNKNOWN: Final = "order_unknown_unresolved"
POSITION_MISMATCH: Final = "position_mismatch"
ACCOUNT_MISMATCH: Final = "account_mismatch"
DATABASE_UNAVAILABLE: Final = "database_unavailable"
FLAGS_STALE: Final = "flags_stale"
UNREADABLE: Final = "stored_state"

_RULES: Final[dict[str, tuple[State, Clears]]] = {
    "signal_lag_exceeded": (REDUCING, "auto"),
    "signal_staleness_streak_exceeded": (REDUCING, "auto"),
    "universe_source_unavailable": (REDUCING, "auto"),
    BROKER_FAILURES: (REDUCING, "operator"),
    DAILY_LOSS: (REDUCING, "operator"),
    DRAWDOWN: (REDUCING, "operator"),
    ORDER_UNKNOWN: (REDUCING, "auto"),
    POSITION_MISMATCH: (REDUCING, "operator"),
    FLAGS_STALE: (REDUCING, "auto"),
    DATABASE_UNAVAILABLE: (HALTED, "auto"),
    "component_failed": (HALTED, "operator"),
    "loop_stalled": (HALTED, "operator"),
    ACCOUNT_MISMATCH: (HALTED, "operator"),
    LIVE_GATE: (HALTED, "operator"),
    KILL_SWITCH: (HALTED, "operator"),
    OPERATOR_HALT: (HALTED, "operator"),
    OPERATOR_REDUCE: (REDUCING, "operator"),
}
OPERATORS_OWN: Final = frozenset({OPERATOR_HALT, OPERATOR_REDUCE})
_NAMED: Final = frozenset({ORDER_UNKNOWN, POSITION_MISMATCH, "component_failed"})
"""Reasons whose text after the colon says which one it is; elsewhere it is what was measured when it began."""


@dataclass(frozen=True, slots=True)
class Latch:
    """One reason that holds the state down, since ``at``; ``code`` is the whole text (``signal_lag_exceeded:7``)."""

    code: str
    at: datetime
    state: State
    clears: Clears

    @property
    def key(self) -> str:
        """What makes it the same reason again."""
        name = self.code.partition(":")[0]
        return self.code if name in _NAMED else name

    @property
    def name(self) -> str:
        """The reason without what was measured."""
        return self.code.partition(":")[0]

    @property
    def is_durable(self) -> bool:
        """Whether it is stored: a database that is away cannot be told so."""
        return self.name != DATABASE_UNAVAILABLE


def latch_of(code: str, at: datetime) -> Latch:
    """The latch of a reason; a reason that nobody knows halts, and an operator clears it."""
    state, clears = _RULES.get(code.partition(":")[0], (HALTED, "operator"))
    return Latch(code, at, state, clears)


@dataclass(frozen=True, slots=True)
class TradingState:
    """Latched reasons in the order in which they came, and how many healthy evaluations followed the last of them."""

    latches: tuple[Latch, ...] = ()
    healthy: int = 0

    @property
    def state(self) -> State:
        """The strictest that any reason asks for; ACTIVE without one."""
        strictest: State = "ACTIVE"
        for latch in self.latches:
            if _ORDER[latch.state] > _ORDER[strictest]:
                strictest = latch.state
        return strictest

    @property
    def codes(self) -> tuple[str, ...]:
        """The latched reasons."""
        return tuple(latch.code for latch in self.latches)

    def latched(self, code: str, at: datetime) -> "TradingState":
        """The same with one more reason; one that is latched already keeps its time."""
        new = latch_of(code, at)
        if any(latch.key == new.key for latch in self.latches):
            return replace(self, healthy=0)
        return TradingState((*self.latches, new))

    def evaluated(self, triggered: Iterable[str], at: datetime, recovery_cycles: int) -> "TradingState":
        """The state after one evaluation of the emergency stop.

        Reasons accumulate. With nothing triggered the evaluation is healthy; ``recovery_cycles`` healthy ones in a row
        clear the latches, if every one of them clears by itself.
        """
        state = self
        found = list(triggered)
        for code in found:
            state = state.latched(code, at)
        if found or not state.latches:
            return state
        healthy = state.healthy + 1
        if healthy >= recovery_cycles and all(latch.clears == "auto" for latch in state.latches):
            return TradingState()
        return replace(state, healthy=healthy)

    def resolved(self, code: str) -> "TradingState":
        """The same without one automatic reason whose cause is gone (an order that is no longer unknown)."""
        kept = tuple(latch for latch in self.latches if latch.clears != "auto" or latch.code != code)
        return replace(self, latches=kept)

    def reconciled(self, symbol: str) -> "TradingState":
        """The same without the mismatch of a symbol whose position has been reconciled."""
        return self.without((f"{POSITION_MISMATCH}:{symbol}",))

    def merged(self, latches: Iterable[Latch]) -> "TradingState":
        """The same with these as well; one that is latched already stays as it is."""
        known = {latch.key for latch in self.latches}
        new = tuple(latch for latch in latches if latch.key not in known)
        return TradingState((*self.latches, *new)) if new else self

    def without(self, codes: Collection[str]) -> "TradingState":
        """The same without these reasons; who may take one away is the caller's to know."""
        return replace(self, latches=tuple(latch for latch in self.latches if latch.code not in codes))


def stored_reasons(latches: Iterable[Latch]) -> list[dict[str, str]]:
    """Latches as they are stored."""
    return [{"code": each.code, "clears": each.clears, "at": utc_text(each.at)} for each in latches]


def from_stored(state: str, reasons: Sequence[Mapping[str, Any]], since: datetime) -> TradingState:
    """What was stored, at least as strict as it was: a state that its reasons do not explain halts.

    Raises:
        ValueError: a reason without code or time.
    """
    latches: list[Latch] = []
    for reason in reasons:
        try:
            code, at = cast("str", reason["code"]), datetime.fromisoformat(cast("str", reason["at"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"a stored reason has no code or time: {dict(reason)!r:.120}") from error
        latches.append(replace(latch_of(code, at), clears="auto" if reason.get("clears") == "auto" else "operator"))
    restored = TradingState(tuple(latches))
    if _ORDER.get(state, _ORDER[HALTED]) > _ORDER[restored.state]:
        return TradingState((*latches, Latch(f"{UNREADABLE}:{state}", since, HALTED, "operator")))
    return restored


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """The three sources of the kill switch; no source undoes another."""

    environment: bool
    flag: bool = False
    operator: bool = False

    @property
    def engaged(self) -> bool:
        """Whether nothing may be submitted."""
        return self.environment or self.flag or self.operator
