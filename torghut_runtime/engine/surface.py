"""The engine as HTTP, doctor and metrics see it: what it shows, and what an operator may ask of it.

Everything here may be called from any thread. What is shown is a copy that the trading thread has published; nothing
waits for it. How it is served is :mod:`torghut_runtime.api`'s business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Role = Literal["leader", "standby"]
ComponentState = Literal["ok", "starting", "restarting", "stale", "failed", "stopped"]
BlockMode = Literal["reduce", "freeze"]


@dataclass(frozen=True, slots=True)
class Component:
    """One supervised part of the engine; the age is that of its last heartbeat, in real seconds."""

    age_seconds: float
    state: ComponentState


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that the engine needs from outside, as it was found last."""

    ok: bool
    detail: str


class EngineView(Protocol):
    """What can be seen of the engine."""

    def status(self) -> Mapping[str, Any]:
        """The document of ``/trading/status`` (contract ``runtime.md`` 2), with all its keys."""
        ...

    def positions(self) -> Mapping[str, Any]:
        """The document of ``/trading/positions``: ``account`` and ``items``."""
        ...

    def components(self) -> Mapping[str, Component]:
        """Every supervised part by name, the event loop among them."""
        ...

    def dependencies(self) -> Mapping[str, Dependency]:
        """``postgres, alpaca, market_data, order_feed, flags``."""
        ...

    @property
    def role(self) -> Role:
        """Whether this process holds the lease."""
        ...

    @property
    def unready_reasons(self) -> Sequence[str]:
        """Why the engine could not trade now, whatever the settings allow; empty when it could."""
        ...


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operator's call did; ``durable`` is false where the database has not taken it yet."""

    action: str
    state_before: str
    state_after: str
    effects: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ledger_seq: int | None = None
    durable: bool = True


class OperationRefusedError(Exception):
    """A call that conflicts with how things stand (409); ``code`` is the contract's, ``detail`` what is missing."""

    def __init__(self, code: str, **detail: Any) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


class UnknownStrategyError(Exception):
    """A strategy that the catalog does not have (404)."""


class Operations(Protocol):
    """What an operator may do; each call is recorded in the ledger by whoever serves it (``operator_action``).

    Halt, reduce and cancel-all need neither lease nor database. Each returns when its effect holds: after ``halt`` has
    returned no order request leaves.
    """

    def halt(self, actor: str, reason: str) -> Operation:
        """HALTED, every open order cancelled."""
        ...

    def reduce(self, actor: str, reason: str) -> Operation:
        """REDUCING, open entries cancelled."""
        ...

    def resume(self, actor: str, reason: str, ack: Sequence[str]) -> Operation:
        """ACTIVE, when every latched reason is acknowledged and nothing else stands against it.

        Raises:
            OperationRefusedError: ``unacknowledged_reasons``, ``kill_switch_enabled``, ``live_gate_closed``,
                ``symbol_frozen`` or ``lease_not_held``.
        """
        ...

    def cancel_all(self, actor: str, reason: str) -> Operation:
        """Cancel every open order; the state stays."""
        ...

    def flatten(
        self, actor: str, reason: str, symbols: Sequence[str] | None, *, override_kill_switch: bool
    ) -> Operation:
        """Cancel, then close positions in any state; only reduces exposure.

        Raises:
            OperationRefusedError: ``kill_switch_enabled`` or ``lease_not_held``.
        """
        ...

    def disable_strategy(self, actor: str, reason: str, strategy_id: str, mode: BlockMode) -> Operation:
        """Block a strategy: exits only, or nothing at all with its orders cancelled.

        Raises:
            UnknownStrategyError: the catalog has no such strategy.
        """
        ...

    def enable_strategy(self, actor: str, reason: str, strategy_id: str) -> Operation:
        """Lift an operator's block, and nothing else.

        Raises:
            UnknownStrategyError: the catalog has no such strategy.
        """
        ...
