"""``/v2/iex`` and ``/v2/sip``: the market-data stream as MessagePack or JSON, with Alpaca's handshake and errors."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, cast

import msgpack
import msgspec
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.instants import SECOND, rfc3339
from torghut_runtime.broker.simulator.server.connections import Connection, Frame, SlowClientError
from torghut_runtime.broker.simulator.server.credentials import Credentials
from torghut_runtime.broker.simulator.server.tasks import Tasks

CHANNELS: Final = {
    "t": "trades",
    "q": "quotes",
    "b": "bars",
    "u": "updatedBars",
    "d": "dailyBars",
    "s": "statuses",
    "l": "lulds",
    "c": "corrections",
    "x": "cancelErrors",
}
ERRORS: Final = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    408: "v2 not enabled",
    409: "insufficient subscription",
}
SLOW_CLIENT: Final = 407
_MESSAGES_PER_FRAME: Final = 256
_encode_json = msgspec.json.Encoder().encode
_pack = cast("Callable[[object], bytes]", cast("Any", msgpack).packb)
_unpack = cast("Callable[[bytes], object]", cast("Any", msgpack).unpackb)


def _packed(message: dict[str, Any]) -> dict[str, Any]:
    at = message.get("t")
    return message if at is None else {**message, "t": cast("Any", msgpack).Timestamp(*divmod(at, SECOND))}


def _written(message: dict[str, Any]) -> dict[str, Any]:
    at = message.get("t")
    return message if at is None else {**message, "t": rfc3339(at)}


class Subscriber:
    """One client: its subscriptions and the messages that wait for the next frame."""

    def __init__(self, connection: Connection, *, binary: bool) -> None:
        self.connection = connection
        self.authenticated = False
        self.subscriptions: dict[str, dict[str, None]] = {channel: {} for channel in CHANNELS.values()}
        self._binary = binary
        self._waiting: list[dict[str, Any]] = []

    def wants(self, kind: str, symbol: str) -> bool:
        """Whether it subscribed to this kind of message for this symbol."""
        channel = self.subscriptions[CHANNELS[kind]]
        return symbol in channel or "*" in channel

    def hear(self, message: dict[str, Any]) -> None:
        """Keep a message for the next frame."""
        self._waiting.append(message)

    def flush(self) -> None:
        """Send what waits. Raises ``SlowClientError``."""
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), _MESSAGES_PER_FRAME):
            self.say(*waiting[start : start + _MESSAGES_PER_FRAME])

    def say(self, *messages: dict[str, Any]) -> None:
        """Send messages as one frame. Raises ``SlowClientError``."""
        self.connection.send(self._frame(messages))

    def fail(self, code: int) -> None:
        """Send one of Alpaca's errors."""
        self.connection.send(self.error_frame(code))

    def error_frame(self, code: int) -> Frame:
        """One of Alpaca's errors."""
        return self._frame(({"T": "error", "code": code, "msg": ERRORS[code]},))

    def _frame(self, messages: tuple[dict[str, Any], ...]) -> Frame:
        if self._binary:
            return _pack([_packed(message) for message in messages])
        return _encode_json([_written(message) for message in messages]).decode()

    def subscription(self) -> dict[str, Any]:
        """What is subscribed to now, as the server confirms it."""
        return {"T": "subscription", **{name: list(symbols) for name, symbols in self.subscriptions.items()}}


