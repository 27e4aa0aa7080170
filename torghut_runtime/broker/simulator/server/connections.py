"""One websocket client: frames wait in a queue, in order, and are sent by a task of its own."""

import asyncio
from contextlib import suppress
from typing import Final

from fastapi import WebSocket, WebSocketDisconnect

LONGEST_QUEUE: Final = 50_000
GOING_AWAY: Final = 1001

Frame = bytes | str


class SlowClientError(Exception):
    """The client does not read what is sent."""


class Connection:
    """Sends frames to one client, in order."""

    def __init__(self, websocket: WebSocket, longest_queue: int = LONGEST_QUEUE) -> None:
        self._websocket = websocket
        self._frames: asyncio.Queue[Frame] = asyncio.Queue(longest_queue)
        self._sender = asyncio.create_task(self._send_all())

    def send(self, frame: Frame) -> None:
        """Queue a frame.

        Raises:
            SlowClientError: the queue is full.
        """
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            raise SlowClientError from None

    async def sent(self, seconds: float = 5) -> None:
        """Wait until everything queued is on its way; a client that does not read is not waited for any longer."""
        waiting = asyncio.create_task(self._frames.join())
        await asyncio.wait({waiting, self._sender}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def give_up(self, last_words: Frame, code: int = GOING_AWAY) -> None:
        """Throw away what the client did not read, tell it why, and close."""
        while not self._frames.empty():
            self._frames.get_nowait()
            self._frames.task_done()
        self._frames.put_nowait(last_words)
        await self.sent(1)
        await self.close(code)

    async def close(self, code: int = GOING_AWAY) -> None:
        """Close the socket."""
        self._sender.cancel()
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._websocket.close(code)

    async def _send_all(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                frame = await self._frames.get()
                if isinstance(frame, str):
                    await self._websocket.send_text(frame)
                else:
                    await self._websocket.send_bytes(frame)
                self._frames.task_done()
