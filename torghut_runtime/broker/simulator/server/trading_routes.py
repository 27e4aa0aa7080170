"""``/v2``: account, orders, positions, assets, clock and calendar."""

import asyncio
from dataclasses import asdict, fields
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

from fastapi import APIRouter, Request, Response

from torghut_runtime.broker.simulator.account import Position
from torghut_runtime.broker.simulator.admission import AccountConfiguration
from torghut_runtime.broker.simulator.book import ListedStatus
from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.identities import asset_id
from torghut_runtime.broker.simulator.refusals import Refusal, invalid, not_found, unprocessable
from torghut_runtime.broker.simulator.server import documents
from torghut_runtime.broker.simulator.server.answers import answer, read_json
from torghut_runtime.broker.simulator.server.portfolio import portfolio_history
from torghut_runtime.broker.simulator.server.query import Query

_FIRST_DAY: Final = date(1970, 1, 1)
_LAST_DAY: Final = date(2029, 12, 31)


def trading_routes(broker: SimulatedBroker) -> APIRouter:
    """Routes of the trading interface."""
    router = APIRouter(prefix="/v2")
    _account_routes(router, broker)
    _order_routes(router, broker)
    _position_routes(router, broker)
    _market_routes(router, broker)
    return router


def _account_routes(router: APIRouter, broker: SimulatedBroker) -> None:
    desk = broker.desk

    @router.get("/account")
    async def account() -> Response:
        return answer(documents.account_document(broker))

    @router.get("/account/configurations")
    async def configurations() -> Response:
        return answer(asdict(desk.configuration))

    @router.patch("/account/configurations")
    async def configure(request: Request) -> Response:
        changes = await read_json(request)
        if not isinstance(changes, dict):
            raise invalid("request body format is invalid")
        known = {field.name: field.type for field in fields(AccountConfiguration)}
        given = {name: value for name, value in cast("dict[str, Any]", changes).items() if name in known}
        for name, value in given.items():
            usual: object = getattr(AccountConfiguration(), name)
            if value is not None and usual is not None and not isinstance(value, usual.__class__):
                raise invalid(f"invalid {name}")
        for name, value in given.items():
            if value is not None:
                setattr(desk.configuration, name, value)
        return answer(asdict(desk.configuration))

    @router.get("/account/activities")
    async def activities(request: Request) -> Response:
        return answer(_activities(broker, Query(request.query_params), None))

    @router.get("/account/activities/{activity_type}")
    async def activities_of(activity_type: str, request: Request) -> Response:
        return answer(_activities(broker, Query(request.query_params), activity_type))

    @router.get("/account/portfolio/history")
    async def history(request: Request) -> Response:
        return answer(portfolio_history(broker, Query(request.query_params)))


def _activities(broker: SimulatedBroker, query: Query, activity_type: str | None) -> list[dict[str, Any]]:
    types = [activity_type] if activity_type else query.symbols("activity_types")
    try:
        return broker.desk.activities.listed(
            types=frozenset(types),
            after=query.text("after"),
            until=query.text("until"),
            day=query.text("date"),
            ascending=query.choice("direction", ("asc", "desc"), "desc") == "asc",
            page_size=query.number("page_size", 100, least=1, most=100),
            page_token=query.text("page_token"),
        )
    except ValueError as error:
        raise invalid(str(error)) from None


def _order_routes(router: APIRouter, broker: SimulatedBroker) -> None:
    book = broker.desk.book

    @router.post("/orders")
    async def submit(request: Request) -> Response:
        document = broker.submit(await read_json(request))
        if broker.controls.take_lost_response():
            await _never_answer(request)
        return answer(_rest(document))

    @router.get("/orders")
    async def listed(request: Request) -> Response:
        query = Query(request.query_params)
        side = query.text("side")
        if side not in (None, "buy", "sell"):
            raise invalid("invalid side")
        orders = book.listed(
            status=cast("ListedStatus", query.choice("status", ("open", "closed", "all"), "open")),
            limit=query.number("limit", 50, least=1, most=500),
            after=query.moment("after"),
            until=query.moment("until"),
            ascending=query.choice("direction", ("asc", "desc"), "desc") == "asc",
            symbols=frozenset(query.symbols()),
            side=side,
        )
        return answer([_rest(order.document()) for order in orders])

    @router.delete("/orders")
    async def cancel_all() -> Response:
        return answer([{"id": order.id, "status": 200} for order in broker.cancel_all()], 207)

    @router.get("/orders:by_client_order_id")
    async def by_client_id(request: Request) -> Response:
        client_id = Query(request.query_params).text("client_order_id")
        if client_id is None:
            raise invalid("client_order_id is required")
        order = book.by_client_id(client_id)
        if order is None:
            raise not_found(f"order not found for {client_id}")
        return answer(_rest(order.document()))

    @router.get("/orders/{order_id}")
    async def by_id(order_id: str) -> Response:
        return answer(_rest(broker.desk.existing(order_id).document()))

    @router.patch("/orders/{order_id}")
    async def replace(order_id: str, request: Request) -> Response:
        return answer(_rest(broker.replace(order_id, await read_json(request))))

    @router.delete("/orders/{order_id}")
    async def cancel(order_id: str) -> Response:
        broker.cancel(order_id)
        return Response(status_code=204)


