"""What the broker says of market and assets: its clock against our calendar, and what each asset allows.

``check`` and ``refresh`` ask the broker and are for a thread that may wait; the properties only look. Until the broker
has been asked, calendars do not agree and no asset is tradable: what is not known is not traded on.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Protocol

from torghut_runtime.broker.protocol import BrokerError, Document
from torghut_runtime.clock import Clock, SystemClock
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.orders.increments import US_SHARES, Increments

TOLERANCE: Final = timedelta(seconds=60)
MISMATCH: Final = "calendar_broker_mismatch"
_ONE_BY_ONE: Final = 20
"""Up to so many symbols are asked for singly; the list of all assets is long."""


class FactsReader(Protocol):
    """The reading client, as far as it is needed here."""

    def clock(self) -> Document:
        """The broker's clock."""
        ...

    def asset(self, symbol: str) -> Document | None:
        """One asset, None where the broker has none of that name."""
        ...

    def assets(self) -> list[Document]:
        """Every active asset."""
        ...


def calendar_fault(document: Mapping[str, Any], now: datetime, hours: SessionHours) -> str | None:
    """How the broker's clock differs from ours and from the calendar by more than a minute; None when it does not."""
    try:
        told = datetime.fromisoformat(str(document["timestamp"]))
        is_open = document["is_open"] is True
        next_open, next_close = (datetime.fromisoformat(str(document[key])) for key in ("next_open", "next_close"))
        apart = abs(told.astimezone(UTC) - now)
    except (KeyError, TypeError, ValueError):
        return "the broker's clock cannot be read"
    if apart > TOLERANCE:
        return f"the broker's clock is {apart.total_seconds():.0f} s apart"
    session = hours.at(now)
    expected = hours.after(now) if session is None else session
    near = [session.closes_at if session else expected.opens_at, session.opens_at if session else expected.opens_at]
    if is_open != (session is not None) and min(abs(now - moment) for moment in near) > TOLERANCE:
        return f"the broker says that it is {'open' if is_open else 'closed'}"
    if is_open and session is not None and abs(next_close - session.closes_at) > TOLERANCE:
        return f"the broker closes at {next_close.isoformat()}, the calendar at {session.closes_at.isoformat()}"
    if not is_open and session is None and abs(next_open - expected.opens_at) > TOLERANCE:
        return f"the broker opens at {next_open.isoformat()}, the calendar at {expected.opens_at.isoformat()}"
    return None


def _nearest(document: Mapping[str, Any], before: datetime, after: datetime) -> datetime:
    """Of the time that a call took, the moment that is nearest to what the broker told: the way is no difference."""
    try:
        told = datetime.fromisoformat(str(document["timestamp"])).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return after
    return min(max(told, before), after)


class CalendarGuard:
    """Compares the broker's clock with the calendar; entries wait while they are more than a minute apart."""

    def __init__(self, reader: FactsReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._hours = SessionHours()
        self._fault: str | None = "the broker's clock has not been read"

    def check(self) -> str | None:
        """Ask the broker; what is wrong, None when nothing is. No answer leaves what was found before."""
        if isinstance(self._clock, SystemClock) and abs(self._clock.jump) > TOLERANCE:
            # Database and broker date by clocks of their own: which of the two is right, nobody here can tell.
            self._fault = f"the machine's clock was set by {self._clock.jump.total_seconds():.0f} s; restart"
            return self._fault
        before = self._clock.now()
        try:
            document = self._reader.clock()
        except BrokerError:
            return self._fault
        self._fault = calendar_fault(document, _nearest(document, before, self._clock.now()), self._hours)
        return self._fault

    @property
    def agrees(self) -> bool:
        """Whether calendar and broker agree."""
        return self._fault is None

    @property
    def fault(self) -> str | None:
        """What was found last."""
        return self._fault


@dataclass(frozen=True, slots=True)
class AssetFacts:
    """What the broker allows with an asset."""

    tradable: bool
    shortable: bool
    increments: Increments = US_SHARES


UNKNOWN_ASSET: Final = AssetFacts(tradable=False, shortable=False)
_SHARE: Final = Decimal(1)
_SMALLEST_PART: Final = Decimal("0.000000001")
"""Of a share or a price; brokers split nothing further."""


def facts_of(document: Mapping[str, Any]) -> AssetFacts:
    """An asset's document as facts; whatever is missing is not allowed, a step that cannot be read is none."""
    active = document.get("status") == "active"
    whole = None if document.get("fractionable") is True else _SHARE
    return AssetFacts(
        tradable=active and document.get("tradable") is True,
        shortable=active and document.get("shortable") is True,
        increments=Increments(
            price=_increment(document.get("price_increment")),
            qty=_increment(document.get("min_trade_increment")) or whole,
            min_qty=_increment(document.get("min_order_size")) or Decimal(0),
        ),
    )


def _increment(value: object) -> Decimal | None:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= _SMALLEST_PART else None


class AssetBook:
    """Facts of the symbols that are traded; read again when whoever owns it says so."""

    def __init__(self, reader: FactsReader) -> None:
        self._reader = reader
        self._facts: Mapping[str, AssetFacts] = {}

    def refresh(self, symbols: Collection[str]) -> None:
        """Ask the broker.

        Raises:
            BrokerError: it does not answer; what was known stays.
        """
        if len(symbols) <= _ONE_BY_ONE:
            found = [document for symbol in sorted(symbols) if (document := self._reader.asset(symbol)) is not None]
        else:
            found = self._reader.assets()
        self._facts = {name: facts_of(each) for each in found if (name := str(each.get("symbol"))) in symbols}

    def of(self, symbol: str) -> AssetFacts:
        """What is known of a symbol."""
        return self._facts.get(symbol, UNKNOWN_ASSET)
