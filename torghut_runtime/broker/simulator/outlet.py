"""The way of trade updates out of the broker: encoded once, then through the stream's faults to every listener."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from torghut_runtime.broker.simulator.controls import Controls
from torghut_runtime.broker.simulator.timetable import Timetable

TRADE_UPDATES: Final = "trade_updates"
_REMEMBERED_ORDERS: Final = 1000

Listener = Callable[[bytes], None]

encode: Final = msgspec.json.Encoder().encode


class TradeUpdates:
    """Sends frames ``{"stream": "trade_updates", "data": …}`` as JSON bytes.

    Frames can be doubled, swapped with their successor, or lost while the stream is silent. The newest frames of each
    order are remembered, so that an event can be sent again as it was.
    """

    def __init__(self, timetable: Timetable, controls: Controls) -> None:
        self.listeners: list[Listener] = []
        self.silent_until = 0
        self.refused_until = 0
        self.on_disconnect: list[Callable[[], None]] = []
        self._timetable = timetable
        self._controls = controls
        self._held: bytes | None = None
        self._sent: OrderedDict[str, dict[str, bytes]] = OrderedDict()

    def publish(self, data: dict[str, Any]) -> None:
        """Send one event."""
        frame = encode({"stream": TRADE_UPDATES, "data": data})
        order_id: str = data["order"]["id"]
        self._sent.setdefault(order_id, {})[data["event"]] = frame
        if len(self._sent) > _REMEMBERED_ORDERS:
            self._sent.popitem(last=False)
        self.send(frame)

    def sent(self, order_id: str, event: str) -> bytes | None:
        """The newest frame of this event of the order."""
        return self._sent.get(order_id, {}).get(event)

    def send(self, frame: bytes) -> None:
        """Send a frame through the faults of the stream."""
        controls = self._controls
        if self._held is not None:
            held, self._held = self._held, None
            self._deliver(frame)
            self._deliver(held)
            return
        if controls.happens("reorder_events", controls.settings.reorder_events):
            self._held = frame
            return
        self._deliver(frame)

    def flush(self) -> None:
        """Let go of a frame that waits for its successor."""
        if self._held is not None:
            held, self._held = self._held, None
            self._deliver(held)

    def _deliver(self, frame: bytes) -> None:
        twice = self._controls.happens("duplicate_events", self._controls.settings.duplicate_events)
        if self._timetable.now < self.silent_until:
            return
        for listener in self.listeners:
            listener(frame)
            if twice:
                listener(frame)
