"""The state of one order as a pure function of the set of its events.

Order of arrival, repetition and the splitting into batches change nothing: every rule is a maximum, a set or an exact
sum. :class:`OrderFold` takes events one by one, so that a batch can ask for the state after each; :func:`fold` takes
all at once. Which events belong to which order, and how orders refer to each other, is :mod:`book`'s business.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, Literal

import msgspec

from torghut_runtime.order_feed.event import (
    ACTIVITY_FILL,
    CORRECTIONS,
    PENDING,
    RANKS,
    STREAM_FILLS,
    TERMINAL,
    TERMINAL_RANK,
    UNKNOWN,
    VOIDING,
    OrderEvent,
    key_order,
)
from torghut_runtime.order_feed.values import EXACT, PLACES

ZERO: Final = Decimal(0)
FillState = Literal["counted", "matched", "voided"]
StatusKey = tuple[int, Decimal, int, int, bytes]
_PLAIN_TYPES: Final = STREAM_FILLS | RANKS.keys()
"""Types of events that neither ask for a cancel or replace nor refuse one."""
_NO_CLAIM: Final = Decimal(-1)
_EARLY_RANK: Final = 20
TERMS: Final = (
    "symbol",
    "side",
    "order_type",
    "time_in_force",
    "qty",
    "notional",
    "limit_price",
    "stop_price",
    "extended_hours",
    "replaces",
    "replaced_by",
    "submitted_ns",
)
"""What an event says of the order's terms; of each the newest event counts that says it."""
_QTY: Final = TERMS.index("qty")
_terms_of: Final[Callable[[OrderEvent], tuple[Any, ...]]] = attrgetter(*TERMS)


class Fill(msgspec.Struct, frozen=True, gc=False):
    """One execution of an order and whether it counts."""

    execution_id: str
    price: Decimal
    qty: Decimal
    cum_qty: Decimal | None
    time_ns: int | None
    state: FillState
    fingerprint: bytes


