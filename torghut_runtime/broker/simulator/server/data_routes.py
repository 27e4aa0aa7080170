"""``/v2/stocks`` and ``/v1/corporate-actions``: market data as far as simulated time has come."""

import base64
import binascii
import math
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from torghut_runtime.broker.simulator.data_feed import LOT, bar_fields, quote_fields, trade_fields
from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.identities import asset_id
from torghut_runtime.broker.simulator.instants import new_york, rfc3339
from torghut_runtime.broker.simulator.market import AppliedSplit
from torghut_runtime.broker.simulator.refusals import Refusal
from torghut_runtime.broker.simulator.server.aggregation import aggregated, day_bars
from torghut_runtime.broker.simulator.server.answers import answer
from torghut_runtime.broker.simulator.server.query import Query

_PAGE: Final = 1000
_LARGEST_PAGE: Final = 10_000


def _bad_request(message: str) -> Refusal:
    return Refusal(400, None, message)


def data_routes(broker: SimulatedBroker, *, sip: bool) -> APIRouter:
    """Routes of the market data interface; ``sip``: whether the account may read that feed."""
    router = APIRouter()
    _history_routes(router, broker, sip)
    _latest_routes(router, broker, sip)

    @router.get("/v1/corporate-actions")
    async def corporate_actions(request: Request) -> Response:
        return answer(_corporate_actions(broker, Query(request.query_params)))

    return router


def _symbols(query: Query, sip: bool) -> list[str]:
    if query.text("feed") == "sip" and not sip:
        raise Refusal(403, None, "subscription does not permit querying recent SIP data")
    symbols = query.symbols()
    if not symbols:
        raise _bad_request("symbols is required")
    return symbols


def _timed(at: int, fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "t": rfc3339(at)}


Rows = Callable[[Query, str, int, int], Iterator[tuple[int, dict[str, Any]]]]
"""Rows of one symbol between two times (nanoseconds), as the query asks for them."""


