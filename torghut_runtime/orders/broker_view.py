"""What a reconciliation pass asks the broker, and what the broker said; any thread, nothing is changed.

What follows from the answer is :mod:`torghut_runtime.orders.reconciler`'s business.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Protocol

from torghut_runtime.broker.protocol import BrokerError, BrokerReader, Document
from torghut_runtime.orders.splits import Split

SPLITS_BACK: Final = timedelta(days=30)
SPLITS_AHEAD: Final = timedelta(days=5)
"""Splits are known before the session that begins with them: its first bar is judged by them."""
_ZERO: Final = Decimal(0)


class Announcements(Protocol):
    """Who tells of splits."""

    def splits(self, symbols: Iterable[str], first: date, last: date) -> list[Split]:
        """Splits of some symbols between two days; raises ``BrokerError``."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What there is to ask, and when it was: orders since a time, and what we believe to be open and held."""

    at: datetime
    began: float
    """By ``time.perf_counter``."""
    after: str | None
    open_orders: tuple[str, ...]
    quantities: Mapping[str, Decimal]
    today: date
    splits_wanted: bool


@dataclass(frozen=True, slots=True)
class BrokerView:
    """What the broker said to what was asked; ``splits`` is None where they were not asked for or not told."""

    asked: Asked
    account: Document
    positions: Sequence[Document]
    orders: Sequence[Document]
    missing: frozenset[str]
    splits: Sequence[Split] | None


def read_broker(reader: BrokerReader, announcements: Announcements | None, asked: Asked) -> BrokerView:
    """Ask for account, positions, orders open now or submitted since, and every order that we believe to be open.

    Raises:
        BrokerError: the broker does not answer; nothing is concluded.
    """
    # In this order: what fills in between is not in the positions yet, so cash that would mislead is not taken over.
    positions, account = reader.positions(), reader.account()
    orders = {
        str(document.get("id")): document for document in (*reader.orders(after=asked.after), *reader.open_orders())
    }
    missing: set[str] = set()
    for order_id in asked.open_orders:
        if order_id not in orders:
            document = reader.order(order_id)
            if document is None:
                missing.add(order_id)
            else:
                orders[order_id] = document
    held = {str(document.get("symbol")) for document in positions} | set(asked.quantities)
    theirs = {symbol: qty for symbol, (qty, _, _) in held_positions(positions)[0].items()}
    differs = any(asked.quantities.get(symbol, _ZERO) != theirs.get(symbol, _ZERO) for symbol in held)
    splits = _splits(announcements, held, asked) if differs or asked.splits_wanted else None
    return BrokerView(asked, account, positions, list(orders.values()), frozenset(missing), splits)


def _splits(announcements: Announcements | None, symbols: Iterable[str], asked: Asked) -> Sequence[Split] | None:
    if announcements is None:
        return None
    try:
        return announcements.splits(symbols, asked.today - SPLITS_BACK, asked.today + SPLITS_AHEAD)
    except BrokerError:
        return None


Held = tuple[Decimal, Decimal | None, Decimal | None]
"""The broker's position: signed shares, average entry, price."""


def held_positions(documents: Iterable[Document]) -> tuple[dict[str, Held], int]:
    """Positions by symbol, and how many rows cannot be read."""
    held: dict[str, Held] = {}
    bad = 0
    for document in documents:
        qty = number_of(document.get("qty"))
        if qty is None or not isinstance(document.get("symbol"), str):
            bad += 1
        else:
            prices = number_of(document.get("avg_entry_price")), number_of(document.get("current_price"))
            held[document["symbol"]] = (qty, *prices)
    return held, bad


def number_of(value: Any) -> Decimal | None:
    """A finite number in a broker's document, None where there is none."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
