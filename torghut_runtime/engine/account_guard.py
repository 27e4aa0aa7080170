"""Whether the account that the broker shows is the one that may be traded: at the start, and again at each reconcile.

The first account that fits the mode is pinned by id and number; from then on any other one, and one that does not fit,
latches HALTED ``account_mismatch``, and the firewall's gate is closed before this returns. What fits is
:func:`torghut_runtime.broker.alpaca.account_fault`.
"""

import threading

from torghut_runtime.broker.alpaca import account_fault
from torghut_runtime.broker.protocol import Document
from torghut_runtime.clock import Clock
from torghut_runtime.engine.stance import Stance
from torghut_runtime.risk.trading_state import ACCOUNT_MISMATCH
from torghut_runtime.trading_settings import TradingSettings


class AccountGuard:
    """Looks at every account document that is read; until the first one nothing may be sent."""

    def __init__(self, stance: Stance, settings: TradingSettings, base_url: str, clock: Clock) -> None:
        self.pinned: tuple[str, str] | None = None
        """Id and number of the account that was seen first."""
        self.fault: str | None = None
        """What does not fit, as it was found last."""
        self._stance = stance
        self._settings = settings
        self._base_url = base_url
        self._clock = clock
        self._lock = threading.Lock()
        stance.set(account_matches=False)

    def see(self, account: Document) -> bool:
        """Take the account as the broker shows it now; whether it may be traded."""
        with self._lock:
            self.fault = self._fault(account)
            if self.fault is None:
                self.pinned = _identity(account)
            self._stance.set(account_matches=self.fault is None)
        if self.fault is not None:
            detail = {"inputs": {"account": self.fault}}
            self._stance.latch(ACCOUNT_MISMATCH, self._clock.now(), detail=detail)
        return self.fault is None

    def fault_of(self, account: Document) -> str | None:
        """The same, told as what does not fit; None where it may be traded."""
        return None if self.see(account) else self.fault

    def _fault(self, account: Document) -> str | None:
        broker = self._settings.broker
        fault = account_fault(
            account, self._base_url, self._settings.mode.mode, broker.live_account_number, broker.simulator_url
        )
        if fault is None and not account.get("id"):
            return "has no id"
        if fault is None and self.pinned not in (None, _identity(account)):
            return "is another one than at the start"
        return fault


def _identity(account: Document) -> tuple[str, str]:
    return str(account["id"]), str(account["account_number"])
