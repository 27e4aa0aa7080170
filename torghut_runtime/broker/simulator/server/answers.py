"""JSON in and out: exact decimals from requests, plain documents to clients."""

import json
from decimal import Decimal
from typing import Any

import msgspec
from fastapi import Request, Response

from torghut_runtime.broker.simulator.refusals import Refusal, invalid

_encode = msgspec.json.Encoder().encode


def answer(document: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(_encode(document), status_code=status, media_type="application/json")


def refused(refusal: Refusal) -> Response:
    """The answer to a refused request."""
    return Response(_encode(refusal.body()), refusal.status, refusal.headers, "application/json")


async def read_json(request: Request, *, exact: bool = True) -> Any:
    """The body of a request; with ``exact`` numbers with a point are decimals, else floats.

    Raises:
        Refusal: not JSON.
    """
    try:
        return json.loads(await request.body() or b"{}", parse_float=Decimal if exact else float)
    except ValueError:
        raise invalid("request body format is invalid") from None
