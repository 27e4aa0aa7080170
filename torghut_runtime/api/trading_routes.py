"""What can be read of trading over HTTP. Nothing here changes anything, and nothing waits for the trading thread.

Rows come from the database, everything about now from the engine's published snapshot.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import pydantic_core
import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from prometheus_client import CollectorRegistry
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from torghut_runtime.api.access import Access
from torghut_runtime.api.documents.adviser import LlmEvaluation
from torghut_runtime.api.documents.costs import TcaReport
from torghut_runtime.api.documents.engine import Counters, Positions, Status
from torghut_runtime.api.documents.flags import Flags
from torghut_runtime.api.documents.orders import DecisionRow, ExecutionRow, OrderRow
from torghut_runtime.api.documents.service import Check, Health
from torghut_runtime.api.documents.values import Moment, Page
from torghut_runtime.api.faults import responses
from torghut_runtime.api.llm_evaluation import read_evaluation
from torghut_runtime.api.loose import mapping_of
from torghut_runtime.api.paging import LIMIT, MOST, Cursor, cursor_of
from torghut_runtime.api.reading import Reader
from torghut_runtime.api.rows import Wanted, read_decisions, read_executions, read_orders
from torghut_runtime.api.tca import day_figures, read_tca
from torghut_runtime.engine.surface import EngineView
from torghut_runtime.errors import StoreUnavailableError

logger = logging.getLogger(__name__)

_COUNTED: Final = "torghut_trading_"
_BAD_COMPONENTS: Final = ("stale", "failed")
_Model = TypeVar("_Model", bound=BaseModel)

SymbolFilter = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")]
NameFilter = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,200}$")]
WordFilter = Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]
Truth = Literal["true", "false"]


def _known_cursor(text: str) -> str:
    cursor_of(text)
    return text


CursorText = Annotated[
    str, AfterValidator(_known_cursor), WithJsonSchema({"type": "string", "format": "torghut-cursor"})
]


class PageQuery(BaseModel):
    """How much of a list, and from where; a parameter that nobody knows is refused."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=LIMIT, ge=1, le=MOST, description="Rows of a page.")
    cursor: CursorText | None = Field(default=None, description="`next_cursor` of the page before.")
    symbol: SymbolFilter | None = None
    since: Moment | None = Field(default=None, description="Rows made since; of costs: filled since.")

    def wanted(self) -> Wanted:
        """As the tables are asked."""
        cursor: Cursor | None = None if self.cursor is None else cursor_of(self.cursor)
        return Wanted(
            limit=self.limit,
            cursor=cursor,
            symbol=self.symbol,
            since=self.since,
            strategy_id=getattr(self, "strategy_id", None),
            status=getattr(self, "status", None) or getattr(self, "state", None),
            open=None if getattr(self, "open", None) is None else getattr(self, "open", None) == "true",
        )


class DecisionQuery(PageQuery):
    """Filters of decisions and executions."""

    strategy_id: NameFilter | None = None
    status: WordFilter | None = None


class OrderQuery(PageQuery):
    """Filters of orders."""

    open: Truth | None = Field(default=None, description="Whether the order can still change.")
    state: WordFilter | None = None


class TcaQuery(PageQuery):
    """Filters of costs."""

    strategy_id: NameFilter | None = None


class NoQuery(BaseModel):
    """No parameters at all."""

    model_config = ConfigDict(extra="forbid")


