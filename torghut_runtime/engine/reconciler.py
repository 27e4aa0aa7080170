"""Asks the broker what a pass of reconciliation wants to know, in a thread of its own.

What is asked for and what follows from the answer is the trading thread's task
(:mod:`torghut_runtime.engine.reconciliation`).
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from torghut_runtime.broker.protocol import BrokerError, BrokerReader, Document
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.errors import UpstreamError
from torghut_runtime.orders.broker_view import Announcements, Asked, BrokerView, read_broker
from torghut_runtime.orders.fill_history import AHEAD, Fills

_READ_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class BrokerAnswers:
    """What the broker said, and every deposit and withdrawal."""

    view: BrokerView
    transfers: list[Document]
    is_settled: bool
    """Whether no money came or went while all this was read."""
    fills: Sequence[Document] | UpstreamError | None = None
    """The missing fills, or why they were not told; None where none were asked for."""


Deliver = Callable[[BrokerAnswers | BrokerError], object]
"""Gets the answers, or the error that came instead; in the thread that has read."""


def read_answers(reader: BrokerReader, announcements: Announcements | None, asked: Asked) -> BrokerAnswers:
    """Ask for everything, transfers before and after the rest.

    Raises:
        BrokerError: the broker does not answer.
    """
    before = reader.transfers()
    view = read_broker(reader, announcements, asked)
    after = reader.transfers()
    return BrokerAnswers(view, after, before == after)


class BrokerReading:
    """Reads when asked, the last thing that was asked for first and only."""

    def __init__(self, reader: BrokerReader, announcements: Announcements | None, fills: Fills) -> None:
        self._reader = reader
        self._announcements = announcements
        self._fills = fills
        self._asked: tuple[Asked, datetime | None, Deliver] | None = None
        self._wake = threading.Condition()

    def ask(self, asked: Asked, fills_since: datetime | None, deliver: Deliver) -> None:
        """Read soon; fills since a time as well, where one is given."""
        with self._wake:
            self._asked = (asked, fills_since, deliver)
            self._wake.notify_all()

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            beat.beat()
            with self._wake:
                self._wake.wait_for(lambda: self._asked is not None or stop.is_set(), _LOOK_SECONDS)
                wanted, self._asked = self._asked, None
            if wanted is not None and not stop.is_set():
                beat.beat(_READ_SECONDS)
                asked, fills_since, deliver = wanted
                try:
                    answers = read_answers(self._reader, self._announcements, asked)
                except BrokerError as error:
                    deliver(error)
                else:
                    beat.beat(_READ_SECONDS)
                    deliver(answers if fills_since is None else replace(answers, fills=self._told(fills_since, asked)))

    def _told(self, since: datetime, asked: Asked) -> Sequence[Document] | UpstreamError:
        try:
            return list(self._fills(since, asked.at + AHEAD))
        except UpstreamError as error:
            return error
