"""The forwarder: every trade update of the account goes to the outbox, and from there to Kafka; nothing is missing.

After each (re)connection the broker is asked what happened meanwhile, and that is appended before live frames go on.
Frames come in through :meth:`Forwarder.accept`, which never waits; whose connection they come from is
``trade_stream``'s business, or the trading runtime's.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import SystemRandom
from typing import Any, Final

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.asked_broker import AskedBroker
from torghut_runtime.order_feed.broker_answers import activity_update, asked_since, snapshot_update
from torghut_runtime.order_feed.event import ACTIVITY_FILL, IMPLIED_STATUS, RANKS, TERMINAL
from torghut_runtime.order_feed.forwarder_metrics import ForwarderMetrics
from torghut_runtime.order_feed.outbox import Entry, Outbox, OutboxBrokenError, OutboxFullError
from torghut_runtime.order_feed.publication import Payload, Source, envelope, order_id_of, order_of, record_key
from torghut_runtime.order_feed.publisher import FLUSH_SECONDS, Checkpoint, Publisher, nothing
from torghut_runtime.order_feed.values import instant_ns

log = logging.getLogger(__name__)

GROUP_SECONDS: Final = 0.005
"""Frames that come within this time are appended in one transaction."""
FULL_SHARE: Final = 0.8
_GROUP: Final = 500
_AHEAD: Final = timedelta(days=1)
"""The end of a back-fill lies in the future: what happens while it is read belongs to it."""
_RECOVERY_SECONDS: Final = 1.0
_IDLE_SECONDS: Final = 0.5
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


class _Mark:
    """Something in the queue that is no frame."""


@dataclass(frozen=True)
class _Connected(_Mark):
    number: int


class _Stop(_Mark):
    pass


@dataclass(frozen=True)
class Readiness:
    """Whether the forwarder does its work, and if not, why not."""

    reasons: tuple[str, ...] = field(default=())

    @property
    def ready(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.reasons


class Forwarder:
    """Takes trade updates from any thread and has them in Kafka at least once, in the order of each order."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        broker: AskedBroker,
        publisher: Publisher,
        metrics: ForwarderMetrics,
        account_label: str,
        checkpoint: Checkpoint = nothing,
    ) -> None:
        self._outbox = outbox
        self._broker = broker
        self._publisher = publisher
        self._metrics = metrics
        self._label = account_label
        self._checkpoint = checkpoint
        self._arrivals: queue.SimpleQueue[Payload | _Mark] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._connection = 0
        self._listening = False
        self._backfilled = 0
        self._fault: str | None = None
        self._recover_at = 0.0
        self._caught_up = False
        """Whether everything up to now is recorded: only then may a live frame move the watermark."""
        self._random = SystemRandom()
        self._thread = threading.Thread(target=self._run, name="forwarder-recorder", daemon=True)

    def start(self) -> None:
        """Begin to record and to publish."""
        self._thread.start()
        self._publisher.start()

    def stop(self, seconds: float = FLUSH_SECONDS) -> None:
        """Record what has arrived, publish for at most so long, and end; the rest stays in the outbox."""
        self._stopping.set()
        self._arrivals.put(_Stop())
        self._thread.join(seconds)
        self._publisher.stop(seconds)

    def connected(self) -> None:
        """The stream listens: a back-fill comes before the frames that follow."""
        self._connection += 1
        self._listening = True
        self._metrics.connected.set(1)
        if self._connection > 1:
            self._metrics.reconnects.inc()
        self._arrivals.put(_Connected(self._connection))

    def disconnected(self) -> None:
        """The stream is gone."""
        self._listening = False
        self._metrics.connected.set(0)

    def accept(self, payload: Payload) -> None:
        """Take the data of a ``trade_updates`` frame; never waits."""
        self._arrivals.put(payload)

    @property
    def waiting(self) -> int:
        """Frames that are not yet on disk."""
        return self._arrivals.qsize()

    def readiness(self) -> Readiness:
        """Connected, listening, back-filled and the outbox below 80 %."""
        reasons: list[str] = []
        if not self._listening:
            reasons.append("not_listening")
        if self._backfilled < self._connection or self._backfilled == 0:
            reasons.append("not_backfilled")
        if self._fault is not None:
            reasons.append(self._fault)
        elif self._outbox.size >= FULL_SHARE * self._outbox.max_bytes:
            reasons.append("outbox_filling")
        return Readiness(tuple(reasons))

    # The recorder's thread

    def _run(self) -> None:
        while True:
            group = self._next_group()
            frames = [item for item in group if not isinstance(item, _Mark)]
            marks = [item for item in group if isinstance(item, _Mark)]
            if frames:
                self._record_live(frames)
            for mark in marks:
                if isinstance(mark, _Stop):
                    return
                if isinstance(mark, _Connected):
                    self._caught_up = False
                    self._backfill_until_done(mark.number)
            if self._fault is not None and not group:
                self._recover()

    def _next_group(self) -> list[Payload | _Mark]:
        """What arrived within a few milliseconds; a mark ends the group."""
        group: list[Payload | _Mark] = []
        deadline = 0.0
        while len(group) < _GROUP:
            wait = _IDLE_SECONDS if not group else max(0.0, deadline - time.monotonic())
            try:
                item = self._arrivals.get(timeout=wait) if wait else self._arrivals.get_nowait()
            except queue.Empty:
                break
            if not group:
                deadline = time.monotonic() + GROUP_SECONDS
            group.append(item)
            if isinstance(item, _Mark):
                break
        return group

    def _record_live(self, frames: Sequence[Payload]) -> None:
        if self._fault is not None:
            self._recover()
        if self._caught_up:
            self._caught_up = self._append(frames, "ws", [self._broker_ns(frame) for frame in frames])
        # What is left out here lies after the watermark: the back-fill that is due has it.

    def _recover(self) -> None:
        """After a fault of the outbox: once it has room again, a back-fill first."""
        if self._outbox.size >= FULL_SHARE * self._outbox.max_bytes or time.monotonic() < self._recover_at:
            return
        self._recover_at = time.monotonic() + _RECOVERY_SECONDS
        number = self._connection
        before, self._fault = self._fault, None
        try:
            done = self._backfill()
        except UpstreamError as error:
            log.warning("back-fill failed: %s", error)
            done = False
        if done:
            self._backfilled = max(self._backfilled, number)
        else:
            self._fault = self._fault or before

    def _append(self, payloads: Sequence[Payload], source: Source, times: Sequence[int | None]) -> bool:
        """Store events; ``times`` (nanoseconds) are what each moves the watermark to."""
        now = datetime.now(UTC)
        self._checkpoint("before_append")
        entries = [self._entry(payload, source, now, ns) for payload, ns in zip(payloads, times, strict=True)]
        try:
            self._outbox.append(entries)
        except (OutboxFullError, OutboxBrokenError) as error:
            self._fault = "outbox_full" if isinstance(error, OutboxFullError) else "outbox_error"
            log.error("%s; trade updates are not recorded until it recovers", error)  # noqa: TRY400
            return False
        self._checkpoint("after_append")
        self._metrics.events.labels(source).inc(len(payloads))
        self._publisher.wake()
        return True

    def _entry(self, payload: Payload, source: Source, now: datetime, broker_ns: int | None) -> Entry:
        def value(seq: int) -> bytes:
            return envelope(payload, account_label=self._label, seq=seq, source=source, now=now)

        status = order_of(payload).get("status") or IMPLIED_STATUS.get(str(payload.get("event")))
        ended = status in TERMINAL if status in RANKS and payload.get("event") != ACTIVITY_FILL else None
        return Entry(record_key(self._label, payload), value, broker_ns, order_id_of(payload), ended)

    @staticmethod
    def _broker_ns(payload: Payload) -> int | None:
        """The broker's time of an event, nanoseconds UTC."""
        times = (payload.get("timestamp"), payload.get("t"), payload.get("at"), order_of(payload).get("updated_at"))
        return next((ns for ns in map(instant_ns, times) if ns is not None), None)

    # Back-fill

    def _backfill_until_done(self, number: int) -> None:
        """Try until it succeeds, the connection is another one or the process ends; live frames wait meanwhile."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set() and number == self._connection:
            try:
                done = self._backfill()
            except UpstreamError as error:
                log.warning("back-fill failed: %s", error)
                self._stopping.wait(self._random.uniform(0, pause))
                pause = min(_LONGEST_PAUSE, pause * 2)
                continue
            if done:
                self._backfilled = number
            return

    def _backfill(self) -> bool:
        """Append what the broker says about the time since the watermark; false when the outbox does not take it.

        Raises:
            UpstreamError: the broker does not answer; nothing was appended.
        """
        broker = self._broker
        now = broker.now()
        watermark = self._outbox.watermark_ns
        newest = None if watermark is None else datetime.fromtimestamp(watermark // 10**9, UTC)
        since = asked_since(newest, now)
        until = max(now, newest or now) + _AHEAD
        orders = {str(order["id"]): order for order in broker.orders(since, until)}
        orders.update((str(order["id"]), order) for order in broker.open_orders())
        for order_id in self._outbox.open_orders:
            if order_id not in orders:
                found = broker.known_order(order_id)
                if found is None:
                    self._outbox.forget_order(order_id)
                else:
                    orders[order_id] = found
        updates: list[Mapping[str, Any]] = [snapshot_update(order) for order in orders.values()]
        updates += [activity_update(activity) for activity in broker.fills(since, until)]
        self._checkpoint("backfill_read")
        read_to = max((ns for ns in map(self._broker_ns, updates) if ns is not None), default=None)
        for start in range(0, len(updates), _GROUP):
            part = updates[start : start + _GROUP]
            # Only the last event moves the watermark: a back-fill that was cut short is read again as a whole.
            last = start + _GROUP >= len(updates)
            if not self._append(part, "rest", [None] * (len(part) - 1) + [read_to if last else None]):
                return False
            self._checkpoint("backfill_part")
        self._metrics.backfill_events.inc(len(updates))
        self._fault = None
        self._caught_up = True
        return True