def trading_routes(
    access: Access,
    reader: Reader,
    view: Callable[[], EngineView],
    registry: CollectorRegistry,
    flags: Callable[[], Flags],
) -> APIRouter:
    """The GETs below ``/trading``."""
    router = APIRouter(prefix="/trading", tags=["trading"], dependencies=access.reading)
    protected = responses(401, 403, 422)
    stored = responses(401, 403, 422, 503)

    async def from_tables(read: Callable[[sa.Connection, Wanted], BaseModel], query: PageQuery) -> Response:
        wanted = query.wanted()
        # rendered in the thread: hundreds of decisions would hold the loop
        return _json(await reader.run(lambda connection: read(connection, wanted).model_dump_json().encode()))

    @router.get(
        "/health",
        response_model=Health,
        responses={503: {"model": Health}, **protected},
        summary="The engine and what it depends on",
    )
    async def health(_: Annotated[NoQuery, Query()]) -> Response:
        found = await health_of(view(), reader)
        return _json(found.model_dump_json().encode(), 200 if found.status == "ok" else 503)

    @router.get("/status", response_model=Status, responses=protected, summary="The engine, as it is")
    async def status(_: Annotated[NoQuery, Query()]) -> Response:
        return _json(await asyncio.to_thread(lambda: shown(Status, view().status())))

    @router.get("/metrics", response_model=Counters, responses=protected, summary="The counters, as JSON")
    async def metrics(_: Annotated[NoQuery, Query()]) -> Response:
        try:
            costs = await reader.run(day_figures, reader.deadlines.probe)
        except StoreUnavailableError:
            costs = None  # the counters are memory, and are there without a database
        return _json(await asyncio.to_thread(lambda: shown(Counters, counters_of(view(), registry, costs))))

    @router.get(
        "/decisions",
        response_model=Page[DecisionRow],
        responses=stored,
        summary="What strategies decided, and why not",
    )
    async def decisions(query: Annotated[DecisionQuery, Query()]) -> Response:
        return await from_tables(read_decisions, query)

    @router.get(
        "/executions",
        response_model=Page[ExecutionRow],
        responses=stored,
        summary="Orders as the broker tells them, with their cost",
    )
    async def executions(query: Annotated[DecisionQuery, Query()]) -> Response:
        return await from_tables(read_executions, query)

    @router.get("/orders", response_model=Page[OrderRow], responses=stored, summary="Our intents and orders")
    async def orders(query: Annotated[OrderQuery, Query()]) -> Response:
        return await from_tables(read_orders, query)

    @router.get("/positions", response_model=Positions, responses=protected, summary="Account and positions")
    async def positions(_: Annotated[NoQuery, Query()]) -> Response:
        return _json(await asyncio.to_thread(lambda: shown(Positions, view().positions())))

    @router.get("/tca", response_model=TcaReport, responses=stored, summary="What executions cost")
    async def tca(query: Annotated[TcaQuery, Query()]) -> Response:
        return await from_tables(read_tca, query)

    @router.get("/flags", response_model=Flags, responses=protected, summary="Feature flags")
    async def effective_flags(_: Annotated[NoQuery, Query()]) -> Response:
        return _json(flags().model_dump_json().encode())

    @router.get("/llm-evaluation", response_model=LlmEvaluation, responses=stored, summary="The adviser's day")
    async def llm_evaluation(_: Annotated[NoQuery, Query()]) -> Response:
        now = datetime.now(UTC)
        return _json(await reader.run(lambda connection: read_evaluation(connection, now).model_dump_json().encode()))

    return router


async def health_of(view: EngineView, reader: Reader) -> Health:
    """Engine and dependencies; the database is asked now, the others were found by the engine."""
    answers = await reader.answers()
    dependencies = {name: Check(ok=each.ok, detail=each.detail) for name, each in view.dependencies().items()}
    dependencies["postgres"] = Check(ok=answers, detail="answers" if answers else "does not answer")
    scheduler = scheduler_of(view)
    is_well = scheduler.ok and all(each.ok for each in dependencies.values())
    return Health(
        status="ok" if is_well else "degraded", scheduler=scheduler, dependencies=dependencies
    )  # fmt: skip


def scheduler_of(view: EngineView) -> Check:
    """Whether the engine runs and no part of it stands still."""
    status = view.status()
    if not status["running"]:
        return Check(ok=False, detail="the engine does not run")
    bad = sorted(name for name, each in view.components().items() if each.state in _BAD_COMPONENTS)
    if bad:
        return Check(ok=False, detail=f"not well: {', '.join(bad)}")
    last = status["last_run_at"]
    return Check(ok=True, detail="has not run yet" if last is None else f"last run at {_time_text(last)}")


def counters_of(view: EngineView, registry: CollectorRegistry, costs: Mapping[str, Any] | None) -> dict[str, Any]:
    """What ``/metrics`` counts of trading, and four facts of the engine."""
    status = view.status()
    counters: dict[str, Any] = {}
    for family in registry.collect():
        if family.type != "counter" or not family.name.startswith(_COUNTED):
            continue
        found = [(each.labels, each.value) for each in family.samples if each.name.endswith("_total")]
        plain = len(found) == 1 and not found[0][0]
        counters[f"{family.name}_total"] = (
            found[0][1] if plain else [{"labels": labels, "value": value} for labels, value in found]
        )
    numbers = mapping_of(status["metrics"]) or {}
    return {
        "counters": counters,
        "signal_lag_seconds": numbers.get("signal_lag_seconds"),
        "running": status["running"],
        "last_run_at": status["last_run_at"],
        "last_reconcile_at": status["last_reconcile_at"],
        "tca": costs,
    }


def shown(model: type[_Model], document: Mapping[str, Any]) -> bytes:
    """A document of the engine as JSON; one that does not fit its model is shown as it is, and logged."""
    try:
        return model.model_validate(document).model_dump_json().encode()
    except ValidationError:
        logger.exception("the engine's document is no %s", model.__name__)
        return pydantic_core.to_json(document, inf_nan_mode="null", fallback=str)


def _time_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json", headers={"Cache-Control": "no-store"})
