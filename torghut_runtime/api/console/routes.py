"""``/console`` and its stream of changes: one look per second for however many watch."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pydantic_core
import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from torghut_runtime.api.access import Access
from torghut_runtime.api.closing import is_closing
from torghut_runtime.api.collector import FeedCollector
from torghut_runtime.api.console.markup import Markup
from torghut_runtime.api.console.page import POLICY, heads, page
from torghut_runtime.api.console.sections import Seen, sections
from torghut_runtime.api.documents.orders import DecisionRow, OrderRow
from torghut_runtime.api.faults import HttpFaultError
from torghut_runtime.api.reading import Reader
from torghut_runtime.api.rows import Wanted, read_decisions, read_orders
from torghut_runtime.engine.surface import EngineView
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.settings import Settings

EVERY_S: Final = 1.0
WATCHERS: Final = 50
_SHOWN: Final = 25
_STATIC: Final = Path(__file__).parent / "static"
_FILES: Final = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_HEAD: Final = ("mode", "adapter", "role", "running")


@dataclass
class Console:
    """What is shown now; looked at anew when it is older than a second."""

    reader: Reader
    view: Callable[[], EngineView]
    collector: FeedCollector
    made: dict[str, Markup] = field(default_factory=dict[str, Markup])
    made_at: float = float("-inf")
    watchers: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def now(self) -> dict[str, Markup]:
        """Every section, and the head."""
        async with self.lock:
            if time.monotonic() - self.made_at >= EVERY_S:
                orders, decisions = await self._rows()
                self.made = await asyncio.to_thread(self._make, orders, decisions)
                self.made_at = time.monotonic()
            return self.made

    async def _rows(self) -> tuple[list[OrderRow] | None, list[DecisionRow] | None]:
        try:
            return await self.reader.run(_newest, self.reader.deadlines.probe)
        except StoreUnavailableError:
            return None, None

    def _make(self, orders: list[OrderRow] | None, decisions: list[DecisionRow] | None) -> dict[str, Markup]:
        view, found = self.view(), self.collector.snapshot()
        status = view.status()
        seen = Seen(
            status=status,
            positions=view.positions(),
            components=view.components(),
            dependencies=view.dependencies(),
            orders=orders,
            decisions=decisions,
            feed=None if found is None else found.feed,
        )
        return {"head": heads({name: status[name] for name in _HEAD}), **sections(seen)}


def _newest(connection: sa.Connection) -> tuple[list[OrderRow], list[DecisionRow]]:
    """Open orders first, then the newest of the others."""
    working = read_orders(connection, Wanted(_SHOWN, open=True)).items
    others = [each for each in read_orders(connection, Wanted(_SHOWN)).items if each not in working]
    return [*working, *others][:_SHOWN], read_decisions(connection, Wanted(_SHOWN)).items


def console_routes(
    settings: Settings, access: Access, reader: Reader, view: Callable[[], EngineView], collector: FeedCollector
) -> APIRouter:
    """The page, what it is drawn with, and its stream."""
    router = APIRouter(include_in_schema=False)
    console = Console(reader, view, collector)

    @router.get("/console")
    async def whole() -> Response:
        if settings.http_read_auth:  # a browser sends no token with a page: it shows nothing until one is given
            return Response(page(settings, None, {}), media_type="text/html", headers=_HEADERS)
        made = await console.now()
        status = view().status()
        head = {name: status[name] for name in _HEAD}
        return Response(page(settings, made, head), media_type="text/html", headers=_HEADERS)

    @router.get("/console/events", dependencies=access.reading)
    async def events(request: Request) -> StreamingResponse:
        if console.watchers >= WATCHERS:
            raise HttpFaultError(503, "too_many_watchers")
        return StreamingResponse(
            _changes(console, request),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @router.get("/console/{name}")
    async def asset(name: str) -> FileResponse:
        if name not in _FILES:
            raise HttpFaultError(404, "not_found")
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        return FileResponse(_STATIC / name, media_type=_FILES[name], headers=headers)

    return router


async def _changes(console: Console, request: Request) -> AsyncGenerator[bytes]:
    """Everything once, then what changed; an empty change every second says that the connection lives."""
    shown: dict[str, Markup] = {}
    console.watchers += 1
    try:
        while not is_closing() and not await request.is_disconnected():
            made = await console.now()
            changed: dict[str, Any] = {name: text for name, text in made.items() if shown.get(name) != text}
            shown = dict(made)
            yield b"event: sections\ndata: " + pydantic_core.to_json(changed) + b"\n\n"
            await asyncio.sleep(EVERY_S)
    finally:
        console.watchers -= 1
