"""The broker simulator inside the runtime: what it trades on when the adapter is the simulator and none is named.

It listens on the loopback and is spoken to over HTTP and websockets like any other. It begins anew with every process:
its account is flat, so a ledger with positions of an earlier process does not agree with it.
"""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.instants import nanoseconds
from torghut_runtime.broker.simulator.server.app import ServerSettings
from torghut_runtime.broker.simulator.server.launch import RunningSimulator, running_simulator
from torghut_runtime.broker.simulator.server.pacing import Pace
from torghut_runtime.broker.simulator.tape import Tape, read_tape, synthetic_tape
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.trading_settings import TradingSettings

SYMBOLS: Final = ("AAPL", "AMZN", "GOOG", "MSFT", "SPY")
"""Of made-up bars, where the settings name none."""
_HISTORY_SESSIONS: Final = 1
_PLAYED_SESSIONS: Final = 2


def needs_one(settings: TradingSettings) -> bool:
    """Whether the settings name the simulator and none that runs."""
    return settings.broker.adapter == "simulator" and settings.broker.simulator_url is None


class EmbeddedSimulator:
    """A simulator that runs until it is stopped."""

    def __init__(self, settings: TradingSettings, pace: Pace | None = None) -> None:
        """Read or make the bars.

        Raises:
            InputError: the file of ``TRADING_SIMULATOR_BARS`` cannot be used.
        """
        tape, start = _tape(settings)
        self._broker = SimulatedBroker(tape, BrokerSettings(start=start))
        self._pace = pace or Pace()
        self._stack = ExitStack()
        self._running: RunningSimulator | None = None

    def start(self) -> RunningSimulator:
        """Listen on a free port of the loopback."""
        self._running = self._stack.enter_context(running_simulator(self._broker, ServerSettings(pace=self._pace)))
        return self._running

    def stop(self) -> None:
        """End it."""
        self._stack.close()

    def settings_for(self, settings: TradingSettings) -> TradingSettings:
        """The same settings with the address of this simulator."""
        assert self._running is not None
        broker = settings.broker.model_copy(update={"simulator_url": self._running.url})
        return replace(settings, broker=broker)


def _tape(settings: TradingSettings) -> tuple[Tape, int | None]:
    bars = settings.broker.simulator_bars
    if bars is not None:
        return read_tape(bars), None
    given = settings.universe.static_symbols
    symbols = [name.strip().upper() for name in given.split(",") if name.strip()] if given else list(SYMBOLS)
    first = _last_sessions(datetime.now(UTC).date(), _HISTORY_SESSIONS + 1)[0]
    tape = synthetic_tape(symbols, seed=0, first=first, sessions=_HISTORY_SESSIONS + _PLAYED_SESSIONS)
    opens = TradingCalendar().session_open(_last_sessions(datetime.now(UTC).date(), 1)[0])
    return tape, None if opens is None else nanoseconds(opens)


def _last_sessions(today: date, count: int) -> list[date]:
    """The last sessions up to and with today."""
    return TradingCalendar().sessions(today - timedelta(days=7 * count + 7), today)[-count:]
