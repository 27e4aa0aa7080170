"""The simulator as an ASGI application: routes, streams and pacing put together."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.refusals import NOT_FOUND, Refusal
from torghut_runtime.broker.simulator.server.answers import refused
from torghut_runtime.broker.simulator.server.connections import LONGEST_QUEUE
from torghut_runtime.broker.simulator.server.control_routes import control_routes
from torghut_runtime.broker.simulator.server.credentials import Credentials
from torghut_runtime.broker.simulator.server.data_routes import data_routes
from torghut_runtime.broker.simulator.server.data_stream import DataStream
from torghut_runtime.broker.simulator.server.doorkeeper import Doorkeeper
from torghut_runtime.broker.simulator.server.pacing import Pace, Pacing
from torghut_runtime.broker.simulator.server.tasks import Tasks
from torghut_runtime.broker.simulator.server.trading_routes import trading_routes
from torghut_runtime.broker.simulator.server.trading_stream import TradingStream


@dataclass(frozen=True)
class ServerSettings:
    """How the server behaves.

    Attributes:
        pace: of simulated time.
        credentials: whose keys are accepted.
        binary_frames: whether the trading stream sends binary frames, as Alpaca's paper environment does.
        data_connections: how many clients the data stream takes at once.
        symbol_limit: symbols per channel of the data stream; None: no limit.
        sip: whether the account may read the SIP feed.
        requests_per_minute: more are answered with 429; None: no limit.
        auth_seconds: how long a client of the data stream may take to authenticate.
        longest_queue: frames that may wait for a client of the data stream; one that reads more slowly is sent away.
    """

    pace: Pace = field(default_factory=Pace)
    credentials: Credentials = field(default_factory=Credentials)
    binary_frames: bool = True
    data_connections: int = 16
    symbol_limit: int | None = None
    sip: bool = True
    requests_per_minute: int | None = None
    auth_seconds: float = 10.0
    longest_queue: int = LONGEST_QUEUE


def create_app(broker: SimulatedBroker, settings: ServerSettings | None = None) -> FastAPI:
    """The application for one broker; simulated time starts with it."""
    settings = settings or ServerSettings()
    tasks = Tasks()
    trading = TradingStream(broker, settings.credentials, tasks, binary=settings.binary_frames)
    data = DataStream(
        broker,
        settings.credentials,
        tasks,
        connections=settings.data_connections,
        symbol_limit=settings.symbol_limit,
        sip=settings.sip,
        auth_seconds=settings.auth_seconds,
        longest_queue=settings.longest_queue,
    )

    async def sent() -> None:
        await trading.sent()
        await data.sent()

    def listening() -> dict[str, int]:
        return {"trading": trading.listening, "data": data.listening}

    pacing = Pacing(broker, settings.pace, sent)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        tasks.start(pacing.run())
        yield
        await tasks.stop()

    app = FastAPI(title="torghut broker simulator", lifespan=lifespan, redoc_url=None)
    app.add_middleware(
        Doorkeeper,
        broker=broker,
        credentials=settings.credentials,
        pacing=pacing,
        requests_per_minute=settings.requests_per_minute,
    )
    app.add_exception_handler(Refusal, _refuse)
    app.add_exception_handler(HTTPException, _no_such_thing)
    app.add_exception_handler(ClientDisconnect, _nobody_there)
    app.include_router(control_routes(broker, pacing, sent, listening))
    # Fixed paths come before the ones with a symbol in them.
    app.include_router(data_routes(broker, sip=settings.sip))
    app.include_router(trading_routes(broker))
    trading.mount(app)
    data.mount(app)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, Refusal)
    return refused(error)


async def _nobody_there(request: Request, error: Exception) -> Response:
    """A client that was killed within its request is no failure of the server's; nobody reads this."""
    del request, error
    return Response(status_code=400)


async def _no_such_thing(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return refused(Refusal(error.status_code, NOT_FOUND if error.status_code == 404 else None, "endpoint not found."))
