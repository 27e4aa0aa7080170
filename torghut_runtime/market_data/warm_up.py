"""How much history a symbol needs before its first bar, and history itself. IO only through the given client."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from torghut_runtime.engine.market_view import ADV_SESSIONS
from torghut_runtime.market.aggregation import BACKFILL, MINUTES, Minute, daily_bar
from torghut_runtime.market.calendar import NEW_YORK, TradingCalendar, is_exchange_traded
from torghut_runtime.market.features import Bar
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market.timeframe import DAILY, timeframe_seconds
from torghut_runtime.market_data.history import History
from torghut_runtime.market_data.subscriptions import Subscriptions

_SESSION_SECONDS: Final = 6.5 * 3600
_SPARE_SESSIONS: Final = 2
"""Early closes and minutes without a trade: a little more is asked for than would be enough."""
_ZONE: Final = ZoneInfo(NEW_YORK)


def history_start(subscriptions: Subscriptions, symbol: str, until: datetime, hours: SessionHours) -> datetime:
    """From when on minutes are needed, so that every timeframe of a symbol has its history by ``until``."""
    begin = until
    for timeframe in subscriptions.intraday(symbol):
        bars = subscriptions.history_bars.get((symbol, timeframe), 0)
        seconds = bars * timeframe_seconds(timeframe)
        if is_exchange_traded(symbol):
            begin = min(begin, _session_back(until, int(seconds // _SESSION_SECONDS) + _SPARE_SESSIONS if bars else 0))
        else:
            begin = min(begin, until - timedelta(seconds=seconds))
    session = hours.at(until)
    return begin if session is None else min(begin, session.opens_at)


def _session_back(until: datetime, sessions: int) -> datetime:
    """Opening of the session that lies so many back from the one that is open or was last."""
    calendar = TradingCalendar()
    if not sessions:
        return until
    days = calendar.sessions((until - timedelta(days=2 * sessions + 14)).date(), until.date())
    begun = [opens for day in days if (opens := calendar.session_open(day)) is not None and opens < until]
    return begun[-min(sessions, len(begun))] if begun else until


def past_minutes(
    history: History,
    subscriptions: Subscriptions,
    until: Mapping[str, datetime],
    hours_of: Callable[[str], SessionHours],
    asking: Callable[[], None] = lambda: None,
) -> list[Minute]:
    """The minutes that symbols need before a moment each, in order per symbol.

    ``asking`` is called before each request: several are made where symbols set out at different moments.

    Raises:
        HistoryError: no answer.
    """
    spans: dict[tuple[datetime, datetime], list[str]] = {}
    for symbol, end in until.items():
        start = history_start(subscriptions, symbol, end, hours_of(symbol))
        spans.setdefault((start, end), []).append(symbol)
    minutes: list[Minute] = []
    for (start, end), names in spans.items():
        asking()
        found = history.bars(names, MINUTES, start, end) if start < end else {}
        minutes += [minute for of_symbol in found.values() for minute in of_symbol]
    return minutes


def daily_bars(history: History, symbol: str, count: int, until: datetime, hours: SessionHours) -> list[Bar]:
    """The last ``count`` daily bars of sessions that closed by ``until``, oldest first."""
    if not count:
        return []
    start = until - timedelta(days=int(count * 1.5) + 14)
    midnight = datetime.combine(start.astimezone(_ZONE).date(), time(), _ZONE).astimezone(UTC)
    found: list[Bar] = []
    for day in history.bars([symbol], DAILY, midnight, until)[symbol]:
        date = day.opens_at.astimezone(_ZONE if is_exchange_traded(symbol) else UTC).date()
        session = hours.on(date)
        if session is not None and session.closes_at <= until:
            found.append(daily_bar(replace(day, mark=BACKFILL), session))
    return found[-count:]


def warm_up_bars(
    history: History, symbol: str, subscriptions: Subscriptions, until: datetime, hours: SessionHours
) -> list[Bar]:
    """Daily history of a symbol, as much as its strategies need."""
    return daily_bars(history, symbol, subscriptions.history_bars.get((symbol, DAILY), 0), until, hours)


def average_volumes(history: History, symbols: Collection[str], now: datetime) -> dict[str, float]:
    """Mean daily shares of the last 20 complete sessions, of each symbol that has so many.

    Raises:
        HistoryError: no answer.
    """
    hours = SessionHours()
    over = hours.last_closed(now)
    start = over.opens_at - timedelta(days=2 * ADV_SESSIONS)
    volumes: dict[str, float] = {}
    for symbol, days in history.bars(symbols, DAILY, start, over.closes_at).items():
        known = [day.volume for day in days][-ADV_SESSIONS:]
        if len(known) == ADV_SESSIONS:
            volumes[symbol] = sum(known) / ADV_SESSIONS
    return volumes
