"""How far the engine is and what it saw last: written by the trading thread, shown to everybody."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from torghut_runtime.orders.reconcile import Discrepancy


@dataclass
class Progress:
    """How far the engine is, and what it saw last; written by the trading thread only."""

    phase: str = "starting"
    waiting: tuple[str, ...] = ("starting",)
    """Why it does not trade; empty while it could."""
    last_run_at: datetime | None = None
    last_reconcile_at: datetime | None = None
    last_error: dict[str, Any] | None = None
    discrepancies: list[Discrepancy] = field(default_factory=list[Discrepancy])
