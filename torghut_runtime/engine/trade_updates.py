"""The one connection to the broker's ``trade_updates`` while this process leads: every frame to the trading thread.

With the order feed on, the same frames go through the outbox to Kafka; with it off, the trading thread writes them
through the ingest function. What a frame means is the fold's business.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final

import msgspec

from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.order_feed.forwarder import Forwarder
from torghut_runtime.order_feed.forwarding import recording, stream_url
from torghut_runtime.order_feed.trade_stream import TradeStream
from torghut_runtime.settings import Settings
from torghut_runtime.trading_settings import TradingSettings

log = logging.getLogger(__name__)

_LONGEST_PAUSE: Final = 5.0
_LOOK_SECONDS: Final = 0.05
_FLUSH_SECONDS: Final = 2.0
"""What is not published by then stays in the outbox for the next process."""
_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 15.0

Deliver = Callable[[bytes], object]
"""Takes an event of the stream, in the stream's thread; may wait for room."""


def forwards(settings: Settings) -> bool:
    """Whether trade updates go through the order feed, which stores them; else the engine's own writer does."""
    return settings.order_feed_enabled and settings.order_feed_bootstrap_servers is not None


class TradeUpdates:
    """Connected while it is wanted; reconnects by itself."""

    def __init__(
        self,
        settings: Settings,
        trading: TradingSettings,
        deliver: Deliver,
        listening: Callable[[], None],
        *,
        longest_pause: float = _LONGEST_PAUSE,
    ) -> None:
        """Prepare the connection.

        Args:
            settings: of the order feed.
            trading: of the broker.
            deliver: gets every event.
            listening: called whenever a connection begins to listen: what happened before is to be asked for.
            longest_pause: seconds between attempts to connect, at most.
        """
        self._settings = settings
        self._trading = trading
        self._deliver = deliver
        self._told = listening
        self._longest_pause = longest_pause
        self._wanted = threading.Event()
        self._listening = threading.Event()
        self._forwarder: Forwarder | None = None

    @property
    def is_forwarding(self) -> bool:
        """Whether the order feed writes the events; otherwise the trading thread does."""
        return forwards(self._settings)

    @property
    def listening(self) -> bool:
        """Whether the broker confirmed that it sends trade updates."""
        return self._listening.is_set()

    def want(self, wanted: bool) -> None:
        """Connect, or close the connection."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    def feed_reasons(self) -> tuple[str, ...]:
        """Why the order feed is not ready, where this process runs it."""
        if not self._settings.order_feed_enabled:
            return ()
        if self._settings.order_feed_bootstrap_servers is None:
            return ("order_feed_bootstrap_servers_missing",)
        forwarder = self._forwarder
        return () if forwarder is None else forwarder.readiness().reasons

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            beat.beat()
            if self._wanted.is_set():
                self._connected(beat, stop)
            stop.wait(_LOOK_SECONDS)

    def _connected(self, beat: Heartbeat, stop: threading.Event) -> None:
        with ExitStack() as stack:
            beat.beat(_START_SECONDS)
            if self.is_forwarding:
                label = self._trading.mode.account_label
                running = recording(self._settings, self._trading, account_label=label, flush_seconds=_FLUSH_SECONDS)
                self._forwarder = stack.enter_context(running).forwarder
                stack.callback(self._forget_forwarder)
            stream = TradeStream(
                *self._trading.broker.keys,
                url=stream_url(self._trading.broker_url),
                on_update=self._hear,
                on_listening=self._begun,
                on_gone=self._gone,
                longest_pause=self._longest_pause,
            )
            stream.start()
            stack.callback(stream.stop)
            while self._wanted.is_set() and not stop.is_set():
                beat.beat()
                if not stream.is_alive:
                    raise RuntimeError("the stream of trade updates ended")
                stop.wait(_LOOK_SECONDS)
            beat.beat(_END_SECONDS)
        self._listening.clear()

    def _forget_forwarder(self) -> None:
        self._forwarder = None

    def _begun(self) -> None:
        if self._forwarder is not None:
            self._forwarder.connected()
        self._listening.set()
        self._told()

    def _gone(self) -> None:
        self._listening.clear()
        if self._forwarder is not None:
            self._forwarder.disconnected()

    def _hear(self, update: Mapping[str, Any]) -> None:
        if self._forwarder is not None:
            self._forwarder.accept(update)
        self._deliver(msgspec.json.encode(update))
