"""A process of the order path, for tests that kill it: restores, resolves, reconciles, then sends orders.

``python order_path_process.py DSN URL FIRST COUNT [POINT AT]`` places orders FIRST, FIRST+1, … and kills itself at the
labelled POINT of order AT. One JSON line per step goes to stdout.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from order_cases import ACCOUNT, BAR, decision, intent

from torghut_runtime.broker.alpaca import AlpacaReader, AlpacaWriter
from torghut_runtime.broker.protocol import BrokerError
from torghut_runtime.clock import SimulatedClock
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.orders.reconcile import Discrepancy, reconcile, resolve_left, restore
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.limits import Gate
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.lease import Lease, acquire
from torghut_runtime.storage.order_journal import PostgresJournal, stored_events, stored_intents
from torghut_runtime.trading_settings import BrokerAccess

HOLDER = "the-one-under-test"


def leased(dsn: str, holder: str = HOLDER, ttl: float = 10.0) -> Lease:
    """The lease of the account, which must be free."""
    with connect(create_engine(dsn)) as connection:
        lease = acquire(connection, ACCOUNT, holder, timedelta(seconds=ttl))
    assert lease is not None
    return lease


@dataclass
class OrderPath:
    """Everything from intent to broker, with the real database and the real HTTP client."""

    dsn: str
    url: str
    reached: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.clock = SimulatedClock(time.time_ns())
        self.reader = AlpacaReader(BrokerAccess(), self.url, deadline_seconds=1.0)
        writer = AlpacaWriter(BrokerAccess(), self.url, deadline_seconds=1.0)
        self.portfolio = Portfolio(Decimal(100_000))
        self.tracker = OrderTracker(ACCOUNT, self.portfolio)
        self.journal = PostgresJournal(self.dsn, ACCOUNT, "simulator", leased(self.dsn))
        budget = RequestBudget(100_000, self.clock.now_ns())
        self.manager = OrderManager(
            journal=self.journal,
            firewall=Firewall(writer, Gate, budget, self.clock),
            reader=self.reader,
            tracker=self.tracker,
            clock=self.clock,
            max_retries=1,
            reached=lambda point: self.reached(point),
        )

    def restart(self) -> list[Discrepancy]:
        """What a process does before it trades."""
        with connect(create_engine(self.dsn)) as connection:
            intents, events = stored_intents(connection, ACCOUNT), stored_events(connection, ACCOUNT)
        restore(self.tracker, intents, events)
        resolve_left(self.manager, intents)
        self.settle()
        return self.compare()

    def settle(self) -> None:
        """Let the time pass that look-ups take, on the simulated clock."""
        while (due := self.manager.next_look_up_ns) is not None:
            self.clock.advance_to(max(due, self.clock.now_ns()))
            self.manager.resolve()

    def compare(self) -> list[Discrepancy]:
        """Reconcile, once more when the broker did not answer."""
        for _ in range(20):
            try:
                return reconcile(self.manager, self.reader)
            except BrokerError:
                continue
        raise AssertionError("the broker never answered")

    def place(self, number: int) -> str:
        """Place the order of a bar of its own; its outcome."""
        bar_ts = BAR + timedelta(minutes=number)
        order = intent(qty=1, bar_ts=bar_ts)
        return self.manager.place(decision(order, bar_ts), order).kind


def main() -> None:
    """See the module."""
    dsn, url, first, count, *point = sys.argv[1:]
    number = 0

    def reached(label: str) -> None:
        if point and label == point[0] and number == int(point[1]):
            os.kill(os.getpid(), signal.SIGKILL)

    path = OrderPath(dsn, url, reached)
    differences = path.restart()
    print(json.dumps({"restarted": [each.kind for each in differences]}), flush=True)
    for number in range(int(first), int(first) + int(count)):
        print(json.dumps({"placed": number, "kind": path.place(number)}), flush=True)
    path.settle()
    print(json.dumps({"done": [each.kind for each in path.compare()]}), flush=True)


if __name__ == "__main__":
    main()
