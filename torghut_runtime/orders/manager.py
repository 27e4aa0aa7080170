"""From intent to order: written down first, sent through the firewall, and looked up when no answer came.

The intent is committed before the request leaves, so that a process that dies at any point leaves a trace that the next
one resolves by the client order id. A missing answer is never a rejection. What to order is decided elsewhere; what
happened to an order is told by the fold of the broker's events.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from torghut_runtime.broker.protocol import (
    BrokerError,
    BrokerReader,
    Document,
    RateLimitedError,
    RejectedError,
    UncertainError,
)
from torghut_runtime.clock import NANOSECONDS, Clock
from torghut_runtime.collection import collection_paused
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.logs import about
from torghut_runtime.order_feed.event import OrderEvent, Source
from torghut_runtime.orders.firewall import BlockedError, Firewall
from torghut_runtime.orders.journal import EventSink, Journal
from torghut_runtime.orders.model import Decision, Intent
from torghut_runtime.orders.trace import fields_of
from torghut_runtime.orders.tracker import OrderTracker, snapshot_event
from torghut_runtime.risk.limits import Flatten

logger = logging.getLogger(__name__)

LOOK_UPS: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)
"""Seconds after the request at which an order without an answer is looked for."""
_LAST_NS: Final = int(LOOK_UPS[-1] * NANOSECONDS)
_LATER_NS: Final = 5 * NANOSECONDS
"""Between look-ups that fail beyond the last of them."""

NOT_RECEIVED: Final = "submit_not_received"
REJECTED: Final = "alpaca_order_rejected"
RATE: Final = "order_rate_exceeded"

Reached = Callable[[str], None]
"""Hears which labelled point of the order path has been reached; crash tests end the process there."""

POINTS: Final = ("intent_committed", "submitting", "sent", "answered", "recorded")
"""Labelled points of :meth:`OrderManager.place`, in order."""
ENDS: Final = ("cancelled", "withdrawn", "reconciled")
"""Labelled points of a cancel (asked for), of an intent taken back, of the broker's word (folded, not handed on)."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What asks the broker for an order, or for a new price of one."""

    send: Callable[[], Document]
    replaces: bool = False


@dataclass(slots=True)
class _Unknown:
    """An intent whose request left without a certain answer."""

    intent: Intent
    sent_ns: int
    request: _Request | None
    """The same request again; None where it is not known any more what it asked for."""
    due_ns: int
    resends: int = 0
    goes_on: bool = False
    """Not found at the last planned look-up it is left to who adopted it."""
    ends: bool = False
    """It is to end, whatever has become of it."""
    is_late: bool = False
    """The broker did not answer the last planned look-up, or one after it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a placed intent: ``accepted``, ``unknown``, ``rejected`` or ``known`` (decided before)."""

    kind: str
    reason: str | None = None
    message: str | None = None
    retry_after: float = 0.0
    """Seconds after which it may be tried again, where there were too many requests."""


