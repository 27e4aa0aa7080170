"""The engine's side of market data: the feed of a term, what stands against trading a symbol, and whether signals come.

One thread keeps the feed that is wanted, another asks the broker for what may take its time (calendar, assets, volumes,
announced splits); the trading thread asks :attr:`MarketSystem.view` and evaluates. How bars are made and judged is
:mod:`torghut_runtime.market_data`'s business.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

from torghut_runtime.broker.protocol import BrokerError
from torghut_runtime.clock import Clock
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.metric_totals import MetricTotals
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.simulated_time import FollowingClock
from torghut_runtime.market.features import FEATURES
from torghut_runtime.market.timeframe import DAILY
from torghut_runtime.market_data.announcements import AnnouncementWatch
from torghut_runtime.market_data.board import Board
from torghut_runtime.market_data.broker_facts import AssetBook, CalendarGuard, FactsReader
from torghut_runtime.market_data.continuity import Evaluation, SignalContinuity
from torghut_runtime.market_data.feature_gate import FeatureGate
from torghut_runtime.market_data.feed import Emit, MarketFeed
from torghut_runtime.market_data.feed_snapshot import FeedSnapshot
from torghut_runtime.market_data.history import HistoryError
from torghut_runtime.market_data.live_market import LiveMarket
from torghut_runtime.market_data.signal_watch import SignalWatch
from torghut_runtime.market_data.subscriptions import Subscriptions, subscriptions_of
from torghut_runtime.market_data.universe import Universe
from torghut_runtime.market_data.warm_up import average_volumes
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import TradingSettings

FACTS_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05
_START_SECONDS: Final = 15.0
_FACTS_CALL_SECONDS: Final = 60.0
_FULL_SECONDS: Final = 60.0
"""A feed may stand still so long while the trading thread has no room for bars."""
_INTRADAY: Final = frozenset({"vwap_session", "vwap_w5m", "vol_realized_w60s"})

Cursors = Mapping[tuple[str, str], datetime]


def features_of(timeframe: str) -> frozenset[str]:
    """The features that the stream's bars of a timeframe can have."""
    return frozenset(FEATURES) - (_INTRADAY if timeframe == DAILY else frozenset())