class DataStream:
    """All clients of the data stream."""

    def __init__(
        self,
        broker: SimulatedBroker,
        credentials: Credentials,
        tasks: Tasks,
        *,
        connections: int,
        symbol_limit: int | None,
        sip: bool,
        auth_seconds: float,
        longest_queue: int,
    ) -> None:
        self._broker = broker
        self._credentials = credentials
        self._tasks = tasks
        self._connections = connections
        self._symbol_limit = symbol_limit
        self._sip = sip
        self._auth_seconds = auth_seconds
        self._longest_queue = longest_queue
        self._subscribers: list[Subscriber] = []
        broker.feed.listeners.append(self)
        broker.feed.on_disconnect.append(self._disconnect)

    def mount(self, app: FastAPI) -> None:
        """Offer the stream at its two addresses."""
        app.add_api_websocket_route("/v2/iex", self._serve)
        app.add_api_websocket_route("/v2/sip", self._serve_sip)

    @property
    def listening(self) -> int:
        """How many clients subscribed to something."""
        return sum(any(subscriber.subscriptions.values()) for subscriber in self._subscribers)

    def wants(self, kind: str, symbol: str) -> bool:
        """Whether any client wants it."""
        return any(subscriber.wants(kind, symbol) for subscriber in self._subscribers)

    def hear(self, message: dict[str, Any]) -> None:
        """Pass a message on."""
        for subscriber in self._subscribers:
            if subscriber.wants(message["T"], message["S"]):
                subscriber.hear(message)

    def flush(self) -> None:
        """Send what came since the last time; one frame holds what came together."""
        for subscriber in list(self._subscribers):
            try:
                subscriber.flush()
            except SlowClientError:
                self._subscribers.remove(subscriber)
                self._tasks.start(subscriber.connection.give_up(subscriber.error_frame(SLOW_CLIENT)))

    async def sent(self) -> None:
        """Wait until every frame is on its way."""
        self.flush()
        for subscriber in list(self._subscribers):
            await subscriber.connection.sent()

    def _disconnect(self) -> None:
        leaving, self._subscribers = self._subscribers, []
        for subscriber in leaving:
            self._tasks.start(subscriber.connection.close())

    async def _serve_sip(self, websocket: WebSocket) -> None:
        await self._serve(websocket, permitted=self._sip)

    async def _serve(self, websocket: WebSocket, *, permitted: bool = True) -> None:
        if self._broker.now < self._broker.feed.refused_until:
            await websocket.close()
            return
        await websocket.accept()
        binary = websocket.headers.get("content-type") == "application/msgpack"
        connection = Connection(websocket, self._longest_queue)
        subscriber = Subscriber(connection, binary=binary)
        subscriber.say({"T": "success", "msg": "connected"})
        timeout = self._tasks.start(self._time_out(subscriber))
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                self._answer(subscriber, _request(message, binary=binary), permitted=permitted)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            timeout.cancel()
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)
            await connection.close()

    async def _time_out(self, subscriber: Subscriber) -> None:
        await asyncio.sleep(self._auth_seconds)
        if not subscriber.authenticated:
            subscriber.fail(404)
            await subscriber.connection.sent()
            await subscriber.connection.close()

    def _answer(self, subscriber: Subscriber, request: dict[str, Any] | None, *, permitted: bool) -> None:
        action = None if request is None else request.get("action")
        if request is None or action not in {"auth", "subscribe", "unsubscribe"}:
            subscriber.fail(400)
        elif action == "auth":
            self._authenticate(subscriber, request, permitted=permitted)
        elif not subscriber.authenticated:
            subscriber.fail(401)
        else:
            self._subscribe(subscriber, request, add=action == "subscribe")

    def _authenticate(self, subscriber: Subscriber, request: dict[str, Any], *, permitted: bool) -> None:
        if subscriber.authenticated:
            subscriber.fail(403)
        elif not self._credentials.accept(request.get("key"), request.get("secret")):
            subscriber.fail(402)
        elif not permitted:
            subscriber.fail(409)
        elif len(self._subscribers) >= self._connections:
            subscriber.fail(406)
        else:
            subscriber.authenticated = True
            self._subscribers.append(subscriber)
            subscriber.say({"T": "success", "msg": "authenticated"})

    def _subscribe(self, subscriber: Subscriber, request: dict[str, Any], *, add: bool) -> None:
        wanted: dict[str, list[str]] = {}
        for channel, symbols in request.items():
            if channel == "action":
                continue
            if channel not in subscriber.subscriptions or not _is_list_of_text(symbols):
                subscriber.fail(400)
                return
            wanted[channel] = symbols
        if add and self._symbol_limit is not None:
            for channel, symbols in wanted.items():
                if len({*subscriber.subscriptions[channel], *symbols}) > self._symbol_limit:
                    subscriber.fail(405)
                    return
        for channel, symbols in wanted.items():
            for symbol in symbols:
                if add:
                    subscriber.subscriptions[channel][symbol] = None
                else:
                    subscriber.subscriptions[channel].pop(symbol, None)
        subscriber.say(subscriber.subscription())


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value))


def _request(message: Any, *, binary: bool) -> dict[str, Any] | None:
    """The request of a frame, None when it is none."""
    try:
        raw = message.get("bytes")
        request = _unpack(raw) if binary and raw is not None else json.loads(message.get("text") or raw or b"")
    except (ValueError, msgpack.exceptions.UnpackException):
        return None
    return cast("dict[str, Any]", request) if isinstance(request, dict) else None