def _rest(document: dict[str, Any]) -> dict[str, Any]:
    """An order's document as REST writes it: with two more fields than the stream."""
    return {**document, "subtag": None, "source": None}


async def _never_answer(request: Request) -> None:
    """Keep the client waiting until it gives up."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.02)


def _position_routes(router: APIRouter, broker: SimulatedBroker) -> None:
    def held(symbol_or_id: str) -> Position:
        symbol = known_symbol(broker, symbol_or_id)
        position = None if symbol is None else broker.desk.account.positions.get(symbol)
        if position is None or not position.qty:
            raise not_found("position does not exist")
        return position

    @router.get("/positions")
    async def positions() -> Response:
        held_now = documents.open_positions(broker)
        return answer([documents.position_document(broker, position) for position in held_now])

    @router.get("/positions/{symbol_or_id:path}")
    async def position(symbol_or_id: str) -> Response:
        return answer(documents.position_document(broker, held(symbol_or_id)))

    @router.delete("/positions")
    async def close_all(request: Request) -> Response:
        if Query(request.query_params).flag("cancel_orders"):
            broker.cancel_all()
        rows: list[dict[str, Any]] = []
        for position in list(documents.open_positions(broker)):
            try:
                order = broker.close_position(position.symbol)
                rows.append({"symbol": position.symbol, "status": 200, "body": _rest(order)})
            except Refusal as refusal:
                rows.append({"symbol": position.symbol, "status": refusal.status, "body": refusal.body()})
        return answer(rows, 207)

    @router.delete("/positions/{symbol_or_id:path}")
    async def close(symbol_or_id: str, request: Request) -> Response:
        query = Query(request.query_params)
        order = broker.close_position(
            held(symbol_or_id).symbol, qty=_decimal(query, "qty"), percentage=_decimal(query, "percentage")
        )
        return answer(_rest(order))


def _decimal(query: Query, name: str) -> Decimal | None:
    text = query.text(name)
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise invalid(f"invalid {name}") from None
    if not value.is_finite() or value <= 0:
        raise unprocessable(f"{name} must be > 0")
    return value


def known_symbol(broker: SimulatedBroker, symbol_or_id: str) -> str | None:
    """The symbol of an asset given by symbol or id."""
    symbol = symbol_or_id.upper()
    if symbol in broker.market.symbols:
        return symbol
    return next((known for known in broker.market.symbols if asset_id(known) == symbol_or_id), None)


def _market_routes(router: APIRouter, broker: SimulatedBroker) -> None:
    @router.get("/assets")
    async def assets(request: Request) -> Response:
        query = Query(request.query_params)
        rows = [documents.asset_document(broker, symbol) for symbol in sorted(broker.market.symbols)]
        for parameter, field in (("status", "status"), ("asset_class", "class"), ("exchange", "exchange")):
            wanted = query.text(parameter)
            rows = [row for row in rows if wanted is None or row[field] == wanted]
        return answer(rows)

    @router.get("/assets/{symbol_or_id:path}")
    async def asset(symbol_or_id: str) -> Response:
        symbol = known_symbol(broker, symbol_or_id)
        if symbol is None:
            raise not_found(f"asset not found for {symbol_or_id}")
        return answer(documents.asset_document(broker, symbol))

    @router.get("/clock")
    async def clock() -> Response:
        return answer(documents.clock_document(broker))

    @router.get("/calendar")
    async def calendar(request: Request) -> Response:
        query = Query(request.query_params)
        return answer(documents.calendar_documents(query.day("start", _FIRST_DAY), query.day("end", _LAST_DAY)))
