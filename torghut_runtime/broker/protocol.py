"""What torghut asks of a broker, and the ways in which a broker can fail to answer.

Answers are the broker's own documents in Alpaca's shape: the order feed reads them as it reads the stream. Two clients
exist so that only the firewall can hold the one that changes anything. Adapters are neighbours of this module.
"""

from collections.abc import Mapping
from typing import Any, Protocol

Document = dict[str, Any]


class BrokerError(Exception):
    """Base of everything that can go wrong at the broker."""


class RejectedError(BrokerError):
    """A definite no: the request was understood and not carried out."""

    def __init__(self, status: int, code: int | None, message: str, *, existing_order_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.existing_order_id = existing_order_id

    @property
    def is_duplicate_key(self) -> bool:
        """Whether the broker has an order of this client order id already."""
        return "client_order_id must be unique" in self.message


class RateLimitedError(BrokerError):
    """Not carried out because of too many requests; it may be tried again after ``retry_after`` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many requests, try again in {retry_after:g} s")
        self.retry_after = retry_after


class UncertainError(BrokerError):
    """No certain answer: the request may have been carried out (time-out, reset, 5xx)."""


class BrokerReader(Protocol):
    """Reading only; its transport refuses everything else."""

    def account(self) -> Document:
        """The account."""
        ...

    def positions(self) -> list[Document]:
        """Every open position."""
        ...

    def orders(self, *, after: str | None = None) -> list[Document]:
        """All orders of every status submitted after a time (RFC 3339), oldest first; all pages."""
        ...

    def open_orders(self) -> list[Document]:
        """All open orders, oldest first; all pages."""
        ...

    def order(self, order_id: str) -> Document | None:
        """An order by the broker's id, None where the broker knows none."""
        ...

    def transfers(self) -> list[Document]:
        """Every deposit and withdrawal of the account, as activities; all pages."""
        ...

    def order_by_client_id(self, client_order_id: str) -> Document | None:
        """The order of a client order id, None where the broker knows none."""
        ...


class BrokerWriter(Protocol):
    """What changes something at the broker; held by the firewall alone."""

    def submit(self, payload: Mapping[str, str]) -> Document:
        """Submit an order; its document.

        Raises:
            RejectedError, RateLimitedError, UncertainError
        """
        ...

    def replace(self, order_id: str, changes: Mapping[str, str]) -> Document:
        """Replace an open order; the new order's document. Raises as :meth:`submit`."""
        ...

    def cancel(self, order_id: str) -> None:
        """Ask for the end of an order. Raises as :meth:`submit`."""
        ...

    def cancel_all(self) -> list[Document]:
        """Ask for the end of every open order, in one call: id and HTTP status of each. Raises as :meth:`submit`."""
        ...