class OrderManager:
    """The only one that sends orders; single-threaded, every call in the order of decisions."""

    def __init__(
        self,
        *,
        journal: Journal,
        events: EventSink,
        firewall: Firewall,
        reader: BrokerReader,
        tracker: OrderTracker,
        clock: Clock,
        max_retries: int = 0,
        keeps_stream: bool = True,
        reached: Reached = lambda _: None,
        metrics: TradingMetrics | None = None,
    ) -> None:
        self.tracker = tracker
        self.metrics = metrics or TradingMetrics()
        self.failures_in_a_row = 0
        """Submits in a row that were rejected or failed."""
        self._journal = journal
        self._events = events
        self._firewall = firewall
        self._reader = reader
        self._clock = clock
        self._max_retries = max_retries
        self._keeps_stream = keeps_stream
        """Whether what the stream tells goes to ``events`` as well; else it is stored who knows when."""
        self._reached = reached
        self._unknown: dict[str, _Unknown] = {}

    # Sending ----------------------------------------------------------------------------------------------------------

    def place(self, decision: Decision, intent: Intent, *, flatten: Flatten | None = None) -> Outcome:
        """Commit an intent, then send it; ``flatten``: the operator's word to close a position in any state.

        A decision's first order is written as one that leaves, in one transaction: what of it is found by a new process
        is looked up. An entry that did not leave is given up there, an exit goes on (:meth:`adopt_unknown`).

        Raises:
            StoreUnavailableError: the intent could not be written; nothing was sent.
        """
        sent_at = None if intent.seq else self._clock.now()
        if not self._commit(decision, intent, sent_at):
            return Outcome("known")
        return self._send(intent, _Request(lambda: self._submit(intent, flatten)), is_written=sent_at is not None)

    def commit(self, decision: Decision, intent: Intent) -> bool:
        """Write an intent down and hold back what it may need, without sending it; False when its key is known."""
        return self._commit(decision, intent, None)

    def _commit(self, decision: Decision, intent: Intent, sent_at: datetime | None) -> bool:
        self.metrics.order_decided()
        began = time.perf_counter()
        if not self._journal.commit(decision, intent, sent_at=sent_at):
            return False
        self.metrics.bar_to_order("commit", time.perf_counter() - began)
        self.tracker.expect(intent)
        self._reached("intent_committed")
        return True

    def send(self, intent: Intent) -> Outcome:
        """Send an intent that is committed."""
        return self._send(intent, _Request(lambda: self._submit(intent, None)))

    def replace(self, decision: Decision, old_order_id: str, intent: Intent) -> Outcome:
        """Commit an intent with a limit, then have it replace what is left of an open order."""
        if not self.commit(decision, intent):
            return Outcome("known")
        payload = intent.terms.payload(intent.client_order_id)
        changes = {name: payload[name] for name in ("limit_price", "client_order_id")}
        return self._send(intent, _Request(lambda: self._firewall.replace(old_order_id, changes), replaces=True))

    def _submit(self, intent: Intent, flatten: Flatten | None) -> Document:
        payload = intent.terms.payload(intent.client_order_id)
        return self._firewall.submit(payload, is_exit=intent.is_exit, flatten=flatten)

    def _send(self, intent: Intent, request: _Request, *, is_written: bool = False) -> Outcome:
        with about(**fields_of(intent)):
            if not is_written:
                self._journal.move(intent, "submitting", sent_at=self._clock.now())
            return self._ask(intent, request)

    def _ask(self, intent: Intent, request: _Request) -> Outcome:
        self._reached("submitting")
        self.metrics.order_leaves()
        left = time.perf_counter()
        try:
            document = request.send()
        except BlockedError as error:
            return self.refuse(intent, error.reasons[0])
        except RateLimitedError as error:
            self.metrics.rate_limited()
            return replace(self.refuse(intent, RATE), retry_after=error.retry_after)
        except RejectedError as error:
            self._answered(left, "rejected")
            return self._rejected(intent, request, error)
        except UncertainError as error:
            self.metrics.submitted()
            self.metrics.broker_error("uncertain")
            logger.warning("no certain answer to an order request: %s", error)
            self.failures_in_a_row += 1
            self._mark_unknown(intent, request, str(error))
            self.resolve()
            return self._outcome(intent)
        self._reached("sent")
        self._answered(left)
        self.failures_in_a_row = 0
        logger.info("order accepted", extra={"order_id": document.get("id"), "terms": intent.terms.payload("")})
        self._take(document, "submit")
        return Outcome("accepted")

    def _answered(self, left: float, error: str | None = None) -> None:
        self.metrics.submitted()
        self.metrics.submit_acked(time.perf_counter() - left)
        if error is not None:
            self.metrics.broker_error(error)

    def _rejected(self, intent: Intent, request: _Request, error: RejectedError) -> Outcome:
        """A definite no; to a new price it is no failure of the broker's: the order may have been filled meanwhile."""
        if error.is_duplicate_key:
            self._mark_unknown(intent, request, error.message)
            self.resolve()
            return self._outcome(intent)
        if not request.replaces:
            self.failures_in_a_row += 1
        existing = "" if error.existing_order_id is None else f" (order {error.existing_order_id})"
        return self.refuse(intent, REJECTED, f"{error.code or error.status}: {error.message}{existing}")

    def refuse(self, intent: Intent, reason: str, message: str | None = None) -> Outcome:
        """End a committed intent of which nothing has come to the broker."""
        self.metrics.rejected(reason)
        logger.info("order refused", extra={**fields_of(intent), "reason": reason, "detail": message})
        self._journal.move(intent, "rejected", reason=reason)
        self.tracker.forget(intent)
        return Outcome("rejected", reason, message)

    def _outcome(self, intent: Intent) -> Outcome:
        known = self.tracker.order_of(intent.client_order_id)
        return Outcome("unknown" if known is None else "accepted")

    def _take(self, document: Document, source: Source) -> None:
        self._reached("answered")
        event = snapshot_event(document)
        self.tracker.apply(event)
        self._events.take([event], source)
        self._reached("recorded")

    # Taking back ------------------------------------------------------------------------------------------------------

    def cancel(self, order_id: str) -> bool:
        """Ask for the end of an order; False when the broker refused or did not answer (it may have ended)."""
        try:
            self._firewall.cancel(order_id)
        except BrokerError as error:
            self.metrics.broker_error(_kind(error))
            logger.info("cancel was not taken: %s", error, extra={"order_id": order_id})
            return False
        self._reached("cancelled")
        return True

    def withdraw(self, intent: Intent, reason: str, *, expired: bool = False) -> None:
        """End an intent that was committed and never sent."""
        self._journal.move(intent, "expired" if expired else "canceled", reason=reason)
        self._reached("withdrawn")
        self.tracker.forget(intent)

    # Unknown orders ---------------------------------------------------------------------------------------------------

    @property
    def unknown(self) -> tuple[Intent, ...]:
        """Intents without a certain answer, oldest first."""
        return tuple(each.intent for each in self._unknown.values())

    def is_unknown(self, client_order_id: str) -> bool:
        """Whether an intent has no certain answer yet."""
        return client_order_id in self._unknown

    @property
    def unresolved(self) -> tuple[str, ...]:
        """Client order ids whose look-ups still fail after the last planned one."""
        return tuple(key for key, each in self._unknown.items() if each.is_late)

    @property
    def next_look_up_ns(self) -> int | None:
        """When :meth:`resolve` has something to do; None while no order is unknown."""
        return min((each.due_ns for each in self._unknown.values()), default=None)

    def adopt_unknown(self, intent: Intent, sent_ns: int, *, goes_on: bool = False) -> None:
        """Take over an intent that an earlier process left without a certain answer; :meth:`resolve` asks next.

        A request that left later than now left by a clock that has been set back: its time counts from now. An entry
        after another may have been its replacement, which sent as an order of its own would be a second one.

        ``goes_on``: that process may have died before it left. What has not arrived at the last planned look-up stays
        committed and held back, neither sent again nor given up: the caller sends or refuses it.
        """
        self.tracker.expect(intent)
        now = self._clock.now_ns()
        request = None if intent.seq > 0 and not intent.is_exit else _Request(lambda: self._submit(intent, None))
        self._unknown[intent.client_order_id] = _Unknown(
            intent, min(sent_ns, now), request, due_ns=now, goes_on=goes_on
        )

    def end_unknown(self, of: Callable[[Intent], bool]) -> None:
        """Unknown orders that are to end: what turns up is cancelled, what does not is given up and not sent again."""
        for each in self._unknown.values():
            if of(each.intent):
                each.request, each.goes_on, each.ends = None, False, True

    def take(self, document: Document) -> None:
        """Take the broker's own word on one order. Raises as :meth:`take_all`."""
        self.take_all([document])

    def take_all(self, documents: Iterable[Document]) -> int:
        """Take the broker's own word on orders, found by looking; how many of them cannot be read.

        What repeats an event of the order is neither kept nor taken again, unless that event is not kept here.

        Raises:
            StoreUnavailableError: too much waits to be stored; it was taken.
        """
        is_known = self.tracker.repeats if self._keeps_stream else self.tracker.knows
        fresh: dict[bytes, OrderEvent] = {}
        bad = 0
        with collection_paused():
            for document in documents:
                value = snapshot_event(document)
                event = self.tracker.read(value)
                if event is None or event.order_id is None:
                    bad += 1
                elif not is_known(event):
                    fresh[value] = event
        changed = sum(self.tracker.take(event) is not None for event in fresh.values())
        self._reached("reconciled")
        if fresh:
            self._events.take(list(fresh), "reconcile")
        if changed:
            self.metrics.reconcile_updated(changed)
        return bad

    def _mark_unknown(self, intent: Intent, request: _Request, reason: str) -> None:
        self._journal.move(intent, "unknown", reason=reason[:128])
        now = self._clock.now_ns()
        self._unknown[intent.client_order_id] = _Unknown(intent, now, request, due_ns=now)

    def resolve(self) -> None:
        """Look for the unknown orders whose time has come.

        Found: adopted. Not found at the last planned look-up: the same request again under the same key as often as
        allowed, each with look-ups of its own, then ``submit_not_received``; what goes on is left to who adopted it.
        While the broker does not answer nothing is concluded.
        """
        now = self._clock.now_ns()
        for key, each in [*self._unknown.items()]:
            if self.tracker.order_of(key) is not None:
                self._unknown.pop(key)
                self._arrived(each)
            elif each.due_ns <= now:
                self._look_up(key, each)

    def _look_up(self, key: str, each: _Unknown) -> None:
        now = self._clock.now_ns()
        is_last = now - each.sent_ns >= _LAST_NS
        try:
            found = self._reader.order_by_client_id(key)
        except BrokerError as error:
            self.metrics.broker_error(_kind(error))
            each.is_late = is_last
            each.due_ns = _next(each.sent_ns, now)
            return
        if found is not None:
            logger.info("unknown order found", extra={**fields_of(each.intent), "order_id": found.get("id")})
            self._unknown.pop(key)
            self._take(found, "reconcile")
            self._arrived(each)
        elif not is_last:
            each.due_ns = _next(each.sent_ns, now)
        elif each.goes_on:
            self._unknown.pop(key)
        elif each.request is not None and each.resends < self._max_retries:
            resends = each.resends + 1
            self._unknown.pop(key)
            self._send(each.intent, each.request)
            if key in self._unknown:
                self._unknown[key].resends = resends
        else:
            self._unknown.pop(key)
            self.refuse(each.intent, NOT_RECEIVED)

    def _arrived(self, each: _Unknown) -> None:
        order = self.tracker.order_of(each.intent.client_order_id)
        if each.ends and order is not None and order.is_open:
            self.cancel(order.order_id)


def _next(sent_ns: int, now_ns: int) -> int:
    """The next planned look-up; beyond the last of them they go on at a distance."""
    planned = (sent_ns + int(seconds * NANOSECONDS) for seconds in LOOK_UPS)
    return next((at for at in planned if at > now_ns), now_ns + _LATER_NS)


def _kind(error: BrokerError) -> str:
    if isinstance(error, RejectedError):
        return "rejected"
    return "rate_limited" if isinstance(error, RateLimitedError) else "uncertain"
