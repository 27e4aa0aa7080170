"""The runtime's HTTP service: ``uvicorn torghut_runtime.main:app --port 8181``.

It comes up whatever is down; what is down is told by ``/readyz`` and ``/metrics``.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from torghut_runtime.api.closing import told_by_signals
from torghut_runtime.api.collector import FeedCollector
from torghut_runtime.api.deadlines import Deadlines
from torghut_runtime.api.health import SERVICE
from torghut_runtime.api.service import HttpService
from torghut_runtime.api.webhook import Webhook
from torghut_runtime.command_line import ExitCode
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.errors import InputError, InputFaults
from torghut_runtime.logs import configure_logging
from torghut_runtime.settings import Settings, load_settings, require_operators
from torghut_runtime.trading_settings import TradingSettings, load_trading_settings


def create_app(
    settings: Settings, trading: TradingSettings | None = None, *, deadlines: Deadlines | None = None
) -> FastAPI:
    """The service for these settings; nothing connects before it starts. ``app.state.http`` takes the engine.

    Raises:
        InputError: settings that cannot be served with.
        InputFaults: settings of trading that cannot be used.
    """
    require_operators(settings)
    registry = CollectorRegistry()
    metrics = TradingMetrics(registry)
    collector = FeedCollector(settings, Webhook(settings.webhook_url, settings.version, metrics))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(collector)
    limits = deadlines or Deadlines()
    service = HttpService(settings, trading or load_trading_settings(), collector, registry, metrics, limits)
    collector.watch(service.view)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        del app
        collector.start()
        service.start()
        try:
            with told_by_signals():
                yield
        finally:
            service.stop()
            collector.stop()

    app = FastAPI(
        title=SERVICE, version=settings.version, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.http = service
    service.add_routes(app)
    return app


def __getattr__(name: str) -> FastAPI:
    """``app`` is made when a server asks for it, so that importing this module reads no environment."""
    if name != "app":
        raise AttributeError(name)
    try:
        configure_logging()
        return create_app(load_settings())
    except InputFaults as found:
        for fault in found.faults:
            sys.stderr.write(f"{SERVICE}: {fault}\n")
    except InputError as error:
        sys.stderr.write(f"{SERVICE}: {error}\n")
    sys.exit(int(ExitCode.USAGE))
