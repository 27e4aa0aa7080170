"""One measured figure beside its target, and how figures are summed up."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """One figure; ``holds`` is None where there is no target."""

    case: str
    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target is met."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value < self.target

    def line(self) -> str:
        """As it is printed."""
        goal = "" if self.target is None else f"target {'>=' if self.at_least else '<'} {self.target:g} {self.unit}"
        missed = "  MISSED" if self.holds is False else ""
        return f"{self.case:<11}{self.name:<46}{self.value:>11.2f} {self.unit:<7}{goal:<24}{self.note}{missed}"


def percentile(values: Sequence[float], share: float) -> float:
    """By rank."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
