"""Which account the process trades for: asserted at the start, pinned, and asserted again at every reconciliation."""

from torghut_runtime.broker.alpaca import account_fault
from torghut_runtime.broker.protocol import Document
from torghut_runtime.trading_settings import TradingSettings


class AccountPin:
    """Remembers the account of the start."""

    def __init__(self, settings: TradingSettings) -> None:
        self._settings = settings
        self._pinned: str | None = None

    def fault(self, account: Document) -> str | None:
        """Why no order may be sent to this account, None when it may."""
        settings = self._settings
        found = account_fault(account, settings.broker_url, settings.mode.mode, settings.broker.live_account_number)
        identity = str(account.get("id", ""))
        if found is None and self._pinned is None:
            self._pinned = identity
        if found is None and identity != self._pinned:
            found = "is another account than at the start"
        return found