class OrderState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known about one order; times are broker times in nanoseconds since 1970 (UTC)."""

    status: str = UNKNOWN
    filled_qty: Decimal = ZERO
    avg_fill_price: Decimal | None = None
    fills_complete: bool = True
    pending_cancel: bool = False
    pending_replace: bool = False
    symbol: str | None = None
    side: str | None = None
    order_type: str | None = None
    time_in_force: str | None = None
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    extended_hours: bool | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    submitted_ns: int | None = None
    acked_ns: int | None = None
    first_fill_ns: int | None = None
    last_fill_ns: int | None = None
    terminal_ns: int | None = None
    last_update_ns: int | None = None
    discrepancies: frozenset[str] = frozenset()
    fills: tuple[Fill, ...] = ()


Headline = tuple[str, Decimal, Decimal | None]
"""Status, filled quantity and average price: what an event must change to count as an applied update."""


def takes_part(event: OrderEvent) -> bool:
    """Whether an event speaks about status and quantity: not with a status text that nobody knows."""
    status = event.status
    return status is None or status in RANKS or status in PENDING or event.event_type in CORRECTIONS


def rank_of(event: OrderEvent) -> int | None:
    """Rank of the status that an event carries; a pending cancel or replace leaves the order working."""
    if event.status in PENDING:
        return RANKS["new"]
    return None if event.status is None else RANKS.get(event.status)


def status_key(event: OrderEvent, rank: int) -> StatusKey:
    """Sort key of the status that an event carries; the greatest one of an order wins."""
    claim = _NO_CLAIM if event.claimed_qty is None else event.claimed_qty
    if rank >= TERMINAL_RANK:
        return 1, claim, rank, key_order(event.time_ns), event.fingerprint
    return 0, claim, key_order(event.time_ns), rank, event.fingerprint


@dataclass(slots=True)
class _Tally:
    """Running maxima and sums over the events that count."""

    best: StatusKey | None = None
    best_event: OrderEvent | None = None
    claim: tuple[Decimal, int, bytes] | None = None
    claim_price: tuple[Decimal, int, bytes, Decimal] | None = None
    claim_since: int | None = None
    filled: Decimal = ZERO
    value: Decimal = ZERO
    first_ns: int | None = None
    last_ns: int | None = None

    def take_status(self, event: OrderEvent) -> None:
        rank = rank_of(event)
        if rank is not None:
            key = status_key(event, rank)
            if self.best is None or key > self.best:
                self.best, self.best_event = key, event

    def take_claim(self, event: OrderEvent) -> None:
        claimed = event.claimed_qty
        if claimed is None:
            return
        moment = event.time_ns
        if self.claim is None or claimed > self.claim[0]:
            self.claim_since = moment
        elif claimed == self.claim[0] and moment is not None:
            self.claim_since = moment if self.claim_since is None else min(self.claim_since, moment)
        key = (claimed, key_order(moment), event.fingerprint)
        if self.claim is None or key > self.claim:
            self.claim = key
        if event.claimed_price is not None:
            priced = (*key, event.claimed_price)
            if self.claim_price is None or priced > self.claim_price:
                self.claim_price = priced

    def take_fill(self, price: Decimal, qty: Decimal, moment: int | None) -> None:
        self.filled = EXACT.add(self.filled, qty)
        self.value = EXACT.add(self.value, EXACT.multiply(price, qty))
        if moment is not None:
            self.first_ns = moment if self.first_ns is None else min(self.first_ns, moment)
            self.last_ns = moment if self.last_ns is None else max(self.last_ns, moment)


@dataclass(slots=True)
class _Quantity:
    filled: Decimal
    price: Decimal | None
    complete: bool
    overfilled: bool


class OrderFold:
    """An order that grows by events; repeated ones are the caller's to leave out."""

    __slots__ = (
        "_acked_ns",
        "_corrections",
        "_fills",
        "_fills_depend",
        "_known",
        "_last_update_ns",
        "_rejections",
        "_requests",
        "_tally",
        "_term_keys",
        "_terminal_ns",
        "_terms",
        "events",
    )

    def __init__(self) -> None:
        self.events: dict[bytes, OrderEvent] = {}
        self._tally = _Tally()
        self._fills: dict[str, OrderEvent] = {}
        self._corrections: list[OrderEvent] = []
        self._fills_depend = False
        self._terms: list[Any] = []
        """Values of ``TERMS``, each from the newest event that carries it, whose key is in ``_term_keys``."""
        self._term_keys: list[tuple[int, bytes]] = []
        self._acked_ns: int | None = None
        self._last_update_ns: int | None = None
        self._terminal_ns = -1
        self._requests: dict[str, int] = {}
        self._rejections: dict[str, int] = {}
        self._known: tuple[_Tally, _Quantity, str] | None = None

    def add(self, event: OrderEvent) -> None:
        """Take one more event."""
        self._known = None
        self.events[event.fingerprint] = event
        self._take_terms(event)
        moment = event.time_ns
        if moment is not None and (self._last_update_ns is None or moment > self._last_update_ns):
            self._last_update_ns = moment
        if not takes_part(event):
            return
        if event.event_type in CORRECTIONS:
            self._corrections.append(event)
        self._take_times(event)
        self._tally.take_status(event)
        self._tally.take_claim(event)
        if _is_fill(event):
            self._take_fill(event)

    def _take_terms(self, event: OrderEvent) -> None:
        key = (key_order(event.time_ns), event.fingerprint)
        values, terms, keys = _terms_of(event), self._terms, self._term_keys
        if not terms:
            self._terms, self._term_keys = list(values), [key] * len(values)
            return
        for index, value in enumerate(values):
            if value is not None and (terms[index] is None or key > keys[index]):
                terms[index], keys[index] = value, key

    def _take_times(self, event: OrderEvent) -> None:
        rank, moment = rank_of(event), key_order(event.time_ns)
        if rank is not None and rank >= _EARLY_RANK and event.time_ns is not None:
            self._acked_ns = event.time_ns if self._acked_ns is None else min(self._acked_ns, event.time_ns)
        if rank is not None and rank >= TERMINAL_RANK:
            self._terminal_ns = max(self._terminal_ns, moment)
        if event.event_type in _PLAIN_TYPES and event.status in RANKS:
            return
        for name in PENDING:
            if event.event_type == name or event.status == name:
                self._requests[name] = max(self._requests.get(name, -1), moment)
            if event.event_type == f"order_{name.removeprefix('pending_')}_rejected":
                self._rejections[name] = max(self._rejections.get(name, -1), moment)

    def _take_fill(self, event: OrderEvent) -> None:
        identifier = fill_id(event)
        known = self._fills.get(identifier)
        if known is not None or event.event_type not in STREAM_FILLS:
            self._fills_depend = True
        if known is None or _fill_priority(event) < _fill_priority(known):
            self._fills[identifier] = event
        if not self._fills_depend and event.fill_price is not None and event.fill_qty is not None:
            self._tally.take_fill(event.fill_price, event.fill_qty, event.time_ns)

    def _current(self) -> _Tally:
        """The tally under corrections and void or matched fills, which depend on the set as a whole."""
        if not self._corrections and not self._fills_depend:
            return self._tally
        tally = _Tally()
        since = self._corrected_at
        taking = [event for event in self.events.values() if takes_part(event)]
        later = [event for event in taking if key_order(event.time_ns) >= since]
        statuses = later if since >= 0 and any(rank_of(event) is not None for event in later) else taking
        for event in statuses:
            tally.take_status(event)
        for event in later:
            tally.take_claim(event)
        for fill in self.fills():
            if fill.state == "counted":
                tally.take_fill(fill.price, fill.qty, fill.time_ns)
        return tally

    @property
    def _corrected_at(self) -> int:
        return max((key_order(event.time_ns) for event in self._corrections), default=-1)

    def fills(self) -> tuple[Fill, ...]:
        """All executions with whether they count, by execution id."""
        if not self._corrections and not self._fills_depend:
            return tuple(_fill(identifier, event, set(), set()) for identifier, event in sorted(self._fills.items()))
        voided = {_voided_id(event) for event in self._corrections if event.event_type in VOIDING}
        streamed = {
            (event.claimed_qty, event.fill_price, event.fill_qty)
            for event in self._fills.values()
            if event.event_type in STREAM_FILLS
        }
        return tuple(_fill(identifier, event, voided, streamed) for identifier, event in sorted(self._fills.items()))

    def new_fills(self, fingerprints: "set[bytes] | frozenset[bytes]") -> tuple[Fill, ...]:
        """The executions whose stored row may differ after these events were added."""
        if self._corrections or self._fills_depend:
            return self.fills()
        return tuple(
            _fill(identifier, event, set(), set())
            for identifier, event in self._fills.items()
            if event.fingerprint in fingerprints
        )

    def _quantity(self, tally: _Tally) -> _Quantity:
        claim = None if tally.claim is None else tally.claim[0]
        ordered = self._terms[_QTY] if self._terms else None
        overfilled = ordered is not None and ordered > 0 and tally.filled > ordered
        if claim is not None and (overfilled or self._correction_names_no_fill()):
            filled = claim
        else:
            filled = tally.filled if claim is None else max(claim, tally.filled)
        complete = filled == tally.filled
        if not filled:
            return _Quantity(ZERO, None, complete, overfilled)
        if complete:
            price: Decimal | None = EXACT.divide(tally.value, tally.filled).quantize(PLACES, context=EXACT)
        else:
            price = None if tally.claim_price is None else tally.claim_price[3]
        return _Quantity(filled, price, complete, overfilled)

    def _correction_names_no_fill(self) -> bool:
        return any(_voided_id(event) not in self._fills for event in self._corrections)

    def _status(self, tally: _Tally, filled: Decimal) -> str:
        event = tally.best_event
        if event is None or tally.best is None:
            status = UNKNOWN
        elif event.status in PENDING:
            status = "new"
        else:
            status = event.status or UNKNOWN
        ordered = self._terms[_QTY] if self._terms else None
        if ordered is not None and 0 < ordered <= filled:
            return "filled"
        if filled > 0 and (status == UNKNOWN or RANKS[status] <= _EARLY_RANK):
            return "partially_filled"
        return status

    def headline(self) -> Headline:
        """Status, filled quantity and average price after the events so far."""
        _, quantity, status = self._outcome()
        return status, quantity.filled, quantity.price

    def _outcome(self) -> tuple[_Tally, _Quantity, str]:
        """What the events so far come to; computed once until the next event."""
        if self._known is None:
            tally = self._current()
            quantity = self._quantity(tally)
            self._known = (tally, quantity, self._status(tally, quantity.filled))
        return self._known

    def is_behind(self, event: OrderEvent) -> bool:
        """Whether the status of ``event`` is older than the order's newest."""
        best = self._tally.best
        if best is None or not takes_part(event):
            return False
        rank = rank_of(event)
        return rank is not None and status_key(event, rank) < best

    def state(self) -> OrderState:
        """Everything that is known after the events so far."""
        tally, quantity, status = self._outcome()
        found = {"overfill"} if quantity.overfilled else set[str]()
        if not quantity.complete:
            found.add("fill_gap")
        first_ns, last_ns = tally.first_ns, tally.last_ns
        if quantity.filled and not quantity.complete and tally.claim_since is not None:
            first_ns = tally.claim_since if first_ns is None else min(first_ns, tally.claim_since)
            last_ns = tally.claim_since if last_ns is None else max(last_ns, tally.claim_since)
        if not quantity.filled:
            first_ns = last_ns = None
        terms = dict(zip(TERMS, self._terms, strict=False))
        return OrderState(
            status=status,
            filled_qty=quantity.filled,
            avg_fill_price=quantity.price,
            fills_complete=quantity.complete,
            pending_cancel=self._is_pending("pending_cancel"),
            pending_replace=self._is_pending("pending_replace"),
            acked_ns=self._acked_ns,
            first_fill_ns=first_ns,
            last_fill_ns=last_ns,
            terminal_ns=self._terminal_time(status, tally, last_ns),
            last_update_ns=self._last_update_ns,
            discrepancies=frozenset(found),
            fills=self.fills(),
            **terms,
        )

    def _is_pending(self, name: str) -> bool:
        requested = self._requests.get(name)
        return requested is not None and requested > max(self._rejections.get(name, -1), self._terminal_ns)

    def _terminal_time(self, status: str, tally: _Tally, last_fill_ns: int | None) -> int | None:
        if status not in TERMINAL:
            return None
        event = tally.best_event
        if tally.best is not None and tally.best[0] == 1 and event is not None and event.time_ns is not None:
            return event.time_ns
        return last_fill_ns if last_fill_ns is not None else self._last_update_ns


