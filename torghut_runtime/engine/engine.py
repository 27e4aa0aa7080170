"""The engine: its parts started, shown, and stopped in order.

What the parts do stands with them. HTTP sees the engine through :mod:`torghut_runtime.engine.surface`; nothing here
waits for database or broker, so that it is seen whatever is down.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from torghut_runtime.clock import Clock, SystemClock
from torghut_runtime.engine.assembly import EngineOptions, Parts, assembled
from torghut_runtime.engine.embedded_simulator import EmbeddedSimulator, needs_one
from torghut_runtime.engine.gauges import set_gauges
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.inbox import KINDS
from torghut_runtime.engine.metric_totals import MetricTotals
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.operations import EngineOperations
from torghut_runtime.engine.simulated_time import FollowingClock, SimulatorTime
from torghut_runtime.engine.status import calendar_document, caps_of, empty_status, positions_of, status_of
from torghut_runtime.engine.supervisor import STALE_SECONDS
from torghut_runtime.engine.surface import Component, Dependency, Role
from torghut_runtime.engine.trading_loop import LEASE, NOT_RECONCILED, TradingLoop
from torghut_runtime.engine.watchdog import LOOP_STALLED
from torghut_runtime.risk.limits import Gate
from torghut_runtime.settings import Settings
from torghut_runtime.storage.database import connect, reading_engine, transaction
from torghut_runtime.storage.trading_state import change_trading_state
from torghut_runtime.trading_settings import TradingSettings

log = logging.getLogger(__name__)

TRADING: Final = "trading"
WATCHDOG: Final = "watchdog"
RECORDS: Final = "decision_inputs"
"""The queue of recorded steps that wait for the database."""
EVENTS: Final = "order_events"
"""The queue of the broker's events that wait for it."""
STOP_SECONDS: Final = 8.0
_PUBLISH_SECONDS: Final = 0.1


@dataclass
class _Shown:
    status: Mapping[str, Any]
    positions: Mapping[str, Any] = field(default_factory=lambda: {"account": None, "items": []})
    at: float = 0.0
    key: object = None


