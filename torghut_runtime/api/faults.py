"""How a call that cannot be answered is answered: one shape, a code, and never what the caller sent."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from torghut_runtime.api.documents.values import Fault
from torghut_runtime.errors import StoreUnavailableError

DATABASE_UNAVAILABLE: Final = "database_unavailable"


class HttpFaultError(Exception):
    """A call that ends with this status and code."""

    def __init__(self, status: int, code: str, detail: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers


def fault_body(code: str, detail: Any = None) -> dict[str, Any]:
    """The body of such an answer."""
    return {"ok": False, "error": code} if detail is None else {"ok": False, "error": code, "detail": detail}


def told_faults(errors: Any) -> list[dict[str, Any]]:
    """What a validation found, without the values it found it in."""
    return [{"loc": list(each["loc"]), "msg": each["msg"], "type": each["type"]} for each in errors]


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Faults that a route may answer with, for OpenAPI."""
    return {status: {"model": Fault} for status in statuses}


def answer_faults(app: FastAPI) -> None:
    """Have the application answer its errors in this shape."""

    def fault(request: Request, error: Exception) -> JSONResponse:
        del request
        found = cast("HttpFaultError", error)
        return JSONResponse(fault_body(found.code, found.detail), found.status, headers=found.headers)

    def invalid(request: Request, error: Exception) -> JSONResponse:
        del request
        found = told_faults(cast("RequestValidationError", error).errors())
        return JSONResponse(fault_body("invalid_parameters", found), 422)

    def refused(request: Request, error: Exception) -> JSONResponse:
        del request
        found = cast("StarletteHTTPException", error)
        code = HTTPStatus(found.status_code).phrase.lower().replace(" ", "_")
        return JSONResponse(fault_body(code), found.status_code, headers=found.headers)

    def unavailable(request: Request, error: Exception) -> JSONResponse:
        del request, error
        return JSONResponse(fault_body(DATABASE_UNAVAILABLE), 503)

    def gone(request: Request, error: Exception) -> JSONResponse:
        # a client that leaves within its request is no failure of ours; nobody reads this
        del request, error
        return JSONResponse(fault_body("client_disconnected"), 400)

    app.add_exception_handler(HttpFaultError, fault)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(StarletteHTTPException, refused)
    app.add_exception_handler(StoreUnavailableError, unavailable)
    app.add_exception_handler(ClientDisconnect, gone)
