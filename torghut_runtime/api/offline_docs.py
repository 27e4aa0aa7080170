"""``/docs`` and ``/openapi.json``; script and style of the page come from an installed package, not from elsewhere."""

from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from torghut_runtime.api.access import Access
from torghut_runtime.api.faults import HttpFaultError

_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_SERVED = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


def docs_routes(app: FastAPI, access: Access) -> APIRouter:
    """The description of this service and the page that shows it."""
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json", dependencies=access.reading)
    async def description() -> dict[str, Any]:
        return app.openapi()

    @router.get("/docs")
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{app.title}: API",
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
        )

    @router.get("/docs/{name}")
    async def asset(name: str) -> FileResponse:
        if name not in _SERVED:
            raise HttpFaultError(404, "not_found")
        return FileResponse(_ASSETS / name, media_type=_SERVED[name])

    return router
