"""Account activities: fills, transfers and splits, as ``/v2/account/activities`` lists them."""

from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from typing import Any

from torghut_runtime.broker.simulator.identities import uuid_of
from torghut_runtime.broker.simulator.instants import MILLISECOND, moment_of, new_york, parse_moment, rfc3339
from torghut_runtime.broker.simulator.order import Fill, Order
from torghut_runtime.broker.simulator.refusals import plain


class Activities:
    """Activities in the order in which they came."""

    def __init__(self) -> None:
        self._documents: list[dict[str, Any]] = []
        self._times: list[int] = []

    def add_fill(self, fill: Fill, order: Order) -> None:
        """An execution; the broker's number of it is derived from the stream's, but another one, as at Alpaca."""
        leaves = max(Decimal(0), order.terms.qty - order.filled_qty) if order.terms.qty is not None else Decimal(0)
        self._add(
            fill.ns,
            fill.execution_id,
            {
                "activity_type": "FILL",
                "transaction_time": rfc3339(fill.ns),
                "type": "partial_fill" if order.is_open else "fill",
                "price": plain(fill.price),
                "qty": plain(fill.qty),
                "side": fill.side,
                "symbol": fill.symbol,
                "leaves_qty": plain(leaves),
                "order_id": fill.order_id,
                "cum_qty": plain(fill.cum_qty),
                "order_status": order.status,
            },
        )

    def forget(self) -> None:
        """Drop what was listed; new activities are numbered as if nothing had been before them."""
        self._documents.clear()
        self._times.clear()

    def add_transfer(self, ns: int, amount: Decimal) -> None:
        """Cash that came (CSD) or went (CSW)."""
        self._add(
            ns,
            f"transfer:{len(self._documents)}",
            {
                "activity_type": "CSD" if amount >= 0 else "CSW",
                "date": new_york(ns).date().isoformat(),
                "net_amount": plain(amount),
                "description": "",
                "status": "executed",
            },
        )

    def add_split(self, ns: int, symbol: str, qty: Decimal) -> None:
        """Shares that a split added."""
        self._add(
            ns,
            f"split:{len(self._documents)}",
            {
                "activity_type": "SPLIT",
                "date": new_york(ns).date().isoformat(),
                "net_amount": "0",
                "description": "",
                "symbol": symbol,
                "qty": plain(qty),
                "status": "executed",
            },
        )

    def _add(self, ns: int, key: str, fields: dict[str, Any]) -> None:
        stamp = moment_of(ns).strftime("%Y%m%d%H%M%S") + f"{ns // MILLISECOND % 1000:03d}"
        self._documents.append({"id": f"{stamp}::{uuid_of(f'activity:{key}')}", **fields})
        self._times.append(ns)

    def listed(
        self,
        *,
        types: frozenset[str] = frozenset(),
        after: str | None = None,
        until: str | None = None,
        day: str | None = None,
        ascending: bool = False,
        page_size: int = 100,
        page_token: str | None = None,
    ) -> list[dict[str, Any]]:
        """One page: by time, newest first unless ascending; ``page_token`` is the id of the last one seen.

        Raises:
            ValueError: a time that is none.
        """
        since = None if after is None else parse_moment(after)
        limit = None if until is None else parse_moment(until)
        tests: list[Callable[[int], bool]] = []
        if types:
            tests.append(lambda index: self._documents[index]["activity_type"] in types)
        if since is not None:
            tests.append(lambda index: self._times[index] > since)
        if limit is not None:
            tests.append(lambda index: self._times[index] < limit)
        if day is not None:
            tests.append(lambda index: new_york(self._times[index]).date().isoformat() == day)
        indices = range(len(self._documents)) if ascending else range(len(self._documents) - 1, -1, -1)
        start = 0
        if page_token is not None:
            start = next(
                (place + 1 for place, index in enumerate(indices) if self._documents[index]["id"] == page_token),
                len(indices),
            )
        matching = (index for index in indices[start:] if all(test(index) for test in tests))
        return [self._documents[index] for index in islice(matching, page_size)]
