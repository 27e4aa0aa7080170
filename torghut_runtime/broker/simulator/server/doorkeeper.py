"""What stands before every request of Alpaca's interface: time, keys, rate limit, asked-for errors, latency."""

import time
from collections import deque

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.refusals import TOO_MANY_REQUESTS, Refusal
from torghut_runtime.broker.simulator.server.answers import refused
from torghut_runtime.broker.simulator.server.credentials import Credentials
from torghut_runtime.broker.simulator.server.pacing import Pacing


class Doorkeeper:
    """ASGI middleware around the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        broker: SimulatedBroker,
        credentials: Credentials,
        pacing: Pacing,
        requests_per_minute: int | None,
    ) -> None:
        self._app = app
        self._broker = broker
        self._credentials = credentials
        self._pacing = pacing
        self._limit = requests_per_minute
        self._recent: deque[float] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer in its place."""
        if scope["type"] in {"http", "websocket"}:
            self._pacing.catch_up()
        if scope["type"] != "http" or not scope["path"].startswith(("/v1", "/v2")):
            await self._app(scope, receive, send)
            return
        try:
            self._check(Request(scope))
        except Refusal as refusal:
            await refused(refusal)(scope, receive, send)
            return
        if self._pacing.passes:
            await self._pacing.wait(self._broker.controls.answer_latency())
        await self._app(scope, receive, send)

    def _check(self, request: Request) -> None:
        self._credentials.check(request.headers)
        error = self._broker.controls.take_http_error(request.method, request.url.path)
        if error is not None:
            headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:g}"}
            if error.status == 429:
                raise _too_many(headers)
            raise Refusal(error.status, error.status * 100_000, "internal server error occurred", headers=headers)
        self._count()

    def _count(self) -> None:
        if self._limit is None:
            return
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 60:
            self._recent.popleft()
        if len(self._recent) >= self._limit:
            raise _too_many({"Retry-After": str(max(1, int(self._recent[0] + 60 - now)))})
        self._recent.append(now)


def _too_many(headers: dict[str, str]) -> Refusal:
    return Refusal(429, TOO_MANY_REQUESTS, "rate limit exceeded", headers=headers)
