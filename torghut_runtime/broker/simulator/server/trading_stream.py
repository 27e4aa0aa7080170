"""``/stream``: authentication, ``listen``, and the ``trade_updates`` of the account as JSON.

Alpaca's paper environment sends binary frames and its documentation shows text; both are offered.
"""

import json
from typing import Any, Final, cast

import msgspec
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.outlet import TRADE_UPDATES
from torghut_runtime.broker.simulator.server.connections import Connection, SlowClientError
from torghut_runtime.broker.simulator.server.credentials import Credentials
from torghut_runtime.broker.simulator.server.tasks import Tasks

_NEW_FORM: Final = '{"action": "auth", "key": "x", "secret": "x"}'
_OLD_FORM: Final = f"this authentication format is being deprecated. Please use the format: {_NEW_FORM}"
_POLICY_VIOLATION: Final = 1008
_encode = msgspec.json.Encoder().encode


class TradingStream:
    """All clients of the trading stream."""

    def __init__(self, broker: SimulatedBroker, credentials: Credentials, tasks: Tasks, *, binary: bool) -> None:
        self._broker = broker
        self._credentials = credentials
        self._tasks = tasks
        self._binary = binary
        self._listening: dict[Connection, bool] = {}
        broker.on_trade_update(self._hear)
        broker.trade_updates.on_disconnect.append(self._disconnect)

    def mount(self, app: FastAPI) -> None:
        """Offer the stream at ``/stream``."""
        app.add_api_websocket_route("/stream", self._serve)

    @property
    def listening(self) -> int:
        """How many clients listen."""
        return sum(self._listening.values())

    async def sent(self) -> None:
        """Wait until every frame is on its way."""
        for connection in list(self._listening):
            await connection.sent()

    def _frame(self, message: bytes) -> bytes | str:
        return message if self._binary else message.decode()

    def _hear(self, message: bytes) -> None:
        frame = self._frame(message)
        for connection, listening in list(self._listening.items()):
            if listening:
                try:
                    connection.send(frame)
                except SlowClientError:
                    self._listening.pop(connection)
                    self._tasks.start(connection.close(_POLICY_VIOLATION))

    def _disconnect(self) -> None:
        for connection in list(self._listening):
            self._listening.pop(connection)
            self._tasks.start(connection.close())

    async def _serve(self, websocket: WebSocket) -> None:
        if self._broker.now < self._broker.trade_updates.refused_until:
            await websocket.close()
            return
        await websocket.accept()
        connection = Connection(websocket)
        self._listening[connection] = False
        authorized = False
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                request = _request(message)
                action = request.get("action")
                if action in {"authenticate", "auth"}:
                    authorized = self._authenticate(connection, request)
                elif action == "listen" and not authorized:
                    self._say(connection, "authorization", {"status": "unauthorized", "action": "listen"})
                elif action == "listen":
                    self._listen(connection, request)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self._listening.pop(connection, None)
            await connection.close()

    def _authenticate(self, connection: Connection, request: dict[str, Any]) -> bool:
        old_form = request["action"] == "authenticate"
        data: dict[str, Any] = request.get("data") or {} if old_form else request
        names = ("key_id", "secret_key") if old_form else ("key", "secret")
        accepted = self._credentials.accept(*(data.get(name) for name in names))
        if not accepted:
            self._say(connection, "authorization", {"status": "unauthorized", "action": "authenticate"})
        elif old_form:
            fields = {"action": "authenticate", "message": _OLD_FORM, "status": "authorized"}
            self._say(connection, "authorization", fields)
        else:
            self._say(connection, "authorization", {"status": "authorized", "action": "authenticate"})
        return accepted

    def _listen(self, connection: Connection, request: dict[str, Any]) -> None:
        data = request.get("data")
        wanted = cast("dict[str, Any]", data).get("streams") if isinstance(data, dict) else None
        streams = [TRADE_UPDATES] if isinstance(wanted, list) and TRADE_UPDATES in wanted else []
        self._say(connection, "listening", {"streams": streams})
        if connection in self._listening:
            self._listening[connection] = bool(streams)

    def _say(self, connection: Connection, stream: str, data: dict[str, Any]) -> None:
        connection.send(self._frame(_encode({"stream": stream, "data": data})))


def _request(message: Any) -> dict[str, Any]:
    """The JSON object of a frame, text or binary; what is none is an empty request."""
    try:
        request: object = json.loads(message.get("text") or message.get("bytes") or b"")
    except ValueError:
        return {}
    return cast("dict[str, Any]", request) if isinstance(request, dict) else {}
