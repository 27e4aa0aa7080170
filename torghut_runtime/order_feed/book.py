"""Which events belong to which order, and how orders refer to each other; again a function of the set of events.

An event with the broker's id belongs to that order. One with only the client's id belongs to the one order that bears
it, or to an order of its own until one does. Where two orders bear one client id, the order whose broker time is
smaller holds it. Replacements are linked on both sides, whichever of them says so.

The book is what an ingest transaction folds in, what verification recomputes, and what an engine may keep in memory.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import msgspec

from torghut_runtime.order_feed.event import OrderEvent, key_order
from torghut_runtime.order_feed.state import TERMS, Fill, Headline, OrderFold, OrderState

OrderRef = tuple[str, str | None, str | None]
"""Account, broker's order id, and the client's id where there is no broker's id."""
ClientRef = tuple[str, str]
_LATE: Final = 2**63

UNKNOWN_TO_US: Final = "order_unknown_to_us"
CLIENT_ID_REUSED: Final = "client_order_id_reused"
IDENTITY_CONFLICT: Final = "identity_conflict"
ILLEGAL_MOVE: Final = "illegal_intent_move"
FOLD_KINDS: Final = ("overfill", "fill_gap", UNKNOWN_TO_US, CLIENT_ID_REUSED, ILLEGAL_MOVE)
"""Discrepancies that the fold opens and closes itself."""


_facts_of: Final[Callable[[OrderEvent], tuple[Any, ...]]] = attrgetter(
    "time_ns", "client_order_id", "status", "claimed_qty", "claimed_price", *TERMS
)
"""Everything that the fold takes from an event that is neither a fill nor a correction."""


class _Order:
    __slots__ = ("client_ids", "client_key", "client_order_id", "first_ns", "folded", "own")

    def __init__(self) -> None:
        self.own = OrderFold()
        self.folded: OrderFold | None = None
        """With the events that bear only a client id of this order; ``None`` while there are none."""
        self.first_ns = _LATE
        self.client_key: tuple[int, bytes] | None = None
        self.client_order_id: str | None = None
        self.client_ids: set[str] = set()

    @property
    def whole(self) -> OrderFold:
        return self.own if self.folded is None else self.folded


class Effect(msgspec.Struct, frozen=True, gc=False):
    """What one event did to its order."""

    ref: OrderRef
    applied: bool
    out_of_order: bool


