"""The simplest real source of closed bars: the stream's own one-minute and daily bars, history over REST."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal, cast

from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.live.stock import StockDataStream
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from torghut_runtime.clock import NANOSECONDS, Clock, moment_of
from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.market.features import FEATURES, Bar
from torghut_runtime.market.timeframe import DAILY, timeframe_seconds
from torghut_runtime.trading_settings import TradingSettings

log = logging.getLogger(__name__)

Wanted = Mapping[tuple[str, str], int]
"""Bars of history by symbol and timeframe."""
Emit = Callable[["ClosedBars"], object]
"""Takes bars from any thread; may wait for room."""

_NOT_IN_BARS: Final = frozenset(
    {"vol_realized_w60s", "staleness_ms", "signal_quality_flag", "spread", "imbalance_spread"}
    | {"imbalance_bid_px", "imbalance_ask_px"}
)
_INTRADAY: Final = frozenset({"vwap_session", "vwap_w5m"})
_UNITS: Final = {"1Min": TimeFrameUnit.Minute, DAILY: TimeFrameUnit.Day}
_SESSION_MINUTES: Final = 390
_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ClosedBars:
    """Bars that closed at one time; ``warm_up`` is all the history of one symbol and timeframe, oldest first."""

    bars: tuple[Bar, ...]
    kind: Literal["live", "backfill", "warm_up"] = "live"


def features_of(timeframe: str) -> frozenset[str]:
    """The features that bars of a timeframe can have."""
    return frozenset(FEATURES) - _NOT_IN_BARS - (_INTRADAY if timeframe == DAILY else frozenset())


class StreamedBars:
    """Connects, warms up, then hands on bars as they close, until it is stopped."""

    def __init__(
        self, settings: TradingSettings, wanted: Wanted, clock: Clock, emit: Emit, *, longest_pause: float = 5.0
    ) -> None:
        self.heartbeat = time.monotonic()
        self.connected = False
        self.warm = not wanted
        self._settings = settings
        self._wanted = wanted
        self._clock = clock
        self._emit = emit
        self._longest_pause = longest_pause
        self._calendar = TradingCalendar()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="market-data", daemon=True)

    def start(self) -> None:
        """Begin."""
        if self._wanted:
            self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._wanted:
            self._thread.join(_STOP_SECONDS)

    @property
    def is_alive(self) -> bool:
        """Whether it works; once started only a defect ends it before :meth:`stop`."""
        return not self._wanted or self._thread.is_alive()

    async def _run(self) -> None:
        broker = self._settings.broker
        url = None if broker.adapter == "alpaca" else _data_stream_url(self._settings.broker_url)
        stream: Any = _VisibleStream(
            self._begun,
            self._gone,
            self._longest_pause,
            api_key=broker.keys[0],
            secret_key=broker.keys[1],
            raw_data=True,
            feed=DataFeed(broker.data_feed),
            url_override=url,
        )
        minutes = sorted({symbol for symbol, timeframe in self._wanted if timeframe != DAILY})
        days = sorted({symbol for symbol, timeframe in self._wanted if timeframe == DAILY})
        if minutes:
            stream.subscribe_bars(self._hear_minute, *minutes)
        if days:
            stream.subscribe_daily_bars(self._hear_day, *days)
        task: asyncio.Task[None] = asyncio.ensure_future(stream._run_forever())  # noqa: SLF001
        while not self._stopping.is_set() and not task.done():
            self.heartbeat = time.monotonic()
            await asyncio.wait({task}, timeout=0.05)
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        await stream.close()

    def _begun(self) -> None:
        """The stream is subscribed: what it sends from here on waits in the socket until history has been read."""
        while not self.warm and not self._stopping.is_set():
            try:
                found = {key: self._fetched(*key, bars) for key, bars in self._wanted.items()}
            except (APIError, OSError) as error:
                log.warning("history cannot be read yet: %s", type(error).__name__)
                self._stopping.wait(0.5)
                continue
            for bars in found.values():
                if bars:
                    self._emit(ClosedBars(tuple(bars), "warm_up"))
            self.warm = True
        self.connected = True

    def _gone(self) -> None:
        self.connected = False

    async def _hear_minute(self, message: Any) -> None:
        self._hear("1Min", message)

    async def _hear_day(self, message: Any) -> None:
        self._hear(DAILY, message)

    def _hear(self, timeframe: str, message: Mapping[str, Any]) -> None:
        at = message["t"]
        starts = moment_of(int(at.seconds) * NANOSECONDS + int(at.nanoseconds))
        bar = self._bar(timeframe, str(message["S"]), starts, message)
        if (bar.symbol, timeframe) in self._wanted:
            # Waiting for room stops the reading of the socket: that is the back-pressure.
            self._emit(ClosedBars((bar,)))

    def _bar(self, timeframe: str, symbol: str, starts: datetime, fields: Mapping[str, Any]) -> Bar:
        opens, closes, session = self._span(timeframe, symbol, starts)
        high, low, close, volume = (float(fields[name]) for name in ("h", "l", "c", "v"))
        return Bar(symbol, timeframe, opens, closes, session, high, low, close, volume)

    def _span(self, timeframe: str, symbol: str, starts: datetime) -> tuple[datetime, datetime, date | None]:
        if timeframe == DAILY and is_exchange_traded(symbol):
            day = starts.astimezone(UTC).date()
            opens, closes = self._calendar.session_open(day), self._calendar.session_close(day)
            if opens is not None and closes is not None:
                return opens, closes, day
        closes = starts + timedelta(seconds=timeframe_seconds(timeframe))
        if not is_exchange_traded(symbol):
            return starts, closes, starts.date()
        session = self._calendar.session_at(starts)
        ends = None if session is None else self._calendar.session_close(session)
        return starts, closes, session if ends is not None and closes <= ends else None

    def _fetched(self, symbol: str, timeframe: str, bars: int) -> Sequence[Bar]:
        broker, now = self._settings.broker, self._clock.now()
        days = bars * 2 + 7 if timeframe == DAILY else bars // _SESSION_MINUTES * 2 + 5
        url = broker.data_url or (None if broker.adapter == "alpaca" else self._settings.broker_url)
        client: Any = StockHistoricalDataClient(*broker.keys, raw_data=True, url_override=url)
        request = StockBarsRequest(
            symbol_or_symbols=symbol,
            timeframe=TimeFrame(1, cast("Any", _UNITS[timeframe])),
            start=now - timedelta(days=days),
            end=now,
            adjustment=Adjustment.ALL,
            feed=DataFeed(broker.data_feed),
        )
        rows: list[Mapping[str, Any]] = client.get_stock_bars(request).get(symbol, [])
        made = [self._bar(timeframe, symbol, datetime.fromisoformat(row["t"]), row) for row in rows]
        return [bar for bar in made if bar.event_ts <= now]


_AlpacaStream: Any = StockDataStream


class _VisibleStream(_AlpacaStream):
    """Tells when the server confirmed the subscription and when a connection ended."""

    def __init__(self, begun: Callable[[], None], gone: Callable[[], None], longest_pause: float, **named: Any) -> None:
        super().__init__(**named)  # pyright: ignore[reportUnknownMemberType]
        self._begun = begun
        self._gone = gone
        self._reconnect_min_backoff = min(0.2, longest_pause)
        self._reconnect_max_backoff = longest_pause

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        if msg.get("T") == "subscription":
            self._begun()
        await super()._dispatch(msg)  # pyright: ignore[reportUnknownMemberType]

    async def close(self) -> None:
        self._gone()
        await super().close()  # pyright: ignore[reportUnknownMemberType]


def _data_stream_url(broker_url: str) -> str:
    scheme, _, rest = broker_url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest.rstrip('/')}/v2/iex"
