"""Health, readiness, database check and metrics over HTTP."""

import time
from typing import Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from torghut_runtime.api.collector import FeedCollector
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.surface import Component, EngineView
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.status import configuration
from torghut_runtime.settings import Settings
from torghut_runtime.storage.database import reading_engine

SERVICE: Final = "torghut-runtime"
HEARTBEAT_LIMIT_S: Final = 15.0
LOOP: Final = "loop"


def health_routes(
    settings: Settings,
    collector: FeedCollector,
    registry: CollectorRegistry,
    engine: EngineView | None = None,
    loop: Heartbeat | None = None,
) -> APIRouter:
    """The routes that need no database to answer; ``loop`` is the heartbeat of the event loop."""
    router = APIRouter()

    @router.get("/")
    def root() -> dict[str, Any]:
        return {"service": SERVICE, "version": settings.version}

    @router.get("/healthz")
    def healthz() -> JSONResponse:
        components = _components(collector, engine, loop)
        age = max(each.age_seconds for each in components.values())
        alive = age <= HEARTBEAT_LIMIT_S
        return JSONResponse(
            {
                "status": "ok" if alive else "stale",
                "service": SERVICE,
                "heartbeat_age_seconds": round(components[LOOP].age_seconds if LOOP in components else age, 3),
                "components": {
                    name: {"age_seconds": round(each.age_seconds, 3), "state": each.state}
                    for name, each in components.items()
                },
            },
            200 if alive else 503,
        )

    @router.get("/readyz")
    def readyz() -> JSONResponse:
        reasons = unready_reasons(settings, collector)
        if engine is not None:
            reasons = list(dict.fromkeys([*reasons, *engine.unready_reasons]))
        role = "standby" if engine is None else engine.role
        return JSONResponse(
            {"status": "ready" if not reasons else "not ready", "role": role, "reasons": reasons},
            200 if not reasons else 503,
        )

    @router.get("/db-check")
    def db_check() -> JSONResponse:
        try:
            with reading_engine(settings.db_dsn).connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        except (StoreUnavailableError, SQLAlchemyError) as error:
            return JSONResponse({"ok": False, "detail": str(error).splitlines()[0]}, 503)
        return JSONResponse({"ok": True})

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _components(collector: FeedCollector, engine: EngineView | None, loop: Heartbeat | None) -> dict[str, Component]:
    """Every part of the process with the age of its last sign of life."""
    ages = {"collector": time.monotonic() - collector.heartbeat}
    if loop is not None:
        ages[LOOP] = loop.age
    found = {name: Component(age, "ok" if age <= HEARTBEAT_LIMIT_S else "stale") for name, age in ages.items()}
    return {**found, **({} if engine is None else engine.components())}


def unready_reasons(settings: Settings, collector: FeedCollector) -> list[str]:
    """Why the service is not ready, by what was read last."""
    found = collector.snapshot()
    trouble = configuration(settings)
    reasons: list[str] = []
    if trouble is not None and trouble[0] == "misconfigured":
        reasons.append(trouble[1])
    if found is None:
        return [*reasons, "database_unavailable"]
    if not found.at_head:
        reasons.append("migrations_behind")
    if found.feed.state == "stalled":
        reasons.append("order_feed_stalled")
    return reasons