class Engine:
    """One engine of one account; see :class:`~torghut_runtime.engine.surface.EngineView`."""

    def __init__(
        self,
        settings: Settings,
        trading: TradingSettings,
        options: EngineOptions | None = None,
        metrics: TradingMetrics | None = None,
    ) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            InputError: the bars of the embedded simulator cannot be used.
        """
        self.settings = settings
        self.trading = trading
        self.options = options or EngineOptions()
        self.metrics = metrics or TradingMetrics()
        self._totals = MetricTotals(self.metrics)
        self.sections: dict[str, Callable[[], Any]] = {}
        """Parts of the status that other modules fill, by key; called in the trading thread."""
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._simulator = EmbeddedSimulator(trading, self.options.simulator_pace) if needs_one(trading) else None
        self._running: Parts | None = None
        self._stopping = False
        self._shown = _Shown(empty_status(trading))
        self.heartbeats: dict[str, Heartbeat] = {}

    # Start and stop ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every part; returns at once, whatever is down."""
        clock: Clock = SystemClock()
        if self._simulator is not None:
            self._simulator.start()
            self.trading = self._simulator.settings_for(self.trading)
        if self.trading.broker.adapter == "simulator":
            clock = FollowingClock()
        running = self._running = assembled(self, clock)
        self.heartbeats[TRADING] = running.supervisor.add(TRADING, running.loop.run)
        if isinstance(clock, FollowingClock):
            running.supervisor.add("simulator_time", SimulatorTime(self.trading.broker_url, clock).run)
        self.metrics.process.parts_are(list(running.supervisor.components()), [*KINDS, RECORDS, EVENTS])
        running.stops.start()
        running.steps.start()
        running.controls.start()
        running.supervisor.start()
        running.watchdog.start()

    def watch(self, name: str, heartbeat: Heartbeat) -> None:
        """Have the watchdog look at something of the process that is not the engine's: its event loop."""
        self.heartbeats[name] = heartbeat

    def in_trading_thread(self, call: Callable[[], None]) -> bool:
        """Have something done by the trading thread, from any other; False where the engine has ended."""
        assert self._running is not None
        return self._running.inbox.put("commands", call)

    def close_gate(self) -> None:
        """From now on nothing is submitted; the process is about to end."""
        self._stopping = True

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Submit nothing more, cancel open entries, take what the broker says of them, release the lease, end."""
        self.close_gate()
        running, ends_at = self._running, time.monotonic() + seconds
        if running is None:
            return
        running.loop.wind_down_seconds = seconds / 2
        supervisor = running.supervisor
        supervisor.ask_to_stop(TRADING)
        ended = supervisor.join(TRADING, max(ends_at - time.monotonic() - 2, 0.1))
        running.watchdog.stop()
        if not ended:
            log.error("the trading thread did not end in time; its lease expires by itself")
        running.inbox.refuse(*KINDS)
        if not running.events.drain(max(ends_at - time.monotonic() - 2, 0.5)):
            log.error("%d events of orders were not stored; the next process asks for them", running.events.waiting)
        running.steps.stop(max(ends_at - time.monotonic() - 1, 0.5))
        running.controls.stop(1.0)
        running.stops.stop()
        supervisor.ask_to_stop()
        running.leadership.wake()
        for name in supervisor.components():
            supervisor.join(name, max(ends_at - time.monotonic(), 0.1))
        if self._simulator is not None:
            self._simulator.stop()

    # What stops it ----------------------------------------------------------------------------------------------------

    def gate(self) -> Gate:
        """What the firewall asks before a request leaves: the stance, and what no thread has to be waited for."""
        running = self._running
        assert running is not None
        gate = running.stance.gate()
        return replace(
            gate,
            trading_enabled=gate.trading_enabled and not self._stopping,
            lease_held=running.leadership.may_submit,
        )

    def cancel_everything(self, name: str) -> None:
        """Cancel all orders, in the watchdog's thread."""
        del name
        assert self._running is not None
        self._running.firewall.cancel_all()

    def store_stall(self, name: str) -> None:
        """HALTED ``loop_stalled``, written by the watchdog's thread over a connection of its own."""
        running = self._running
        assert running is not None
        now, lease = running.clock.now(), running.leadership.lease
        running.stance.latch(LOOP_STALLED, now, actor=WATCHDOG, detail={"inputs": {"stalled": name}})
        with connect(reading_engine(self.settings.db_dsn)) as connection, transaction(connection):
            change_trading_state(
                connection,
                self.trading.mode.account_label,
                lambda state: state.latched(LOOP_STALLED, now),
                actor=WATCHDOG,
                fencing_token=None if lease is None else lease.fencing_token,
                detail={"inputs": {"stalled": name}},
            )

    # What is shown ----------------------------------------------------------------------------------------------------

    def status(self) -> Mapping[str, Any]:
        """See :class:`~torghut_runtime.engine.surface.EngineView`."""
        return {**self._shown.status, "role": self.role}

    def positions(self) -> Mapping[str, Any]:
        """See :class:`~torghut_runtime.engine.surface.EngineView`."""
        return self._shown.positions

    def components(self) -> Mapping[str, Component]:
        """See :class:`~torghut_runtime.engine.surface.EngineView`."""
        parts = {} if self._running is None else dict(self._running.supervisor.components())
        for name, beat in self.heartbeats.items():
            parts.setdefault(name, Component(beat.age, "ok" if beat.age <= STALE_SECONDS else "stale"))
        return parts

    @property
    def counts(self) -> Mapping[str, int]:
        """What the trading thread has taken since the start: bars that were judged, order updates."""
        return {} if self._running is None else self._running.loop.counts

    def settle(self, seconds: float) -> bool:
        """Wait until the trading thread has ended what it is doing now; False when it does not in time."""
        done = threading.Event()
        return self._running is not None and self.in_trading_thread(done.set) and done.wait(seconds)

    @property
    def operations(self) -> EngineOperations:
        """What an operator may ask of the engine, once it is started."""
        running = self._running
        assert running is not None
        return EngineOperations(
            stops=running.stops,
            leadership=running.leadership,
            inbox=running.inbox,
            core=lambda: running.loop.core,
            strategies=lambda: [each.strategy_id for each in running.catalog.current.strategies],
            live_gate=lambda: running.loop.evaluation.live_gate_missing if self.trading.mode.mode == "live" else (),
        )

    def dependencies(self) -> Mapping[str, Dependency]:
        """See :class:`~torghut_runtime.engine.surface.EngineView`."""
        running, unknown = self._running, Dependency(ok=False, detail="not started")
        if running is None:
            return dict.fromkeys(("postgres", "alpaca", "market_data", "order_feed", "flags"), unknown)
        feed = running.updates.feed_reasons()
        connected = running.market.connected or self.role == "standby"
        return {
            "postgres": running.probe.postgres,
            "alpaca": running.probe.broker,
            "market_data": Dependency(ok=connected, detail=self._market_detail(running)),
            "order_feed": Dependency(ok=not feed, detail=", ".join(feed) or self._feed_detail(running)),
            "flags": Dependency(ok=True, detail="off"),
        }

    def _market_detail(self, running: Parts) -> str:
        if not running.market.connected:
            return "not connected on a standby" if self.role == "standby" else "market_data_disconnected"
        return "connected" if running.market.warm else "connected, history is being read"

    def _feed_detail(self, running: Parts) -> str:
        return "forwards" if running.updates.is_forwarding else "off"

    @property
    def role(self) -> Role:
        """See :class:`~torghut_runtime.engine.surface.EngineView`."""
        running = self._running
        return "leader" if running is not None and running.leadership.lease is not None else "standby"

    @property
    def unready_reasons(self) -> Sequence[str]:
        """See :class:`~torghut_runtime.engine.surface.EngineView`."""
        running = self._running
        if running is None:
            return ("starting",)
        reasons: list[str] = []
        if not running.probe.postgres.ok:
            reasons.append("database_unavailable")
        if not running.probe.broker.ok:
            reasons.append("broker_unavailable")
        waiting = running.loop.progress.waiting
        standby = running.leadership.lease is None
        reasons.extend(NOT_RECONCILED if each == LEASE else each for each in waiting if each != LEASE or not standby)
        reasons.extend(running.updates.feed_reasons())
        if running.stops.account.fault is not None:
            reasons.append("account_mismatch")
        if running.loop.progress.discrepancies:
            reasons.append("reconciler_found_discrepancies")
        return tuple(dict.fromkeys(reasons))

    def publish(self, loop: TradingLoop) -> None:
        """Show what the trading thread has come to; in that thread, ten times a second or at a change."""
        running = self._running
        if running is None:
            return
        progress, now = loop.progress, time.monotonic()
        key = (progress.phase, progress.waiting, running.stance.trading_state, running.catalog.current)
        if key == self._shown.key and now - self._shown.at < _PUBLISH_SECONDS:
            return
        queues: dict[str, int] = {kind: running.inbox.depth(kind) for kind in KINDS}
        queues[EVENTS] = running.events.waiting
        limits = caps_of(self.trading, loop.core, running.clock.now_ns())
        status = status_of(
            self.trading,
            progress,
            running.stance,
            running.catalog,
            role=self.role,
            sections={
                "signal_continuity": running.market.continuity_document,
                "calendar": lambda: calendar_document(running.clock.now(), agrees=running.market.calendar.agrees),
                **self.sections,
            },
            queues={**queues, f"{EVENTS}_age_seconds": round(running.events.age_seconds, 3)},
            counts=loop.counts,
            kill_switch=running.stops.kill_switch.sources,
            live_gate_missing=loop.evaluation.live_gate_missing,
            limits=limits,
        )
        set_gauges(
            self.metrics,
            running.stance,
            running.stops.kill_switch.sources,
            loop.core,
            {**queues, RECORDS: running.steps.waiting},
            leads=self.role == "leader",
            clean=running.stance.gate().reconciled and not progress.discrepancies,
            live_gate_missing=len(loop.evaluation.live_gate_missing),
            limits=limits,
        )
        self.metrics.process.oldest_event(running.events.age_seconds)
        self._shown = _Shown(status, positions_of(loop.core, progress), now, key)
        self._totals.dropped(RECORDS, running.steps.lost)
        self._totals.catalog_errors(running.catalog.errors_total)
        self._totals.inputs_recorded(running.steps.written)
