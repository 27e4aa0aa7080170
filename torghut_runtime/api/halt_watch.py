"""Telling the webhook that trading halted: seen in what the engine publishes, outside of the thread that trades.

Only the holder of the lease tells it, and a process that finds trading halted when it becomes the holder tells it, too:
the one before may have ended because of it.
"""

from collections.abc import Callable

from torghut_runtime.api.webhook import Webhook
from torghut_runtime.engine.surface import EngineView
from torghut_runtime.risk.trading_state import HALTED


class HaltWatch:
    """Looks every second; :meth:`look` belongs into one thread."""

    def __init__(self, view: Callable[[], EngineView], webhook: Webhook, account_label: str) -> None:
        self._view = view
        self._webhook = webhook
        self._account = account_label
        self._is_told = False

    def look(self) -> None:
        """Send at the onset of HALTED."""
        view = self._view()
        if view.role != "leader":
            self._is_told = False
            return
        state = view.status()["trading_state"]
        is_halted = state["state"] == HALTED
        if is_halted and not self._is_told:
            self._webhook.send("trading_halted", self._account, [str(each["code"]) for each in state["reasons"]])
        self._is_told = is_halted