def _history_routes(router: APIRouter, broker: SimulatedBroker, sip: bool) -> None:
    market = broker.market

    def bar_rows(query: Query, symbol: str, start: int, end: int) -> Iterator[tuple[int, dict[str, Any]]]:
        timeframe = query.text("timeframe") or ""
        adjusted = query.choice("adjustment", ("raw", "split", "dividend", "all"), "raw") in {"split", "all"}
        known = aggregated(broker, symbol, timeframe, start, end, adjusted=adjusted)
        if known is None:
            raise _bad_request(f"invalid timeframe: {timeframe}")
        for bar in known:
            yield bar.opens_at, bar_fields(bar)

    def trade_rows(_: Query, symbol: str, start: int, end: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, bar in enumerate(market.bars(symbol, 0, end), 1):
            if start <= bar.closes_at <= end:
                yield bar.closes_at, trade_fields(bar.closes_at, bar.close, LOT, number)

    def quote_rows(_: Query, symbol: str, start: int, end: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for bar in market.bars(symbol, 0, end):
            if start <= bar.closes_at <= end and not math.isnan(bar.bid) and not math.isnan(bar.ask):
                yield bar.closes_at, quote_fields(bar.closes_at, bar.bid, bar.ask)

    @router.get("/v2/stocks/bars")
    async def bars(request: Request) -> Response:
        return _page(broker, request, sip, "bars", bar_rows)

    @router.get("/v2/stocks/trades")
    async def trades(request: Request) -> Response:
        return _page(broker, request, sip, "trades", trade_rows)

    @router.get("/v2/stocks/quotes")
    async def quotes(request: Request) -> Response:
        return _page(broker, request, sip, "quotes", quote_rows)


def _page(broker: SimulatedBroker, request: Request, sip: bool, name: str, rows_of: Rows) -> Response:
    query = Query(request.query_params)
    symbols = sorted(_symbols(query, sip))
    start = query.moment("start") or broker.sessions.first_open_from(new_york(broker.now).date())
    end = min(query.moment("end") or broker.now, broker.now)
    rows = [(symbol, at, row) for symbol in symbols for at, row in rows_of(query, symbol, start, end)]
    if query.choice("sort", ("asc", "desc"), "asc") == "desc":
        rows.sort(key=lambda row: (row[0], -row[1]))
    size = query.number("limit", _PAGE, least=1, most=_LARGEST_PAGE)
    first = _place(query.text("page_token"))
    found: dict[str, list[dict[str, Any]]] = {}
    for symbol, at, row in rows[first : first + size]:
        found.setdefault(symbol, []).append(_timed(at, row))
    more = first + size < len(rows)
    return answer({name: found, "next_page_token": _token(first + size) if more else None})


def _token(place: int) -> str:
    return base64.urlsafe_b64encode(f"place:{place}".encode()).decode()


def _place(token: str | None) -> int:
    if token is None:
        return 0
    try:
        name, _, number = base64.urlsafe_b64decode(token).decode().partition(":")
        if name != "place":
            raise ValueError(name)
        return int(number)
    except (ValueError, binascii.Error):
        raise _bad_request("invalid page_token") from None


def _latest_routes(router: APIRouter, broker: SimulatedBroker, sip: bool) -> None:
    market = broker.market

    def latest_bar(symbol: str) -> dict[str, Any] | None:
        bar = market.last_bar(symbol)
        return None if bar is None else _timed(bar.opens_at, bar_fields(bar))

    def latest_trade(symbol: str) -> dict[str, Any] | None:
        trade = market.last_trade(symbol)
        return None if trade is None else _timed(trade[0], trade_fields(*trade, LOT, 1))

    def latest_quote(symbol: str) -> dict[str, Any] | None:
        if market.last_trade(symbol) is None:
            return None
        quote = market.newest_quote(symbol)
        return _timed(quote.at, quote_fields(quote.at, quote.bid, quote.ask))

    def found(request: Request, read: Callable[[str], dict[str, Any] | None]) -> dict[str, Any]:
        known = [symbol for symbol in _symbols(Query(request.query_params), sip) if symbol in market.symbols]
        rows = {symbol: read(symbol) for symbol in known}
        return {symbol: row for symbol, row in rows.items() if row is not None}

    @router.get("/v2/stocks/bars/latest")
    async def bars(request: Request) -> Response:
        return answer({"bars": found(request, latest_bar)})

    @router.get("/v2/stocks/trades/latest")
    async def trades(request: Request) -> Response:
        return answer({"trades": found(request, latest_trade)})

    @router.get("/v2/stocks/quotes/latest")
    async def quotes(request: Request) -> Response:
        return answer({"quotes": found(request, latest_quote)})

    @router.get("/v2/stocks/snapshots")
    async def snapshots(request: Request) -> Response:
        def snapshot(symbol: str) -> dict[str, Any] | None:
            days = day_bars(broker, market.bars(symbol, 0, broker.now))
            dated = [_timed(day.opens_at, bar_fields(day)) for day in days[-2:]]
            if not dated:
                return None
            return {
                "latestTrade": latest_trade(symbol),
                "latestQuote": latest_quote(symbol),
                "minuteBar": latest_bar(symbol),
                "dailyBar": dated[-1],
                "prevDailyBar": dated[-2] if len(dated) > 1 else None,
            }

        return answer(found(request, snapshot))


def _corporate_actions(broker: SimulatedBroker, query: Query) -> dict[str, Any]:
    symbols, types, ids = query.symbols(), (query.text("types") or "").split(","), query.symbols("ids")
    first, last = query.day("start", date.min), query.day("end", date.max)
    actions: dict[str, list[dict[str, Any]]] = {}
    for split in broker.market.announced:
        day = new_york(split.at).date()
        kind = "forward_split" if split.ratio >= 1 else "reverse_split"
        document = _split_document(split, day)
        if (symbols and split.symbol not in symbols) or (types != [""] and kind not in types):
            continue
        if (ids and document["id"].upper() not in ids) or not first <= day <= last:
            continue
        actions.setdefault(f"{kind}s", []).append(document)
    return {"corporate_actions": actions, "next_page_token": None}


def _split_document(split: AppliedSplit, day: date) -> dict[str, Any]:
    forward = split.ratio >= 1
    cusip = asset_id(split.symbol)[:8].upper() + "0"
    return {
        "id": asset_id(f"{split.symbol}:{split.at}"),
        "symbol": split.symbol,
        **({"cusip": cusip} if forward else {"old_cusip": cusip, "new_cusip": cusip[:-1] + "1"}),
        "new_rate": float(split.ratio) if forward else 1.0,
        "old_rate": 1.0 if forward else float(1 / split.ratio),
        "process_date": day.isoformat(),
        "ex_date": day.isoformat(),
        "record_date": day.isoformat(),
        "payable_date": day.isoformat(),
    }
