"""What alpaca-py's REST clients must be able to do, against the simulator and against a real paper account alike.

A case gets a :class:`World` and asserts what the models of alpaca-py say. Nothing in here breaks anything: faults are
the simulator's own tests. ``covers`` names the client methods of a case; the table in the documentation reads it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.models import BarSet, QuoteSet, TradeSet
from alpaca.data.models.corporate_actions import CorporateActionsSet
from alpaca.data.requests import (
    CorporateActionsRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockQuotesRequest,
    StockSnapshotRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import (
    AccountStatus,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    QueryOrderStatus,
    TimeInForce,
)
from alpaca.trading.models import (
    AccountConfiguration,
    Asset,
    Calendar,
    ClosePositionResponse,
    Order,
    PortfolioHistory,
    Position,
    TradeAccount,
)
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    OrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopOrderRequest,
)

Case = Callable[["World"], None]
CASES: list[Case] = []


@dataclass(frozen=True)
class World:
    """Clients of one account, a symbol to trade, and a way to let the market move until something is so."""

    trading: TradingClient
    data: StockHistoricalDataClient
    actions: CorporateActionsClient
    symbol: str
    until: Callable[[Callable[[], bool]], None]

    def submit(self, order: OrderRequest) -> Order:
        return cast("Order", self.trading.submit_order(order))

    def order(self, order_id: UUID) -> Order:
        return cast("Order", self.trading.get_order_by_id(order_id))

    def resting(self, **fields: Any) -> Order:
        """A limit order far below the market."""
        order = self.submit(
            LimitOrderRequest(
                symbol=self.symbol,
                qty=1,
                side=OrderSide.BUY,
                time_in_force=TimeInForce.DAY,
                **{"limit_price": 1.5, **fields},
            )
        )
        self.until(lambda: self.order(order.id).status == OrderStatus.NEW)
        return order

    def bought(self, qty: float = 2) -> Order:
        """A filled market order."""
        order = self.submit(
            MarketOrderRequest(symbol=self.symbol, qty=qty, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
        )
        self.until(lambda: self.order(order.id).status == OrderStatus.FILLED)
        return self.order(order.id)

    def now(self) -> datetime:
        return cast("Any", self.trading.get_clock()).timestamp.astimezone(UTC)


def covers(*methods: str) -> Callable[[Case], Case]:
    """Name the client methods that a case is about."""

    def keep(case: Case) -> Case:
        case.__dict__["methods"] = methods
        CASES.append(case)
        return case

    return keep


def refusal(action: Callable[..., object], *arguments: Any) -> APIError:
    try:
        action(*arguments)
    except APIError as error:
        return error
    raise AssertionError("was not refused")


def told(error: APIError) -> tuple[int, int, str]:
    """Status, code and message of an error."""
    return cast("int", error.status_code), error.code, error.message


@covers("TradingClient.get_account")
def account(world: World) -> None:
    found = cast("TradeAccount", world.trading.get_account())
    assert found.status == AccountStatus.ACTIVE
    assert found.currency == "USD"
    assert found.account_number.startswith(("SIM", "PA"))
    assert float(found.equity or "") > 0
    assert float(found.buying_power or "") >= 0
    assert found.trading_blocked is False


@covers("TradingClient.get_account_configurations", "TradingClient.set_account_configurations")
def configurations(world: World) -> None:
    before = cast("AccountConfiguration", world.trading.get_account_configurations())
    changed = before.model_copy(update={"no_shorting": not before.no_shorting})
    try:
        after = cast("AccountConfiguration", world.trading.set_account_configurations(changed))
        assert after.no_shorting is not before.no_shorting
        assert cast("AccountConfiguration", world.trading.get_account_configurations()) == after
    finally:
        world.trading.set_account_configurations(before)


@covers("TradingClient.get_portfolio_history")
def portfolio_history(world: World) -> None:
    asked = GetPortfolioHistoryRequest(period="1M", timeframe="1D")
    found = cast("PortfolioHistory", world.trading.get_portfolio_history(asked))
    assert found.timeframe == "1D"
    assert len(found.timestamp) == len(found.equity) == len(found.profit_loss) == len(found.profit_loss_pct) > 0


@covers("TradingClient.get_all_assets", "TradingClient.get_asset")
def assets(world: World) -> None:
    listed = cast("list[Asset]", world.trading.get_all_assets(GetAssetsRequest()))
    by_symbol = cast("Asset", world.trading.get_asset(world.symbol))
    assert by_symbol in listed
    assert cast("Asset", world.trading.get_asset(by_symbol.id)) == by_symbol
    assert by_symbol.tradable
    assert by_symbol.fractionable
    assert refusal(world.trading.get_asset, "NOSUCHTICKER").status_code == 404


@covers("TradingClient.get_clock", "TradingClient.get_calendar")
def clock_and_calendar(world: World) -> None:
    clock = cast("Any", world.trading.get_clock())
    assert clock.next_close > clock.timestamp
    assert clock.next_open > clock.timestamp
    asked = GetCalendarRequest(start=date(2025, 11, 26), end=date(2025, 12, 1))
    days = cast("list[Calendar]", world.trading.get_calendar(asked))
    assert [(str(day.date), f"{day.open:%H:%M}", f"{day.close:%H:%M}") for day in days] == [
        ("2025-11-26", "09:30", "16:00"),
        ("2025-11-28", "09:30", "13:00"),
        ("2025-12-01", "09:30", "16:00"),
    ]


@covers("TradingClient.submit_order", "TradingClient.get_order_by_id", "TradingClient.get_order_by_client_id")
def market_order(world: World) -> None:
    client_id = f"case-{uuid4()}"
    order = world.submit(
        MarketOrderRequest(
            symbol=world.symbol,
            qty=1,
            side=OrderSide.BUY,
            time_in_force=TimeInForce.DAY,
            client_order_id=client_id,
        )
    )
    assert order.status in {OrderStatus.PENDING_NEW, OrderStatus.ACCEPTED, OrderStatus.NEW}
    world.until(lambda: world.order(order.id).status == OrderStatus.FILLED)
    filled = cast("Order", world.trading.get_order_by_client_id(client_id))
    assert (filled.id, filled.filled_qty, filled.order_type) == (order.id, "1", OrderType.MARKET)
    assert float(filled.filled_avg_price or 0) > 0
    duplicate = refusal(
        world.trading.submit_order,
        MarketOrderRequest(
            symbol=world.symbol, qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, client_order_id=client_id
        ),
    )
    assert told(duplicate) == (422, 40010001, "client_order_id must be unique")


@covers("TradingClient.submit_order", "TradingClient.cancel_order_by_id")
def every_order_kind(world: World) -> None:
    common: dict[str, Any] = {"symbol": world.symbol, "qty": 1, "side": OrderSide.BUY}
    orders: list[OrderRequest] = [
        LimitOrderRequest(**common, limit_price=1.5, time_in_force=TimeInForce.GTC),
        StopOrderRequest(**common, stop_price=99_999, time_in_force=TimeInForce.DAY),
        StopLimitOrderRequest(**common, stop_price=99_999, limit_price=99_999, time_in_force=TimeInForce.DAY),
        LimitOrderRequest(**{**common, "qty": 0.5}, limit_price=1.5, time_in_force=TimeInForce.DAY),
    ]
    for request in orders:
        order = world.submit(request)
        assert order.type == request.type
        world.until(lambda order=order: world.order(order.id).status == OrderStatus.NEW)
        world.trading.cancel_order_by_id(order.id)
        world.until(lambda order=order: world.order(order.id).status == OrderStatus.CANCELED)
    notional = world.submit(
        MarketOrderRequest(symbol=world.symbol, notional=50, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    )
    assert (notional.qty, notional.notional) == (None, "50")
    world.until(lambda: world.order(notional.id).status == OrderStatus.FILLED)


@covers("TradingClient.submit_order", "TradingClient.cancel_order_by_id")
def refused_orders(world: World) -> None:
    common: dict[str, Any] = {"symbol": world.symbol, "side": OrderSide.BUY}
    fractional = LimitOrderRequest(**common, qty=0.5, limit_price=1.5, time_in_force=TimeInForce.GTC)
    assert told(refusal(world.trading.submit_order, fractional)) == (
        422,
        42210000,
        "fractional orders must be DAY orders",
    )
    sub_penny = LimitOrderRequest(**common, qty=1, limit_price=11.055, time_in_force=TimeInForce.DAY)
    assert refusal(world.trading.submit_order, sub_penny).code == 42210000
    dear = LimitOrderRequest(**common, qty=1_000_000, limit_price=10_000, time_in_force=TimeInForce.DAY)
    assert told(refusal(world.trading.submit_order, dear)) == (403, 40310000, "insufficient buying power")
    unknown = MarketOrderRequest(symbol="NOSUCHTICKER", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    assert refusal(world.trading.submit_order, unknown).status_code == 422
    assert told(refusal(world.trading.cancel_order_by_id, uuid4()))[:2] == (404, 40410000)


@covers("TradingClient.submit_order")
def wash_trade(world: World) -> None:
    standing = world.resting()
    opposite = MarketOrderRequest(symbol=world.symbol, qty=1, side=OrderSide.SELL, time_in_force=TimeInForce.DAY)
    error = refusal(world.trading.submit_order, opposite)
    assert told(error) == (403, 40310000, "potential wash trade detected. use complex orders")
    assert str(standing.id) in str(error)
    assert world.order(standing.id).status == OrderStatus.NEW


@covers("TradingClient.replace_order_by_id")
def replace_order(world: World) -> None:
    old = world.resting()
    new = cast("Order", world.trading.replace_order_by_id(old.id, ReplaceOrderRequest(limit_price=1.6)))
    world.until(lambda: world.order(new.id).status == OrderStatus.NEW)
    replaced, working = world.order(old.id), world.order(new.id)
    assert (replaced.status, replaced.replaced_by) == (OrderStatus.REPLACED, new.id)
    assert (working.replaces, float(working.limit_price or 0)) == (old.id, 1.6)


@covers("TradingClient.get_orders", "TradingClient.cancel_orders")
def list_and_cancel_all(world: World) -> None:
    orders = [world.resting(limit_price=price) for price in (1.5, 1.6, 1.7)]
    asked = GetOrdersRequest(status=QueryOrderStatus.OPEN, symbols=[world.symbol], side=OrderSide.BUY)
    listed = cast("list[Order]", world.trading.get_orders(asked))
    assert [order.id for order in listed] == [order.id for order in reversed(orders)]
    page = GetOrdersRequest(status=QueryOrderStatus.OPEN, limit=2, until=listed[0].submitted_at)
    assert len(cast("list[Order]", world.trading.get_orders(page))) == 2
    answers = cast("list[Any]", world.trading.cancel_orders())
    assert {(answer.id, answer.status) for answer in answers} == {(order.id, 200) for order in orders}
    world.until(lambda: not cast("list[Order]", world.trading.get_orders()))


@covers(
    "TradingClient.get_all_positions",
    "TradingClient.get_open_position",
    "TradingClient.close_position",
    "TradingClient.close_all_positions",
)
def positions(world: World) -> None:
    world.trading.close_all_positions(cancel_orders=True)
    world.until(lambda: not cast("list[Position]", world.trading.get_all_positions()))
    bought = world.bought(qty=4)
    [position] = cast("list[Position]", world.trading.get_all_positions())
    assert (position.symbol, position.qty, position.side) == (world.symbol, "4", PositionSide.LONG)
    assert float(position.avg_entry_price) == float(bought.filled_avg_price or 0)
    assert cast("Position", world.trading.get_open_position(world.symbol)).asset_id == position.asset_id
    closing = cast("Order", world.trading.close_position(world.symbol, ClosePositionRequest(qty="1")))
    world.until(lambda: world.order(closing.id).status == OrderStatus.FILLED)
    assert cast("Position", world.trading.get_open_position(world.symbol)).qty == "3"
    rows = cast("list[ClosePositionResponse]", world.trading.close_all_positions(cancel_orders=True))
    assert [(row.symbol, row.status) for row in rows] == [(world.symbol, 200)]
    world.until(lambda: not cast("list[Position]", world.trading.get_all_positions()))
    assert told(refusal(world.trading.get_open_position, world.symbol)) == (404, 40410000, "position does not exist")


@covers("TradingClient.get (account/activities)")
def activities(world: World) -> None:
    first, second = world.bought(qty=1), world.bought(qty=1)
    newest = cast("list[dict[str, Any]]", world.trading.get("/account/activities/FILL", {"page_size": 1}))
    assert [row["order_id"] for row in newest] == [str(second.id)]
    older = cast(
        "list[dict[str, Any]]",
        world.trading.get("/account/activities/FILL", {"page_size": 1, "page_token": newest[0]["id"]}),
    )
    assert [(row["order_id"], row["type"], row["cum_qty"]) for row in older] == [(str(first.id), "fill", "1")]


@covers("StockHistoricalDataClient.get_stock_bars")
def bars(world: World) -> None:
    start = world.now() - timedelta(hours=4)
    for frame in (TimeFrame(1, TimeFrameUnit.Minute), TimeFrame(1, TimeFrameUnit.Day)):
        asked = StockBarsRequest(
            symbol_or_symbols=[world.symbol],
            timeframe=frame,
            start=start if frame.unit == TimeFrameUnit.Minute else start - timedelta(days=5),
            adjustment=Adjustment.ALL,
        )
        found = cast("BarSet", world.data.get_stock_bars(asked)).data[world.symbol]
        assert all(bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high for bar in found)
        assert [bar.timestamp for bar in found] == sorted(bar.timestamp for bar in found)
        asked.limit = 1
        assert len(cast("BarSet", world.data.get_stock_bars(asked)).data[world.symbol]) == 1


@covers("StockHistoricalDataClient.get_stock_trades", "StockHistoricalDataClient.get_stock_quotes")
def trades_and_quotes(world: World) -> None:
    common: dict[str, Any] = {
        "symbol_or_symbols": world.symbol,
        "start": world.now() - timedelta(hours=1),
        "limit": 5,
    }
    trades = cast("TradeSet", world.data.get_stock_trades(StockTradesRequest(**common))).data[world.symbol]
    quotes = cast("QuoteSet", world.data.get_stock_quotes(StockQuotesRequest(**common))).data[world.symbol]
    assert trades
    assert all(trade.price > 0 for trade in trades)
    assert quotes
    assert all(quote.ask_price >= quote.bid_price > 0 for quote in quotes)


@covers(
    "StockHistoricalDataClient.get_stock_latest_bar",
    "StockHistoricalDataClient.get_stock_latest_trade",
    "StockHistoricalDataClient.get_stock_latest_quote",
    "StockHistoricalDataClient.get_stock_snapshot",
)
def latest(world: World) -> None:
    symbol = world.symbol
    bar = cast("Any", world.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=symbol)))[symbol]
    trade = cast("Any", world.data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=symbol)))[symbol]
    quote = cast("Any", world.data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=symbol)))[symbol]
    snapshot = cast("Any", world.data.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=symbol)))[symbol]
    assert bar.low <= bar.close <= bar.high
    assert trade.price > 0
    assert quote.bid_price > 0
    assert (snapshot.symbol, snapshot.minute_bar.symbol) == (symbol, symbol)
    assert snapshot.daily_bar.low <= snapshot.daily_bar.close


@covers("CorporateActionsClient.get_corporate_actions")
def corporate_actions(world: World) -> None:
    asked = CorporateActionsRequest(symbols=[world.symbol], start=date(2020, 1, 1), end=date(2026, 1, 1))
    found = cast("CorporateActionsSet", world.actions.get_corporate_actions(asked))
    assert all(action.symbol == world.symbol for kind in found.data.values() for action in cast("Any", kind))


def paper_world_keys() -> tuple[str, str]:
    """Key and secret of the paper account from the environment."""
    return os.environ["APCA_API_KEY_ID"], os.environ["APCA_API_SECRET_KEY"]
