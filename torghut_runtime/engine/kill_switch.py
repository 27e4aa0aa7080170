"""The kill switch: environment or flag or operator, none of which undoes another (``runtime.md`` 4).

The firewall's gate reads it at every request. This watch, a thread of its own, makes a flip of the flag a latch that
only an operator's resume takes away, and has every open order cancelled when it finds the switch on; the environment's
value blocks for as long as it is set. Cancelling itself is :mod:`torghut_runtime.engine.cancel_all`'s business.
"""

import logging
import threading
from typing import Final

from torghut_runtime.clock import Clock
from torghut_runtime.engine import flag_source
from torghut_runtime.engine.cancel_all import CancelAll
from torghut_runtime.engine.flag_source import FlagSource
from torghut_runtime.engine.stance import Stance
from torghut_runtime.risk.trading_state import KILL_SWITCH, KillSwitch

LOOK_SECONDS: Final = 0.05
_LOG = logging.getLogger(__name__)


class KillSwitchWatch:
    """Watches the kill switch of one account."""

    def __init__(self, stance: Stance, flags: FlagSource, cancel_all: CancelAll, clock: Clock) -> None:
        self._stance = stance
        self._flags = flags
        self._cancel_all = cancel_all
        self._clock = clock
        self._was_on = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kill-switch", daemon=True)
        stance.kill_switch = lambda: flags.switch(flag_source.KILL_SWITCH).effective

    def start(self) -> None:
        """Begin to watch; a switch that is on already counts as a flip."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(seconds)

    @property
    def sources(self) -> KillSwitch:
        """What each source says."""
        switch = self._flags.switch(flag_source.KILL_SWITCH)
        by_flag = switch.effective and not switch.environment
        return KillSwitch(switch.environment, bool(switch.flag) or by_flag, self._stance.operator_halted)

    def look(self) -> None:
        """See whether it has flipped, and do what follows."""
        switch = self._flags.switch(flag_source.KILL_SWITCH)
        flagged = bool(switch.flag) or (switch.effective and not switch.environment)
        if flagged and not any(latch.name == KILL_SWITCH for latch in self._stance.trading_state.latches):
            self._stance.latch(KILL_SWITCH, self._clock.now(), detail={"inputs": {"kill_switch": "flag"}})
        if switch.effective and not self._was_on:
            self._cancel_all.demand()
        self._was_on = switch.effective

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - whoever watches the kill switch must not end
                _LOG.exception("the kill switch could not be read")
