"""Start the simulator's server: in this process until a signal comes, or in a thread for tests and embedding."""

import asyncio
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import uvicorn

from torghut_runtime.addresses import LOOPBACK, listening_socket
from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.server.app import ServerSettings, create_app

_START_SECONDS: Final = 30
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class RunningSimulator:
    """A server that runs in a thread of this process.

    Attributes:
        broker: behind the server; it lives in the server's thread, reach it through :meth:`call`.
        host: it listens on.
        port: it listens on.
    """

    broker: SimulatedBroker
    host: str
    port: int
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        """``url_override`` of alpaca-py's REST clients."""
        return f"http://{self.host}:{self.port}"

    @property
    def trading_stream_url(self) -> str:
        """``url_override`` of alpaca-py's ``TradingStream``."""
        return f"ws://{self.host}:{self.port}/stream"

    @property
    def data_stream_url(self) -> str:
        """``url_override`` of alpaca-py's ``StockDataStream``."""
        return f"ws://{self.host}:{self.port}/v2/iex"

    def call(self, function: Callable[[SimulatedBroker], _Result]) -> _Result:
        """Run a function on the broker in the server's thread and return its result."""

        async def run() -> _Result:
            return function(self.broker)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result()


def _server(broker: SimulatedBroker, settings: ServerSettings | None) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(broker, settings),
        log_level="warning",
        access_log=False,
        ws="websockets-sansio",
        ws_max_size=1 << 20,
        timeout_graceful_shutdown=1,
        lifespan="on",
    )
    return uvicorn.Server(config)


def serve(broker: SimulatedBroker, settings: ServerSettings, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM."""
    _server(broker, settings).run(sockets=[listener])


@contextmanager
def running_simulator(
    broker: SimulatedBroker, settings: ServerSettings | None = None, *, port: int = 0
) -> Generator[RunningSimulator]:
    """A server in a thread while the block runs, on a free port of the loopback interface unless one is given."""
    listener = listening_socket(port)
    server = _server(broker, settings)
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    failures: list[BaseException] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        startup: Any = server.startup

        async def startup_and_tell(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets)
            started.set()

        server.startup = startup_and_tell
        await server.serve(sockets=[listener])

    def body() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=body, name="broker-simulator", daemon=True)
    thread.start()
    started.wait(_START_SECONDS)
    if failures or not server.started:
        raise RuntimeError("the simulator did not start") from (failures[0] if failures else None)
    try:
        yield RunningSimulator(broker, LOOPBACK, listener.getsockname()[1], loops[0])
    finally:
        server.should_exit = True
        thread.join(_START_SECONDS)
        listener.close()
