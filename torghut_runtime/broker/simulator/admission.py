"""Whether an order may be taken: account, asset, position, buying power and the protection against wash trades.

Alpaca's rules in Alpaca's words. What can be said from the request alone stands in ``order_request``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from torghut_runtime.broker.simulator.account import ZERO, Account
from torghut_runtime.broker.simulator.controls import AssetOverride
from torghut_runtime.broker.simulator.order import Order
from torghut_runtime.broker.simulator.order_request import OrderTerms
from torghut_runtime.broker.simulator.refusals import forbidden, plain, unprocessable

SHORT_MINIMUM_EQUITY: Final = Decimal(2000)


@dataclass
class AccountConfiguration:
    """What the owner of the account has set (``/v2/account/configurations``)."""

    dtbp_check: str = "entry"
    fractional_trading: bool = True
    max_margin_multiplier: str = "4"
    no_shorting: bool = False
    pdt_check: str = "entry"
    suspend_trade: bool = False
    trade_confirm_email: str = "all"
    ptp_no_exception_entry: bool = False
    max_options_trading_level: int | None = None


@dataclass(frozen=True)
class Circumstances:
    """What an order is judged by.

    Attributes:
        price: the newest price of the symbol.
        open_orders: open orders of the symbol, without the one that would be replaced.
        equity: of the account.
        buying_power: what new positions may cost.
        configuration: of the account.
        overrides: fields of assets that are other than usual.
    """

    account: Account
    configuration: AccountConfiguration
    overrides: Mapping[str, AssetOverride]
    open_orders: Iterable[Order]
    price: Decimal
    equity: Decimal
    buying_power: Decimal


def asset_flag(overrides: Mapping[str, AssetOverride], symbol: str, name: str) -> bool:
    """A property of an asset (``tradable``, ``shortable``, ``fractionable``); true unless overridden."""
    override = overrides.get(symbol)
    value = None if override is None else getattr(override, name)
    return True if value is None else bool(value)


def inferred_intent(side: str, position: Decimal) -> str:
    """What an order does to the position."""
    if side == "buy":
        return "buy_to_close" if position < 0 else "buy_to_open"
    return "sell_to_close" if position > 0 else "sell_to_open"


def worst_price(terms: OrderTerms, price: Decimal) -> Decimal:
    """What a share may cost: the limit, else the stop if it is dearer, else the newest price."""
    if terms.limit_price is not None:
        return terms.limit_price
    return price if terms.stop_price is None else max(price, terms.stop_price)


def admit(terms: OrderTerms, at: Circumstances) -> Decimal:
    """Check an order and return what it reserves of the buying power, in dollars.

    Raises:
        Refusal: 403 or 422 in Alpaca's words.
    """
    refuse_other_steps(terms, at.overrides.get(terms.symbol) or AssetOverride())
    if at.account.blocked:
        raise forbidden("account is not authorized to trade")
    if at.configuration.suspend_trade:
        raise forbidden("new orders are rejected by user request")
    symbol = terms.symbol
    if not asset_flag(at.overrides, symbol, "tradable"):
        raise unprocessable(f"asset {symbol} is not tradable")
    if terms.is_fractional:
        if not at.configuration.fractional_trading:
            raise forbidden("fractional trading is not enabled for this account")
        if not asset_flag(at.overrides, symbol, "fractionable"):
            raise forbidden(f"asset {symbol} is not fractionable")
    opposite = [order for order in at.open_orders if order.terms.side != terms.side]
    same = [order for order in at.open_orders if order.terms.side == terms.side]
    _refuse_wash_trade(terms, opposite)
    position = at.account.position(symbol)
    intent = inferred_intent(terms.side, position)
    if terms.position_intent not in (None, intent):
        raise unprocessable(f"position intent mismatch, inferred: {intent}, specified: {terms.position_intent}")
    wanted = terms.qty if terms.qty is not None else (terms.notional or ZERO) / at.price
    if intent.endswith("_to_close"):
        _refuse_more_than_held(symbol, wanted, abs(position), same, at.price)
        return ZERO
    if intent == "sell_to_open":
        _refuse_short(terms, at)
    cost = terms.notional if terms.notional is not None else wanted * worst_price(terms, at.price)
    if cost > at.buying_power:
        raise forbidden("insufficient buying power", buying_power=plain(at.buying_power), cost_basis=plain(cost))
    return cost


def refuse_other_steps(terms: OrderTerms, asset: AssetOverride) -> None:
    """Prices and quantities go in the asset's steps; without a price step of its own in cents, below $1 in hundredths.

    Raises:
        Refusal: 422.
    """
    for name, price in (("limit_price", terms.limit_price), ("stop_price", terms.stop_price)):
        if price is None:
            continue
        step = asset.price_increment
        if step is not None and price % step:
            raise unprocessable(f"invalid {name} {plain(price)}. price must be a multiple of {plain(step)}")
        if step is None and price != round(price, 2 if price >= 1 else 4):
            raise unprocessable(
                f"invalid {name} {plain(price)}. sub-penny increment does not fulfill minimum pricing criteria"
            )
    if terms.qty is None:
        return
    if asset.min_order_size is not None and terms.qty < asset.min_order_size:
        raise unprocessable(f"minimal qty of order {plain(asset.min_order_size)}")
    if asset.min_trade_increment is not None and terms.qty % asset.min_trade_increment:
        step = plain(asset.min_trade_increment)
        raise unprocessable(f"invalid qty {plain(terms.qty)}. qty must be a multiple of {step}")


def _refuse_wash_trade(terms: OrderTerms, opposite: Iterable[Order]) -> None:
    for order in opposite:
        other = order.terms
        both_limits = terms.type == "limit" and other.type == "limit"
        if both_limits and terms.limit_price is not None and other.limit_price is not None:
            buy, sell = (terms, other) if terms.side == "buy" else (other, terms)
            if buy.limit_price is not None and sell.limit_price is not None and buy.limit_price < sell.limit_price:
                continue
        raise forbidden(
            "potential wash trade detected. use complex orders",
            existing_order_id=order.id,
            reject_reason=f"opposite side {other.type.replace('_', ' ')} order exists",
        )


def _refuse_more_than_held(symbol: str, wanted: Decimal, held: Decimal, same: Iterable[Order], price: Decimal) -> None:
    held_for_orders = sum((order.remaining(price) for order in same), ZERO)
    available = held - held_for_orders
    if wanted > available:
        raise forbidden(
            f"insufficient qty available for order (requested: {plain(wanted)}, available: {plain(available)})",
            available=plain(available),
            existing_qty=plain(held),
            held_for_orders=plain(held_for_orders),
            symbol=symbol,
        )


def _refuse_short(terms: OrderTerms, at: Circumstances) -> None:
    if terms.is_fractional:
        raise unprocessable("fractional orders cannot be sold short")
    if at.configuration.no_shorting or at.equity < SHORT_MINIMUM_EQUITY or at.account.multiplier <= 1:
        raise forbidden("account is not allowed to short")
    if not asset_flag(at.overrides, terms.symbol, "shortable"):
        raise unprocessable(f'asset "{terms.symbol}" cannot be sold short')
