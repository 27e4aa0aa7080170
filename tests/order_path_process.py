"""A process of the order path, for tests that kill it: restores, resolves, reconciles, then trades.

It reads requests ``{"arguments": [DSN, URL, FIRST, COUNT, LABEL], "out": FIFO, "err": FILE}`` from stdin, one a line,
and makes a process for each: imports are paid once. The process does the actions FIRST, FIRST+1, … and kills itself
when ``ACTION:POINT`` is reached, where a label is given. One JSON line per step goes to the FIFO; the number of the
process and afterwards its exit code go to stdout.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import requests
from engine_world import settings_of
from order_cases import ACCOUNT, BAR, decision, intent

from torghut_runtime.broker.alpaca import AlpacaReader, AlpacaWriter
from torghut_runtime.broker.corporate_actions import CorporateActions
from torghut_runtime.broker.protocol import BrokerError
from torghut_runtime.clock import NANOSECONDS, SimulatedClock, nanoseconds_of
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.dispatcher import Dispatcher
from torghut_runtime.engine.event_writer import EventWriter
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.market_view import PriceSnapshot
from torghut_runtime.engine.stance import Stance
from torghut_runtime.errors import UpstreamError
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.order_feed.broker_answers import AlpacaHistory
from torghut_runtime.order_feed.forwarding import stream_url
from torghut_runtime.order_feed.trade_stream import TradeStream
from torghut_runtime.orders.broker_view import read_broker
from torghut_runtime.orders.fill_history import take_fills
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.frozen_symbols import FrozenSymbols
from torghut_runtime.orders.journal import IntentState, StoredIntent
from torghut_runtime.orders.manager import POINTS, OrderManager
from torghut_runtime.orders.model import Intent
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.orders.reconcile import Discrepancy, resolve_left, restore
from torghut_runtime.orders.reconciler import PassResult, Reconciler
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.limits import Gate, gate_reasons
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.lease import Lease, acquire
from torghut_runtime.storage.order_journal import PostgresJournal
from torghut_runtime.storage.position_adjustments import stored_adjustments
from torghut_runtime.storage.reconcile_store import PostgresReconcileStore
from torghut_runtime.storage.stored_orders import stored_orders
from torghut_runtime.trading_settings import BrokerAccess

WRITER_POINTS = ("waiting", "storing")
HOLDER = "the-one-under-test"
TTL = 30
ACTIONS = ("entry", "step", "limit", "replace", "cancel", "step", "exit", "step", "exit limit", "to market", "step",
           "release", "reconcile", "step")  # fmt: skip
LABELS = (
    *(f"{action}:{point}" for action in ("entry", "replace", "exit", "to market", "release") for point in POINTS),
    "cancel:cancelled", "to market:cancelled", "release:withdrawn", "reconcile:reconciled", "reconcile:read",
    "reconcile:taken",
    *(f"{action}:{point}" for action in ("entry", "step", "cancel", "exit", "to market") for point in WRITER_POINTS),
)  # fmt: skip
"""Every point at which an action may be cut off; those of the writer of events while what the action brought waits."""


def leased(dsn: str, holder: str = HOLDER, ttl: float = 10.0) -> Lease:
    """The lease of the account, which must be free."""
    with connect(create_engine(dsn)) as connection:
        lease = acquire(connection, ACCOUNT, holder, timedelta(seconds=ttl))
    assert lease is not None
    return lease


class NotedJournal(PostgresJournal):
    """The journal, which tells each move of an intent besides writing it."""

    moved: Callable[[str, str], None] = lambda _key, _state: None

    def move(
        self, intent: Intent, state: IntentState, *, reason: str | None = None, sent_at: datetime | None = None
    ) -> None:
        """Write the move, then tell it."""
        super().move(intent, state, reason=reason, sent_at=sent_at)
        self.moved(intent.client_order_id, state)


@dataclass
class Waits:
    """How long each request that got no certain answer stayed unknown; a resend is a request of its own.

    Time counts from the missing answer, after a restart from the restart. Requests whose last planned look-up got no
    answer either are kept apart: a broker that says nothing can be waited for without end.
    """

    clock: SimulatedClock
    longest: float = 0.0
    resolved: int = 0
    silent: int = 0
    longest_silent: float = 0.0
    _since: dict[str, int] = field(default_factory=dict[str, int])
    _late: set[str] = field(default_factory=set[str])

    def moved(self, key: str, state: str) -> None:
        """An intent was moved: a move to ``unknown`` begins a wait, any other ends it."""
        self._end(key)
        if state == "unknown":
            self._since[key] = self.clock.now_ns()

    def look(self, manager: OrderManager) -> None:
        """Take what the look-ups have come to."""
        for each in manager.unknown:
            self._since.setdefault(each.client_order_id, self.clock.now_ns())
        self._late.update(manager.unresolved)
        for key in [key for key in self._since if not manager.is_unknown(key)]:
            self._end(key)

    def _end(self, key: str) -> None:
        began = self._since.pop(key, None)
        if began is None:
            return
        seconds = (self.clock.now_ns() - began) / NANOSECONDS
        if key in self._late:
            self._late.discard(key)
            self.silent += 1
            self.longest_silent = max(self.longest_silent, seconds)
        else:
            self.resolved += 1
            self.longest = max(self.longest, seconds)


@dataclass
class OrderPath:
    """Everything from intent to broker, with the real database and the real clients over HTTP and websockets."""

    dsn: str
    url: str
    reached: Callable[[str], None] = lambda _: None
    streams: bool = False

    def __post_init__(self) -> None:
        self.clock = SimulatedClock(self._broker_ns())
        self.reader = AlpacaReader(BrokerAccess(), self.url, deadline_seconds=1.0)
        writer = AlpacaWriter(BrokerAccess(), self.url, deadline_seconds=1.0)
        self.portfolio = Portfolio(Decimal(0))
        self.tracker = OrderTracker(ACCOUNT, self.portfolio)
        self.journal = NotedJournal(self.dsn, ACCOUNT, "simulator", leased(self.dsn))
        self.waits = Waits(self.clock)
        self.journal.moved = self.waits.moved
        self.stance = Stance(Gate(reconciled=False))
        budget = RequestBudget(100_000, self.clock.now_ns())
        self.events = EventWriter(self.dsn, ACCOUNT, reached=lambda point: self.reached(point))
        self._ended = threading.Event()
        self._writing = threading.Thread(target=self.events.run, args=(Heartbeat(), self._ended), daemon=True)
        self._writing.start()
        self.manager = OrderManager(
            journal=self.journal,
            events=self.events,
            firewall=Firewall(writer, self.stance.gate, budget, self.clock),
            reader=self.reader,
            tracker=self.tracker,
            clock=self.clock,
            max_retries=1,
            reached=lambda point: self.reached(point),
        )
        self.frozen = FrozenSymbols()
        self.price = Decimal("1.00")
        self.dispatcher = Dispatcher(
            account_label=ACCOUNT,
            manager=self.manager,
            account=AccountView(self.portfolio, self.tracker, Decimal(4)),
            stance=self.stance,
            recheck=lambda each: gate_reasons(self.stance.gate(), is_exit=each.is_exit),
            order_ttl_seconds=TTL,
            price_of=lambda _: PriceSnapshot(self.price, self.clock.now(), "bar"),
            clock=self.clock,
        )
        self.store = PostgresReconcileStore(self.dsn, ACCOUNT)
        self.frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._stream: TradeStream | None = None
        if self.streams:
            self._stream = TradeStream(
                "simulator",
                "simulator",
                url=stream_url(self.url),
                on_update=lambda update: self.frames.put(msgspec.json.encode(update)),
                on_listening=lambda: None,
                on_gone=lambda: None,
                longest_pause=0.2,
            )
            self._stream.start()
        self.reconciler = self._reconciler(None)

    def _reconciler(self, since: datetime | None, booked: int = 0) -> Reconciler:
        return Reconciler(
            manager=self.manager,
            reader=self.reader,
            store=self.store,
            frozen=self.frozen,
            clock=self.clock,
            announcements=CorporateActions(BrokerAccess(), self.url),
            since=since,
            booked=booked,
        )

    def close(self) -> None:
        """Store what waits, and give connections back."""
        self.stored()
        self._ended.set()
        self._writing.join(60)
        if self._stream is not None:
            self._stream.stop()
        self.journal.close()
        self.store.close()

    def _broker_ns(self) -> int:
        for _ in range(20):
            answer = requests.get(f"{self.url}/v2/clock", headers=_KEYS, timeout=30)
            if answer.status_code == 200:
                return nanoseconds_of(datetime.fromisoformat(answer.json()["timestamp"]))
        raise AssertionError("the broker's clock never answered")

    def restart(self) -> list[Discrepancy]:
        """What a process does before it trades."""
        with connect(create_engine(self.dsn)) as connection:
            stored = stored_orders(connection, ACCOUNT)
            booked = stored_adjustments(connection, ACCOUNT)
        self._not_before(stored.intents)
        entries = [*stored.settled, *((each.slot, each.entry) for each in booked)]
        restore(self.tracker, stored.intents, stored.events, entries)
        left = resolve_left(self.manager, stored.intents)
        self.settle()
        self.reconciler = self._reconciler(stored.newest_event_at, max((each.id for each in booked), default=0))
        result = self.compare()
        take_fills(self.tracker, self.events, self._fills, stored.newest_event_at, self.clock.now())
        if result.is_clean:
            self.stance.set(reconciled=True)
        self.dispatcher.take_over(left)
        self.dispatcher.on_time()
        self.settle()
        if left:
            self.compare()
        return list(result.found)

    def _fills(self, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Fills since a time, asked for once more when the broker did not answer."""
        for _ in range(20):
            with suppress(UpstreamError):
                return list(AlpacaHistory(settings_of(SIMULATOR_URL=self.url)).fills(since, until))
        raise AssertionError("the broker never answered")

    def _not_before(self, intents: Sequence[StoredIntent]) -> None:
        """A clock does not stand earlier than that of the process before, which may have run ahead of the broker's."""
        sent = [nanoseconds_of(each.sent_at) for each in intents if each.sent_at is not None]
        self.clock.advance_to(max([self.clock.now_ns(), *sent]))

    def settle(self) -> None:
        """Let the time pass that look-ups take, each at its moment on the simulated clock."""
        self.waits.look(self.manager)
        while (due := self.manager.next_look_up_ns) is not None:
            self.clock.advance_to(max(due, self.clock.now_ns()))
            self.manager.resolve()
            self.waits.look(self.manager)

    def compare(self) -> PassResult:
        """Reconcile, once more when the broker did not answer, and have what was found stored."""
        for _ in range(20):
            with suppress(BrokerError):
                found = self.reconciler.run_pass()
                self.stored()
                return found
        raise AssertionError("the broker never answered")

    def hear(self) -> None:
        """Take what the stream has brought."""
        while not self.frames.empty():
            frame = self.frames.get()
            if self.tracker.apply(frame) is not None:
                self.dispatcher.on_order_change()
            self.events.take([frame], "stream")

    def wait(self, seconds: float) -> None:
        """Let time pass on the simulated clock, and do what becomes due; look-ups have had their own moments."""
        self.settle()
        self.clock.advance_to(self.clock.now_ns() + int(seconds * NANOSECONDS))
        self.dispatcher.on_time()

    def place(self, number: int) -> str:
        """Place the order of a bar of its own, and have the answer stored; its outcome."""
        bar_ts = BAR + timedelta(minutes=number)
        order = intent(qty=1, bar_ts=bar_ts)
        outcome = self.manager.place(decision(order, bar_ts), order).kind
        self.stored()
        return outcome

    def stored(self) -> None:
        """Wait until every event that was taken is stored."""
        assert self.events.drain(60)

    def act(self, number: int, action: str) -> None:
        """One action; what it orders belongs to a bar of its own."""
        bar_ts = BAR + timedelta(minutes=number)
        made: dict[str, Any] = {"bar_ts": bar_ts}
        if action == "entry":
            self._enter(intent(qty=4, **made), bar_ts)
        elif action == "limit":
            self._enter(intent(qty=2, order_type="limit", limit_price=Decimal("1.00"), **made), bar_ts)
        elif action in ("replace", "cancel", "to market"):
            self.price = Decimal("1.00") + Decimal(number % 7 + 1) / 100
            self.wait(TTL + 1)
            self._until_ended()
        elif action in ("exit", "exit limit") and self.portfolio.position(("s1", "AAPL")).qty > 0:
            limit: dict[str, Any] = {"order_type": "limit", "limit_price": Decimal(9_999)} if "limit" in action else {}
            order = intent(side="sell", qty=1, is_exit=True, **limit, **made)
            self.dispatcher.exit(self._decided(order, bar_ts), order)
        elif action == "release":
            order = intent(qty=1, time_in_force="opg", **made)
            daily = replace(self._decided(order, bar_ts), timeframe="1Day", decided_at=_close_before(self.clock.now()))
            self.dispatcher.entry(daily, order, queued=True)
            self.dispatcher.on_time()
        elif action == "reconcile":
            asked = self.reconciler.asked()
            with suppress(BrokerError):
                view = read_broker(self.reader, None, asked)
                self.reached("read")
                self.reconciler.take(view)
                self.reached("taken")
        elif action == "step":
            requests.post(f"{self.url}/sim/step", json={"events": 2}, timeout=60)
            self.settle()
            self.clock.advance_to(max(self._broker_ns(), self.clock.now_ns()))
        self.hear()
        self.settle()
        self.dispatcher.on_time()
        self.settle()

    def _until_ended(self) -> None:
        """Hear of the ends of orders whose cancel has been asked for, as long as the stream may take."""
        for _ in range(50):
            self.hear()
            working: list[Any] = vars(self.dispatcher)["_working"]
            ending = [each for each in working if each.ending]
            if not any(self.tracker.order_of(each.intent.client_order_id) for each in ending):
                break
            time.sleep(0.02)

    def _decided(self, order: Any, bar_ts: datetime) -> Any:
        return replace(decision(order, bar_ts), decided_at=self.clock.now())

    def _enter(self, order: Any, bar_ts: datetime) -> None:
        self.dispatcher.entry(self._decided(order, bar_ts), order, queued=False)


