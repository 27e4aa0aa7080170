"""The runtime's HTTP service: ``uvicorn torghut_runtime.main:app --port 8181``.

It comes up whatever is down; what is down is told by ``/readyz`` and ``/metrics``.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from torghut_runtime.api.collector import FeedCollector
from torghut_runtime.api.health import SERVICE, health_routes
from torghut_runtime.api.webhook import Webhook
from torghut_runtime.command_line import ExitCode
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.errors import InputError
from torghut_runtime.logs import configure_logging
from torghut_runtime.settings import Settings, load_settings


def create_app(settings: Settings) -> FastAPI:
    """The service for these settings; nothing connects before it starts."""
    registry = CollectorRegistry()
    metrics = TradingMetrics(registry)
    collector = FeedCollector(settings, Webhook(settings.webhook_url, settings.version, metrics))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(collector)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        del app
        collector.start()
        try:
            yield
        finally:
            collector.stop()

    app = FastAPI(title=SERVICE, version=settings.version, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(health_routes(settings, collector, registry))
    return app


def __getattr__(name: str) -> FastAPI:
    """``app`` is made when a server asks for it, so that importing this module reads no environment."""
    if name != "app":
        raise AttributeError(name)
    try:
        configure_logging()
        return create_app(load_settings())
    except InputError as error:
        sys.stderr.write(f"{SERVICE}: {error}\n")
        sys.exit(int(ExitCode.USAGE))
