"""The one connection to the market-data stream: alpaca-py's client in a thread of its own, reconnecting.

Messages go out as they are, frame by frame; what they mean stands in :mod:`torghut_runtime.market_data.wire`, whether
the silence of a socket means that it is mute is the feed's to know.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alpaca.data.enums import DataFeed
from alpaca.data.live.stock import StockDataStream

_STOP_SECONDS: Final = 5.0
_AlpacaStream: Any = StockDataStream
Message = Mapping[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The symbols of each channel."""

    minutes: frozenset[str]
    daily: frozenset[str]

    @property
    def symbols(self) -> frozenset[str]:
        """Every symbol."""
        return self.minutes | self.daily


@dataclass(frozen=True)
class StreamEvents:
    """What the stream tells, in its own thread. ``heard`` may wait (back-pressure), the others must not."""

    heard: Callable[[Sequence[Message]], None]
    subscribed: Callable[[], None]
    gone: Callable[[], None]
    refused: Callable[[int, str], None]


class _VisibleStream(_AlpacaStream):
    """Tells when the server confirmed a subscription, when a connection ended, and hands on whole frames."""

    def __init__(self, events: StreamEvents, longest_pause: float, **named: Any) -> None:
        super().__init__(**named)  # pyright: ignore[reportUnknownMemberType]
        self._events = events
        self._frame: list[Message] = []
        self._reconnect_min_backoff = min(1.0, longest_pause)
        self._reconnect_max_backoff = longest_pause

    async def take(self, message: Message) -> None:
        """Keep a message until the frame it came in is over."""
        if not self._frame:
            asyncio.get_running_loop().call_soon(self._hand_on)
        self._frame.append(message)

    def _hand_on(self) -> None:
        frame, self._frame = self._frame, []
        self._events.heard(frame)

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        kind = msg.get("T")
        if kind == "subscription":
            self._events.subscribed()
        elif kind == "error":
            code: object = msg.get("code")
            self._events.refused(code if isinstance(code, int) else 0, str(msg.get("msg", ""))[:200])
        await super()._dispatch(msg)  # pyright: ignore[reportUnknownMemberType]

    async def close(self) -> None:
        self._events.gone()
        await super().close()  # pyright: ignore[reportUnknownMemberType]

    async def drop(self) -> None:
        """Give the connection up without the politeness of a closing handshake: a mute server does not answer it."""
        self._events.gone()
        socket, self._ws = self._ws, None
        self._running = False
        if socket is not None and socket.transport is not None:
            socket.transport.abort()

    def want(self, wanted: Wanted) -> None:
        """What the next connection subscribes to."""
        everything, minutes, daily = dict.fromkeys(wanted.symbols), dict.fromkeys(wanted.minutes), wanted.daily
        handlers: dict[str, Collection[str]] = {
            "bars": minutes,
            "updatedBars": minutes,
            "dailyBars": daily,
            "quotes": everything,
            "trades": everything,
            "statuses": everything,
        }
        for channel, symbols in handlers.items():
            self._handlers[channel] = dict.fromkeys(sorted(symbols), self.take)


class DataStream:
    """Runs the stream until it is stopped."""

    def __init__(
        self,
        key: str,
        secret: str,
        *,
        feed: str,
        url: str | None,
        events: StreamEvents,
        wanted: Wanted,
        longest_pause: float = 30.0,
    ) -> None:
        """Prepare the stream.

        Args:
            key: API key.
            secret: its secret.
            feed: ``iex`` or ``sip``.
            url: of the stream; Alpaca's own for the feed when None.
            events: who is told.
            wanted: what is subscribed to; nothing is connected while that is nothing.
            longest_pause: seconds between attempts to connect, at most.
        """
        self._pause = longest_pause
        self._stream = _VisibleStream(
            events,
            longest_pause,
            api_key=key,
            secret_key=secret,
            raw_data=True,
            feed=DataFeed(feed),
            url_override=url,
        )
        self._stream.want(wanted)
        self._has_symbols = bool(wanted.symbols)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="market-data", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._changed: asyncio.Event | None = None
        self._ready = threading.Event()

    def start(self) -> None:
        """Connect, and stay connected."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close the connection and end."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_STOP_SECONDS)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def reconnect(self, wanted: Wanted | None = None) -> None:
        """Connect anew, subscribing to something else if it is given."""

        def begin_again() -> None:
            if wanted is not None:
                self._stream.want(wanted)
                self._has_symbols = bool(wanted.symbols)
            if self._changed is not None:
                self._changed.set()

        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(begin_again)

    async def _run(self) -> None:
        self._loop, self._stop, self._changed = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._ready.set()
        stopping = asyncio.ensure_future(self._stop.wait())
        while not stopping.done():
            self._changed.clear()
            changing = asyncio.ensure_future(self._changed.wait())
            running = [asyncio.ensure_future(self._stream._run_forever())] if self._has_symbols else []  # noqa: SLF001
            await asyncio.wait({stopping, changing, *running}, return_when=asyncio.FIRST_COMPLETED)
            ended_by_itself = any(task.done() for task in running) and not changing.done()
            for task in running:
                while not task.done():  # a cancellation can be swallowed by a receive that ends at the same moment
                    task.cancel()
                    await asyncio.wait({task}, timeout=0.1)
                if not task.cancelled() and task.exception() is not None:
                    log.warning("the market-data stream ended: %s", type(task.exception()).__name__)
            changing.cancel()
            await self._stream.drop()
            if ended_by_itself:  # refused for good as alpaca-py sees it; asked again, for a subscription can change
                await asyncio.wait({stopping}, timeout=self._pause)
        stopping.cancel()