class Order(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One order as it is to be stored."""

    ref: OrderRef
    client_order_id: str | None
    state: OrderState
    holds_client_id: bool
    first_ns: int
    discrepancies: frozenset[str]
    absorbed: tuple[str, ...] = ()
    """Client ids whose order without a broker's id has become this one."""


@dataclass(frozen=True, slots=True)
class Link:
    """The intent behind an order."""

    intent_id: str
    trade_decision_id: str | None
    strategy_id: str | None
    intent_seq: int = 0
    state: str = "initialised"
    """What is stored of the intent, with ``reason`` and the order that it was moved by."""
    reason: str | None = None
    order_id: str | None = None


@dataclass(slots=True)
class OrderBook:
    """Orders and what belongs to them; ``touched`` collects the orders that an added event may have changed."""

    _events: dict[bytes, OrderEvent] = field(default_factory=dict[bytes, OrderEvent])
    _orders: dict[tuple[str, str], _Order] = field(default_factory=dict[tuple[str, str], _Order])
    _strays: dict[ClientRef, OrderFold] = field(default_factory=dict[ClientRef, OrderFold])
    _bearers: dict[ClientRef, set[str]] = field(default_factory=lambda: defaultdict[ClientRef, set[str]](set))
    _holders: dict[ClientRef, str] = field(default_factory=dict[ClientRef, str])
    _replacing: dict[tuple[str, str], set[str]] = field(
        default_factory=lambda: defaultdict[tuple[str, str], set[str]](set)
    )
    _replaced: dict[tuple[str, str], set[str]] = field(
        default_factory=lambda: defaultdict[tuple[str, str], set[str]](set)
    )

    def __contains__(self, ref: OrderRef) -> bool:
        return (ref[0], ref[1]) in self._orders

    def load(self, events: Iterable[OrderEvent]) -> None:
        """Take events that are stored already."""
        for event in events:
            self._place(event)

    def add(self, event: OrderEvent) -> Effect:
        """Take one new event and say what it did."""
        before_fold = self._fold_before(event)
        before: Headline | None = None if before_fold is None else before_fold.headline()
        behind = before_fold is not None and before_fold.is_behind(event)
        ref = self._place(event)
        return Effect(ref, self._fold_of(ref).headline() != before, behind)

    def event(self, fingerprint: bytes) -> OrderEvent | None:
        """The event of an identity, with the content that is kept."""
        return self._events.get(fingerprint)

    def repeats(self, event: OrderEvent) -> bool:
        """Whether an event of its order, at the same time, says all that a snapshot says: it can change nothing."""
        order = self._orders.get((event.account, event.order_id or ""))
        return order is not None and any(_facts_of(each) == _facts_of(event) for each in order.own.events.values())

    def replace(self, event: OrderEvent) -> None:
        """Give an identity other content: everything is placed again, for it may name another order."""
        events = {**self._events, event.fingerprint: event}
        self._events.clear()
        for index in (self._orders, self._strays, self._bearers, self._holders, self._replacing, self._replaced):
            index.clear()
        self.load(events.values())

    def forget(self, ref: OrderRef) -> None:
        """Keep nothing of an order with a broker's id of which no event comes any more."""
        account, order_id, _ = ref
        order = self._orders.pop((account, order_id or ""), None)
        if order is None or order_id is None:
            return
        for fingerprint in order.whole.events:
            self._events.pop(fingerprint, None)
        for each in order.client_ids:
            client = (account, each)
            self._bearers[client].discard(order_id)
            if not self._bearers[client]:
                del self._bearers[client]
            if self._holders.get(client) == order_id:
                del self._holders[client]
                self._strays.pop(client, None)
        self._replacing.pop((account, order_id), None)
        self._replaced.pop((account, order_id), None)
        for event in order.own.events.values():
            if event.replaces is not None:
                self._replaced.get((account, event.replaces), set[str]()).discard(order_id)
            if event.replaced_by is not None:
                self._replacing.get((account, event.replaced_by), set[str]()).discard(order_id)

    def fingerprints(self, ref: OrderRef) -> Iterable[bytes]:
        """The identities of the events of an order."""
        return self._fold_of(ref).events

    def _fold_before(self, event: OrderEvent) -> OrderFold | None:
        if event.order_id is not None:
            order = self._orders.get((event.account, event.order_id))
            if order is not None:
                return order.whole
            client = None if event.client_order_id is None else (event.account, event.client_order_id)
            adopted = client is not None and client not in self._holders
            return self._strays.get(client) if adopted and client is not None else None
        client = (event.account, event.client_order_id or "")
        holder = self._holders.get(client)
        return self._strays.get(client) if holder is None else self._orders[event.account, holder].whole

    def _fold_of(self, ref: OrderRef) -> OrderFold:
        account, order_id, client_order_id = ref
        if order_id is not None:
            return self._orders[account, order_id].whole
        return self._strays[account, client_order_id or ""]

    def _place(self, event: OrderEvent) -> OrderRef:
        account = event.account
        self._events[event.fingerprint] = event
        if event.order_id is None:
            client = (account, event.client_order_id or "")
            self._strays.setdefault(client, OrderFold()).add(event)
            holder = self._holders.get(client)
            if holder is None:
                return account, None, client[1]
            self._regroup(account, holder)
            return account, holder, None
        key = (account, event.order_id)
        order = self._orders.get(key)
        if order is None:
            order = self._orders[key] = _Order()
        order.own.add(event)
        if order.folded is not None:
            order.folded.add(event)
        if event.time_ns is not None:
            order.first_ns = min(order.first_ns, event.time_ns)
        self._take_client_id(order, event)
        for client_order_id in order.client_ids:
            self._hold((account, client_order_id))
        if event.replaces is not None:
            self._replaced[account, event.replaces].add(event.order_id)
        if event.replaced_by is not None:
            self._replacing[account, event.replaced_by].add(event.order_id)
        return account, event.order_id, None

    def _take_client_id(self, order: _Order, event: OrderEvent) -> None:
        client_order_id = event.client_order_id
        if client_order_id is None:
            return
        key = (_LATE if event.time_ns is None else event.time_ns, event.fingerprint)
        if order.client_key is None or key < order.client_key:
            order.client_key, order.client_order_id = key, client_order_id
        order.client_ids.add(client_order_id)
        self._bearers[event.account, client_order_id].add(event.order_id or "")

    def _hold(self, client: ClientRef) -> None:
        account, client_order_id = client
        bearers = self._bearers[client]
        if len(bearers) == 1 and client in self._holders:
            return
        own = [each for each in bearers if self._orders[account, each].client_order_id == client_order_id]
        holder = min(own or bearers, key=lambda each: (self._orders[account, each].first_ns, each))
        former = self._holders.get(client)
        if former == holder:
            return
        self._holders[client] = holder
        if client in self._strays:
            self._regroup(account, holder)
            if former is not None:
                self._regroup(account, former)

    def _regroup(self, account: str, order_id: str) -> None:
        order = self._orders[account, order_id]
        held = [
            self._strays[account, each]
            for each in order.client_ids
            if self._holders.get((account, each)) == order_id and (account, each) in self._strays
        ]
        if not held:
            order.folded = None
            return
        order.folded = OrderFold()
        for each in (order.own, *held):
            for event in each.events.values():
                order.folded.add(event)

    def refs(self) -> list[OrderRef]:
        """All orders, those without a broker's id last."""
        known: list[OrderRef] = [(account, order_id, None) for account, order_id in self._orders]
        return known + [
            (account, None, client) for account, client in self._strays if (account, client) not in self._holders
        ]

    def new_fills(self, ref: OrderRef, fingerprints: "set[bytes]") -> tuple[Fill, ...]:
        """The fills of an order whose stored rows may differ after these events."""
        return self._fold_of(ref).new_fills(fingerprints)

    def order(self, ref: OrderRef) -> Order:
        """One order with its links on both sides."""
        account, order_id, client_order_id = ref
        if order_id is None:
            folded = self._fold_of(ref)
            state = folded.state()
            return Order(
                ref=ref,
                client_order_id=client_order_id,
                state=state,
                holds_client_id=True,
                first_ns=_first(folded),
                discrepancies=state.discrepancies,
            )
        order = self._orders[account, order_id]
        state = order.whole.state()
        replacing, replaced = self._replacing.get((account, order_id)), self._replaced.get((account, order_id))
        if state.replaces is None and replacing:
            state = msgspec.structs.replace(state, replaces=min(replacing))
        if state.replaced_by is None and replaced:
            state = msgspec.structs.replace(state, replaced_by=min(replaced))
        contested = False
        absorbed = list[str]()
        for each in order.client_ids:
            client = (account, each)
            contested = contested or len(self._bearers[client]) > 1
            if client in self._strays and self._holders.get(client) == order_id:
                absorbed.append(each)
        own = order.client_order_id
        return Order(
            ref=ref,
            client_order_id=own,
            state=state,
            holds_client_id=own is None or self._holders[account, own] == order_id,
            first_ns=order.first_ns,
            discrepancies=state.discrepancies | {CLIENT_ID_REUSED} if contested else state.discrepancies,
            absorbed=tuple(sorted(absorbed)),
        )


def _first(folded: OrderFold) -> int:
    return min((_LATE if e.time_ns is None else e.time_ns for e in folded.events.values()), default=_LATE)


def linked(orders: Mapping[OrderRef, Order], intents: Mapping[ClientRef, Link]) -> dict[OrderRef, Link]:
    """The intent of every order that has one: its own client id's, else that of the order it replaced."""
    found: dict[OrderRef, Link] = {}
    for ref, order in orders.items():
        at: Order | None = order
        seen = {ref}
        while at is not None:
            own = None if at.client_order_id is None else intents.get((ref[0], at.client_order_id))
            if own is not None:
                if at.holds_client_id:
                    found[ref] = own
                break
            replaces = at.state.replaces
            if replaces is None:
                break
            before = (ref[0], replaces, None)
            at = None if before in seen else orders.get(before)
            seen.add(before)
    return found


def newest(orders: Iterable[Order]) -> Order:
    """The order that speaks for an intent: the end of its chain of replacements, else the one with the latest start."""
    candidates = list(orders)
    if len(candidates) == 1:
        return candidates[0]
    ids = {order.ref[1] for order in candidates}
    last = [order for order in candidates if order.state.replaced_by not in ids or order.state.replaced_by is None]
    return max(last or candidates, key=_start)


def _start(order: Order) -> tuple[int, str]:
    return (order.first_ns if order.first_ns < _LATE else -1), order.ref[1] or ""


def stale_first(event: OrderEvent) -> tuple[int, bytes]:
    """Which of two contents of one identity is kept: the smaller broker time, then the smaller digest."""
    return key_order(event.time_ns), event.content_sha256
