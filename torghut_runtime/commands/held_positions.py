"""What ``positions`` reads: our positions from the stored events, the broker's, and the difference in one symbol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from torghut_runtime.broker.alpaca import AlpacaReader, account_fault
from torghut_runtime.broker.protocol import BrokerError, Document
from torghut_runtime.canonical import utc_text
from torghut_runtime.clock import moment_of
from torghut_runtime.errors import UpstreamError
from torghut_runtime.market_data.sources import open_announcements
from torghut_runtime.orders.adjusting import Adjustment, adjustments_for, split_that_explains
from torghut_runtime.orders.broker_view import SPLITS_BACK
from torghut_runtime.orders.frozen_symbols import FrozenSymbol
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.reconcile import restore
from torghut_runtime.orders.splits import Split
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.settings import load_settings
from torghut_runtime.storage import position_adjustments
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.stored_orders import stored_orders
from torghut_runtime.trading_settings import TradingSettings, load_trading_settings

ZERO: Final = Decimal(0)
_AROUND: Final = timedelta(days=7)
"""Before the newest event: the broker's orders since then are compared with ours."""
_NEW_YORK: Final = ZoneInfo("America/New_York")


@dataclass(frozen=True)
class HeldPositions:
    """One account: ours as stored, the broker's as asked."""

    account_label: str
    tracker: OrderTracker
    account: Document
    documents: Sequence[Document]
    reader: AlpacaReader
    settings: TradingSettings
    newest_event_at: datetime | None
    frozen: Mapping[str, FrozenSymbol]


@dataclass(frozen=True)
class Difference:
    """Our position in a symbol against the broker's, and what would be booked."""

    account_label: str
    symbol: str
    ours: Decimal
    theirs: Decimal
    frozen: FrozenSymbol | None
    split: Split | None
    adjustments: Sequence[Adjustment]
    behind: Sequence[str]
    """Orders whose fills the broker tells otherwise than our records."""
    effective_at: datetime

    @property
    def is_open(self) -> bool:
        """Whether there is anything to book or to thaw."""
        return self.ours != self.theirs or self.frozen is not None

    def document(self) -> dict[str, Any]:
        """As it is printed and recorded."""
        return {
            "symbol": self.symbol,
            "qty": self.ours,
            "broker_qty": self.theirs,
            "frozen": None if self.frozen is None else self.frozen.reason,
            "split": None if self.split is None else self.split.document(),
            "adjustments": [each.document() for each in self.adjustments],
            "behind": list(self.behind),
        }


def held_positions() -> HeldPositions:
    """Read both sides by the settings of the environment.

    Raises:
        UpstreamError: the broker does not answer, or is not the account that it should be.
        StoreUnavailableError: the database does not answer.
    """
    trading = load_trading_settings()
    label, base_url = trading.mode.account_label, trading.broker_url
    tracker = OrderTracker(label, Portfolio(ZERO))
    with connect(create_engine(load_settings().db_dsn)) as connection:
        booked = position_adjustments.stored_adjustments(connection, label)
        stored = stored_orders(connection, label, kept=_AROUND)
        entries = [*stored.settled, *((each.slot, each.entry) for each in booked)]
        restore(tracker, stored.intents, stored.events, entries)
        frozen = {each.symbol: each for each in position_adjustments.stored_freezes(connection, label)}
    try:
        reader = AlpacaReader(trading.broker, base_url)
        account, documents = reader.account(), reader.positions()
    except BrokerError as error:
        raise UpstreamError(f"broker at {base_url}: {error}") from None
    broker = trading.broker
    fault = account_fault(account, base_url, trading.mode.mode, broker.live_account_number, broker.simulator_url)
    if fault is not None:
        raise UpstreamError(f"account_mismatch: account {account.get('account_number')} {fault}")
    return HeldPositions(label, tracker, account, documents, reader, trading, stored.newest_event_at, frozen)


def difference_in(held: HeldPositions, symbol: str) -> Difference:
    """The difference in one symbol, and the split that explains it where one was announced.

    Raises:
        UpstreamError: the broker does not answer.
    """
    portfolio = held.tracker.portfolio
    ours = portfolio.symbol_qty(symbol)
    document: Document = next((each for each in held.documents if each.get("symbol") == symbol), Document())
    theirs = Decimal(str(document.get("qty", "0")))
    newest = portfolio.last_fill_ns(symbol)
    effective_at = datetime.now(UTC) if newest < 0 else moment_of(newest) + timedelta(microseconds=1)
    split, adjustments = None, list[Adjustment]()
    if ours != theirs:
        try:
            split = split_that_explains(_splits(held, symbol, effective_at), symbol, ours, theirs)
        except BrokerError as error:
            raise UpstreamError(f"{error}") from None
        by_strategy = {slot[0]: each.qty for slot, each in portfolio.positions() if slot[1] == symbol}
        price = document.get("current_price") or document.get("avg_entry_price")
        last = portfolio.marks.get(symbol) if price is None else Decimal(str(price))
        adjustments = adjustments_for(by_strategy, theirs, split, last)
    frozen = held.frozen.get(symbol)
    behind = _behind(held, symbol)
    return Difference(held.account_label, symbol, ours, theirs, frozen, split, adjustments, behind, effective_at)


def book(found: Difference, *, reason: str, actor: str) -> int:
    """Book it; number of the ledger record.

    Raises:
        StoreUnavailableError: the database does not answer; nothing was booked.
    """
    with connect(create_engine(load_settings().db_dsn)) as connection:
        shown = {key: value for key, value in found.document().items() if key not in ("symbol", "adjustments")}
        return position_adjustments.book(
            connection,
            found.account_label,
            found.symbol,
            found.adjustments,
            effective_at=found.effective_at,
            reason=reason,
            actor=actor,
            shown=shown,
        )


def _splits(held: HeldPositions, symbol: str, since: datetime) -> list[Split]:
    """Splits that may have come after our last fill, or lately by the machine's clock."""
    broker = held.settings.broker
    told = held.reader.clock()["timestamp"] if broker.adapter == "simulator" else None
    now = datetime.now(UTC) if told is None else datetime.fromisoformat(told)
    first = min(since, now - SPLITS_BACK).astimezone(_NEW_YORK).date()
    return open_announcements(broker).splits([symbol], first, now.astimezone(_NEW_YORK).date())


def _behind(held: HeldPositions, symbol: str) -> list[str]:
    since = held.newest_event_at
    try:
        documents = held.reader.orders(after=None if since is None else utc_text(since - _AROUND))
    except BrokerError as error:
        raise UpstreamError(f"broker: {error}") from None
    behind: list[str] = []
    for document in documents:
        if document.get("symbol") != symbol:
            continue
        order = held.tracker.order(str(document.get("id")))
        filled = ZERO if order is None else order.state.filled_qty
        if filled != _filled(document):
            behind.append(str(document.get("id")))
    return behind


def _filled(document: Document) -> Decimal:
    try:
        return Decimal(str(document.get("filled_qty") or "0"))
    except InvalidOperation:
        return ZERO