_KEYS = {"APCA-API-KEY-ID": "simulator", "APCA-API-SECRET-KEY": "simulator"}


def _close_before(now: datetime) -> datetime:
    calendar = TradingCalendar()
    closes = [calendar.session_close(day) for day in calendar.sessions((now - timedelta(days=7)).date(), now.date())]
    return max(each for each in closes if each is not None and each < now)


def told(path: OrderPath, found: list[Discrepancy], seconds: float, refused: bool) -> Mapping[str, Any]:
    """What a restart came to."""
    return {
        "clean": path.stance.gate().reconciled,
        "found": [each.kind for each in found],
        "refused_before": refused,
        "positions": {slot[1]: str(path.portfolio.symbol_qty(slot[1])) for slot, _ in path.portfolio.positions()},
        "resolved": path.waits.resolved,
        "longest": path.waits.longest,
        "silent": path.waits.silent,
        "longest_silent": path.waits.longest_silent,
        "seconds": round(seconds, 3),
    }


def live(dsn: str, url: str, first: int, count: int, label: str = "") -> None:
    """Restart, then act; see the module."""
    doing = "start"

    def killed() -> None:
        print(json.dumps({"killed": label}), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def reached(point: str) -> None:
        if label != f"{doing}:{point}":
            return
        if point == "waiting":
            # In the writer's thread: what comes now waits until the action is over.
            threading.Event().wait()
        killed()

    started = time.monotonic()
    path = OrderPath(dsn, url, reached, streams=True)
    early = BAR - timedelta(days=1, minutes=first)
    order = intent(qty=1, bar_ts=early)
    refused = path.manager.place(decision(order, early), order).reason == "not_reconciled"
    found = path.restart()
    print(json.dumps({"restarted": told(path, found, time.monotonic() - started, refused)}), flush=True)
    for number in range(first, first + count):
        doing = ACTIONS[number % len(ACTIONS)]
        path.act(number, doing)
        if label == f"{doing}:waiting" and path.events.waiting:
            killed()
        if label == f"{doing}:storing":
            path.stored()
        print(json.dumps({"done": number, "action": doing}), flush=True)
    path.settle()
    path.dispatcher.on_time()
    path.settle()
    print(json.dumps({"ended": told(path, list(path.compare().found), 0.0, refused)}), flush=True)
    path.close()


def main() -> None:
    """Make a process per request."""
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            for name, number in (("out", 1), ("err", 2)):
                os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT), number)
            try:
                live(*asked["arguments"])
            except BaseException:  # noqa: BLE001 - the end of this process, told in its file
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
