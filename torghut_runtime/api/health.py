"""Health, readiness, database check and metrics over HTTP."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from torghut_runtime.api.access import Access
from torghut_runtime.api.collector import FeedCollector
from torghut_runtime.api.documents.service import DatabaseCheck, Liveness, Readiness, Service
from torghut_runtime.api.faults import DATABASE_UNAVAILABLE, fault_body, responses
from torghut_runtime.api.reading import Reader
from torghut_runtime.api.trading_routes import NoQuery
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.surface import Component, EngineView
from torghut_runtime.order_feed.status import configuration
from torghut_runtime.settings import Settings

SERVICE: Final = "torghut-runtime"
HEARTBEAT_LIMIT_S: Final = 15.0
LOOP: Final = "loop"
Parameters = Annotated[NoQuery, Query()]


def health_routes(
    settings: Settings,
    collector: FeedCollector,
    registry: CollectorRegistry,
    access: Access,
    reader: Reader,
    view: Callable[[], EngineView],
    loop: Heartbeat,
) -> APIRouter:
    """The routes that answer whatever is down; liveness and readiness are asked by machines and need no token.

    ``loop`` is the heartbeat of the event loop.
    """
    router = APIRouter(tags=["health"])
    guarded = access.reading
    protected = responses(401, 403, 422)

    @router.get("/", response_model=Service, dependencies=guarded, responses=protected, summary="Who answers")
    async def root(_: Parameters) -> JSONResponse:
        return JSONResponse(
            {"service": SERVICE, "status": "ok", "version": settings.version, "commit": settings.commit}
        )  # fmt: skip

    @router.get(
        "/healthz",
        response_model=Liveness,
        responses={503: {"model": Liveness}, **responses(422)},
        summary="Whether the process lives",
    )
    async def healthz(_: Parameters) -> JSONResponse:
        parts = {"collector": collector_component(collector), LOOP: loop_component(loop), **view().components()}
        oldest = max(each.age_seconds for each in parts.values())
        alive = oldest <= HEARTBEAT_LIMIT_S
        return JSONResponse(
            {
                "status": "ok" if alive else "stale",
                "service": SERVICE,
                "heartbeat_age_seconds": round(parts[LOOP].age_seconds, 3),
                "components": {
                    name: {"age_seconds": round(each.age_seconds, 3), "state": each.state}
                    for name, each in parts.items()
                },
            },
            200 if alive else 503,
        )

    @router.get(
        "/readyz",
        response_model=Readiness,
        responses={503: {"model": Readiness}, **responses(422)},
        summary="Whether it could trade",
    )
    async def readyz(_: Parameters) -> JSONResponse:
        engine, answers = view(), await reader.answers()
        # Role first: a standby is ready, a leader that has just got the lease is not.
        role = engine.role
        reasons = unready_reasons(settings, collector)
        reasons += [each for each in engine.unready_reasons if each not in reasons]
        if DATABASE_UNAVAILABLE not in reasons and not answers:
            reasons.append(DATABASE_UNAVAILABLE)
        return JSONResponse(
            {"status": "ready" if not reasons else "not ready", "role": role, "reasons": reasons},
            200 if not reasons else 503,
        )

    @router.get(
        "/db-check",
        response_model=DatabaseCheck,
        dependencies=guarded,
        responses={**protected, **responses(503)},
        summary="Whether the database answers",
    )
    async def db_check(_: Parameters) -> JSONResponse:
        if await reader.answers():
            return JSONResponse({"ok": True})
        return JSONResponse(fault_body(DATABASE_UNAVAILABLE), 503)

    @router.get(
        "/metrics",
        dependencies=guarded,
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **protected},
        summary="Metrics for Prometheus",
    )
    async def metrics(_: Parameters) -> Response:
        text = await asyncio.to_thread(generate_latest, registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router


def collector_component(collector: FeedCollector) -> Component:
    """The thread that reads for metrics, as a part like any other."""
    age = time.monotonic() - collector.heartbeat
    return Component(age, "ok" if age <= HEARTBEAT_LIMIT_S else "stale")


def loop_component(loop: Heartbeat) -> Component:
    """The event loop."""
    return Component(loop.age, "ok" if loop.age <= HEARTBEAT_LIMIT_S else "stale")


def unready_reasons(settings: Settings, collector: FeedCollector) -> list[str]:
    """Why the service is not ready, by what was read last."""
    found = collector.snapshot()
    trouble = configuration(settings)
    reasons: list[str] = []
    if trouble is not None and trouble[0] == "misconfigured":
        reasons.append(trouble[1])
    if found is None:
        return [*reasons, DATABASE_UNAVAILABLE]
    if not found.at_head:
        reasons.append("migrations_behind")
    if found.feed.state == "stalled":
        reasons.append("order_feed_stalled")
    return reasons
