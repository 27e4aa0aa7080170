"""What is written down about decisions and orders before and after they meet the broker.

The protocol, and the journal in memory that a replay keeps. The durable one is
:mod:`torghut_runtime.storage.order_journal`. Events of orders are the order feed's business: here stands only how they
are handed to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from torghut_runtime.order_feed.event import TERMINAL, Source
from torghut_runtime.orders.model import Decision, Intent

IntentState = Literal["initialised", "submitting", "unknown", "rejected", "expired", "canceled"]
"""States that the runtime sets; all others come from the fold of the broker's events."""


DecisionStatus = Literal["rejected", "planned"]


class Journal(Protocol):
    """Where decisions and intents are kept; each call is one small transaction."""

    def commit(self, decision: Decision, intent: Intent, *, sent_at: datetime | None = None) -> bool:
        """Write an intent, with the first one its decision and the recorded step behind it.

        ``sent_at``: the first intent of a decision is about to leave, and is written as ``submitting``. False when the
        key is known: nothing was written.

        Raises:
            StoreUnavailableError: nothing was written, and nothing may be sent.
        """
        ...

    def note(self, decision: Decision, status: DecisionStatus) -> bool:
        """Write a decision that sends no order of its own: refused, or only an order taken back; False when known."""
        ...

    def move(
        self, intent: Intent, state: IntentState, *, reason: str | None = None, sent_at: datetime | None = None
    ) -> None:
        """Note what became of an intent; only until the broker's events speak for it."""
        ...


class EventSink(Protocol):
    """Where the broker's events go after they were folded in memory, in the form of the order feed."""

    taken: int
    """Events that were handed on since the start."""
    stored: int
    """Of these, the first so many are stored."""

    def take(self, values: Sequence[bytes], source: Source) -> None:
        """Keep events, in this order; does not wait.

        Raises:
            StoreUnavailableError: so much waits that trading is to end until it is stored; these events are kept, too.
        """
        ...

    @property
    def is_full(self) -> bool:
        """Whether so many events wait to be stored that nothing may be entered (``backpressure``)."""
        ...


class NoEvents:
    """Keeps nothing: for replays, whose broker keeps its events itself."""

    taken = stored = 0
    is_full = False

    def take(self, values: Sequence[bytes], source: Source) -> None:
        """See :class:`EventSink`."""
        del values, source


@dataclass(frozen=True, slots=True)
class StoredIntent:
    """An intent as an earlier process left it."""

    intent: Intent
    decision: Decision | None
    state: str
    sent_at: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether nothing can come of it any more but a correction."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class WrittenIntent:
    """An intent as it stands in the journal."""

    intent: Intent
    decision_hash: str
    state: IntentState = "initialised"
    reason: str | None = None
    sent_at: datetime | None = None


@dataclass
class MemoryJournal:
    """A journal that lives as long as the process: for replays."""

    decisions: dict[str, Decision] = field(default_factory=dict[str, Decision])
    """By decision hash, in the order in which they were made."""
    intents: dict[str, WrittenIntent] = field(default_factory=dict[str, WrittenIntent])
    """By client order id."""
    statuses: dict[str, DecisionStatus] = field(default_factory=dict[str, DecisionStatus])
    """Of the decisions without an intent."""

    def commit(self, decision: Decision, intent: Intent, *, sent_at: datetime | None = None) -> bool:
        """See :class:`Journal`."""
        if intent.client_order_id in self.intents:
            return False
        self.decisions.setdefault(decision.decision_hash, decision)
        state: IntentState = "initialised" if sent_at is None else "submitting"
        self.intents[intent.client_order_id] = WrittenIntent(intent, decision.decision_hash, state, sent_at=sent_at)
        return True

    def note(self, decision: Decision, status: DecisionStatus) -> bool:
        """See :class:`Journal`."""
        if decision.decision_hash in self.decisions:
            return False
        self.decisions[decision.decision_hash] = decision
        self.statuses[decision.decision_hash] = status
        return True

    def move(
        self, intent: Intent, state: IntentState, *, reason: str | None = None, sent_at: datetime | None = None
    ) -> None:
        """See :class:`Journal`."""
        known = self.intents[intent.client_order_id]
        self.intents[intent.client_order_id] = replace(
            known, state=state, reason=reason or known.reason, sent_at=sent_at or known.sent_at
        )
