"""What the broker answers instead of acting: HTTP status, Alpaca's error code and message, further fields of the body.

The codes are Alpaca's: their first three digits are the HTTP status.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

INVALID_BODY: Final = 40010001
FORBIDDEN: Final = 40310000
NOT_FOUND: Final = 40410000
UNPROCESSABLE: Final = 42210000
TOO_MANY_REQUESTS: Final = 42910000


class Refusal(Exception):  # noqa: N818 - an answer of the broker, not a failure of the simulator
    """A request that is refused.

    Attributes:
        status: HTTP status.
        code: Alpaca's error code; None where Alpaca sends none.
        message: Alpaca's message.
        fields: what else the body carries.
        headers: headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: int | None,
        message: str,
        fields: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        """The JSON body of the answer."""
        code = {} if self.code is None else {"code": self.code}
        return {**code, "message": self.message, **self.fields}


def invalid(message: str) -> Refusal:
    """A request whose form is wrong (422, as Alpaca answers malformed orders)."""
    return Refusal(422, INVALID_BODY, message)


def unprocessable(message: str) -> Refusal:
    """A well-formed request that cannot be carried out (422)."""
    return Refusal(422, UNPROCESSABLE, message)


def forbidden(message: str, **fields: object) -> Refusal:
    """A request that account, position or protection rules forbid (403)."""
    return Refusal(403, FORBIDDEN, message, fields)


def not_found(message: str) -> Refusal:
    """A thing that does not exist (404)."""
    return Refusal(404, NOT_FOUND, message)


def plain(value: Decimal) -> str:
    """A number as Alpaca writes it: decimal text without exponent or trailing zeros."""
    text = f"{value.normalize():f}"
    return "0" if text == "-0" else text


def optional_plain(value: Decimal | None) -> str | None:
    """As :func:`plain`; null stays null."""
    return None if value is None else plain(value)
