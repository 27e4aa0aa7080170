"""Asks the broker for orders, positions and account, in a thread of its own; comparing is the trading thread's task.

What was read is handed over as a whole; the comparison then reads it as it would read the broker.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from torghut_runtime.broker.protocol import BrokerError, BrokerReader, Document
from torghut_runtime.engine.heartbeat import Heartbeat

_READ_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class BrokerAnswers:
    """What the broker said, read in this order; ``seen`` is the caller's mark of the moment before."""

    seen: int
    money: Document
    held: list[Document]
    since: list[Document]
    now_open: list[Document]
    moved: list[Document]
    is_settled: bool
    """Whether no money came or went while all this was read."""
    reader: BrokerReader = field(repr=False)

    def account(self) -> Document:
        """The account."""
        return self.money

    def positions(self) -> list[Document]:
        """Every open position."""
        return self.held

    def orders(self, *, after: str | None = None) -> list[Document]:
        """The orders that were read."""
        del after
        return self.since

    def open_orders(self) -> list[Document]:
        """All open orders."""
        return self.now_open

    def transfers(self) -> list[Document]:
        """Every deposit and withdrawal."""
        return self.moved

    def order_by_client_id(self, client_order_id: str) -> Document | None:
        """Asked now: the order of a client order id."""
        return self.reader.order_by_client_id(client_order_id)


class Reconciler:
    """Reads when asked; ``deliver`` gets the answers, or the error that came instead."""

    def __init__(self, reader: BrokerReader, deliver: Callable[[BrokerAnswers | BrokerError], object]) -> None:
        self._reader = reader
        self._deliver = deliver
        self._asked: tuple[int, str | None] | None = None
        self._wake = threading.Condition()

    def ask(self, seen: int, after: str | None) -> None:
        """Read soon; ``after``: only orders submitted after this time, and open ones."""
        with self._wake:
            self._asked = (seen, after)
            self._wake.notify_all()

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            beat.beat()
            with self._wake:
                self._wake.wait_for(lambda: self._asked is not None or stop.is_set(), _LOOK_SECONDS)
                asked, self._asked = self._asked, None
            if asked is not None and not stop.is_set():
                beat.beat(_READ_SECONDS)
                try:
                    answers = self._read(*asked)
                except BrokerError as error:
                    self._deliver(error)
                else:
                    self._deliver(answers)

    def _read(self, seen: int, after: str | None) -> BrokerAnswers:
        reader = self._reader
        before = reader.transfers()
        positions = reader.positions()
        account = reader.account()
        moved = reader.transfers()
        orders, now_open = reader.orders(after=after), reader.open_orders()
        return BrokerAnswers(seen, account, positions, orders, now_open, moved, moved == before, reader)
