"""Order requests: from the JSON of a submit or replace to terms that the broker can work, or Alpaca's refusal.

Only what can be said from the request alone stands here; what depends on account, asset, session or other orders is
the admission's business.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, cast

from torghut_runtime.broker.simulator.refusals import invalid, unprocessable

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit", "stop", "stop_limit"]
TimeInForce = Literal["day", "gtc", "ioc", "opg"]

TYPES: Final = ("market", "limit", "stop", "stop_limit")
TIMES_IN_FORCE: Final = ("day", "gtc", "ioc", "opg")
QUANTITY_DECIMALS: Final = 9
_LARGEST: Final = Decimal(10) ** 12
_CLIENT_ID: Final = re.compile(r"[\x20-\x7e]{1,128}")
_INTENTS: Final = {
    "buy_to_open": "buy",
    "buy_to_close": "buy",
    "sell_to_open": "sell",
    "sell_to_close": "sell",
}


@dataclass(frozen=True)
class OrderTerms:
    """The terms of an order; exactly one of ``qty`` (shares) and ``notional`` (dollars) is set."""

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    client_order_id: str | None = None
    position_intent: str | None = None

    @property
    def is_fractional(self) -> bool:
        """Whether shares may be split: a notional order or one for a fraction of a share."""
        return self.qty is None or self.qty != self.qty.to_integral_value()


@dataclass(frozen=True)
class ReplaceTerms:
    """What a replacement changes; None keeps the old order's term."""

    qty: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    time_in_force: TimeInForce | None
    client_order_id: str | None


def parse_order(body: object) -> OrderTerms:
    """Read the body of ``POST /v2/orders``.

    Raises:
        Refusal: 422, as Alpaca refuses orders that are malformed or of a kind that is not offered.
    """
    fields = _object(body)
    symbol = _text(fields, "symbol")
    if not symbol:
        raise invalid("symbol is required")
    _refuse_other_kinds(fields)
    side = _choice(fields, "side", ("buy", "sell"))
    kind = _choice(fields, "type", TYPES)
    time_in_force = _choice(fields, "time_in_force", TIMES_IN_FORCE)
    qty = _number(fields, "qty", QUANTITY_DECIMALS)
    notional = _number(fields, "notional", 2)
    if qty is None and notional is None:
        raise invalid("qty or notional is required")
    if qty is not None and notional is not None:
        raise unprocessable("only one of qty or notional is accepted")
    terms = OrderTerms(
        symbol=symbol.upper(),
        side=cast("Side", side),
        type=cast("OrderType", kind),
        time_in_force=cast("TimeInForce", time_in_force),
        qty=qty,
        notional=notional,
        limit_price=_number(fields, "limit_price", None),
        stop_price=_number(fields, "stop_price", None),
        client_order_id=_client_id(fields),
        position_intent=_intent(fields, side),
    )
    _check_prices(terms)
    _check_combination(terms)
    return terms


def parse_replace(body: object) -> ReplaceTerms:
    """Read the body of ``PATCH /v2/orders/{id}``; one term at least must be given.

    Raises:
        Refusal: 422.
    """
    fields = _object(body)
    if _number(fields, "trail", 2) is not None:
        raise unprocessable("trail is only accepted for trailing stop orders")
    time_in_force = fields.get("time_in_force")
    terms = ReplaceTerms(
        qty=_number(fields, "qty", QUANTITY_DECIMALS),
        limit_price=_number(fields, "limit_price", None),
        stop_price=_number(fields, "stop_price", None),
        time_in_force=None
        if time_in_force is None
        else cast("TimeInForce", _choice(fields, "time_in_force", TIMES_IN_FORCE)),
        client_order_id=_client_id(fields),
    )
    if terms == ReplaceTerms(None, None, None, None, None):
        raise invalid("at least one of qty, limit_price, stop_price, time_in_force is required")
    return terms


def check_terms(terms: OrderTerms) -> None:
    """What a replaced order must keep to as well.

    Raises:
        Refusal: 422.
    """
    _check_prices(terms)
    _check_combination(terms)


def _object(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise invalid("request body format is invalid")
    return cast("Mapping[str, Any]", body)


def _refuse_other_kinds(fields: Mapping[str, Any]) -> None:
    order_class = fields.get("order_class") or "simple"
    if order_class != "simple":
        raise unprocessable(f"order_class {order_class} is not supported")
    for name in ("legs", "take_profit", "stop_loss"):
        if fields.get(name) is not None:
            raise unprocessable(f"{name} is not accepted for simple orders")
    for name in ("trail_price", "trail_percent"):
        if fields.get(name) is not None:
            raise unprocessable(f"{name} is only accepted for trailing stop orders, which are not supported")
    if fields.get("type") == "trailing_stop":
        raise unprocessable("trailing_stop orders are not supported")
    if fields.get("extended_hours") not in (None, False):
        raise unprocessable("extended hours orders are not supported")


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid(f"{name} must be a string")
    return value.strip()


def _choice(fields: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = _text(fields, name)
    if not value:
        raise invalid(f"{name} is required")
    if value not in known:
        if name == "time_in_force" and value in {"fok", "cls"}:
            raise unprocessable(f"time_in_force {value} is not supported")
        raise invalid(f"invalid {name}")
    return value


def _number(fields: Mapping[str, Any], name: str, decimals: int | None) -> Decimal | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise invalid(f"invalid {name}")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise invalid(f"invalid {name}") from None
    if not number.is_finite() or abs(number) >= _LARGEST:
        raise invalid(f"invalid {name}")
    if number <= 0:
        raise unprocessable(f"{name} must be > 0")
    if decimals is not None and number != round(number, decimals):
        raise unprocessable(f"{name} must be limited to {decimals} decimal places")
    return number.normalize()


def _client_id(fields: Mapping[str, Any]) -> str | None:
    value = _text(fields, "client_order_id")
    if not value:
        return None
    if not _CLIENT_ID.fullmatch(value):
        raise invalid("client_order_id must be no more than 128 characters")
    return value


def _intent(fields: Mapping[str, Any], side: str) -> str | None:
    value = _text(fields, "position_intent")
    if not value:
        return None
    if value not in _INTENTS:
        raise invalid("invalid position_intent")
    if _INTENTS[value] != side:
        raise unprocessable(f"position_intent {value} does not match side {side}")
    return value


def _check_prices(terms: OrderTerms) -> None:
    wants_limit = terms.type in {"limit", "stop_limit"}
    wants_stop = terms.type in {"stop", "stop_limit"}
    for name, price, wanted in (
        ("limit", terms.limit_price, wants_limit),
        ("stop", terms.stop_price, wants_stop),
    ):
        if wanted and price is None:
            raise unprocessable(f"{terms.type.replace('_', ' ')} orders require a {name} price")
        if not wanted and price is not None:
            raise unprocessable(f"{terms.type.replace('_', ' ')} orders require no {name} price")


def _check_combination(terms: OrderTerms) -> None:
    crypto = "/" in terms.symbol
    if crypto and terms.time_in_force not in {"gtc", "ioc"}:
        raise unprocessable("invalid crypto time_in_force")
    if terms.is_fractional and not crypto and terms.time_in_force != "day":
        raise unprocessable("fractional orders must be DAY orders")
    if terms.time_in_force == "opg" and terms.type not in {"market", "limit"}:
        raise unprocessable("opg orders must be market or limit orders")
    if terms.time_in_force == "ioc" and terms.type not in {"market", "limit"}:
        raise unprocessable("ioc orders must be market or limit orders")