def _is_fill(event: OrderEvent) -> bool:
    if not event.has_fill:
        return False
    if event.event_type in STREAM_FILLS or event.event_type == ACTIVITY_FILL:
        return True
    own = event.execution_id
    return event.event_type == "trade_correct" and own is not None and own != _voided_id(event)


def fill_id(event: OrderEvent) -> str:
    """The key of a fill within its account: the broker's execution id, or one derived from the event."""
    return event.execution_id if event.execution_id is not None else f"s:{event.fingerprint.hex()}"


def _fill_priority(event: OrderEvent) -> tuple[bool, bytes]:
    return event.event_type not in STREAM_FILLS, event.fingerprint


def _voided_id(event: OrderEvent) -> str | None:
    return event.previous_execution_id or event.execution_id


def _fill(
    identifier: str,
    event: OrderEvent,
    voided: "set[str | None]",
    streamed: "set[tuple[Decimal | None, Decimal | None, Decimal | None]]",
) -> Fill:
    price, qty = event.fill_price, event.fill_qty
    assert price is not None
    assert qty is not None
    state: FillState = "counted"
    if identifier in voided:
        state = "voided"
    elif event.event_type == ACTIVITY_FILL and (event.claimed_qty, price, qty) in streamed:
        state = "matched"
    return Fill(identifier, price, qty, event.claimed_qty, event.time_ns, state, event.fingerprint)


def fold(events: Iterable[OrderEvent]) -> OrderState:
    """The state of one order from the set of its events."""
    folded = OrderFold()
    for event in events:
        if event.fingerprint not in folded.events:
            folded.add(event)
    return folded.state()