class MarketSystem:
    """See the module."""

    def __init__(
        self,
        settings: TradingSettings,
        clock: Clock,
        reader: FactsReader,
        emit: Emit,
        metrics: TradingMetrics,
        *,
        longest_pause: float = 5.0,
    ) -> None:
        self.is_frozen: Callable[[str], bool] = lambda _: False
        """Whether a symbol's position is in dispute."""
        self.universe = Universe(settings.universe, clock)
        self.calendar = CalendarGuard(reader, clock)
        self._settings = settings
        self._clock = clock
        self._emit = emit
        self._metrics = metrics.market
        self._totals = MetricTotals(metrics)
        self._longest_pause = longest_pause
        self._assets = AssetBook(reader)
        self._continuity = SignalContinuity(settings.data, settings.stops)
        self._board = Board()
        self._gate = FeatureGate(settings.quality)
        self._wanted: Subscriptions | None = None
        self._cursors: Callable[[], Cursors] = dict[tuple[str, str], datetime]
        self._changed = threading.Event()
        self._anew: set[str] = set()
        self._ask_facts = threading.Event()
        self._feed: MarketFeed | None = None
        self._known: Subscriptions | None = None
        self._volumes_of: tuple[date, frozenset[str]] | None = None
        self.view = self._market()
        """What the trader asks."""

    # For the trading thread -------------------------------------------------------------------------------------------

    def begin(self, strategies: Sequence[BoundStrategy]) -> LiveMarket:
        """A term begins: quality is judged from its first bar on."""
        self._gate = FeatureGate(self._settings.quality, strategies)
        volumes = self.view.daily_volumes
        self.view = self._market()
        self.view.daily_volumes = volumes
        return self.view

    def want(self, strategies: Sequence[BoundStrategy], cursors: Callable[[], Cursors]) -> None:
        """Have the bars of these strategies emitted, history first."""
        self._gate.require(strategies)
        wanted = subscriptions_of(strategies, self.universe.refresh().symbols)
        self._cursors = cursors
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()
            self._ask_facts.set()

    def renew(self, symbol: str) -> None:
        """Have the history of a symbol emitted again: it is told in other units now."""
        self._anew.add(symbol)
        self._changed.set()

    def want_nothing(self) -> None:
        """The term is over."""
        self._wanted = None
        self._changed.set()
        self._ask_facts.set()

    @property
    def connected(self) -> bool:
        """Whether live bars of everything that is wanted would come."""
        wanted, feed = self._wanted, self._feed
        return wanted is not None and (not wanted.timeframes or (feed is not None and feed.connected))

    @property
    def warm(self) -> bool:
        """Whether all history of what is wanted has been emitted, and the broker's facts are known."""
        wanted, feed = self._wanted, self._feed
        if wanted is None or feed is None or self._known != wanted:
            return False
        return not wanted.timeframes or (feed.subscriptions == wanted and feed.warm)

    def evaluate(self) -> Evaluation:
        """Do signals still come? Once per poll."""
        feed = self._feed
        if feed is None or not feed.subscriptions.timeframes or not self.warm:
            self.universe.refresh()
            return Evaluation()
        watch = SignalWatch(feed, self.universe, self._continuity, self._clock)
        found = watch.poll()
        for reason in found.reasons:
            self._metrics.no_signal(reason)
        for alert in found.alerts:
            self._metrics.stale_signals(alert)
        if found.breached:
            self._metrics.continuity_breached()
        counts = self._continuity.counts
        self._metrics.no_signal_streaks(counts.streak, counts.streaks)
        seen = feed.snapshot()
        self._metrics.signal_lag(max(seen.lag_seconds.values(), default=0.0))
        self._metrics.symbol_staleness(seen.staleness_seconds)
        view = self.universe.view
        self._metrics.universe(view.status, len(view.symbols))
        quality = self._gate.counts()
        self._metrics.feature_quality(quality.null_rate, quality.staleness_ms_p95 or 0.0, quality.duplicate_ratio)
        self._totals.features(quality.rows, quality.schema_mismatches, quality.rejections)
        self._totals.backfilled(seen.counts.backfilled)
        return found

    # Shown ------------------------------------------------------------------------------------------------------------

    def snapshot(self) -> FeedSnapshot | None:
        """The feed as it is seen now; None without one."""
        feed = self._feed
        return None if feed is None else feed.snapshot()

    def continuity_document(self) -> dict[str, Any]:
        """``signal_continuity`` of the status."""
        view = self.universe.view
        return {
            "universe_source": view.source,
            "universe_status": view.status,
            "universe_reason": view.reason or None,
            "universe_symbols_count": len(view.symbols),
            "universe_cache_age_seconds": view.cache_age_seconds,
        }

    # Threads ----------------------------------------------------------------------------------------------------------

    def run(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Keep the feed that is wanted until told to stop."""
        while not stop.is_set():
            beat.beat()
            self._changed.clear()
            wanted = self._wanted
            if wanted is None:
                self._changed.wait(_LOOK_SECONDS)
            else:
                self._serve(wanted, beat, stop)

    def _serve(self, wanted: Subscriptions, beat: Heartbeat, stop: threading.Event) -> None:
        beat.beat(_START_SECONDS)
        feed = MarketFeed(
            self._settings,
            wanted,
            self._clock,
            self._emit,
            cursors=self._cursors(),
            longest_pause=self._longest_pause,
            board=self._board,
            hear_time=self._hear_time,
        )
        feed.start()
        self._feed = feed
        try:
            while not stop.is_set():
                if self._changed.is_set():
                    self._changed.clear()
                    changed = self._wanted
                    if changed is None:
                        break
                    anew = [self._anew.pop() for _ in range(len(self._anew))]
                    feed.subscribe(changed, anew=anew)
                if not feed.is_alive:
                    raise RuntimeError("the feed of market data ended")
                if time.monotonic() - feed.heartbeat < _FULL_SECONDS:
                    beat.beat()
                stop.wait(_LOOK_SECONDS)
        finally:
            self._feed = None
            beat.beat(_START_SECONDS)
            feed.stop()

    def _hear_time(self, moment: datetime) -> None:
        """What the source sends is not later than its time, which a clock that follows it takes over."""
        if isinstance(self._clock, FollowingClock):
            self._clock.hear_moment(moment)

    def ask(self, beat: Heartbeat, stop: threading.Event) -> None:
        """Ask the broker every few seconds, and at once for new symbols, until told to stop."""
        watch: AnnouncementWatch | None = None
        of: MarketFeed | None = None
        while not stop.is_set():
            beat.beat()
            wanted, feed = self._wanted, self._feed
            if wanted is not None and feed is not None:
                self._ask_facts.clear()
                beat.beat(_FACTS_CALL_SECONDS)
                if watch is None or of is not feed:
                    watch, of = AnnouncementWatch(feed, self._clock), feed
                self._facts(wanted, feed)
                watch.check()
                beat.beat()
                self._ask_facts.wait(FACTS_SECONDS if self._known == wanted else _LOOK_SECONDS)
            else:
                stop.wait(_LOOK_SECONDS)

    def _facts(self, wanted: Subscriptions, feed: MarketFeed) -> None:
        symbols = frozenset(wanted.timeframes)
        self.calendar.check()
        try:
            self._assets.refresh(symbols)
        except BrokerError:
            return
        now = self._clock.now()
        if self._volumes_of != (now.date(), symbols) and symbols:
            try:
                self.view.daily_volumes = average_volumes(feed.history, symbols, now)
            except HistoryError:
                pass  # asked again with the next pass; until then the bars' own volumes count
            else:
                self._volumes_of = (now.date(), symbols)
        self._known = wanted

    def _market(self) -> LiveMarket:
        return LiveMarket(
            self._settings,
            board=self._board,
            universe=self.universe,
            gate=self._gate,
            assets=self._assets,
            calendar=self.calendar,
            repeats=self._repeats,
            is_frozen=lambda symbol: self.is_frozen(symbol),
        )

    def _repeats(self, symbol: str) -> int:
        feed = self._feed
        return 0 if feed is None else feed.repeats(symbol)
