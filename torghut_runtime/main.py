"""The runtime's HTTP service: ``uvicorn torghut_runtime.main:app --port 8181``.

It comes up whatever is down; what is down is told by ``/readyz`` and ``/metrics``.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import PlatformCollector, ProcessCollector

from torghut_runtime.api.closing import told_by_signals
from torghut_runtime.api.collector import FeedCollector
from torghut_runtime.api.deadlines import Deadlines
from torghut_runtime.api.health import LOOP, SERVICE
from torghut_runtime.api.service import HttpService
from torghut_runtime.api.webhook import Webhook
from torghut_runtime.command_line import ExitCode
from torghut_runtime.engine.engine import Engine
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.errors import InputError, InputFaults
from torghut_runtime.logs import configure_logging
from torghut_runtime.settings import Settings, load_settings, require_operators
from torghut_runtime.trading_settings import load_trading_settings

_BEAT_SECONDS: Final = 0.5


def create_app(
    settings: Settings,
    engine: Engine | None = None,
    metrics: TradingMetrics | None = None,
    *,
    deadlines: Deadlines | None = None,
) -> FastAPI:
    """The service for these settings, with the engine that it starts and stops; nothing connects before it starts.

    Raises:
        InputError: nobody could stop a service of stage or prod.
        InputFaults: without an engine, settings of trading that cannot be used.
    """
    require_operators(settings)
    metrics = metrics or TradingMetrics()
    registry = metrics.registry
    collector = FeedCollector(settings, Webhook(settings.webhook_url, settings.version, metrics))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(collector)
    loop_beat = Heartbeat()
    trading = load_trading_settings() if engine is None else engine.trading
    service = HttpService(settings, trading, collector, metrics, loop_beat, deadlines or Deadlines())
    collector.watch(service.view)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        del app
        beating = asyncio.create_task(_beat(loop_beat, metrics))
        collector.start()
        service.start()
        if engine is not None:
            loop_beat.beat()
            engine.watch(LOOP, loop_beat)
            await asyncio.to_thread(engine.start)
            service.attach(engine, engine.operations)
            _before_others(signal.SIGTERM, engine.close_gate)
        try:
            with told_by_signals():
                yield
        finally:
            if engine is not None:
                await asyncio.to_thread(engine.stop)
            await asyncio.to_thread(service.stop)
            await asyncio.to_thread(collector.stop)
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    app = FastAPI(
        title=SERVICE, version=settings.version, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.http = service
    service.add_routes(app)
    return app


async def _beat(heartbeat: Heartbeat, metrics: TradingMetrics) -> None:
    """The event loop goes on; how late it is shows how long something held it."""
    while True:
        heartbeat.beat()
        due = time.monotonic() + _BEAT_SECONDS
        await asyncio.sleep(_BEAT_SECONDS)
        metrics.loop_lagged(max(time.monotonic() - due, 0.0))


def _before_others(number: signal.Signals, call: Callable[[], None]) -> None:
    """Do something when a signal comes, then what would have been done; only the main thread can."""
    try:
        before: Any = signal.getsignal(number)

        def both(received: int, frame: Any) -> None:
            call()
            if callable(before):
                before(received, frame)

        signal.signal(number, both)
    except ValueError:
        return


def create_engine_app() -> FastAPI:
    """The service of the environment.

    Raises:
        InputError, InputFaults: settings that cannot be used.
    """
    settings, trading = load_settings(), load_trading_settings()
    for name in trading.unknown_names:
        sys.stderr.write(f"{SERVICE}: nobody reads {name}\n")
    metrics = TradingMetrics()
    return create_app(settings, Engine(settings, trading, metrics=metrics), metrics)


def __getattr__(name: str) -> FastAPI:
    """``app`` is made when a server asks for it, so that importing this module reads no environment."""
    if name != "app":
        raise AttributeError(name)
    try:
        configure_logging()
        return create_engine_app()
    except (InputError, InputFaults) as error:
        faults = error.faults if isinstance(error, InputFaults) else (error,)
        sys.stderr.writelines(f"{SERVICE}: {fault}\n" for fault in faults)
        sys.exit(int(ExitCode.USAGE))
