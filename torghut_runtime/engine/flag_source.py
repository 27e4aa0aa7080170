"""Switches as they are in effect: what the environment says, merged with what a flag service says.

A permission needs both, a stop needs either (``flags.md`` 4). The environment alone is :class:`EnvironmentFlags`; the
client of a flag service is another source with the same face. Reading is a memory access.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from torghut_runtime.trading_settings import TradingSettings

FlagClass = Literal["permission", "stop"]

TRADING_ENABLED: Final = "TRADING_ENABLED"
LIVE_ENABLED: Final = "TRADING_LIVE_ENABLED"
ALLOW_SHORTS: Final = "TRADING_ALLOW_SHORTS"
KILL_SWITCH: Final = "TRADING_KILL_SWITCH_ENABLED"
EMERGENCY_STOP: Final = "TRADING_EMERGENCY_STOP_ENABLED"

CLASSES: Final[Mapping[str, FlagClass]] = {
    TRADING_ENABLED: "permission",
    LIVE_ENABLED: "permission",
    ALLOW_SHORTS: "permission",
    KILL_SWITCH: "stop",
    EMERGENCY_STOP: "stop",
}
"""The switches that this part reads, by setting."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch: what the environment says, what the flag says (None where there is none), and what holds."""

    environment: bool
    flag: bool | None
    effective: bool


class FlagSource(Protocol):
    """Where switches come from; every call is a memory access and safe in any thread."""

    def switch(self, setting: str) -> Switch:
        """A switch of :data:`CLASSES` as it is now."""
        ...

    @property
    def degraded(self) -> tuple[str, ...]:
        """Codes of what restricts trading now: ``trading_flag_off``, ``flags_stale``, ``live_flag_off`` and others."""
        ...


def merged(kind: FlagClass, environment: bool, answer: bool | None, *, usable: bool, last: bool | None) -> bool:
    """The effective value of a switch whose flag is asked.

    Args:
        kind: what being true means.
        environment: the setting.
        answer: the flag's answer; None where the server does not have it.
        usable: whether there is a snapshot of the flags that is not stale.
        last: the last effective value of a stop, as it is stored; None where it cannot be read.
    """
    if kind == "permission":
        return environment and usable and bool(answer)
    if not usable:
        return environment or last is not False
    return environment or answer is not False


class EnvironmentFlags:
    """The environment alone: no flag service is asked, every switch is what the settings say."""

    def __init__(self, settings: TradingSettings) -> None:
        self._values = environment_values(settings)

    def switch(self, setting: str) -> Switch:
        """A switch as the environment has it."""
        value = self._values[setting]
        return Switch(value, None, value)

    @property
    def degraded(self) -> tuple[str, ...]:
        """Nothing is."""
        return ()


def environment_values(settings: TradingSettings) -> dict[str, bool]:
    """What the environment says of every switch."""
    return {
        TRADING_ENABLED: settings.mode.enabled,
        LIVE_ENABLED: settings.mode.live_enabled,
        ALLOW_SHORTS: settings.sizing.allow_shorts,
        KILL_SWITCH: settings.stops.kill_switch,
        EMERGENCY_STOP: settings.stops.emergency_stop,
    }
