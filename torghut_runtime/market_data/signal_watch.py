"""The poll: how feed and universe stand, judged for continuity. Called every ``TRADING_POLL_MS``; reads one file."""

from torghut_runtime.clock import Clock
from torghut_runtime.market.hours import SessionHours
from torghut_runtime.market_data.continuity import Evaluation, Observation, SignalContinuity
from torghut_runtime.market_data.feed import MarketFeed
from torghut_runtime.market_data.feed_snapshot import FeedSnapshot
from torghut_runtime.market_data.universe import Universe


class SignalWatch:
    """Brings together what :class:`SignalContinuity` judges."""

    def __init__(self, feed: MarketFeed, universe: Universe, continuity: SignalContinuity, clock: Clock) -> None:
        self.continuity = continuity
        self._feed = feed
        self._universe = universe
        self._clock = clock
        self._hours = SessionHours()

    def poll(self) -> Evaluation:
        """One evaluation; its triggers go to the emergency stop."""
        return self.continuity.evaluate(self.observe(self._feed.snapshot()))

    def observe(self, seen: FeedSnapshot) -> Observation:
        """How things stand."""
        universe = self._universe.refresh()
        return Observation(
            session_open=self._hours.at(self._clock.now()) is not None,
            lag_seconds=max(seen.lag_seconds.values(), default=0.0),
            connected=seen.connected,
            cursor_ahead=bool(seen.cursor_ahead),
            universe_status=universe.status,
            universe_source=universe.source,
            universe_reason=universe.reason,
        )
