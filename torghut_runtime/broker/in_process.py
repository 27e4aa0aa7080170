"""The broker simulator as a broker, called in this process: for replays, where nothing waits and nothing is lost.

It answers as the HTTP adapter does (:mod:`torghut_runtime.broker.alpaca`), with the simulator's own refusals.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from torghut_runtime.broker.protocol import Document, RateLimitedError, RejectedError, UncertainError
from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.instants import parse_moment
from torghut_runtime.broker.simulator.refusals import TOO_MANY_REQUESTS, Refusal
from torghut_runtime.broker.simulator.server.documents import account_document, open_positions, position_document
from torghut_runtime.risk.baselines import TRANSFER_TYPES

_T = TypeVar("_T")
_SERVER_ERROR = 500
_ALL = 1 << 62


class InProcessBroker:
    """Reader and writer over one simulated broker."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    def account(self) -> Document:
        """The account."""
        return account_document(self._broker)

    def positions(self) -> list[Document]:
        """Every open position."""
        return [position_document(self._broker, position) for position in open_positions(self._broker)]

    def orders(self, *, after: str | None = None) -> list[Document]:
        """All orders submitted after a time, oldest first."""
        since = None if after is None else parse_moment(after)
        found = self._broker.desk.book.listed(status="all", limit=_ALL, after=since, ascending=True)
        return [order.document() for order in found]

    def open_orders(self) -> list[Document]:
        """All open orders, oldest first."""
        found = self._broker.desk.book.listed(status="open", limit=_ALL, ascending=True)
        return [order.document() for order in found]

    def order(self, order_id: str) -> Document | None:
        """An order by the broker's id."""
        order = self._broker.desk.book.find(order_id)
        return None if order is None else order.document()

    def transfers(self) -> list[Document]:
        """Every deposit and withdrawal of the account."""
        listed = self._broker.desk.activities.listed
        return listed(types=frozenset(TRANSFER_TYPES), ascending=True, page_size=_ALL)

    def order_by_client_id(self, client_order_id: str) -> Document | None:
        """The order of a client order id."""
        order = self._broker.desk.book.by_client_id(client_order_id)
        return None if order is None else order.document()

    def submit(self, payload: Mapping[str, str]) -> Document:
        """See :class:`~torghut_runtime.broker.protocol.BrokerWriter`."""
        return _answered(lambda: self._broker.submit(dict(payload)))

    def replace(self, order_id: str, changes: Mapping[str, str]) -> Document:
        """See :class:`~torghut_runtime.broker.protocol.BrokerWriter`."""
        return _answered(lambda: self._broker.replace(order_id, dict(changes)))

    def cancel(self, order_id: str) -> None:
        """See :class:`~torghut_runtime.broker.protocol.BrokerWriter`."""
        _answered(lambda: self._broker.cancel(order_id))

    def cancel_all(self) -> list[Document]:
        """See :class:`~torghut_runtime.broker.protocol.BrokerWriter`."""
        return [{"id": order.id, "status": 200} for order in _answered(self._broker.cancel_all)]


def _answered(request: Callable[[], _T]) -> _T:
    try:
        return request()
    except Refusal as refusal:
        if refusal.code == TOO_MANY_REQUESTS:
            raise RateLimitedError(float(refusal.headers.get("Retry-After", "1"))) from refusal
        if refusal.status >= _SERVER_ERROR:
            raise UncertainError(refusal.message) from refusal
        existing = refusal.fields.get("existing_order_id")
        raise RejectedError(
            refusal.status,
            refusal.code,
            refusal.message,
            existing_order_id=None if existing is None else str(existing),
        ) from refusal
