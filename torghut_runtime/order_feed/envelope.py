"""Record values of the topic turned into order events, or into the reason why they are none.

A pure function of the bytes, the consumer's account label and the record's time. Three shapes are understood: the
forwarder's envelope, Alpaca's raw frame, and the bare payload. Storing what could not be read is the ingest's business.
"""

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NoReturn, cast

import msgspec

from torghut_runtime.order_feed.event import IMPLIED_STATUS, OrderEvent
from torghut_runtime.order_feed.identity import content_digest, fingerprint, order_key
from torghut_runtime.order_feed.values import NumberError, exact_number, instant_ns, number_text

MAX_BYTES: Final = 1_048_576
CHANNEL: Final = "trade_updates"
NO_SYMBOL: Final = "UNKNOWN"

Reason = Literal[
    "invalid_json",
    "missing_trade_update_payload",
    "missing_order_identity",
    "unsupported_version",
    "invalid_number",
    "number_out_of_range",
    "field_too_long",
    "nul_character",
    "record_too_large",
    "database_rejected",
]
"""Why a record is a dead letter."""

_ID: Final = 128
_NAME: Final = 64
_Object = dict[str, Any]


def _exact(text: str) -> Decimal:
    """A JSON number; one whose exponent no decimal holds is nothing, or more than is stored."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(0) if "e-" in text.lower() else _TOO_LARGE


_TOO_LARGE: Final = Decimal("1e999999")
_DECODER: Final = msgspec.json.Decoder(float_hook=_exact)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is no order event."""

    reason: Reason
    detail: str


class _RejectionError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        self.rejected = Rejected(cast("Reason", reason), detail)
        super().__init__(detail)


def decode(value: bytes | None, *, account_label: str, record_ns: int | None = None) -> OrderEvent | Rejected:
    """Read one record.

    Args:
        value: the record's value; ``None`` is a tombstone.
        account_label: whose order it is when the record does not say.
        record_ns: the record's own time, the last resort for reporting.
    """
    if value is None:
        return Rejected("invalid_json", "tombstone: the record has no value")
    if len(value) > MAX_BYTES:
        return Rejected("record_too_large", f"{len(value)} bytes, at most {MAX_BYTES} are read")
    try:
        root = _parsed(value)
        event = _event(root, account_label, record_ns)
    except _RejectionError as error:
        return error.rejected
    except NumberError as error:
        return Rejected(cast("Reason", error.reason), str(error))
    if b"\\u0000" in value and _has_nul(root):
        return Rejected("nul_character", "text with a NUL character cannot be stored")
    return event


