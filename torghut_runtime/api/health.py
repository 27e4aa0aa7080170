"""Health, readiness, database check and metrics over HTTP."""

import time
from typing import Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from torghut_runtime.api.collector import FeedCollector, reading_engine
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.status import configuration
from torghut_runtime.settings import Settings

SERVICE: Final = "torghut-runtime"
HEARTBEAT_LIMIT_S: Final = 15.0


def health_routes(settings: Settings, collector: FeedCollector, registry: CollectorRegistry) -> APIRouter:
    """The routes that need no database to answer."""
    router = APIRouter()

    @router.get("/")
    def root() -> dict[str, Any]:
        return {"service": SERVICE, "version": settings.version}

    @router.get("/healthz")
    def healthz() -> JSONResponse:
        age = time.monotonic() - collector.heartbeat
        alive = age <= HEARTBEAT_LIMIT_S
        component = {"age_seconds": round(age, 3), "state": "ok" if alive else "stale"}
        return JSONResponse(
            {
                "status": "ok" if alive else "stale",
                "service": SERVICE,
                "heartbeat_age_seconds": round(age, 3),
                "components": {"collector": component},
            },
            200 if alive else 503,
        )

    @router.get("/readyz")
    def readyz() -> JSONResponse:
        reasons = unready_reasons(settings, collector)
        return JSONResponse(
            {"status": "ready" if not reasons else "not ready", "role": "standby", "reasons": reasons},
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
