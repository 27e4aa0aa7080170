"""Every order of the account, and how orders are found and listed."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal

from torghut_runtime.broker.simulator.order import Order

ListedStatus = Literal["open", "closed", "all"]


class OrderBook:
    """Orders by id and client order id, the open ones also by symbol in the order of their arrival."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._by_client_id: dict[str, Order] = {}
        self._open: dict[str, dict[str, Order]] = {}

    def add(self, order: Order) -> None:
        """Take a new order in."""
        self._orders[order.id] = order
        self._by_client_id[order.client_order_id] = order
        if order.is_open:
            self._open.setdefault(order.terms.symbol, {})[order.id] = order

    def settle(self, order: Order) -> None:
        """Forget an order that came to its end among the open ones."""
        if not order.is_open:
            self._open.get(order.terms.symbol, {}).pop(order.id, None)

    def forget(self, order_id: str) -> None:
        """Drop an order that came to its end; its ids are unknown from then on."""
        order = self._orders.get(order_id)
        if order is not None and not order.is_open:
            del self._orders[order_id]
            self._by_client_id.pop(order.client_order_id, None)

    def get(self, order_id: str) -> Order | None:
        """By the broker's id."""
        return self._orders.get(order_id)

    def by_client_id(self, client_order_id: str) -> Order | None:
        """By the client's id."""
        return self._by_client_id.get(client_order_id)

    def find(self, either_id: str) -> Order | None:
        """By the broker's id or the client's."""
        return self._orders.get(either_id) or self._by_client_id.get(either_id)

    def open_in(self, symbol: str) -> list[Order]:
        """Open orders of a symbol, oldest first."""
        return list(self._open.get(symbol, {}).values())

    def has_open(self, symbol: str) -> bool:
        """Whether the symbol has open orders."""
        return bool(self._open.get(symbol))

    def open_orders(self) -> list[Order]:
        """All open orders, by symbol, oldest first."""
        return [order for orders in self._open.values() for order in orders.values()]

    def listed(
        self,
        *,
        status: ListedStatus = "open",
        limit: int = 50,
        after: int | None = None,
        until: int | None = None,
        ascending: bool = False,
        symbols: frozenset[str] = frozenset(),
        side: str | None = None,
    ) -> list[Order]:
        """Orders as ``GET /v2/orders`` lists them: filtered, by time of submission, newest first unless ascending.

        Args:
            status: open, closed or all.
            limit: how many at most.
            after: only those submitted later, nanoseconds.
            until: only those not submitted later, nanoseconds.
            ascending: oldest first.
            symbols: only these; empty means all.
            side: only buys or only sales.
        """
        tests: list[Callable[[Order], bool]] = []
        if status != "all":
            tests.append(lambda order: order.is_open == (status == "open"))
        if after is not None:
            tests.append(lambda order: order.submitted_at > after)
        if until is not None:
            tests.append(lambda order: order.submitted_at <= until)
        if symbols:
            tests.append(lambda order: order.terms.symbol in symbols)
        if side is not None:
            tests.append(lambda order: order.terms.side == side)
        source = self.open_orders() if status == "open" else list(self._orders.values())
        source.sort(key=lambda order: order.submitted_at, reverse=not ascending)
        matching: Iterator[Order] = (order for order in source if all(test(order) for test in tests))
        return list(islice(matching, limit))

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._orders.values())