def _parsed(value: bytes) -> _Object:
    try:
        root: object = _DECODER.decode(value)
    except msgspec.ValidationError:
        root = _parsed_with_long_numbers(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _RejectionError("invalid_json", f"{type(error).__name__}: {error}") from error
    if not isinstance(root, dict):
        raise _RejectionError("invalid_json", f"a JSON object is needed, was {type(root).__name__}")
    return cast("_Object", root)


def _parsed_with_long_numbers(value: bytes) -> object:
    """The rare document with an integer of thousands of digits, which the fast parser refuses."""
    try:
        return json.loads(value, parse_float=_exact, parse_int=Decimal, parse_constant=_no_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise _RejectionError("invalid_json", f"{type(error).__name__}: {error}") from error


def _no_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is no JSON")


def _has_nul(root: object) -> bool:
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item:
                return True
        elif isinstance(item, dict):
            waiting.extend(cast("_Object", item))
            waiting.extend(cast("_Object", item).values())
        elif isinstance(item, list):
            waiting.extend(cast("list[object]", item))
    return False


def _payload(root: _Object) -> _Object:
    if root.get("channel") == CHANNEL and isinstance(root.get("payload"), dict):
        version: object = root.get("version")
        if version is not None and (isinstance(version, bool) or str(version) not in {"1", "2"}):
            raise _RejectionError("unsupported_version", f"envelope version {str(version)[:40]}; 1 and 2 are read")
        payload = cast("_Object", root["payload"])
    elif root.get("stream") == CHANNEL and isinstance(root.get("data"), dict):
        payload = cast("_Object", root["data"])
    else:
        payload = root
    if not isinstance(payload.get("order"), dict):
        raise _RejectionError("missing_trade_update_payload", "there is no trade update with an order in it")
    return payload


def _text(field: str, limit: int, *values: object) -> str | None:
    """The first non-empty text of ``values``."""
    for value in values:
        if isinstance(value, str) and value:
            if len(value) > limit:
                raise _RejectionError("field_too_long", f"{field}: {len(value)} characters, at most {limit} fit")
            return value
    return None


def _identifier(field: str, *values: object) -> str | None:
    """The first usable identifier of ``values``: text, or a JSON number as text."""
    for value in values:
        if value is None:
            continue
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return _text(field, _ID, str(value))
        if isinstance(value, str) and value:
            return _text(field, _ID, value)
    return None


def _reporting_text(limit: int, *values: object) -> str | None:
    """The first text of ``values`` that fits; what only reports is never a reason to refuse a record."""
    for value in values:
        if isinstance(value, str) and 0 < len(value) <= limit:
            return value
    return None


def _reporting_number(*values: object) -> Decimal | None:
    for value in values:
        if value is None:
            continue
        try:
            number = exact_number(value)
        except NumberError:
            continue
        if number is not None:
            return number
    return None


def _state_number(field: str, value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        number = exact_number(value)
    except NumberError as error:
        raise NumberError(error.reason, f"{field}: {error}") from None
    if number is not None and number < 0:
        raise NumberError("number_out_of_range", f"{field}: {number} is negative")
    return number


def _symbol(order: _Object, root: _Object) -> str | None:
    for value, excluded in ((order.get("symbol"), None), (root.get("symbol"), NO_SYMBOL)):
        if isinstance(value, str):
            symbol = value.strip().upper()
            if symbol and symbol != excluded:
                return _text("symbol", _NAME, symbol)
    return None


def _first_instant(*values: object) -> int | None:
    for value in values:
        if value is not None:
            moment = instant_ns(value)
            if moment is not None:
                return moment
    return None


def _event(root: _Object, account_label: str, record_ns: int | None) -> OrderEvent:
    data = _payload(root)
    order = cast("_Object", data["order"])
    field, said = order.get, data.get
    order_id = _identifier("order.id", field("id"), field("order_id"))
    client_order_id = _identifier("order.client_order_id", field("client_order_id"))
    if order_id is None and client_order_id is None:
        raise _RejectionError("missing_order_identity", "the order has neither id nor client_order_id")
    account = _reporting_text(
        _NAME, root.get("accountLabel"), root.get("account_label"), said("account_label"), account_label
    )
    account = account or account_label
    event_type = _text("event", _NAME, said("event"), said("event_type"))
    if event_type is not None:
        event_type = _text("event", _NAME, event_type.lower())
    status = _text("status", _NAME, field("status"), said("status"))
    if status is None and event_type is not None:
        status = IMPLIED_STATUS.get(event_type)
    symbol = _symbol(order, root)
    execution_id = _identifier("execution_id", said("execution_id"))
    previous_execution_id = _identifier("previous_execution_id", said("previous_execution_id"))
    time_ns = _first_instant(said("timestamp"), said("t"), said("at"), field("updated_at"), field("submitted_at"))
    fill_price = _state_number("price", said("price"))
    fill_qty = _state_number("qty", said("qty"))
    position_qty = _reporting_number(said("position_qty"))
    claimed_qty = _state_number("filled_qty", field("filled_qty"))
    claimed_price = _reporting_number(field("filled_avg_price"), field("avg_fill_price"))
    qty = _reporting_number(field("qty"))
    notional = _reporting_number(field("notional"))
    side = _reporting_text(8, field("side"))
    order_type = _reporting_text(32, field("order_type"), field("type"))
    time_in_force = _reporting_text(16, field("time_in_force"))
    limit_price = _reporting_number(field("limit_price"))
    stop_price = _reporting_number(field("stop_price"))
    extended_hours = order["extended_hours"] if isinstance(field("extended_hours"), bool) else None
    replaces = _identifier("replaces", field("replaces"))
    replaced_by = _identifier("replaced_by", field("replaced_by"))
    submitted_ns = _first_instant(field("submitted_at"))
    claimed_text = number_text(claimed_qty)
    return OrderEvent(
        fingerprint=fingerprint(
            account=account,
            order=order_key(order_id, client_order_id),
            event_type=event_type,
            execution_id=execution_id,
            time_ns=time_ns,
            claimed_qty=claimed_text,
        ),
        content_sha256=content_digest(
            [
                order_id,
                client_order_id,
                symbol,
                event_type,
                status,
                execution_id,
                previous_execution_id,
                time_ns,
                number_text(fill_price),
                number_text(fill_qty),
                number_text(position_qty),
                claimed_text,
                number_text(claimed_price),
                number_text(qty),
                number_text(notional),
                side,
                order_type,
                time_in_force,
                number_text(limit_price),
                number_text(stop_price),
                extended_hours,
                replaces,
                replaced_by,
                submitted_ns,
            ]
        ),
        account=account,
        order_id=order_id,
        client_order_id=client_order_id,
        symbol=symbol,
        event_type=event_type,
        status=status,
        execution_id=execution_id,
        previous_execution_id=previous_execution_id,
        time_ns=time_ns,
        fill_price=fill_price,
        fill_qty=fill_qty,
        position_qty=position_qty,
        claimed_qty=claimed_qty,
        claimed_price=claimed_price,
        qty=qty,
        notional=notional,
        side=side,
        order_type=order_type,
        time_in_force=time_in_force,
        limit_price=limit_price,
        stop_price=stop_price,
        extended_hours=extended_hours,
        replaces=replaces,
        replaced_by=replaced_by,
        submitted_ns=submitted_ns,
        fallback_ns=_fallback_ns(root) or record_ns,
    )


def _fallback_ns(root: _Object) -> int | None:
    return _first_instant(root.get("eventTs"), root.get("event_ts"), root.get("ingestTs"), root.get("ingest_ts"))
