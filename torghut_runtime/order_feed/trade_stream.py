"""The one connection to the broker's ``trade_updates``: alpaca-py's stream with its acknowledgements made visible."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from alpaca.trading.stream import TradingStream

TRADE_UPDATES: Final = "trade_updates"
_STOP_SECONDS: Final = 5.0


_AlpacaStream: Any = TradingStream


class _VisibleStream(_AlpacaStream):
    """Tells when the server acknowledged ``listen`` and when a connection ended."""

    def __init__(
        self, listening: Callable[[], None], gone: Callable[[], None], longest_pause: float, **named: Any
    ) -> None:
        super().__init__(**named)  # pyright: ignore[reportUnknownMemberType]
        self._listening = listening
        self._gone = gone
        self._reconnect_min_backoff = min(1.0, longest_pause)
        self._reconnect_max_backoff = longest_pause

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        if msg.get("stream") == "listening":
            data: object = msg.get("data")
            streams = cast("Mapping[str, Any]", data).get("streams") if isinstance(data, Mapping) else None
            if streams and TRADE_UPDATES in streams:
                self._listening()
        await super()._dispatch(msg)  # pyright: ignore[reportUnknownMemberType]

    async def close(self) -> None:
        self._gone()
        await super().close()  # pyright: ignore[reportUnknownMemberType]

    async def run_until(self, stop: asyncio.Event) -> None:
        """Connect and stay connected until the event is set."""
        task: asyncio.Task[None] = asyncio.ensure_future(self._run_forever())
        await stop.wait()
        while not task.done():  # a cancellation can be swallowed by a receive that ends at the same moment
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        await self.close()


class TradeStream:
    """Runs the stream in a thread of its own and reconnects until it is stopped."""

    def __init__(
        self,
        key: str,
        secret: str,
        *,
        url: str | None,
        on_update: Callable[[Mapping[str, Any]], None],
        on_listening: Callable[[], None],
        on_gone: Callable[[], None],
        longest_pause: float = 30.0,
    ) -> None:
        """Prepare the stream.

        Args:
            key: API key.
            secret: its secret.
            url: of the stream; alpaca-py's own for the paper environment when None.
            on_update: gets the data of each ``trade_updates`` frame, in the stream's thread; must not wait.
            on_listening: called when the server acknowledged ``listen``.
            on_gone: called when a connection ended.
            longest_pause: seconds between attempts to connect, at most.
        """
        self._on_update = on_update
        self._stream = _VisibleStream(
            on_listening,
            on_gone,
            longest_pause,
            api_key=key,
            secret_key=secret,
            raw_data=True,
            url_override=url,
        )
        self._stream.subscribe_trade_updates(self._hear)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="trade-stream", daemon=True)
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()

    def start(self) -> None:
        """Connect, and stay connected."""
        self._thread.start()
        self._ready.wait()

    @property
    def is_alive(self) -> bool:
        """Whether it connects or is connected; once started only a defect ends it before :meth:`stop`."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Close the connection and end."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_STOP_SECONDS)

    async def _hear(self, frame: Mapping[str, Any]) -> None:
        data: object = frame.get("data")
        if isinstance(data, Mapping):
            self._on_update(cast("Mapping[str, Any]", data))

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stream.run_until(self._stop)
