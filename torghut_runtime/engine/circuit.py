"""The circuit of a strategy that keeps failing: after so many invalid outputs in a row it enters nothing for a time."""

from dataclasses import dataclass, field

from torghut_runtime.clock import NANOSECONDS


@dataclass
class StrategyCircuit:
    """Counts failures in a row per strategy; ``cooldown_seconds`` by the injected clock."""

    errors: int
    cooldown_seconds: int
    _failures: dict[str, int] = field(default_factory=dict[str, int])
    _open_until: dict[str, int] = field(default_factory=dict[str, int])

    def note(self, strategy_id: str, now_ns: int, *, failed: bool) -> None:
        """One more output of a strategy."""
        count = self._failures.get(strategy_id, 0) + 1 if failed else 0
        if count >= self.errors:
            self._open_until[strategy_id] = now_ns + self.cooldown_seconds * NANOSECONDS
            count = 0
        self._failures[strategy_id] = count

    def is_open(self, strategy_id: str, now_ns: int) -> bool:
        """Whether the strategy is skipped for now."""
        return now_ns < self._open_until.get(strategy_id, 0)
